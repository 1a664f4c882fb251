"""`compile --engine vertex` as a command, with table and root in a bucket."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from hivemill.common.storage import object_store, urls
from hivemill.pipeline.cli import main
from hivemill.pipeline.root import object_root
from tests.pipeline.shop import CONFIG, RUN_DATE, make_shop
from tests.support import object_stores


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """URL of a bucket with a small shop's table in it. Its server is a process of its own: Arrow reads in this one."""
    folder = tmp_path_factory.mktemp("bucket")
    make_shop(folder, rows_per_day=100)
    files = [file for file in (folder / "log").rglob("*") if file.is_file()]
    objects = {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}
    with pytest.MonkeyPatch.context() as patch, object_stores.gs_server.serving(objects, "TOKEN") as port:
        for name, value in object_stores.environment("gs", port, folder).items():
            patch.setenv(name, value)
        urls._opened.cache_clear()
        yield f"gs://{object_stores.gs_server.BUCKET}"
        urls._opened.cache_clear()


@pytest.fixture
def config(bucket, tmp_path) -> Path:
    """Its root is of its own."""
    source = {**CONFIG["source"], "table": f"{bucket}/log/clicks"}
    document = CONFIG | {"root": f"{bucket}/{tmp_path.name}", "source": source, "vertex": {"image": "hivemill"}}
    path = tmp_path / "hivemill.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def compile_job(config: Path, *words: str, date: str = RUN_DATE) -> tuple[int, Path]:
    output = config.with_name("job.json")
    command = ["compile", "--engine", "vertex", "--date", date, "-o", str(output), *words]
    return main.main(["--config", str(config), *command]), output


def test_file_is_the_run_of_the_date(config, capsys):
    code, output = compile_job(config, "--json")
    said = capsys.readouterr()
    assert code == 0, said.err
    document, job = json.loads(said.out), json.loads(output.read_text())
    assert document == {
        "path": str(output),
        "run_id": job["labels"]["hivemill_run"],
        "date": RUN_DATE,
        "baseline_version": None,
        "nothing_to_do": False,
    }
    tasks = job["pipelineSpec"]["root"]["dag"]["tasks"]
    example_gen = {
        name: one["runtimeValue"]["constant"]
        for name, one in tasks["HiveLogExampleGen"]["inputs"]["parameters"].items()
    }
    root = job["runtimeConfig"]["gcsOutputDirectory"].removesuffix("/artifacts")
    assert example_gen["date"] == RUN_DATE and example_gen["partitions_path"] == f"{root}/partitions"
    assert str(config.parent) not in output.read_text()  # nothing of this machine is in it


def test_run_that_is_finished_is_told(config, capsys, monkeypatch):
    assert compile_job(config, "--json")[0] == 0
    run_id = json.loads(capsys.readouterr().out)["run_id"]
    record = {"run_id": run_id, "date": RUN_DATE, "state": "failed", "exit_code": 5, "baseline_version": None}
    root = yaml.safe_load(config.read_text())["root"]
    object_store.write_bytes(f"{root}/runs/{run_id}/run.json", json.dumps(record).encode())
    monkeypatch.setattr(object_root, "_COPIES", {})  # as in another process, which has a copy of its own
    assert compile_job(config, "--json")[0] == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["nothing_to_do"] and f"run {run_id} of the same inputs is finished" in said.err


def test_data_that_is_not_ready_ends_with_3_and_writes_nothing(config, capsys):
    code, output = compile_job(config, date="2026-11-25")
    assert code == 3 and not output.exists()
    assert "dt=2026-11-2" in capsys.readouterr().err


def test_output_that_cannot_be_written_is_told(config, capsys):
    """The folder is a file; nothing of a file is left beside it."""
    (config.parent / "file").write_text("")
    command = ["compile", "--engine", "vertex", "--date", RUN_DATE, "-o", str(config.parent / "file" / "job.json")]
    assert main.main(["--config", str(config), *command]) == 6
    assert "file" in capsys.readouterr().err
    assert sorted(file.name for file in config.parent.iterdir()) == ["file", "hivemill.yaml"]
