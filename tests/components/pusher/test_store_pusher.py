"""StorePusher through its TFX executor."""

import json

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2
from tfx.dsl.components.base import base_executor
from tfx.types import channel_utils, standard_artifacts

from hivemill.common.errors import BaselineMovedError, InfrastructureError
from hivemill.common.storage.atomic import fingerprint
from hivemill.components.artifacts import ModelVerdict
from hivemill.components.pusher.component import StorePusher
from hivemill.components.pusher.executor import StorePusherExecutor, saved_model_fingerprint
from hivemill.components.pusher.options import StoreOptions
from hivemill.serving.store.model_store import ModelStore
from tests.support import s3_server

VERDICT = {
    "blessed": True,
    "version": None,
    "baseline_version": None,
    "bounds": [],
    "slices": [{"slice": {}, "metrics": {"auc": 0.71}, "baseline_metrics": None}],
    "calibration_curve": [],
}


@pytest.fixture
def push(tmp_path):
    """Runs the executor once per call, each time with a fresh output artifact."""
    serving = tmp_path / "model" / "Format-Serving"
    (serving / "variables").mkdir(parents=True)
    (serving / "saved_model.pb").write_bytes(b"graph")
    (serving / "variables" / "variables.index").write_bytes(b"index")
    (tmp_path / "verdict").mkdir()

    def run(blessed: int, baseline: int | None = None, examples=None, checked: int | None = None, **properties):
        (tmp_path / "verdict" / "verdict.json").write_text(json.dumps(VERDICT | {"baseline_version": baseline}))
        model, blessing, verdict = standard_artifacts.Model(), standard_artifacts.ModelBlessing(), ModelVerdict()
        model.uri, verdict.uri = str(tmp_path / "model"), str(tmp_path / "verdict")
        blessing.set_int_custom_property("blessed", blessed)
        check = standard_artifacts.InfraBlessing()
        check.set_int_custom_property("blessed", checked or 0)
        pushed = standard_artifacts.PushedModel()
        properties = {
            "store_path": str(tmp_path / "models"),
            "model_name": "shop",
            "run_id": "2026-11-15",
            "run_date": "2026-11-15",
        } | properties
        StorePusherExecutor(base_executor.BaseExecutor.Context(tmp_dir=str(tmp_path), unique_id="1")).Do(
            {"model": [model], "blessing": [blessing], "model_verdict": [verdict]}
            | ({"examples": [examples]} if examples else {})
            | ({"infra_blessing": [check]} if checked is not None else {}),
            {"pushed_model": [pushed]},
            properties,
        )
        return pushed

    run.store = ModelStore(tmp_path / "models", "shop")
    run.serving = serving
    return run


def test_a_blessed_model_is_published_with_its_lineage(push):
    pushed = push(1, lineage='{"plan_fingerprint": "p", "config_fingerprint": "c"}')
    (version,) = push.store.versions()
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_version") == str(version)
    assert pushed.get_string_custom_property("pushed_destination") == str(push.store.path_of(version))
    record = push.store.record(version)
    assert record["run_id"] == record["run_date"] == "2026-11-15"
    assert (record["plan_fingerprint"], record["config_fingerprint"]) == ("p", "c")
    assert (record["baseline_version"], record["metrics"]) == (None, {"auc": 0.71})
    assert record["source_fingerprint"] == fingerprint("2026-11-15", saved_model_fingerprint(push.serving))
    assert (push.store.path_of(version) / "saved_model.pb").read_bytes() == b"graph"


def test_a_blessed_model_is_pushed_only_where_its_serving_check_has_passed(push):
    assert push(1, checked=0).get_int_custom_property("pushed") == 0
    assert not push.store.path.exists()
    assert push(1, checked=1).get_int_custom_property("pushed") == 1


def test_a_model_that_is_not_blessed_goes_nowhere_and_the_node_succeeds(push):
    pushed = push(0)
    assert pushed.get_int_custom_property("pushed") == 0
    assert not pushed.has_custom_property("pushed_version")
    assert not push.store.path.exists()


def test_pusher_of_the_same_run_gives_the_same_version_and_another_run_a_new_one(push):
    first, second = push(1), push(1)
    forced = push(1, baseline=push.store.labels()["stable"], run_id="2026-11-15-2")
    versions = [one.get_string_custom_property("pushed_version") for one in (first, second, forced)]
    assert versions[0] == versions[1] != versions[2]
    assert len(push.store.versions()) == 2


def test_a_model_that_was_never_compared_with_what_is_stable_now_is_not_pushed(push):
    push(1, run_id="a")
    first = push.store.labels()["stable"]
    with pytest.raises(BaselineMovedError, match=f"against no version at all .* version {first} is stable now"):
        push(1, run_id="b")
    push(1, baseline=first, run_id="c")
    second = push.store.versions()[-1]
    push.store.set_label("stable", second)  # as a rollout does, while a run judges
    with pytest.raises(BaselineMovedError, match=f"against version {first}, but version {second} is stable now"):
        push(1, baseline=first, run_id="d")
    assert push.store.versions() == [first, second]


def test_a_pusher_that_was_killed_after_it_had_published_finds_its_version_though_stable_has_moved(push):
    pushed = push(1, run_id="a")
    assert push.store.labels()["stable"] is not None
    again = push(1, run_id="a")  # judged against none, and stable is its own version by now
    names = [one.get_string_custom_property("pushed_version") for one in (pushed, again)]
    assert names[0] == names[1]


def test_old_versions_go_and_warm_up_requests_come(push, tmp_path):
    (tmp_path / "model" / "Format-Serving" / "saved_model.pb").write_bytes(_saved_model_of("serving_default"))
    examples = standard_artifacts.Examples()
    examples.uri, examples.split_names = str(tmp_path / "examples"), '["train", "eval"]'
    (tmp_path / "examples" / "Split-eval").mkdir(parents=True)
    example = tf.train.Example()
    example.features.feature["click"].int64_list.value.append(1)
    with tf.io.TFRecordWriter(str(tmp_path / "examples" / "Split-eval" / "data.gz"), "GZIP") as writer:
        for _ in range(5):
            writer.write(example.SerializeToString())
    options = StoreOptions(keep_versions=1, grace_hours=0, warm_up_rows=3).model_dump_json()
    push(1)
    (stable,) = push.store.versions()
    for run_id in ("b", "c"):
        push(1, stable, examples, run_id=run_id, options=options, label_column="click")
    assert len(push.store.versions()) == 2 and push.store.versions()[0] == stable
    file = push.store.path_of(push.store.versions()[1]) / "assets.extra" / "tf_serving_warmup_requests"
    logs = [*tf.data.TFRecordDataset(str(file)).as_numpy_iterator()]
    inputs = [prediction_log_pb2.PredictionLog.FromString(log).predict_log.request.inputs["examples"] for log in logs]
    assert [len(tensor.string_val) for tensor in inputs] == [1, 2]


def test_a_bucket_that_is_behind_fails_the_push_and_the_next_attempt_heals_it(push, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    objects, refusing = {}, [403]
    with s3_server.serving(objects, before_write=lambda method, keys: refusing[0]) as port:
        url = f"s3://bucket/models?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
        options = StoreOptions(mirror=url, warm_up_rows=0).model_dump_json()
        with pytest.raises(InfrastructureError, match=r"is in the store, but store.mirror s3://bucket/models/"):
            push(1, options=options)
        (version,) = push.store.versions()
        refusing[0] = None
        pushed = push(1, options=options)
    assert pushed.get_string_custom_property("pushed_version") == str(version)
    assert push.store.versions() == [version]
    assert objects[f"bucket/models/shop/{version}/saved_model.pb"] == b"graph"
    assert b'base_path: "s3://bucket/models/shop"' in objects["bucket/models/models.config"]


def _saved_model_of(signature):
    model = saved_model_pb2.SavedModel()
    model.meta_graphs.add().signature_def[signature].inputs["examples"].dtype = tf.string.as_datatype_enum
    return model.SerializeToString()


def test_the_fingerprint_sees_names_and_contents(push):
    before = saved_model_fingerprint(push.serving)
    (push.serving / "saved_model.pb").write_bytes(b"grapH")
    changed = saved_model_fingerprint(push.serving)
    (push.serving / "variables" / "variables.index").rename(push.serving / "variables" / "variables.other")
    assert len({before, changed, saved_model_fingerprint(push.serving)}) == 3


def test_the_component_passes_everything_on():
    component = StorePusher(
        model=channel_utils.as_channel([standard_artifacts.Model()]),
        blessing=channel_utils.as_channel([standard_artifacts.ModelBlessing()]),
        model_verdict=channel_utils.as_channel([ModelVerdict()]),
        store_path="models",
        model_name="shop",
        run_id="r",
        run_date="2026-11-15",
        lineage={"plan_fingerprint": "p"},
    )
    assert component.outputs["pushed_model"].type is standard_artifacts.PushedModel
    assert component.exec_properties["lineage"] == '{"plan_fingerprint": "p"}'
