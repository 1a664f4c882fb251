"""Whole runs of a window that is late, shrunk or holds rows that cannot be read: slow, each imports TensorFlow."""

import json
import os
import shutil
import subprocess

import pytest

from hivemill.data import columns
from hivemill.data.click_log.generator import click_log_options, generate
from tests.pipeline.shop import RUN_DATE, document, hivemill, hivemill_command, make_shop, only_run

pytestmark = pytest.mark.slow
QUICK = ["--set", "training.epochs=20", "--set", "gates.metrics={clicks: {min: 1}}"]


def test_a_run_waits_for_its_day_and_keeps_the_account(tmp_path):
    config = make_shop(tmp_path, rows_per_day=600)
    late = tmp_path / "log" / "clicks" / f"dt={RUN_DATE}"
    shutil.move(late, tmp_path / "aside")
    waiting = ["--set", "window.incomplete=wait", "--set", "window.completeness.wait_interval_seconds=1", *QUICK]
    process = subprocess.Popen(
        hivemill_command(config, *waiting, "run", "--date", RUN_DATE), stderr=subprocess.PIPE, text=True
    )
    assert f"1 missing: dt={RUN_DATE}" in process.stderr.readline()
    assert not (tmp_path / "root").exists()
    os.rename(tmp_path / "aside", late)
    _, said = process.communicate(timeout=500)
    assert process.returncode == 0, said
    assert said.startswith("Complete after ")
    run = only_run(config)
    lateness = document(run, "run.json")["lateness"]
    assert (lateness["policy"], [one["was"] for one in lateness["awaited"]]) == ("wait", ["missing"])
    assert document(run, "manifest.json")["lateness"] == lateness
    assert "The run waited" in (run / "report.html").read_text(encoding="utf-8")
    # The wait is no part of what the run is: without it, the same inputs are the same run.
    assert hivemill(config, *QUICK, "run", "--date", RUN_DATE) == 0
    assert only_run(config) == run


def test_a_shrunk_window_is_told_everywhere(tmp_path, capsys):
    config = make_shop(tmp_path, rows_per_day=600)
    shutil.rmtree(tmp_path / "log" / "clicks" / "dt=2026-11-12")
    words = ["--set", "window.incomplete=shrink", *QUICK, "run", "--date", RUN_DATE]
    assert hivemill(config, *words) == 0
    assert "INCOMPLETE WINDOW: the run goes on without 1 missing: dt=2026-11-12" in capsys.readouterr().err
    run = only_run(config)
    assert document(run, "manifest.json")["lateness"]["left_out"] == {"missing": ["dt=2026-11-12"]}
    assert document(run, "manifest.json")["window"]["train"] == ["2026-11-12", "2026-11-13"]
    assert hivemill(config, *words) == 0
    assert "Nothing to do" in capsys.readouterr().err


def test_rows_that_cannot_be_read_stop_a_run_and_with_a_larger_share_do_not(tmp_path, capsys):
    config = make_shop(tmp_path, rows_per_day=600)
    shutil.rmtree(tmp_path / "log")
    options = click_log_options(
        start_date="2026-11-12", days=4, rows_per_day=600, hours=False, format="text", num_items=300, corrupt_share=0.05
    )
    generate(options, tmp_path / "log" / "clicks")
    source = ["--set", f"source.columns={json.dumps(columns.columns_of(hours=False))}"]
    assert hivemill(config, *source, *QUICK, "run", "--date", RUN_DATE) == 3
    error = capsys.readouterr().err
    assert "cannot be read, more than source.bad_rows.max_share allows (0.1 %)" in error
    assert "zcat " in error and "hivemill data quarantine" in error
    assert hivemill(config, *source, "data", "quarantine", "--date", RUN_DATE) == 0
    assert "dt=2026-11-12: " in capsys.readouterr().out

    allowed = [*source, *QUICK, "--set", "source.bad_rows.max_share=0.2"]
    assert hivemill(config, *allowed, "run", "--date", RUN_DATE) == 0
    assert "cannot be read and are left out" in capsys.readouterr().err
