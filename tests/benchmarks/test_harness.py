"""The benchmark harness measures a child process, and says why one failed."""

import json

import pytest

from benchmarks import _harness

SCRIPT = """
import argparse
from benchmarks import _harness

def spend(mebibytes):
    held = bytearray(mebibytes << 20)
    held[::4096] = b"x" * len(held[::4096])
    with _harness.cpu_clock() as clock:
        sum(number * number for number in range(1_000_000))
    return clock

def fail():
    raise ValueError("on purpose")

parser = argparse.ArgumentParser()
_harness.add_measure_argument(parser)
_harness.run_measurement(parser.parse_args(), {"spend": spend, "fail": fail})
"""


@pytest.fixture
def script(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    return str(tmp_path / "script.py")


def test_cpu_seconds_and_peak_memory_are_the_childs(script):
    small, large = (_harness.measure(script, "spend", mebibytes=size) for size in (1, 101))
    assert 0.01 < small.facts["cpu_seconds"] < small.process_cpu_seconds
    assert small.facts["wall_seconds"] < small.process_wall_seconds
    assert 90 << 20 < large.peak_memory_bytes - small.peak_memory_bytes < 120 << 20


def test_a_failure_shows_the_childs_own_error(script):
    with pytest.raises(RuntimeError, match=r"(?s)fail failed with 1:.*ValueError: on purpose"):
        _harness.measure(script, "fail")


def test_the_last_line_is_one_json_object(capsys):
    _harness.print_table(["", "rate"], [["ours", "12"], ["theirs", "1"]])
    _harness.print_result("x", 12.00049, "theirs", "rows per CPU-second", rows=5)
    *table, last = capsys.readouterr().out.rstrip("\n").split("\n")
    assert table == ["        rate", "ours      12", "theirs     1"]
    assert json.loads(last) == {"name": "x", "ratio": 12.0, "peer": "theirs", "unit": "rows per CPU-second", "rows": 5}
