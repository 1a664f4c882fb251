"""The whole pipeline on a small log: local and Beam, again, refused, and with what can be wrong with its input."""

import json
import re
import subprocess
import sys

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from hivemill.pipeline.documents import verdict
from hivemill.pipeline.root import lock
from tests.pipeline.shop import RUN_DATE, document, hivemill, make_shop, only_run, rewrite_column, tree

NODES = [
    "HiveLogExampleGen",
    "StatisticsGen",
    "SchemaGen",
    "ExampleValidator",
    "DataVerdict",
    "Transform",
    "Trainer",
    "Evaluator",
    "ServingCheck",
    "Pusher",
]


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A finished local run; tests below read it and add runs of their own."""
    config = make_shop(tmp_path_factory.mktemp("local"))
    assert hivemill(config, "run", "--date", RUN_DATE) == 0
    return config


@pytest.fixture(scope="module")
def local_run(local):
    return only_run(local)


def test_every_node_ran_and_says_what_it_cost(local_run):
    record = document(local_run, "run.json")
    assert [node["node_id"] for node in record["nodes"]] == NODES
    assert {node["state"] for node in record["nodes"]} == {"succeeded"}
    assert all(node["peak_memory_bytes"] > 2**20 and node["seconds"] > 0 for node in record["nodes"])
    assert all(node["cpu_seconds"] > 0 and node["output_bytes"] is not None for node in record["nodes"])
    manifest = document(local_run, "manifest.json")
    rows = {node["node_id"]: node["rows"] for node in record["nodes"]}
    assert rows["HiveLogExampleGen"] == rows["Transform"] == sum(manifest["num_rows"].values()) > 7_000
    assert rows["Evaluator"] == manifest["num_rows"]["eval"] and rows["Pusher"] is None


def test_days_are_split_by_time(local_run):
    assert document(local_run, "manifest.json")["window"] == {
        "train": ["2026-11-12", "2026-11-13"],
        "validation": ["2026-11-14"],
        "eval": ["2026-11-15"],
    }


def test_verdict_has_metrics_of_whole_and_slices(local_run):
    made = document(local_run, "verdict.json")
    data, model = made["data"], made["model"]
    assert (made["exit_code"], model["blessed"], made["trend"]) == (0, True, [])
    assert "dt" not in [finding["feature"] for finding in data["findings"]]  # a new date is no new value
    # Which findings there are depends on the days (a brand that training lacks) and on luck of the training; what
    # follows from them does not.
    assert data["colour"] == ("amber" if data["findings"] else "green")
    assert made["colour"] == ("amber" if data["findings"] or model["findings"] else "green")
    judged = {"data": data, "model": model, "model_version": model["version"], "serving": made["serving"]}
    assert verdict.assemble(document(local_run, "run.json"), judged, error=None) == made
    whole = next(s for s in model["slices"] if s["slice"] == {})
    assert 0.5 < whole["metrics"]["auc"] < 0.9
    assert {"device"} in [set(s["slice"]) for s in model["slices"]]
    assert sum(b["examples"] for b in model["calibration_curve"]) == whole["metrics"]["example_count"]


def test_version_is_in_the_store_as_stable_and_predicts_in_a_process_with_tensorflow_alone(local, local_run):
    version = document(local_run, "run.json")["model_version"]
    store = local.parent / "root" / "models" / "shop"
    assert json.loads((store / "labels.json").read_text())["labels"] == {"stable": version}
    code = f"""
import sys, tensorflow as tf
model = tf.saved_model.load({str(store / str(version))!r})
example = tf.train.Example()
example.features.feature["item_id"].int64_list.value.append(7)
out = model.signatures["serving_default"](examples=tf.constant([example.SerializeToString(), b""]))
p = out["click_probability"].numpy()
assert p.shape == (2, 1) and ((0 < p) & (p < 1)).all(), p
assert "tfx" not in sys.modules and "tensorflow_transform" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=local.parent, check=True)


def test_the_pushed_version_answers_its_own_warm_up_requests(local, local_run):
    """As a server does before it says AVAILABLE: rows of the eval split, by both signatures."""
    version = document(local_run, "run.json")["model_version"]
    folder = str(local.parent / "root" / "models" / "shop" / str(version))
    model, asked = tf.saved_model.load(folder), []
    for record in tf.data.TFRecordDataset(folder + "/assets.extra/tf_serving_warmup_requests").as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        answer = model.signatures[request.model_spec.signature_name](**inputs)["click_probability"].numpy()
        assert request.model_spec.name == "shop" and ((answer > 0) & (answer < 1)).all()
        asked.append((request.model_spec.signature_name, len(answer)))
    assert asked == [(name, rows) for name in ("serving_default", "predict") for rows in (1, 8, 55)]


def test_report_page_and_curves_are_there(local_run):
    page = (local_run / "report.html").read_text(encoding="utf-8")
    assert "2026-11-15" in page and "http://" not in page.replace("http://www.w3.org", "")
    assert len(document(local_run, "history.json")["checks"]) == 2
    assert list((local_run / "tensorboard").rglob("events.out.tfevents.*"))
    projector = local_run / "tensorboard" / "train" / "projector_config.pbtxt"
    named = re.findall(r'(?:tensor|metadata)_path: "(.*)"', projector.read_text())
    assert named and all((projector.parent / name).stat().st_size for name in named)


def test_second_run_of_the_same_inputs_does_nothing_and_says_so(local, local_run, capsys):
    before = tree(local.parent / "root")
    assert hivemill(local, "run", "--date", RUN_DATE) == 0
    assert "Nothing to do" in capsys.readouterr().err
    assert tree(local.parent / "root") == before


def test_beam_runner_gives_the_same_manifest_data_and_metrics(local_run, tmp_path):
    config = make_shop(tmp_path)
    assert hivemill(config, "run", "--date", RUN_DATE, "--runner", "beam") == 0
    run = only_run(config)
    assert [node["node_id"] for node in document(run, "run.json")["nodes"]] == NODES
    assert _comparable(document(run, "manifest.json")) == _comparable(document(local_run, "manifest.json"))
    ours, theirs = (document(folder, "verdict.json")["model"]["slices"] for folder in (run, local_run))
    assert [s["slice"] for s in ours] == [s["slice"] for s in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["metrics"] == pytest.approx(other["metrics"], rel=1e-5, nan_ok=True)


def _comparable(manifest: dict) -> dict:
    """The two shops lie in two folders and were written at two times; all else must be equal."""
    partitions = [
        {k: p[k] for k in ("split", "partition", "rows", "bytes")} | {"files": [f["bytes"] for f in p["files"]]}
        for p in manifest["partitions"]
    ]
    return {k: manifest[k] for k in ("window", "num_rows", "missing", "late", "date")} | {"partitions": partitions}


def test_refused_model_ends_with_5_names_the_bound_and_leaves_the_store_alone(local, local_run, capsys):
    store = local.parent / "root" / "models"
    before = tree(store)
    words = ["--set", "gates.metrics.auc.min=0.99", "run", "--date", RUN_DATE]
    assert hivemill(local, *words) == 5
    error = capsys.readouterr().err
    assert "auc" in error and "0.99" in error
    assert tree(store) == before
    again = hivemill(local, *words)
    assert again == 5 and "Nothing to do" in capsys.readouterr().err


def test_second_run_at_the_same_time_ends_with_7(local, local_run, capsys):
    with lock.run_lock(local.parent / "root", "another"):
        assert hivemill(local, "run", "--date", RUN_DATE) == 7
    assert "another" in capsys.readouterr().err


def test_missing_day_ends_with_3_before_any_cost(local, local_run, capsys):
    before = tree(local.parent / "root")
    assert hivemill(local, "plan", "--date", "2026-11-17") == 3
    assert "Not ready" in capsys.readouterr().out
    assert hivemill(local, "run", "--date", "2026-11-17") == 3
    error = capsys.readouterr().err
    assert "2026-11-16" in error and "2026-11-17" in error
    assert tree(local.parent / "root") == before


@pytest.mark.parametrize(
    ("values", "words"),
    [([0, 1, 2], "click"), ([0], "click"), ([None, 1, 0], "click")],
    ids=["label 2", "one class", "label missing"],
)
def test_label_that_is_no_click_ends_with_4_and_pushes_nothing(tmp_path, capsys, values, words):
    config = make_shop(tmp_path, rows_per_day=300)
    for day in ("2026-11-12", "2026-11-13", "2026-11-14", "2026-11-15"):
        rewrite_column(tmp_path, day, "click", values)
    assert hivemill(config, "run", "--date", RUN_DATE) == 4
    assert words in capsys.readouterr().err
    run = only_run(config)
    made = document(run, "verdict.json")
    assert (made["colour"], made["data"]["colour"], made["model"]) == ("red", "red", None)
    assert any(finding["feature"] == "click" for finding in made["data"]["findings"])
    states = {node["node_id"]: node["state"] for node in document(run, "run.json")["nodes"]}
    assert (states["DataVerdict"], states["Transform"], states["Pusher"]) == ("failed", "skipped", "skipped")
    assert not (tmp_path / "root" / "models" / "shop").exists()
    assert "click" in (run / "report.html").read_text(encoding="utf-8")


def test_column_that_the_table_lacks_ends_with_2_and_names_the_nearest(local, local_run, capsys):
    assert hivemill(local, "run", "--date", RUN_DATE, "--set", "features.prise={type: numeric}") == 2
    error = capsys.readouterr().err
    assert "prise" in error and "price" in error
