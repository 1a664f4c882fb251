"""How long a run will take, from the records of runs before it."""

from __future__ import annotations

import pytest

from hivemill.pipeline.history import forecast


def record(day: int, rows: int = 1_000, converted: int | None = 5_000, seconds: float = 30.0, **changes) -> dict:
    """A run of three nodes; the conversion takes 1 ms a byte, Transform 4 ms and the Trainer 10 ms a row."""
    nodes = [
        {
            "node_id": "HiveLogExampleGen",
            "state": "succeeded",
            "seconds": 0.001 * (converted or 0) or 0.5,
            "rows": rows,
        },
        {"node_id": "Transform", "state": "succeeded", "seconds": 0.004 * rows, "rows": rows},
        {"node_id": "Trainer", "state": "succeeded", "seconds": 0.010 * rows, "rows": None},
    ]
    at = f"2026-11-{day:02}T03:00"
    times = {"started_utc": f"{at}:00+00:00", "finished_utc": f"{at}:{seconds:02.0f}+00:00"}
    return {"run_id": f"r{day}", "bytes_to_convert": converted, "nodes": nodes, **times, **changes}


def test_without_a_finished_run_nothing_is_told():
    assert forecast.forecast([], 1_000, 0) is None
    assert forecast.sentence(None).startswith("Expected time: not known, for there is no earlier run")
    cached = record(1)
    cached["nodes"][1]["state"] = "cached"
    assert forecast.forecast([cached, record(2, finished_utc=None)], 1_000, 0) is None


def test_nodes_scale_with_rows_and_the_conversion_with_new_bytes():
    found = forecast.forecast([record(1, seconds=25), record(2, seconds=25)], 2_000, 10_000)
    assert found.runs == 2 and found.rows == 2_000
    assert found.nodes["HiveLogExampleGen"] == pytest.approx(10.0)
    assert found.nodes["Transform"] == pytest.approx(8.0) and found.nodes["Trainer"] == pytest.approx(20.0)
    assert found.nodes[forecast.START_AND_END] == pytest.approx(25 - 5 - 4 - 10)
    assert found.seconds == pytest.approx(10 + 8 + 20 + 6)
    assert forecast.sentence(found.model_dump()) == (
        "Expected time: 44 s (from the last 2 runs; Trainer 20 s, HiveLogExampleGen 10 s, Transform 8 s)."
    )


def test_a_window_that_is_kept_costs_the_conversion_what_it_cost_such_a_window():
    assert forecast.forecast([record(1, converted=0), record(2)], 1_000, 0).nodes["HiveLogExampleGen"] == 0.5


def test_what_no_run_tells_is_said():
    found = forecast.forecast([record(1, converted=None)], None, 7_000)
    assert found.rows == 1_000 and found.nodes["HiveLogExampleGen"] is None
    assert "and HiveLogExampleGen, which no earlier run tells" in forecast.sentence(found.model_dump())


def test_only_the_last_runs_count():
    slow = [record(day, seconds=59) for day in range(1, 4)]
    found = forecast.forecast([*slow, *(record(day, seconds=20) for day in range(4, 12))], 1_000, 5_000)
    assert found.runs == forecast.LAST_RUNS and found.nodes[forecast.START_AND_END] == pytest.approx(1.0)
