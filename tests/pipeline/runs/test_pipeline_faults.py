"""Runs that are killed, starved of disk or spread over another Beam runner: slow, each a process of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from hivemill.pipeline.cli import main
from hivemill.pipeline.config.loader import load
from tests.pipeline.shop import RUN_DATE, document, hivemill, hivemill_command, make_shop, mounted_disk, only_run

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[3]


@pytest.mark.parametrize("node", ["StatisticsGen", "Trainer", "Pusher"])
def test_run_killed_in_a_node_goes_on_and_ends_as_if_nothing_had_happened(tmp_path, node):
    config = make_shop(tmp_path)
    _kill_when_started(config, tmp_path, node)
    store = tmp_path / "root" / "models" / "shop"
    assert all((version / "saved_model.pb").exists() for version in store.glob("[0-9]*"))

    assert hivemill(config, "run", "--date", RUN_DATE) == 0
    record = document(only_run(config), "run.json")
    assert record["attempt"] == 2
    states = {n["node_id"]: n["state"] for n in record["nodes"]}
    assert states["HiveLogExampleGen"] == "cached"
    versions = [v for v in os.listdir(store) if v.isdigit()]
    assert versions == [str(record["model_version"])]
    assert not [name for name in os.listdir(store) if name.endswith(".tmp")]


def _kill_when_started(config: Path, folder: Path, node: str) -> None:
    """SIGKILL as soon as the node before `node` has left its record."""
    before = {"StatisticsGen": "HiveLogExampleGen", "Trainer": "Transform", "Pusher": "ServingCheck"}[node]
    with open(folder / "killed.log", "w") as log:
        process = subprocess.Popen(
            hivemill_command(config, "run", "--date", RUN_DATE), cwd=REPOSITORY, stdout=log, stderr=log
        )
        deadline = time.monotonic() + 400
        while not list((folder / "root").glob(f"runs/*/nodes/{before}.json")):
            assert process.poll() is None, (folder / "killed.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
        process.wait()


def test_sigterm_is_recorded_and_frees_the_lock(tmp_path):
    config = make_shop(tmp_path, rows_per_day=300)
    process = subprocess.Popen(
        hivemill_command(config, "run", "--date", RUN_DATE), cwd=REPOSITORY, stderr=subprocess.PIPE, text=True
    )
    while not list((tmp_path / "root").glob("runs/*/nodes/HiveLogExampleGen.json")):
        assert process.poll() is None
        time.sleep(0.05)
    stopped = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert time.monotonic() - stopped < 10
    assert process.returncode == 6
    assert "SIGTERM" in error and "goes on where it stopped" in error
    assert document(only_run(config), "run.json")["state"] == "failed"


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 80 MiB of its own, which only root can make."""
    with mounted_disk(tmp_path / "disk", "80m") as disk:
        yield disk


def test_disk_that_fills_during_the_run_ends_with_6_and_the_run_goes_on_once_there_is_room(tmp_path, small_disk):
    config = make_shop(tmp_path)
    ballast = small_disk / "ballast"
    root = ["--set", f"root={small_disk}/root"]
    process = subprocess.Popen(
        hivemill_command(config, *root, "run", "--date", RUN_DATE), cwd=REPOSITORY, stderr=subprocess.PIPE, text=True
    )
    while not list(small_disk.glob("root/runs/*/nodes/DataVerdict.json")):
        assert process.poll() is None
        time.sleep(0.02)
    _fill(ballast)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 6, error
    assert "No space left" in error or "disk is full" in error
    assert not (small_disk / "root" / "models" / "shop").exists()

    ballast.unlink()
    assert hivemill(config, *root, "run", "--date", RUN_DATE) == 0


def _fill(path: Path) -> None:
    block = b"\0" * 2**20
    with open(path, "wb", buffering=0) as file:
        for size in (block, block[:4096], block[:64]):
            try:
                while True:
                    file.write(size)
            except OSError:
                continue


def test_root_without_room_ends_with_6_before_any_cost(tmp_path, small_disk, capsys):
    config = make_shop(tmp_path, rows_per_day=100)
    _fill(small_disk / "ballast")
    assert hivemill(config, "--set", f"root={small_disk}", "run", "--date", RUN_DATE) == 6
    assert "No space left" in (error := capsys.readouterr().err) or "MiB are free" in error


def test_forced_run_runs_all_nodes_again_and_gives_a_new_version(tmp_path):
    config = make_shop(tmp_path, rows_per_day=600)
    assert hivemill(config, "run", "--date", RUN_DATE) == 0
    first = document(only_run(config), "run.json")
    assert hivemill(config, "run", "--date", RUN_DATE, "--force") == 0
    forced = document(tmp_path / "root" / "runs" / f"{first['run_id']}-2", "run.json")
    assert {node["state"] for node in forced["nodes"]} == {"succeeded"}
    assert forced["model_version"] > first["model_version"]
    assert forced["baseline_version"] == first["model_version"]
    labels = document(tmp_path / "root" / "models" / "shop", "labels.json")["labels"]
    assert labels == {"stable": first["model_version"]}


def test_no_model_is_blessed_on_open_bandit_data_with_the_default_gates(tmp_path, capsys):
    """The clicks of these real logs cannot be learnt at this size (best AUC about 0.5)."""
    shared = Path(os.environ.get("HIVEMILL_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (shared / "obd").is_dir():
        pytest.skip(f"the Open Bandit data is not at {shared / 'obd'}")
    assert main.main(["data", "import", "open-bandit", str(shared / "obd"), str(tmp_path / "obd")]) == 0
    config = tmp_path / "obd" / "hivemill.yaml"
    assert "metrics" not in (yaml.safe_load(config.read_text()).get("gates") or {})
    assert hivemill(config, "run", "--date", "2019-11-30") == 5
    assert "not blessed" in capsys.readouterr().err
    root = Path(load(config).config.root)
    assert not list((root / "models").glob("*/[0-9]*"))


@pytest.fixture
def job_service():
    """Beam's own portable job service in a process of its own."""
    import portpicker

    port = portpicker.pick_unused_port()
    service = subprocess.Popen(
        [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(20)
    assert service.poll() is None
    yield f"localhost:{port}"
    service.kill()
    service.wait()


def test_beam_runner_on_the_portable_runner(tmp_path, job_service):
    config = make_shop(tmp_path)
    arguments = f"[--runner=PortableRunner, --job_endpoint={job_service}, --environment_type=LOOPBACK]"
    words = ["--set", "runner.name=beam", "--set", f"runner.orchestrator_args={arguments}", "run", "--date", RUN_DATE]
    done = subprocess.run(hivemill_command(config, *words), cwd=REPOSITORY, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr
    assert document(only_run(config), "run.json")["model_version"]
