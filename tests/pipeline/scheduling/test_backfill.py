"""`hivemill backfill`: which dates are run, in which order, where it stops and where it goes on."""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from hivemill.common.errors import ConfigError, LockHeldError
from hivemill.pipeline.config import loader as config_module
from hivemill.pipeline.root import lock
from hivemill.pipeline.runs import plan as planning
from hivemill.pipeline.runs import records
from hivemill.pipeline.runs.records import RunFolder
from hivemill.pipeline.scheduling import backfill
from hivemill.serving.store.model_store import ModelStore
from tests.pipeline.shop import hivemill, hivemill_command
from tests.support.small_config import small_config

CONFIG = small_config()
FIRST, LAST = datetime.date(2026, 11, 10), datetime.date(2026, 11, 13)
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def config(tmp_path):
    for day in range(9, 14):
        _write_day(tmp_path, day)
    (tmp_path / "hivemill.yaml").write_text(CONFIG)
    return tmp_path / "hivemill.yaml"


def _write_day(folder, day):
    place = folder / "t" / f"dt=2026-11-{day:02d}"
    place.mkdir(parents=True)
    (place / "000000_0").write_bytes(b"1\x011\n2\x010\n" * 10)


@pytest.fixture
def loaded(config):
    return config_module.load(config)


class Runner:
    """Leaves the record that a run of the given exit code leaves, and a version where it is 0."""

    def __init__(self, loaded, codes=()):
        self.loaded, self.codes, self.calls = loaded, dict(codes), []

    def __call__(self, date, force):
        self.calls.append((date.day, force))
        code = self.codes.get(date.day, 0)
        run_id = planning.make_plan(self.loaded, date).run_id + ("-2" if force else "")
        version = self._publish(run_id) if code == 0 else None
        record = records.new_record(run_id, date, 1, baseline_version=None)
        record |= {"state": "failed" if code else "succeeded", "exit_code": code, "model_version": version}
        RunFolder(self.loaded.config.root_path(), run_id).write(record | {"finished_utc": records.utc_now()})
        return {"run_id": run_id, "exit_code": code, "message": "why" if code else None, "model_version": version}

    def _publish(self, run_id):
        model = self.loaded.config.root_path() / "model"
        model.mkdir(parents=True, exist_ok=True)
        (model / "saved_model.pb").write_bytes(b"")
        return ModelStore(self.loaded.config.places().store, "shop").publish(model, {}, run_id)


def _request(reprocess="failed", every=1, first=FIRST, last=LAST):
    return backfill.Request(first, last, every, reprocess)


def _actions(loaded, request):
    return [(row.date.day, row.action) for row in backfill.look(loaded, request)]


def test_dates_run_in_order_and_a_second_backfill_finds_nothing_to_do(loaded):
    run = Runner(loaded)
    made = backfill.backfill(loaded, _request(), run)
    assert run.calls == [(10, False), (11, False), (12, False), (13, False)]
    assert (made["state"], made["exit_code"]) == ("finished", 0)
    again = Runner(loaded)
    assert backfill.backfill(loaded, _request(), again)["exit_code"] == 0
    assert again.calls == []


def test_every_seven_days():
    request = backfill.Request(datetime.date(2026, 9, 6), datetime.date(2026, 9, 30), 7, "none")
    assert [date.day for date in request.dates()] == [6, 13, 20, 27]


def test_stops_at_the_first_failure_and_goes_on_there(loaded):
    run = Runner(loaded, {11: 4})
    made = backfill.backfill(loaded, _request(), run)
    assert [day for day, _ in run.calls] == [10, 11]
    assert (made["state"], made["exit_code"]) == ("stopped", 4)
    again = Runner(loaded)
    assert backfill.backfill(loaded, _request(), again)["exit_code"] == 0
    assert [day for day, _ in again.calls] == [11, 12, 13]


def test_keep_going_ends_with_the_gravest_code(loaded):
    run = Runner(loaded, {10: 4, 12: 6, 13: 5})
    made = backfill.backfill(loaded, _request(), run, keep_going=True)
    assert [day for day, _ in run.calls] == [10, 11, 12, 13]
    assert (made["state"], made["exit_code"]) == ("finished", 6)


@pytest.mark.parametrize("code", [2, 7])
def test_what_would_stop_every_date_stops_also_a_backfill_that_keeps_going(loaded, code):
    run = Runner(loaded, {10: code})
    assert backfill.backfill(loaded, _request(), run, keep_going=True)["exit_code"] == code
    assert len(run.calls) == 1


def test_what_reprocess_means_for_dates_that_ran(loaded, tmp_path):
    backfill.backfill(loaded, _request(last=datetime.date(2026, 11, 12)), Runner(loaded, {11: 4}), keep_going=True)
    assert _actions(loaded, _request("none")) == [(10, "skip"), (11, "skip"), (12, "skip"), (13, "run")]
    assert _actions(loaded, _request("failed")) == [(10, "skip"), (11, "run"), (12, "skip"), (13, "run")]
    assert _actions(loaded, _request("all")) == [(10, "force"), (11, "run"), (12, "force"), (13, "run")]


def test_killed_run_goes_on_whatever_reprocess_says(loaded):
    plan = planning.make_plan(loaded, FIRST)
    RunFolder(loaded.config.root_path(), plan.run_id).write(records.new_record(plan.run_id, FIRST, 1))
    (row, *_) = backfill.look(loaded, _request("none"))
    assert (row.action, row.was, row.why) == ("run", "killed", "goes on where it stopped")


def test_other_inputs_are_another_run(loaded, tmp_path):
    backfill.backfill(loaded, _request(), Runner(loaded))
    (tmp_path / "t" / "dt=2026-11-10" / "000000_0").write_bytes(b"3\x011\n" * 9)
    assert _actions(loaded, _request("none")) == [(10, "run"), (11, "run"), (12, "skip"), (13, "skip")]


def test_forced_backfill_that_was_killed_does_not_force_again_what_it_has_done(loaded):
    backfill.backfill(loaded, _request(), Runner(loaded))

    class Killed(Runner):
        def __call__(self, date, force):
            if date.day == 12:
                raise KeyboardInterrupt
            return super().__call__(date, force)

    with pytest.raises(KeyboardInterrupt):
        backfill.backfill(loaded, _request("all"), Killed(loaded))
    again, said = Runner(loaded), []
    made = backfill.backfill(loaded, _request("all"), again, say=said.append)
    assert again.calls == [(12, True), (13, True)]
    assert "Goes on: 2 of 4 dates are done." in said
    assert sorted(made["dates"]) == ["2026-11-10", "2026-11-11", "2026-11-12", "2026-11-13"]
    anew = Runner(loaded)
    backfill.backfill(loaded, _request("all"), anew)
    assert len(anew.calls) == 4  # that one was finished; this is another


def test_dry_run_shows_what_is_missing_and_starts_nothing(config, capsys, tmp_path):
    words = ["backfill", "--from", "2026-11-12", "--to", "2026-11-15", "--every", "1d", "--dry-run"]
    assert hivemill(config, "--json", *words) == 0
    dates = json.loads(capsys.readouterr().out)["dates"]
    assert [one["action"] for one in dates] == ["run"] * 4
    assert [bool(one["not_ready"]) for one in dates] == [False, False, True, True]
    assert "2026-11-14" in dates[2]["not_ready"]
    assert not (tmp_path / "root").exists()
    assert hivemill(config, *words) == 0
    assert "never ran with these inputs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--from", "2026-11-12", "--to", "2026-11-11"], "must not be after"),
        (["--from", "2026-11-12", "--to", "2026-11-31"], "2026-11-31"),
        (["--from", "2026-11-12", "--to", "2026-11-13", "--every", "week"], "7d"),
        (["--from", "1926-11-12", "--to", "2026-11-13", "--every", "1d"], "at most 1000 dates"),
    ],
)
def test_wrong_usage(config, capsys, words, said):
    assert hivemill(config, "backfill", *words) == 2
    assert said in capsys.readouterr().err


def test_second_backfill_below_the_same_root_ends_with_7(loaded):
    with (
        lock.run_lock(loaded.config.root_path() / backfill.FOLDER, "another"),
        pytest.raises(LockHeldError, match="another"),
    ):
        backfill.backfill(loaded, _request(), Runner(loaded))


def test_gravest_code():
    assert backfill.worst([]) == 0
    assert backfill.worst([0, 3, 5]) == 3
    assert backfill.worst([4, 2, 6]) == 2
    assert backfill.worst([2, 1, 139]) == 139  # a code nobody knows is a defect


def test_request_says_what_is_wrong():
    with pytest.raises(ConfigError, match="must not be after"):
        _request(first=LAST, last=FIRST)


def test_run_that_is_killed_counts_as_failed_infrastructure():
    outcome = backfill._outcome(-signal.SIGKILL, "")
    assert outcome["exit_code"] == 6 and "SIGKILL" in outcome["message"]


def test_runs_are_processes_of_their_own_and_their_errors_are_kept(config, loaded):
    run_one = backfill.runner_of(loaded, ["--lock-wait", "0"], [])
    with lock.run_lock(loaded.config.root_path(), "another"):
        outcome = run_one(FIRST, False)
    assert outcome["exit_code"] == 7 and "another" in outcome["message"]
    assert run_one(datetime.date(2026, 11, 20), False)["exit_code"] == 3


def test_sigterm_ends_a_backfill_and_its_run_within_ten_seconds(config, tmp_path):
    """The run waits for the lock, which is held here; it would wait for an hour."""
    with lock.run_lock(tmp_path / "root", "another"):
        words = ["backfill", "--from", "2026-11-10", "--to", "2026-11-13"]
        command = hivemill_command(config, *words)
        process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, start_new_session=True)
        for line in process.stderr:
            if "Waiting at most" in line:
                break
        started = time.monotonic()
        process.terminate()
        process.stderr.read()
        assert process.wait(timeout=15) == 6
        assert time.monotonic() - started < 10
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    journal = json.loads(next((tmp_path / "root" / "backfills").glob("*.json")).read_text())
    assert journal["state"] == "running"  # it goes on with the next start


def test_option_with_no_day_is_named(config, capsys):
    assert hivemill(config, "backfill", "--from", "2026-11-10", "--to", "2026-11-31") == 2
    assert "--to must be YYYY-MM-DD; received '2026-11-31'" in capsys.readouterr().err
