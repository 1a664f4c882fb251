"""`hivemill schedule ENGINE`: what it prints is read by the tools that have to read it, and installed by them."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from hivemill.pipeline.cli import main
from hivemill.pipeline.config import loader as config_module
from hivemill.pipeline.scheduling import crontab, kubernetes, systemd
from hivemill.pipeline.scheduling.rendered import Started, next_starts, slug
from tests.support.small_config import small_config

SCHEDULE = """
schedule:
  cron: "30 6 1 * MON,THU"
  timezone: Etc/UTC
  user: mill
  gpus: 1
  kubernetes:
    image: registry.example.org/hivemill:1
    namespace: clicks
    volume_claim: mill
    service_account: mill
    node_selector: {disk: ssd}
    environment: {PYTHONWARNINGS: ignore}
    secrets: [mill-alerts]
"""
CONFIG = small_config(SCHEDULE, name="My_Shop", table="log/clicks")
OVERRIDE = "training.epochs=5"


@pytest.fixture
def config(tmp_path, monkeypatch):
    """In a folder whose name needs quoting everywhere."""
    folder = tmp_path / "my 100% $shop"
    folder.mkdir()
    (folder / "hivemill.yaml").write_text(CONFIG)
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield folder / "hivemill.yaml"
    time.tzset()


@pytest.fixture
def recorder(tmp_path):
    """A program that keeps the words it was called with, one list for each call."""
    program, calls = tmp_path / "recorder.py", tmp_path / "calls.jsonl"
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"open({str(calls)!r}, 'a').write(json.dumps([os.getcwd(), *sys.argv[1:]]) + '\\n')\n"
    )
    program.chmod(0o755)
    return program, lambda: [json.loads(line) for line in calls.read_text().splitlines()]


def _schedule(capsys, config, engine, *words):
    code = main.main(["--config", str(config), "--set", OVERRIDE, "--json", "schedule", engine, *words])
    document = json.loads(capsys.readouterr().out)
    assert code == 0, document
    return document


def _started(config):
    return Started(config_module.load(config, [OVERRIDE]), (OVERRIDE,), "/bin/true")


def _manifests(capsys, config):
    return list(yaml.safe_load_all(_schedule(capsys, config, "kubernetes")["files"][kubernetes.MANIFEST]))


def test_manifests_fit_the_schemas_of_kubernetes(config, capsys):
    for document in _manifests(capsys, config):
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_schemas_find_a_misspelt_field(config, capsys):
    (_, job) = _manifests(capsys, config)
    job["spec"]["concurencyPolicy"] = job["spec"].pop("concurrencyPolicy")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)


def test_cron_job_has_no_second_start_and_no_endless_one(config, capsys):
    (config_map, job) = _manifests(capsys, config)
    spec, run = job["spec"], job["spec"]["jobTemplate"]["spec"]
    assert (spec["concurrencyPolicy"], spec["timeZone"], spec["schedule"]) == ("Forbid", "Etc/UTC", "30 6 1 * 1,4")
    assert (spec["startingDeadlineSeconds"], run["activeDeadlineSeconds"], run["backoffLimit"]) == (43_200, 28_800, 2)
    pod = run["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"][-5:] == ["run", "--date", "scheduled", "--lock-wait", "60"]
    assert container["resources"]["limits"] == {"memory": "8Gi", "nvidia.com/gpu": "1"}
    assert container["envFrom"] == [{"secretRef": {"name": "mill-alerts"}}]
    variables = {one["name"]: one["value"] for one in container["env"]}
    assert variables["HIVEMILL__ROOT"] == "/data/root"
    assert variables["HIVEMILL__SOURCE__TABLE"] == "/data/log/clicks"
    assert config_map["data"]["hivemill.yaml"] == CONFIG


def test_pod_finds_the_config_that_it_is_given(config, capsys, tmp_path, monkeypatch):
    """The container's own words and variables, with the ConfigMap written where it is mounted."""
    (config_map, job) = _manifests(capsys, config)
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    mounted = tmp_path / "mounted.yaml"
    mounted.write_text(config_map["data"]["hivemill.yaml"])
    for one in container["env"]:
        if one["name"].startswith("HIVEMILL__"):
            monkeypatch.setenv(one["name"], one["value"])
    words = [str(mounted) if word == "/etc/hivemill/hivemill.yaml" else word for word in container["args"]]
    arguments = main._parse(words)
    loaded = config_module.load(arguments.config, arguments.set).config
    assert (loaded.root, loaded.source.table, loaded.training.epochs) == ("/data/root", "/data/log/clicks", 5)


@pytest.mark.parametrize("key", ["image", "volume_claim"])
def test_what_the_cluster_needs_is_asked_for(config, capsys, key):
    words = ["--config", str(config), "--set", f"schedule.kubernetes.{key}=null", "schedule", "kubernetes"]
    assert main.main(words) == 2
    assert f"schedule.kubernetes.{key} is needed" in capsys.readouterr().err


def test_root_and_table_in_object_stores_need_no_volume_and_cron_has_no_place_for_its_lock(config, capsys):
    places = "s3://bucket/hivemill", "s3://bucket/clicks"
    document = yaml.safe_load(CONFIG.replace("log/clicks", places[1])) | {"root": places[0]}
    del document["schedule"]["kubernetes"]["volume_claim"]
    config.write_text(yaml.safe_dump(document, sort_keys=False))
    _, cron_job = _manifests(capsys, config)
    pod = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert [volume["name"] for volume in pod["volumes"]] == ["config", "scratch"]
    assert [mount["name"] for mount in pod["containers"][0]["volumeMounts"]] == ["config", "scratch"]
    assert main.main(["--config", str(config), "schedule", "cron", "--command", sys.executable]) == 2
    assert "cron keeps its lock and its log below `root`, which is s3://bucket/hivemill" in capsys.readouterr().err


def test_systemd_accepts_the_units_without_a_word(config, capsys, tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not here")
    files = _schedule(capsys, config, "systemd", "--command", "/bin/true")["files"]
    for name, text in files.items():
        (tmp_path / name).write_text(text.replace("User=mill", "User=daemon"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in files)],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if "hivemill" in line]) == (0, [])


def test_systemd_verify_finds_a_misspelt_setting(config, capsys, tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not here")
    files = _schedule(capsys, config, "systemd", "--command", "/bin/true")["files"]
    (service,) = (tmp_path / name for name in files if name.endswith(".service"))
    service.write_text(files[service.name].replace("ExecStart=", "ExecStat="))
    assert subprocess.run(["systemd-analyze", "verify", "--man=no", str(service)], capture_output=True).returncode != 0


def test_service_is_one_start_with_a_deadline_and_its_words_are_quoted_for_systemd(config):
    service = next(text for name, text in systemd.render(_started(config)).files.items() if name.endswith(".service"))
    assert "TimeoutStartSec=480min" in service and "User=mill" in service and "StartLimitBurst=3" in service
    assert '/my 100%% $$shop/hivemill.yaml" "--set" "training.epochs=5" "run" "--date" "scheduled"' in service
    timer = next(text for name, text in systemd.render(_started(config)).files.items() if name.endswith(".timer"))
    assert "Persistent=true" in timer and timer.count("OnCalendar=") == 2


def test_retries_of_one_start_do_not_use_up_those_of_the_next(config):
    """The starts are counted over less time than there is between two of the timer."""
    loaded = config_module.load(config, ["schedule.cron='0 */2 * * *'"])
    assert systemd._limit_minutes(loaded) == 119
    weekly = config_module.load(config, ["schedule.cron='0 6 * * MON'"])
    assert systemd._limit_minutes(weekly) == 3 * (480 + 10)


def test_cron_line_starts_the_command_with_its_words_and_no_second_one(config, capsys, recorder, tmp_path):
    program, calls = recorder
    text = _schedule(capsys, config, "cron", "--command", str(program))["files"][crontab.FILE]
    begin, line, end = text.strip().splitlines()
    assert (begin, end) == ("# BEGIN hivemill My_Shop", "# END hivemill My_Shop")
    command = line.removeprefix("30 6 1 * 1,4 ").replace("\\%", "%")
    assert line.count("%") == line.count("\\%") > 0
    subprocess.run(["sh", "-c", command], check=True, cwd=tmp_path)
    words = ["--config", str(config), "--set", OVERRIDE, "run", "--date", "scheduled", "--lock-wait", "60"]
    assert calls() == [[str(config.parent), *words]]
    with open(config.parent / "root" / "schedule.lock", "w") as held:
        crontab_lock = subprocess.Popen(["flock", str(held.name), "sleep", "30"])
        while subprocess.run(["flock", "--nonblock", held.name, "true"]).returncode == 0:
            pass
        assert subprocess.run(["sh", "-c", command]).returncode != 0
        crontab_lock.kill()
        crontab_lock.wait()
    assert len(calls()) == 1


def test_cron_that_goes_by_another_timezone_is_refused(config, capsys):
    words = ["--config", str(config), "--set", "schedule.timezone=Asia/Shanghai", "schedule", "cron", "--command", "x"]
    assert main.main(words) == 2
    assert "schedule.timezone is Asia/Shanghai" in capsys.readouterr().err


_STANDING_IN = """#!/bin/sh
echo "$0 $*" >> "$KEPT/calls"
[ "$1" = -l ] && { cat "$KEPT/table" 2>/dev/null || exit 1; exit 0; }
[ "$1" = - ] && cat > "$KEPT/table"
[ "$1" = apply ] && cat > "$KEPT/applied" && echo "cronjob.batch/hivemill-my-shop created"
exit 0
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A PATH with programs that stand in for those of a machine and keep what they get."""
    kept = tmp_path / "kept"
    kept.mkdir()
    for name in ("crontab", "systemctl", "kubectl"):
        (kept / name).write_text(_STANDING_IN)
        (kept / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{kept}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("KEPT", str(kept))
    return kept


def test_install_of_cron_replaces_its_own_lines_and_no_others(config, capsys, machine):
    (machine / "table").write_text("MAILTO=me\n0 1 * * * mine")
    for _ in range(2):
        _schedule(capsys, config, "cron", "--command", "/bin/true", "--install")
    table = (machine / "table").read_text()
    assert table.startswith("MAILTO=me\n0 1 * * * mine\n# BEGIN hivemill My_Shop\n")
    assert table.count("BEGIN") == table.count("/bin/true") == 1
    (machine / "table").unlink()  # a user without a crontab
    _schedule(capsys, config, "cron", "--command", "/bin/true", "--install")
    assert (machine / "table").read_text().startswith("# BEGIN")


def test_install_of_kubernetes_applies_what_is_printed(config, capsys, machine):
    document = _schedule(capsys, config, "kubernetes", "--install")
    assert document["installed"] == ["cronjob.batch/hivemill-my-shop created"]
    assert (machine / "applied").read_text() == document["files"][kubernetes.MANIFEST]


def test_install_of_systemd_writes_the_units_and_enables_the_timer(config, capsys, machine, tmp_path, monkeypatch):
    monkeypatch.setattr(systemd, "SYSTEM_UNITS", tmp_path / "units")
    monkeypatch.setattr(systemd, "is_root", lambda: True)
    _schedule(capsys, config, "systemd", "--command", "/bin/true", "--install")
    assert sorted(path.name for path in (tmp_path / "units").iterdir()) == [
        "hivemill-my-shop.service",
        "hivemill-my-shop.timer",
    ]
    assert "enable --now hivemill-my-shop.timer" in (machine / "calls").read_text()
    words = [
        "--config",
        str(config),
        "--set",
        "schedule.user=null",
        "schedule",
        "systemd",
        "--install",
        "--command",
        "x",
    ]
    assert main.main(words) == 2
    assert "schedule.user" in capsys.readouterr().err


def test_install_of_systemd_for_a_user(config, capsys, machine, tmp_path, monkeypatch):
    monkeypatch.setattr(systemd, "is_root", lambda: False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    document = _schedule(capsys, config, "systemd", "--command", "/bin/true", "--install")
    assert (tmp_path / "home/.config/systemd/user/hivemill-my-shop.timer").is_file()
    assert "--user enable --now" in (machine / "calls").read_text()
    assert "enable-linger" in document["installed"][-1]


def test_machine_without_the_program_ends_with_6(config, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main.main(["--config", str(config), "schedule", "kubernetes", "--install"]) == 6
    assert "no program `kubectl`" in capsys.readouterr().err


def test_airflow_gets_its_file_where_it_looks(config, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    words = ["--config", str(config), "schedule", "airflow", "--command", "/bin/true", "--install"]
    assert main.main(words) == 2
    (tmp_path / "airflow" / "dags").mkdir(parents=True)
    assert main.main(words) == 0
    compile((tmp_path / "airflow/dags/hivemill_my_shop.py").read_text(), "dag", "exec")
    assert main.main([*words, "--set", "schedule.date=last-complete"]) == 2


def test_people_are_told_when_it_starts_next_and_with_which_date(config, capsys):
    assert main.main(["--config", str(config), "schedule", "systemd", "--command", "/bin/true"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("# --- hivemill-my-shop.service\n[Unit]")
    assert said.err.count("next start: ") == 3


def test_run_dates_of_the_next_starts_are_the_days_before(config):
    import datetime

    now = datetime.datetime(2026, 11, 15, tzinfo=datetime.timezone.utc)
    assert next_starts(config_module.load(config), now)[0] == {"start": "2026-11-16T06:30+00:00", "date": "2026-11-15"}


def test_names_fit_kubernetes():
    assert slug("A.b__C" * 20) == slug("A.b__C" * 20).strip("-") and len(slug("A.b__C" * 20)) <= 40


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("schedule.cron='61 * * * *'", "minute"),
        ("schedule.timezone=Vienna", "IANA"),
        ("schedule.memory=8GB", "schedule.memory"),
        ("schedule.user='mill; rm'", "schedule.user"),
        ("schedule.kubernetes.namespace=Clicks", "namespace"),
    ],
)
def test_mistakes_in_the_section_name_their_key(config, capsys, override, said):
    assert main.main(["--config", str(config), "--set", override, "schedule", "systemd", "--command", "x"]) == 2
    assert said in capsys.readouterr().err


def test_schedule_changes_no_run(config):
    plain = config_module.load(config).config.semantic_fingerprint()
    assert config_module.load(config, ["schedule.cron='0 1 * * *'"]).config.semantic_fingerprint() == plain


def test_paths_need_no_program_of_this_environment(config, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert main.main(["--config", str(config), "schedule", "systemd"]) == 2
    assert "--command FILE" in capsys.readouterr().err
    Path(tmp_path / "hivemill").touch()
    assert main.main(["--config", str(config), "schedule", "systemd"]) == 0
    assert shlex.quote(str(tmp_path / "hivemill")) in capsys.readouterr().out
