"""A run in steps that takes too long is told of once, by whichever step notices, and never fails for it."""

from __future__ import annotations

import datetime
import sys
import time

import pytest

from hivemill.pipeline.alerts import overruns
from hivemill.pipeline.alerts.options import AlertOptions
from hivemill.pipeline.cli.console import Console
from hivemill.pipeline.config.loader import load
from hivemill.pipeline.runs import records, stepwise_run
from hivemill.pipeline.runs.compiled_pipeline import PIPELINE_JSON
from hivemill.pipeline.runs.records import NodeRecord, RunFolder
from hivemill.pipeline.scheduling import dates
from tests.pipeline.shop import RUN_DATE, document, hivemill, make_shop

RUN_ID = f"{RUN_DATE}-1a2b3c4d"


@pytest.fixture
def told(tmp_path):
    """A channel that appends what it gets to a file, and fails as long as `deaf` lies beside it."""
    file = tmp_path / "told.jsonl"
    code = (
        "import json, pathlib, sys; place = pathlib.Path(sys.argv[1]); "
        "(place.parent / 'deaf').exists() and sys.exit(1); "
        "place.open('a').write(json.dumps(json.load(sys.stdin)['event']) + '\\n')"
    )
    channel = {"type": "command", "command": [sys.executable, "-c", code, str(file)]}
    options = {"channels": [channel], "max_run_minutes": 10, "attempts": 1}
    return file, AlertOptions.model_validate(options)


def events(file) -> list[str]:
    return file.read_text().split() if file.exists() else []


def folder_of_run(root, minutes_old: float, options: AlertOptions) -> RunFolder:
    folder = RunFolder(root, RUN_ID)
    record = records.new_record(RUN_ID, dates.day(RUN_DATE), 1, runner="steps", lateness=None, job="job-1")
    started = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=minutes_old)
    folder.write(record | {"started_utc": started.isoformat(timespec="seconds")})
    folder.file("config.yaml").write_text(f"alerts: {options.model_dump_json()}\n")
    return folder


def test_run_that_is_too_old_when_a_step_starts_is_told_once(tmp_path, told):
    file, options = told
    folder = folder_of_run(tmp_path, 11, options)
    for _ in range(3):
        with overruns.watch(folder):
            pass
    assert events(file) == ['"overrun"']
    assert [(one["event"], one["state"]) for one in folder.read()["alerts"]] == [("overrun", "sent")]


def test_young_run_is_not_told_of(tmp_path, told):
    file, options = told
    folder = folder_of_run(tmp_path, 9, options)
    with overruns.watch(folder):
        time.sleep(0.2)
    assert events(file) == [] and "alerts" not in folder.read()


def test_run_that_becomes_too_old_during_a_step_is_told_while_the_step_goes_on(tmp_path, told):
    file, options = told
    folder = folder_of_run(tmp_path, 10 - 1.5 / 60, options)
    with overruns.watch(folder):
        assert events(file) == []
        deadline = time.monotonic() + 20
        while not folder.read().get("alerts") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert events(file) == ['"overrun"']


def test_channel_that_failed_is_tried_by_the_next_step(tmp_path, told):
    file, options = told
    folder = folder_of_run(tmp_path, 11, options)
    (tmp_path / "deaf").touch()
    with overruns.watch(folder):
        pass
    assert [one["state"] for one in folder.read()["alerts"]] == ["failed"]
    (tmp_path / "deaf").unlink()
    for _ in range(2):
        with overruns.watch(folder):
            pass
    assert [one["state"] for one in folder.read()["alerts"]] == ["sent"]
    assert events(file) == ['"overrun"']


def test_step_that_was_killed_after_it_told_leaves_nothing_to_tell_twice(tmp_path, told):
    """The record was not written; alerts.json knows."""
    file, options = told
    folder = folder_of_run(tmp_path, 11, options)
    with overruns.watch(folder):
        pass
    folder.write({key: value for key, value in folder.read().items() if key != "alerts"})
    with overruns.watch(folder):
        pass
    assert events(file) == ['"overrun"']


@pytest.mark.parametrize("started", ["in a year", "soon"])
def test_clock_that_was_set_back_since_the_start_raises_nothing(tmp_path, told, started):
    file, options = told
    folder = folder_of_run(tmp_path, -60 if started == "soon" else -525_600, options)
    with overruns.watch(folder):
        time.sleep(0.1)
    assert events(file) == []


@pytest.mark.parametrize("text", ["", "alerts: 5", "{", "name: x", "alerts: {max_run_minutes: -1}"])
def test_config_that_cannot_be_read_has_no_limit(tmp_path, told, text):
    folder = folder_of_run(tmp_path, 11, told[1])
    folder.file("config.yaml").write_text(text)
    with overruns.watch(folder):
        pass
    assert "alerts" not in folder.read()


def test_step_and_end_of_a_run_that_is_too_old_tell_it_once_and_the_record_says_so(tmp_path, told, monkeypatch):
    """Through `hivemill node`: a node, then the end, which is another process as a rule."""
    file, options = told
    config = make_shop(tmp_path / "shop", rows_per_day=24)
    words = ["--set", f"alerts={options.model_dump_json()}"]
    root = config.parent / "root"
    folder = folder_of_run(root, 11, options)
    folder.file("config.yaml").write_text(load(config, words[1:]).config.to_yaml())
    folder.file(PIPELINE_JSON).write_text("{}")
    done = NodeRecord("Trainer", "succeeded", 1.0)
    monkeypatch.setattr(stepwise_run, "_launched", lambda *words: done)
    monkeypatch.setattr(stepwise_run, "read_pipeline", lambda path: None)
    assert stepwise_run.launch(str(folder.file(PIPELINE_JSON)), "Trainer", Console()) == done
    assert events(file) == ['"overrun"']
    assert hivemill(config, *words, "node", "--end", "--job", "job-1") == 1  # no pipeline here
    assert events(file) == ['"overrun"', '"red"']
    assert [(one["event"], one["state"]) for one in document(folder.path, "run.json")["alerts"]] == [
        ("overrun", "sent"),
        ("red", "sent"),
    ]
