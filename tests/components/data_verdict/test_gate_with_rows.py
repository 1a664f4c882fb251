"""The node with examples, manifest, a last good window and a serving log: verdict.json and profile.json come out."""

import contextlib
import datetime
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2
from tfx.dsl.components.base import base_executor
from tfx.types import standard_artifacts
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from hivemill.common.errors import ConfigError, DataNotReadyError, DataVerdictError
from hivemill.components.artifacts import DataVerdict, WindowManifest
from hivemill.components.data_verdict.comparison.reference import read_baseline
from hivemill.components.data_verdict.executor import DataVerdictExecutor
from hivemill.components.data_verdict.options import DataVerdictOptions
from hivemill.components.data_verdict.profile import row_sample
from hivemill.components.data_verdict.profile.builder import profile_of
from hivemill.components.data_verdict.profile.serving_profile import profile_of_statistics
from hivemill.components.data_verdict.profile.window_profile import from_json
from hivemill.components.hive_example_gen.cache.tfrecord import TFRecordWriter
from tests.components.data_verdict.verdict_log import MONDAY, ROLES, profiled, table_of, window
from tests.support import object_stores

GOOD_END, END = MONDAY + datetime.timedelta(days=7), MONDAY + datetime.timedelta(days=14)
LABEL = 'features { path { step: "bought" } type: INT num_stats { min: 0 max: 1 common_stats { num_non_missing: 9 } } }'


def write_examples(folder: Path, days: dict) -> Path:
    """One file per day, the last day in the split eval."""
    for index, name in enumerate(sorted(days)):
        split = folder / ("Split-eval" if name == max(days) else "Split-train")
        split.mkdir(parents=True, exist_ok=True)
        with TFRecordWriter(split / f"data_tfrecord-{index:05d}-of-00008.gz") as writer:
            for batch in table_of({name: days[name]}).to_batches():
                writer.write(RecordBatchToExamplesEncoder().encode(batch))
    return folder


def manifest_of(days: dict) -> dict:
    names = sorted(days)
    partitions = [
        {
            "partition": f"day={name}/hour={hour:02}",
            "rows": int((days[name]["hour"] == hour).sum()),
            "fingerprint": name,
        }
        for name in names
        for hour in range(24)
    ]
    return {
        "date": names[-1],
        "window": {"train": names[:-1], "eval": names[-1:]},
        "partitions": partitions,
        "missing": [],
        "late": [],
        "empty": [],
    }


def artifact(kind, path: Path, splits: str | None = None):
    made = kind()
    made.uri = str(path)
    path.mkdir(parents=True, exist_ok=True)
    if splits:
        made.split_names = splits
    return made


class Gate:
    def __init__(self, folder: Path):
        self.folder, self.number, self.kept = folder, 0, None

    def __call__(self, days: dict, baseline: Path | None = None, **options):
        self.number += 1
        here = self.folder / str(self.number)
        write_examples(here / "examples", days)
        (here / "manifest").mkdir()
        (here / "manifest" / "manifest.json").write_text(json.dumps(manifest_of(days)))
        inputs = {
            "examples": [artifact(standard_artifacts.Examples, here / "examples", '["train", "eval"]')],
            "manifest": [artifact(WindowManifest, here / "manifest")],
            **self._statistics(here),
        }
        verdict = artifact(DataVerdict, here / "verdict")
        properties = {
            "options": DataVerdictOptions(**options).model_dump_json(),
            "roles": ROLES.model_dump_json(),
            "baseline_path": str(baseline) if baseline else None,
            "partitions_path": self.kept or str(here / "partitions"),
        }
        plain = base_executor.BaseExecutor.Context(tmp_dir=str(here), unique_id="1")
        DataVerdictExecutor(plain).Do(inputs, {"verdict": [verdict]}, properties)
        return here / "verdict"

    def _statistics(self, here: Path) -> dict:
        statistics = artifact(standard_artifacts.ExampleStatistics, here / "statistics", '["train", "eval"]')
        anomalies = artifact(standard_artifacts.ExampleAnomalies, here / "anomalies", '["train", "eval"]')
        schema = artifact(standard_artifacts.Schema, here / "schema")
        one = text_format.Parse(
            f"datasets {{ num_examples: 9 {LABEL} }}", statistics_pb2.DatasetFeatureStatisticsList()
        )
        for split in ("train", "eval"):
            for made, name, content in (
                (statistics, "FeatureStats.pb", one),
                (anomalies, "SchemaDiff.pb", anomalies_pb2.Anomalies()),
            ):
                (Path(made.uri) / f"Split-{split}").mkdir()
                (Path(made.uri) / f"Split-{split}" / name).write_bytes(content.SerializeToString())
        (Path(schema.uri) / "schema.pbtxt").write_text(text_format.MessageToString(schema_pb2.Schema()))
        return {"statistics": [statistics], "anomalies": [anomalies], "schema": [schema]}


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def baseline(gate):
    """The profile that the node wrote of a first week, as pipeline/history/baseline.py hands it on."""
    verdict = gate(window(GOOD_END))
    document = {
        "run_id": "good", "date": GOOD_END.isoformat(), "model_version": 17,
        "profile": json.loads((verdict / "profile.json").read_text()),
        "history": {"drift": {}, "unseen": {}, "rows": {}},
    }  # fmt: skip
    file = gate.folder / "baseline.json"
    file.write_text(json.dumps(document))
    return file


def section(verdict: Path) -> dict:
    return json.loads((verdict / "verdict.json").read_text())


def test_the_profile_of_the_files_is_that_of_the_rows(gate, baseline):
    kept = read_baseline(str(baseline)).profile
    direct = profiled(window(GOOD_END))
    for name, column in kept.columns.items():
        for day, one in column.days.items():
            expected = direct.columns[name].days[day]
            assert (one.rows, one.missing, one.counts, one.other) == (
                expected.rows, expected.missing, expected.counts, expected.other,
            )  # fmt: skip
    assert kept.rows == direct.rows and kept.sample_share == 1 and set(kept.repeated.values()) == {0.0}


def test_a_clean_week_is_green_against_the_last_one(gate, baseline):
    made = section(gate(window(END), baseline))
    assert (made["colour"], made["findings"]) == ("green", [])
    assert made["baseline"] == {"run_id": "good", "date": GOOD_END.isoformat(), "model_version": 17}
    assert len(made["judged_days"]) == 7
    assert {row["threshold_source"] for row in made["drift"]} <= {"default", "learnt"}


def test_rows_by_hour_stand_beside_the_usual_ones_of_like_days(gate, baseline):
    volume = section(gate(window(END), baseline))["volume"]
    assert sorted(volume["usual_hours"]) == section(gate(window(END), baseline))["judged_days"]
    workdays = [day for day in window(GOOD_END) if datetime.date.fromisoformat(day).weekday() < 5]
    noon = [int((window(GOOD_END)[day]["hour"] == 12).sum()) for day in workdays]
    monday = next(day for day in volume["usual_hours"] if datetime.date.fromisoformat(day).weekday() == 0)
    assert volume["usual_hours"][monday]["12"] == round(float(np.median(noon)))
    assert volume["hours"][monday]["12"] == int((window(END)[monday]["hour"] == 12).sum())


def test_a_broken_week_stops_the_run_and_the_error_carries_the_section(gate, baseline):
    days = window(END)
    days[END.isoformat()]["amount"] = days[END.isoformat()]["amount"] * 100
    with pytest.raises(DataVerdictError, match="all values are times a hundred") as caught:
        gate(days, baseline)
    assert caught.value.details["findings"][0]["cause"] == "unit_change"
    assert caught.value.details["baseline"]["run_id"] == "good"
    assert "data_verdict.columns" in caught.value.hint


def test_rows_loaded_twice_are_named_also_in_a_sample(gate, baseline):
    days = window(END)
    name = END.isoformat()
    days[name] = {column: np.concatenate([values, values]) for column, values in days[name].items()}
    with pytest.raises(DataVerdictError) as caught:
        gate(days, baseline, sample_rows=15_000)
    first = caught.value.details["findings"][0]
    assert (first["cause"], first["arithmetic"][0]["after"]) == ("repeated_rows", pytest.approx(0.5))
    assert caught.value.details["sample_share"] == pytest.approx(15 / 31.5, abs=0.1)


def test_a_sample_is_the_same_rows_every_time_and_about_as_many_as_asked(tmp_path):
    folder = write_examples(tmp_path, window(MONDAY, num_days=2))
    files = row_sample.files_of_splits(str(folder), ["train", "eval"])
    num_rows = row_sample.read_sample(files, 1, 10)[0].num_rows
    sample, hashes = row_sample.read_sample(files, num_rows, 1_000)
    again, _ = row_sample.read_sample(files, num_rows, 1_000)
    assert sample.equals(again) and len(hashes) == sample.num_rows
    assert 800 < sample.num_rows < 1_200
    days = {day for day in profile_of(sample, ROLES).days}
    assert len(days) == 2


def test_a_column_that_only_some_files_have_is_missing_elsewhere(tmp_path):
    (tmp_path / "Split-train").mkdir()
    for index, rows in enumerate(({"a": [[1]]}, {"a": [[2]], "b": [[b"x"]]})):
        with TFRecordWriter(tmp_path / "Split-train" / f"{index}.gz") as writer:
            batch = pa.table({name: pa.array(values) for name, values in rows.items()}).to_batches()[0]
            writer.write(RecordBatchToExamplesEncoder().encode(batch))
    rows, _ = row_sample.read_sample(row_sample.files_of_splits(str(tmp_path), ["train"]), 2, 10)
    assert sorted(rows.to_pylist(), key=str) == [{"a": [1], "b": None}, {"a": [2], "b": [b"x"]}]


def test_facts_of_a_manifest():
    manifest = {
        "window": {"train": ["2026-06-01"], "eval": ["2026-06-02"]},
        "partitions": [
            {"partition": "day=20260601/hour=07", "rows": 5, "fingerprint": "x"},
            {"partition": "day=20260601/hour=08", "rows": 6, "fingerprint": "y"},
            {"partition": "day=20260602", "rows": 7, "fingerprint": "z"},
        ],
    }
    facts = row_sample.window_facts(manifest, ROLES.model_copy(update={"date_format": "%Y%m%d"}))
    assert facts.rows == {"2026-06-01": {7: 5, 8: 6}, "2026-06-02": {-1: 7}}
    assert facts.fingerprints == {"2026-06-01": "x/y", "2026-06-02": "z"}


def serving_table(folder: Path, factor: float) -> Path:
    """A day of requests: what the features were, and no label."""
    columns = window(END)[END.isoformat()]
    place = folder / f"day={END}" / "hour=09"
    place.mkdir(parents=True)
    rows = {name: pa.array(columns[name]) for name in ("shop", "plan", "grade")}
    rows["amount"] = pa.array(columns["amount"] * factor, mask=columns["amount_missing"])
    rows["tags"] = pa.array([[tag] for tag in columns["tags"]])
    pq.write_table(pa.table(rows), place / "000000_0")
    return folder


def log_options(table: Path) -> dict:
    source = {
        "table": str(table), "date_column": "day", "hour_column": "hour",
        "partition_columns": {"day": "string", "hour": "string"},
    }  # fmt: skip
    return {"serving_log": source}


def test_a_serving_log_like_training_is_no_finding_and_another_unit_is_skew(gate, baseline, tmp_path):
    good = log_options(serving_table(tmp_path / "good", 1.0))
    assert section(gate(window(END), baseline, **good))["findings"] == []
    with pytest.raises(DataVerdictError, match="from training to serving") as caught:
        gate(window(END), baseline, **log_options(serving_table(tmp_path / "bad", 100.0)))
    (finding,) = caught.value.details["findings"]
    assert (finding["kind"], finding["feature"], finding["cause"]) == ("skew", "amount", "serving_skew")


@pytest.mark.parametrize("kind", [None, "s3", pytest.param("gs", marks=pytest.mark.slow)])
def test_a_serving_log_with_bad_rows_is_sampled_without_them_wherever_it_is_kept(
    gate, baseline, tmp_path, monkeypatch, kind
):
    table = serving_table(tmp_path, 1.0)
    (file,) = table.rglob("000000_0")
    rows = [[*row.values()] for row in pq.read_table(file).to_pylist()]
    lines = [[*map(str, row[:3]), r"\N" if row[3] is None else str(row[3]), *row[4]] for row in rows]
    file.write_text("".join("\x01".join(line) + "\n" for line in [*lines, ["1", "1", "1", "no number", "x"]]))
    log = log_options(table)
    log["serving_log"] |= {
        "columns": {"shop": "string", "plan": "string", "grade": "bigint", "amount": "double", "tags": "array<string>"},
        "bad_rows": {"max_share": 0.01},
    }
    place = object_stores.bucket(kind, tmp_path, monkeypatch) if kind else contextlib.nullcontext((None, None))
    with place as (_, url):
        monkeypatch.setattr(gate, "kept", url)
        assert section(gate(window(END), baseline, **log))["findings"] == []


def test_a_serving_log_without_the_day_is_not_ready(gate, baseline, tmp_path):
    table = serving_table(tmp_path, 1.0)
    (table / f"day={END}").rename(table / "day=2020-01-01")
    with pytest.raises(DataNotReadyError, match=r"data_verdict\.serving_log"):
        gate(window(END), baseline, **log_options(table))


def test_statistics_of_serving_compare_like_its_log(gate, baseline, tmp_path):
    buckets = " ".join(
        f"buckets {{ low_value: {low} high_value: {high} sample_count: 10 }}"
        for low, high in ((900, 2000), (2000, 9000))
    )
    text = f"""datasets {{ num_examples: 20
      features {{ path {{ step: "amount" }} type: FLOAT
        num_stats {{ common_stats {{ num_non_missing: 20 }} histograms {{ type: QUANTILES {buckets} }} }} }}
      features {{ path {{ step: "plan" }} type: STRING string_stats {{
        common_stats {{ num_non_missing: 20 tot_num_values: 20 }}
        rank_histogram {{ buckets {{ label: "free" sample_count: 20 }} }} }} }} }}"""
    made = text_format.Parse(text, statistics_pb2.DatasetFeatureStatisticsList())
    profile = profile_of_statistics(made.datasets[0], ROLES)
    assert profile.columns["amount"].kind == "number" and profile.columns["plan"].days["1970-01-01"].counts == {
        "free": 20
    }
    file = tmp_path / "FeatureStats.pb"
    file.write_bytes(made.SerializeToString())
    with pytest.raises(DataVerdictError) as caught:
        gate(window(END), baseline, serving_statistics=str(file))
    found = [one["message"] for one in caught.value.details["findings"]]
    assert any(text.startswith("amount: JS") and "from training to serving" in text for text in found)
    assert "shop: the serving log does not have this column, and a feature reads it" in found


def test_a_file_that_holds_no_statistics_is_a_mistake_of_the_config(gate, baseline, tmp_path):
    file = tmp_path / "FeatureStats.pb"
    file.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"data_verdict\.serving_statistics"):
        gate(window(END), baseline, serving_statistics=str(file))


def test_a_profile_of_one_week_is_small(baseline):
    text = json.dumps(json.loads(baseline.read_text())["profile"])
    assert len(text) < 200_000
    assert from_json(text, "it").days[0] == MONDAY.isoformat()
