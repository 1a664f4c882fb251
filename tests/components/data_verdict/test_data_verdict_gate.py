"""DataVerdictGate for real: statistics, schema and anomalies from TFX's own executors on a small log."""

import json
from pathlib import Path

import pytest
import tensorflow as tf
from tfx.components.example_validator import executor as example_validator
from tfx.components.schema_gen import executor as schema_gen
from tfx.components.statistics_gen import executor as statistics_gen
from tfx.dsl.components.base import base_beam_executor, base_executor
from tfx.types import channel_utils, standard_artifacts

from hivemill.common.errors import DataVerdictError
from hivemill.components.artifacts import DataVerdict
from hivemill.components.data_verdict.component import DataVerdictGate
from hivemill.components.data_verdict.executor import DataVerdictExecutor, raise_if_red
from hivemill.components.data_verdict.findings import DataFinding
from hivemill.components.data_verdict.options import DataVerdictOptions
from hivemill.components.data_verdict.profile.column_roles import ColumnRoles

ROWS = 60
ROLES = ColumnRoles(label="click")


def row(i: int, **changes) -> dict:
    return {"click": i % 2, "price": 1.5 * i, "city": ["Oslo", "Łódź"][i % 2]} | changes


TRAIN = [row(i) for i in range(ROWS)]


def write_split(folder: Path, rows: list[dict]) -> None:
    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "data_tfrecord-00000-of-00001.gz"), "GZIP") as writer:
        for each in rows:
            features = {name: feature(value) for name, value in each.items() if value is not None}
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def feature(value) -> tf.train.Feature:
    if isinstance(value, int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    if isinstance(value, float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))


def artifact(kind, path: Path, splits: str | None = None):
    made = kind()
    made.uri = str(path)
    path.mkdir(parents=True, exist_ok=True)
    if splits:
        made.split_names = splits
    return made


EVAL_SPLITS = {
    "good": [row(i) for i in range(20)],
    "new": [row(i, city="Århus" if i < 3 else "Oslo", price=None if i == 7 else 2.5) for i in range(20)],
    "broken": [row(i, price="1,50", city=None, click=i % 6) for i in range(20)],
    "empty": [],
}


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """StatisticsGen, SchemaGen and ExampleValidator run once, over all splits; `judge(name)` gates train and that."""
    folder = tmp_path_factory.mktemp("gate")
    for name, rows in {"train": TRAIN, **EVAL_SPLITS}.items():
        write_split(folder / "examples" / f"Split-{name}", rows)
    examples = artifact(standard_artifacts.Examples, folder / "examples", json.dumps(["train", *EVAL_SPLITS]))
    statistics = artifact(standard_artifacts.ExampleStatistics, folder / "statistics")
    schema = artifact(standard_artifacts.Schema, folder / "schema")
    anomalies = artifact(standard_artifacts.ExampleAnomalies, folder / "anomalies")
    beam = base_beam_executor.BaseBeamExecutor.Context(
        make_beam_pipeline_fn=_pipeline, tmp_dir=str(folder), unique_id="1"
    )
    plain = base_executor.BaseExecutor.Context(tmp_dir=str(folder), unique_id="1")
    statistics_gen.Executor(beam).Do({"examples": [examples]}, {"statistics": [statistics]}, {"exclude_splits": "[]"})
    schema_gen.Executor(plain).Do(
        {"statistics": [statistics]},
        {"schema": [schema]},
        {"infer_feature_shape": 0, "exclude_splits": json.dumps(list(EVAL_SPLITS))},
    )
    known = {"statistics": [statistics], "schema": [schema]}
    example_validator.Executor(plain).Do(known, {"anomalies": [anomalies]}, {"exclude_splits": "[]"})

    def run(name: str, **options) -> DataVerdict:
        here = folder / f"run-{name}"
        inputs = {
            "statistics": [train_and(name, statistics, here)],
            "anomalies": [train_and(name, anomalies, here)],
            "schema": [schema],
        }
        verdict = artifact(DataVerdict, here / "verdict")
        properties = {"options": DataVerdictOptions(**options).model_dump_json(), "roles": ROLES.model_dump_json()}
        DataVerdictExecutor(plain).Do(inputs, {"verdict": [verdict]}, properties)
        return verdict

    return run


def train_and(name: str, source, folder: Path):
    """The artifact with the splits train and eval, eval being the split `name` of the source."""
    made = artifact(type(source), folder / type(source).__name__, '["train", "eval"]')
    made.set_string_custom_property("tfx_version", source.get_string_custom_property("tfx_version"))
    for split, original in (("train", "train"), ("eval", name)):
        (Path(made.uri) / f"Split-{split}").symlink_to(Path(source.uri) / f"Split-{original}")
    return made


def _pipeline():
    import apache_beam as beam

    return beam.Pipeline(runner="FnApiRunner")


def section(verdict: DataVerdict) -> dict:
    return json.loads((Path(verdict.uri) / "verdict.json").read_text())


def test_good_data_is_green(judge):
    verdict = judge("good")
    assert section(verdict)["colour"] == "green" and section(verdict)["findings"] == []
    assert verdict.get_int_custom_property("num_rows") == ROWS + 20


def test_a_new_city_and_a_few_missing_prices_are_amber(judge):
    found = section(judge("new"))
    assert found["colour"] == "amber"
    assert {finding["feature"] for finding in found["findings"]} >= {"city"}
    assert all(finding["severity"] == "amber" and finding["split"] == "eval" for finding in found["findings"])
    assert any("Århus" in finding["message"] for finding in found["findings"])


def test_a_changed_type_a_lost_column_and_a_bad_label_are_red_and_listed(judge):
    with pytest.raises(DataVerdictError) as caught:
        judge("broken")
    message, findings = caught.value.message, caught.value.details["findings"]
    assert message.splitlines()[0].startswith(
        "data verdict red: eval: label `click` has values 0..5, it must be 0 or 1"
    )
    assert "eval: column `price` has type BYTES, the schema says FLOAT" in message
    assert "eval: column `city`" in message
    assert {finding["feature"] for finding in findings if finding["severity"] == "red"} == {"click", "price", "city"}
    assert caught.value.details["colour"] == "red" and "schema_path" in caught.value.hint


def test_an_empty_split_is_red(judge):
    with pytest.raises(DataVerdictError, match="eval: the split has no rows"):
        judge("empty")


def test_the_message_lists_ten_findings_and_counts_the_rest():
    findings = [DataFinding("red", "schema", f"f{i}", "eval", f"finding {i}") for i in range(13)]
    with pytest.raises(DataVerdictError) as caught:
        raise_if_red(findings)
    lines = caught.value.message.splitlines()
    assert lines[0] == "data verdict red: finding 0 (and 12 more)"
    assert lines[1:] == [*(f"  - finding {i}" for i in range(1, 10)), "  - and 3 more"]


def test_the_component_passes_everything_on():
    kinds = (standard_artifacts.ExampleStatistics, standard_artifacts.Schema, standard_artifacts.ExampleAnomalies)
    channels = [channel_utils.as_channel([kind()]) for kind in kinds]
    component = DataVerdictGate(*channels, options=DataVerdictOptions(), roles=ROLES)
    assert json.loads(component.exec_properties["roles"])["label"] == "click"
    assert component.outputs["verdict"].type is DataVerdict
