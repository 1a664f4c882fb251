"""The last good window for the data verdict: found by the store's `stable`, read from the run behind it."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from hivemill.common.errors import DataNotReadyError
from hivemill.components.data_verdict.comparison.reference import read_baseline
from hivemill.components.data_verdict.profile.window_profile import Distribution, Profile, ProfiledColumn
from hivemill.pipeline.config import loader as config_module
from hivemill.pipeline.config.schema import PipelineConfig
from hivemill.pipeline.history.baseline import BASELINE_JSON, DataBaseline, add_to_history, write_baseline
from hivemill.pipeline.runs import records
from hivemill.pipeline.runs.records import RunFolder
from hivemill.serving.store.model_store import STABLE, ModelStore

DATE = datetime.date(2026, 11, 15)
EMPTY_HISTORY = {"drift": {}, "unseen": {}, "rows": {}}
CONFIG = {
    "name": "shop",
    "root": "root",
    "source": {"table": "log", "columns": {"click": "int", "price": "double"}},
    "label": {"column": "click"},
    "features": {"price": {"type": "numeric"}},
}


def load(folder: Path, **data_verdict) -> PipelineConfig:
    path = folder / "hivemill.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, "data_verdict": data_verdict}))
    return config_module.load(path, [], {}).config


def profile_of(value: str, day: str = "2026-11-08") -> Profile:
    """A profile of one day with one text column."""
    column = ProfiledColumn("text", {day: Distribution(rows=3, counts={value: 3})})
    by_hour = {day: {-1: 3}}
    return Profile({"train": (day,)}, {"city": column}, by_hour, by_hour, {day: {-1: 1}})


def finished_run(config: PipelineConfig, date: str, run_id: str, exit_code: int | None = 0, **documents) -> str:
    """The folder of a run as a run leaves it; `documents` by file name without `.json`. Returns the run's id."""
    folder = RunFolder(config.root_path(), run_id)
    record = records.new_record(run_id, datetime.date.fromisoformat(date), 1, runner="local", baseline_version=None)
    state = {None: "running", 0: "succeeded"}.get(exit_code, "failed")
    folder.path.mkdir(parents=True)
    folder.write({**record, "state": state, "exit_code": exit_code})
    for name, document in documents.items():
        text = document.to_json() if isinstance(document, Profile) else json.dumps(document)
        folder.file(f"{name}.json").write_text(text, "utf-8")
    return run_id


def push(config: PipelineConfig, run_id: str | None, date: str = "2026-11-08") -> int:
    """A version in the store, with the record that the pusher gives it."""
    model = config.root_path() / "saved_model"
    model.mkdir(parents=True, exist_ok=True)
    (model / "saved_model.pb").write_bytes(b"model")
    record = {"run_id": run_id, "run_date": date} if run_id else {}
    return store_of(config).publish(model, record, source_fingerprint=str(run_id))


def store_of(config: PipelineConfig) -> ModelStore:
    return ModelStore(config.places().store, config.model_name())


def written(config: PipelineConfig, run_id: str = "now") -> tuple[DataBaseline, dict | None]:
    """What `write_baseline` returns, and what it wrote."""
    folder = RunFolder(config.root_path(), run_id)
    made = write_baseline(config, folder, DATE)
    return made, records.read_json(folder.file(BASELINE_JSON))


def data_section(
    drift: float = 0.01, rows: int = 100, unseen: float | None = 0.02, against: str | None = "older"
) -> dict:
    return {
        "baseline": {"run_id": against} if against else None,
        "drift": [{"feature": "city", "value": drift}],
        "columns": [{"feature": "city", "unseen_share": unseen}],
        "volume": {"days": {"2026-11-08": {"rows": rows}}},
    }


def test_before_the_first_push_there_is_none_and_nothing_is_written(tmp_path):
    config = load(tmp_path)
    finished_run(config, "2026-11-08", "refused", exit_code=5, profile=profile_of("Łódź"))
    assert written(config) == (DataBaseline(None, None), None)
    assert not (tmp_path / "root" / "runs" / "now").exists()


def test_the_node_reads_the_profile_of_the_run_behind_stable(tmp_path):
    config = load(tmp_path)
    version = push(config, finished_run(config, "2026-11-08", "good", profile=profile_of("Łódź")))
    made, document = written(config)
    assert made.path == str(tmp_path / "root" / "runs" / "now" / BASELINE_JSON)
    read = read_baseline(made.path)
    assert (read.run_id, read.date, read.model_version) == ("good", "2026-11-08", version)
    assert read.profile == profile_of("Łódź")
    assert document["history"] == EMPTY_HISTORY


def test_stable_decides_not_the_newest_version(tmp_path):
    config = load(tmp_path)
    first = push(config, finished_run(config, "2026-11-01", "first", profile=profile_of("a")), "2026-11-01")
    second = push(config, finished_run(config, "2026-11-08", "second", profile=profile_of("b")))
    assert first != second and written(config)[1]["run_id"] == "first"
    store_of(config).set_label(STABLE, second)
    assert written(config)[1]["run_id"] == "second"


@pytest.mark.parametrize("profile", [None, '{"version": 1, "spl'], ids=["no profile", "a torn profile"])
def test_a_good_run_without_a_usable_profile_is_no_baseline(tmp_path, profile):
    config = load(tmp_path)
    push(config, finished_run(config, "2026-11-08", "good"))
    if profile is not None:
        RunFolder(config.root_path(), "good").file(records.PROFILE_JSON).write_text(profile)
    assert written(config) == (DataBaseline(None, None), None)


@pytest.mark.parametrize("run_id", [None, "deleted"])
def test_a_version_whose_run_is_not_known_or_not_there_is_no_baseline(tmp_path, run_id):
    config = load(tmp_path)
    push(config, run_id)
    assert written(config) == (DataBaseline(None, None), None)


def test_fingerprint_is_that_of_the_content(tmp_path):
    config = load(tmp_path)
    push(config, finished_run(config, "2026-11-08", "good", profile=profile_of("a")))
    first = written(config)[0]
    assert written(config, "again")[0].fingerprint == first.fingerprint
    RunFolder(config.root_path(), "good").file(records.PROFILE_JSON).write_text(profile_of("b").to_json())
    assert written(config)[0].fingerprint != first.fingerprint


def test_history_is_that_of_runs_that_pushed_but_not_of_this_run(tmp_path):
    config = load(tmp_path)
    push(config, finished_run(config, "2026-11-08", "good", profile=profile_of("a"), verdict={"data": data_section()}))
    finished_run(config, "2026-11-09", "refused", exit_code=5, verdict={"data": data_section(drift=0.5)})
    finished_run(config, "2026-11-10", "killed", exit_code=None, verdict={"data": data_section(drift=0.6)})
    finished_run(config, "2026-11-11", "now", verdict={"data": data_section(drift=0.7)})
    assert written(config)[1]["history"] == {
        "drift": {"city": [0.01]},
        "unseen": {"city": [0.02]},
        "rows": {"2026-11-08": 100},
    }


def test_history_takes_the_newest_runs_by_date_not_by_id(tmp_path):
    config = load(tmp_path, history_runs=2)
    for date, run_id, drift in (("2026-10-25", "c", 0.1), ("2026-11-01", "b", 0.2), ("2026-11-08", "a", 0.3)):
        finished_run(config, date, run_id, profile=profile_of("x"), verdict={"data": data_section(drift=drift)})
    push(config, "a")
    assert written(config)[1]["history"]["drift"] == {"city": [0.2, 0.3]}


@pytest.mark.parametrize("verdict", [{"data": None}, {}], ids=["without data", "of nothing"])
def test_runs_whose_verdict_says_nothing_leave_no_history(tmp_path, verdict):
    config = load(tmp_path)
    push(config, finished_run(config, "2026-11-08", "good", profile=profile_of("a"), verdict=verdict))
    finished_run(config, "2026-11-09", "no-verdict")
    finished_run(config, "2026-11-10", "torn")
    RunFolder(config.root_path(), "torn").file(records.VERDICT_JSON).write_text('{"data": {"dri')
    assert written(config)[1]["history"] == EMPTY_HISTORY


def test_days_compared_among_themselves_are_no_drift_to_learn_from():
    history = {"drift": {}, "unseen": {}, "rows": {}}
    add_to_history(history, data_section(against=None, unseen=None))
    assert history == {"drift": {}, "unseen": {}, "rows": {"2026-11-08": 100}}
    add_to_history(history, data_section(rows=120))
    assert history == {"drift": {"city": [0.01]}, "unseen": {"city": [0.02]}, "rows": {"2026-11-08": 120}}


def serving_log(folder: Path, prices: list[float]) -> dict:
    """A day of what serving saw, and the option that names it."""
    place = folder / "served" / f"dt={DATE}"
    place.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"price": prices}), place / "000000_0")
    return {"serving_log": {"table": "served"}}


def test_what_serving_saw_counts_before_the_first_push_too(tmp_path):
    made, document = written(load(tmp_path, **serving_log(tmp_path, [1.0])))
    assert (made.path, document) == (None, None) and made.fingerprint
    more = written(load(tmp_path, **serving_log(tmp_path, [1.0, 2.0])))[0]
    assert more.path is None and more.fingerprint not in (None, made.fingerprint)


def test_fingerprint_covers_the_profile_and_what_serving_saw(tmp_path):
    config = load(tmp_path)
    push(config, finished_run(config, "2026-11-08", "good", profile=profile_of("a")))
    alone = written(config)[0]
    with_serving = written(load(tmp_path, **serving_log(tmp_path, [1.0])))[0]
    more_serving = written(load(tmp_path, **serving_log(tmp_path, [1.0, 2.0])))[0]
    assert alone.path == with_serving.path == more_serving.path
    assert len({alone.fingerprint, with_serving.fingerprint, more_serving.fingerprint}) == 3


def test_a_serving_log_without_its_days_stops_the_run_before_its_first_node(tmp_path):
    config = load(tmp_path, **serving_log(tmp_path, [1.0]))
    (tmp_path / "served" / f"dt={DATE}").rename(tmp_path / "served" / "dt=2026-01-01")
    with pytest.raises(DataNotReadyError, match=r"data_verdict\.serving_log: .* no partition of the 1 days to 2026-11"):
        written(config)
