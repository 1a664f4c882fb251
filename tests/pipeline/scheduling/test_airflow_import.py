"""The DAG file in a real Airflow, which has an environment of its own.

HIVEMILL_AIRFLOW_PYTHON names the Python of an environment with `apache-airflow>=3.1` and
`apache-airflow-providers-standard` (requirements/airflow.in); without it the test is skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from hivemill.pipeline.cli import main
from tests.support.small_config import small_config

pytestmark = pytest.mark.slow
PROBE = Path(__file__).with_name("airflow_probe.py")
CONFIG = small_config('schedule: {cron: "30 6 * * MON", timezone: %s}\n', table="log/clicks")


@pytest.fixture
def airflow():
    python = os.environ.get("HIVEMILL_AIRFLOW_PYTHON")
    if not python:
        pytest.skip("HIVEMILL_AIRFLOW_PYTHON does not name the Python of an environment with Airflow")
    return python


@pytest.mark.parametrize("timezone", ["UTC", "Asia/Shanghai", "America/Los_Angeles"])
def test_airflow_imports_the_dag_and_gives_each_run_the_day_before_it_in_the_tables_timezone(
    tmp_path, capsys, airflow, timezone
):
    folder = tmp_path / "my shop"
    folder.mkdir()
    (folder / "hivemill.yaml").write_text(CONFIG % timezone)
    words = ["--config", str(folder / "hivemill.yaml"), "schedule", "airflow", "--command", "/bin/true", "--json"]
    assert main.main(words) == 0
    ((name, text),) = json.loads(capsys.readouterr().out)["files"].items()
    (tmp_path / name).write_text(text)
    found = _probe(airflow, tmp_path, name, "2026-11-18T00:00:00+00:00", "2026-11-22T00:00:00+00:00")
    assert (found["errors"], found["dag_id"]) == ({}, "hivemill-shop")
    assert (found["catchup"], found["max_active_runs"]) == (False, 1)
    assert (found["upstream_of_run"], found["retry_exit_code"], found["mode"]) == (["partitions"], 3, "reschedule")
    command = f"cd '{folder}' && exec /bin/true --config '{folder}/hivemill.yaml' run --date 2026-11-15 --lock-wait 60"
    assert found["commands"] == [command, command]  # Monday the 16th started it, whenever it is looked at


def _probe(python, folder, name, *moments):
    environment = {**os.environ, "AIRFLOW_HOME": str(folder / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [python, str(PROBE), str(folder / name), *moments], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
