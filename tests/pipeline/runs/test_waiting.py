"""Waiting for a window: real files, a clock that the test turns, and what comes to pass while it waits."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import time
from types import SimpleNamespace

import pytest

from hivemill.common.errors import ConfigError, DataNotReadyError, InfrastructureError
from hivemill.components.hive_example_gen.options import CompletenessOptions, SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning.window import plan_window
from hivemill.pipeline.config import loader as config_module
from hivemill.pipeline.runs import wait as waiting
from tests.pipeline.shop import hivemill, hivemill_command

DATE = datetime.date(2026, 11, 15)


class Wait:
    """A table of days that comes to be: `at[seconds]` is done when the clock passes it."""

    def __init__(self, folder, success_file="_SUCCESS", policy="wait", **completeness):
        self.table = folder / "t"
        self.source = SourceOptions(table=str(self.table), columns={"id": "bigint"}, success_file=success_file)
        options = CompletenessOptions(**{"wait_limit_minutes": 10, "wait_interval_seconds": 60, **completeness})
        self.window = WindowOptions(train_days=2, validation_days=0, incomplete=policy, completeness=options)
        self.said, self.at, self.clock, self.looks = [], {}, 0.0, 0
        for day in (13, 14):
            self.load(day)

    def load(self, day, rows=10, marker=True):
        folder = self.table / f"dt=2026-11-{day}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "000000_0").write_bytes(b"1\n" * rows)
        if marker:
            (folder / "_SUCCESS").touch()

    def plan(self):
        self.looks += 1
        return SimpleNamespace(window=plan_window(self.source, self.window, DATE, str(self.table.parent / "kept")))

    def sleep(self, seconds):
        self.clock += seconds
        for moment in sorted(self.at):
            if moment <= self.clock:
                self.at.pop(moment)()

    def go(self, make_plan=None):
        return waiting.plan_when_ready(
            make_plan or self.plan, self.window, self.said.append, self.sleep, lambda: self.clock
        )


def test_a_complete_window_is_not_waited_for(tmp_path):
    wait = Wait(tmp_path)
    wait.load(15)
    plan, lateness = wait.go()
    assert len(plan.window.partitions) == 3
    assert (lateness, wait.said, wait.looks, wait.clock) == (None, [], 1, 0)


def test_it_waits_says_what_changes_and_accounts_for_it(tmp_path):
    wait = Wait(tmp_path)
    wait.at = {100: lambda: wait.load(15, marker=False), 250: lambda: wait.load(15)}
    plan, lateness = wait.go()
    plan.window.check()
    assert [line.split(":")[0] for line in wait.said] == [
        "Waiting at most 10 min, with a look every 60 s",
        "Still waiting after 2 min",
        "Complete after 5 min.",
    ]
    assert "1 missing: dt=2026-11-15" in wait.said[0]
    assert "1 late (no _SUCCESS): dt=2026-11-15" in wait.said[1]
    document = lateness.document()
    assert datetime.datetime.fromisoformat(document.pop("since_utc")).tzinfo is not None
    assert document == {
        "policy": "wait",
        "waited_seconds": 300,
        "awaited": [{"partition": "dt=2026-11-15", "was": "missing", "waited_seconds": 240}],
        "left_out": {},
    }


def test_the_limit_ends_it_with_exit_code_3(tmp_path):
    wait = Wait(tmp_path, wait_limit_minutes=2)
    with pytest.raises(DataNotReadyError, match=r"waited 2 min in vain: .*1 missing: dt=2026-11-15") as raised:
        wait.go()
    assert raised.value.exit_code == 3
    assert (wait.clock, wait.looks) == (120, 3)
    assert len(wait.said) == 1


def test_what_comes_at_the_last_moment_counts(tmp_path):
    wait = Wait(tmp_path, wait_limit_minutes=1, wait_interval_seconds=50)
    wait.at = {60: lambda: wait.load(15)}
    assert wait.go()[1].waited_seconds == 60


def test_a_small_day_is_waited_for(tmp_path):
    wait = Wait(tmp_path)
    for day in (10, 11, 12):
        wait.load(day)
    wait.load(15, rows=1)
    wait.at = {60: lambda: wait.load(15, rows=4), 120: lambda: wait.load(15, rows=9)}
    _, lateness = wait.go()
    assert lateness.awaited == ({"partition": "dt=2026-11-15", "was": "small", "waited_seconds": 60},)
    assert "1 too small: dt=2026-11-15: 2 B < 50.0 % of the median 20 B" in wait.said[0]
    assert "8 B <" in wait.said[1]


def test_without_a_marker_two_looks_must_see_the_same_files(tmp_path):
    wait = Wait(tmp_path, success_file=None)
    wait.at = {60: lambda: wait.load(15, rows=8), 120: lambda: wait.load(15, rows=10)}
    plan, lateness = wait.go()
    assert (plan.window.splits["eval"][0].num_bytes, lateness.waited_seconds) == (20, 180)
    assert wait.said[1].startswith("All there after 60 s")


def test_files_that_never_come_to_rest_end_at_the_limit(tmp_path):
    wait = Wait(tmp_path, success_file=None, wait_limit_minutes=3)
    wait.at = {60 * minute: lambda rows=minute: wait.load(15, rows=10 + rows) for minute in range(1, 20)}
    with pytest.raises(DataNotReadyError, match="files are still being written"):
        wait.go()
    assert wait.clock <= 240


def test_a_split_of_which_nothing_is_there_is_waited_for_too(tmp_path):
    wait = Wait(tmp_path)
    (wait.table / "dt=2026-11-13" / "000000_0").unlink()
    wait.at = {60: lambda: wait.load(13), 120: lambda: wait.load(15)}
    _, lateness = wait.go()
    assert {(one["partition"], one["was"]) for one in lateness.awaited} == {
        ("dt=2026-11-13", "empty"),
        ("dt=2026-11-15", "missing"),
    }


def _failing_with(wait, errors):
    def make_plan():
        error = errors.pop(0) if errors else None
        if error:
            raise error
        return wait.plan()

    return make_plan


def test_a_file_that_cannot_be_read_yet_and_a_server_that_restarts_are_waited_for(tmp_path):
    wait = Wait(tmp_path)
    wait.load(15)
    errors = [DataNotReadyError("dt=2026-11-15/000000_0 cannot be read"), InfrastructureError("no answer")]
    assert wait.go(_failing_with(wait, errors))[1].waited_seconds == 120
    assert "no answer" in wait.said[1]


@pytest.mark.parametrize("errors", [[InfrastructureError("no answer")], [DataNotReadyError("x"), ConfigError("wrong")]])
def test_what_waiting_cannot_mend_is_raised_at_once(tmp_path, errors):
    wait = Wait(tmp_path)
    with pytest.raises(type(errors[-1])):
        wait.go(_failing_with(wait, errors))
    assert wait.clock <= 60


@pytest.mark.parametrize("policy", ["fail", "shrink"])
def test_the_other_policies_look_once(tmp_path, policy):
    wait = Wait(tmp_path, policy=policy)
    plan, lateness = wait.go()
    assert (lateness, wait.looks, wait.said) == (None, 1, [])
    assert waiting.left_out(plan).document()["left_out"] == {"missing": ["dt=2026-11-15"]}


def test_a_whole_window_has_nothing_left_out(tmp_path):
    wait = Wait(tmp_path, policy="shrink")
    wait.load(15)
    assert waiting.left_out(wait.plan()) is None


# --- through the command line

CONFIG = """
name: shop
root: root
source: {table: t, columns: {id: bigint, click: int}}
window: {train_days: 2, validation_days: 0, incomplete: wait, completeness: {wait_interval_seconds: 1}}
label: {column: click}
features: {id: {type: categorical}}
training: {plateau: null}
"""


@pytest.fixture
def config(tmp_path):
    for day in (13, 14):
        folder = tmp_path / "t" / f"dt=2026-11-{day}"
        folder.mkdir(parents=True)
        (folder / "000000_0").write_bytes(b"1\x011\n")
    (tmp_path / "hivemill.yaml").write_text(CONFIG)
    return tmp_path / "hivemill.yaml"


def test_a_plan_never_waits_and_says_that_a_run_does(config, capsys):
    started = time.monotonic()
    assert hivemill(config, "plan", "--date", "2026-11-15") == 3
    assert time.monotonic() - started < 5
    said = capsys.readouterr().out
    assert "missing: dt=2026-11-15" in said
    assert "A run waits for these (window.incomplete: wait); this plan does not." in said


def test_sigterm_while_waiting_ends_it_cleanly_and_leaves_nothing(config):
    command = hivemill_command(config, "run", "--date", "2026-11-15")
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert "Waiting at most 6 h, with a look every 1 s" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 6
    assert "stopped by SIGTERM" in said and "Traceback" not in said
    assert not (config.parent / "root").exists()


def test_how_long_is_waited_changes_no_run_but_going_on_without_does(config):
    def fingerprint(*overrides):
        return config_module.load(config, overrides).config.semantic_fingerprint()

    same = ["window.incomplete=fail", "window.completeness.wait_limit_minutes=7"]
    assert {fingerprint(), *(fingerprint(override) for override in same)} == {fingerprint()}
    assert fingerprint("window.incomplete=shrink") != fingerprint()


def test_the_key_of_before_names_the_one_of_now(config, capsys):
    assert hivemill(config, "--set", "window.missing=ignore", "plan", "--date", "2026-11-15") == 2
    assert "it is `window.incomplete` now, and its value `ignore` is `shrink`" in capsys.readouterr().err
