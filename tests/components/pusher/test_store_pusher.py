"""StorePusher through its TFX executor."""

import json

import pytest
from tfx.dsl.components.base import base_executor
from tfx.types import channel_utils, standard_artifacts

from common.files import fingerprint
from components.artifacts import ModelVerdict
from components.pusher.component import StorePusher
from components.pusher.executor import Executor, saved_model_fingerprint
from serving.model_store import ModelStore

VERDICT = {
    "blessed": True,
    "version": None,
    "baseline_version": 41,
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
    (tmp_path / "verdict" / "verdict.json").write_text(json.dumps(VERDICT))

    def run(blessed: int, **properties):
        model, blessing, verdict = standard_artifacts.Model(), standard_artifacts.ModelBlessing(), ModelVerdict()
        model.uri, verdict.uri = str(tmp_path / "model"), str(tmp_path / "verdict")
        blessing.set_int_custom_property("blessed", blessed)
        pushed = standard_artifacts.PushedModel()
        properties = {
            "store_path": str(tmp_path / "models"),
            "model_name": "shop",
            "run_id": "2026-11-15",
            "run_date": "2026-11-15",
        } | properties
        Executor(base_executor.BaseExecutor.Context(tmp_dir=str(tmp_path), unique_id="1")).Do(
            {"model": [model], "blessing": [blessing], "model_verdict": [verdict]},
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
    assert (record["baseline_version"], record["metrics"]) == (41, {"auc": 0.71})
    assert record["source_fingerprint"] == fingerprint("2026-11-15", saved_model_fingerprint(push.serving))
    assert (push.store.path_of(version) / "saved_model.pb").read_bytes() == b"graph"


def test_a_model_that_is_not_blessed_goes_nowhere_and_the_node_succeeds(push):
    pushed = push(0)
    assert pushed.get_int_custom_property("pushed") == 0
    assert not pushed.has_custom_property("pushed_version")
    assert not push.store.path.exists()


def test_pusher_of_the_same_run_gives_the_same_version_and_another_run_a_new_one(push):
    first, second, forced = push(1), push(1), push(1, run_id="2026-11-15-2")
    versions = [one.get_string_custom_property("pushed_version") for one in (first, second, forced)]
    assert versions[0] == versions[1] != versions[2]
    assert len(push.store.versions()) == 2


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
