"""ModelEvaluator for real: TFX's executor, TFMA, Beam, SavedModels; metrics against NumPy on the same rows."""

import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow_model_analysis as tfma
from tfx.components.util import model_utils
from tfx.types import channel_utils, standard_artifacts

from hivemill.common import progress
from hivemill.common.errors import ConfigError, DataVerdictError, InfrastructureError
from hivemill.components.evaluator.component import ModelEvaluator
from hivemill.components.evaluator.executor import check_eval_rows
from hivemill.components.evaluator.gates import SliceMetrics, refusals
from hivemill.components.evaluator.metrics import click_summary
from hivemill.components.evaluator.options import Bound, GateOptions, SliceBound
from tests.components.evaluator import evaluator_kit as kit

ROWS = 6_000
GATES = GateOptions(
    slices=(("device",), ("device", "hour"), ("tags",)),
    slice_bounds=(SliceBound(slice={"device": "ios"}, metric="auc", bound=Bound(min=0.9)),),
)


@pytest.fixture(scope="module")
def log():
    columns = {name: list(values) for name, values in kit.click_log(ROWS).items()}
    columns["device"][:100] = [None] * 100
    columns["user"][50:150] = [None] * 100
    columns["tags"] = [[["new"], ["new", "été", "new"], [], None][i % 4] for i in range(ROWS)]
    return columns


@pytest.fixture(scope="module")
def with_baseline(log, tmp_path_factory):
    """One run, looked at by several tests: a calibrated candidate against a flatter, shifted baseline."""
    folder = tmp_path_factory.mktemp("evaluator")
    kit.write_examples(folder / "examples", log, ROWS)
    kit.save_model(folder / "model", slope=1.2, offset=-2.0)
    kit.save_model(folder / "stable", slope=-1.0, offset=-2.0)
    return kit.run_evaluator(folder, GATES, baseline=folder / "stable")


def probabilities(log, slope=1.2, offset=-2.0):
    return 1 / (1 + np.exp(-(slope * np.array(log["x"], np.float64) + offset)))


def expected_metrics(log, rows):
    users = np.array([0 if user is None else hash(user) % 2**32 + 1 for user in log["user"]], np.uint64)
    summary = click_summary.summarize(np.array(log["click"])[rows], probabilities(log)[rows], users[rows])
    return click_summary.metrics_of(summary)


def slices(run):
    return {tuple(sorted(part["slice"].items())): part for part in run["verdict"]["slices"]}


def assert_metrics(part, expected):
    for name, value in part["metrics"].items():
        assert value == pytest.approx(expected[name], rel=1e-4), name


def test_overall_metrics_are_those_of_the_rows(with_baseline, log):
    part = slices(with_baseline)[()]
    assert_metrics(part, expected_metrics(log, np.ones(ROWS, bool)))
    assert part["metrics"]["example_count"] == ROWS
    assert part["metrics"]["clicks"] == sum(log["click"])


def test_the_baseline_is_evaluated_on_the_same_rows(with_baseline, log):
    part = slices(with_baseline)[()]
    assert part["baseline_metrics"]["auc"] == pytest.approx(1 - part["metrics"]["auc"], abs=1e-4)
    assert part["baseline_metrics"]["clicks"] == part["metrics"]["clicks"]
    assert with_baseline["verdict"]["baseline_version"] == 7


def test_slices_of_one_column(with_baseline, log):
    devices = np.array(log["device"], object)
    for device in ("ios", "android", "web"):
        assert_metrics(slices(with_baseline)[(("device", device),)], expected_metrics(log, devices == device))


def test_slices_of_two_columns(with_baseline, log):
    rows = (np.array(log["device"], object) == "web") & (np.array(log["hour"]) == 7)
    assert_metrics(slices(with_baseline)[(("device", "web"), ("hour", 7))], expected_metrics(log, rows))


def test_a_row_is_in_the_slice_of_each_of_its_values_once(with_baseline, log):
    new = np.array([bool(tags) and "new" in tags for tags in log["tags"]])
    assert_metrics(slices(with_baseline)[(("tags", "new"),)], expected_metrics(log, new))
    assert slices(with_baseline)[(("tags", "été"),)]["metrics"]["example_count"] == ROWS / 4


def test_there_are_no_other_slices(with_baseline):
    assert len(slices(with_baseline)) == 1 + 3 + 3 * 24 + 2


def test_the_blessing_and_the_refusal(with_baseline):
    blessing = with_baseline["blessing"]
    assert not with_baseline["verdict"]["blessed"] and not model_utils.is_model_blessed(blessing)
    assert [path.name for path in Path(blessing.uri).iterdir()] == ["NOT_BLESSED"]
    (refusal,) = refusals(with_baseline["verdict"])
    assert refusal.startswith("auc on device=ios is 0.7") and refusal.endswith("must be >= 0.9")


def test_the_calibration_curve(with_baseline):
    curve = with_baseline["verdict"]["calibration_curve"]
    assert sum(point["examples"] for point in curve) == ROWS
    assert len(curve) == 10
    for point in curve:
        error = math.sqrt(point["mean_prediction"] * (1 - point["mean_prediction"]) / point["examples"])
        assert point["lower"] <= point["mean_prediction"] <= point["upper"]
        assert abs(point["click_rate"] - point["mean_prediction"]) < 4 * error


def test_tfma_loads_the_evaluation(with_baseline):
    result = tfma.load_eval_result(with_baseline["evaluation"].uri, model_name="candidate")
    metrics = dict(result.slicing_metrics)[()][""][""]
    overall = slices(with_baseline)[()]["metrics"]
    assert metrics["auc"]["doubleValue"] == pytest.approx(overall["auc"])


def test_num_rows_is_on_the_artifact(with_baseline):
    assert with_baseline["evaluation"].get_int_custom_property("num_rows") == ROWS


def test_our_metrics_agree_with_tfmas_own(log, tmp_path):
    """The same definitions, TFMA's accumulators (1,000 rows: they are slow)."""
    from tensorflow_model_analysis.metrics import metric_types

    rows = slice(0, 1_000)
    labels, predictions = np.array(log["click"], np.float64)[rows], probabilities(log)[rows]
    ours = click_summary.metrics_of(click_summary.summarize(labels, predictions))
    inputs = [
        metric_types.StandardMetricInputs(
            labels=np.array([y]), predictions=np.array([p]), example_weights=np.array([1.0])
        )
        for y, p in zip(labels, predictions, strict=True)
    ]
    for name, metric, tolerance in (
        ("auc", tfma.metrics.AUC(name="m"), 1e-3),
        ("calibration", tfma.metrics.Calibration(name="m"), 1e-6),
        ("logloss", tfma.metrics.BinaryCrossEntropy(name="m"), 1e-5),
    ):
        assert ours[name] == pytest.approx(_tfma_value(metric, inputs), abs=tolerance), name


def _tfma_value(metric, inputs):
    from tensorflow_model_analysis.metrics import metric_types

    values = {}
    for computation in metric.computations(eval_config=tfma.EvalConfig(), example_weighted=False):
        if isinstance(computation, metric_types.DerivedMetricComputation):
            values.update(computation.result(values))
        else:
            accumulator = computation.combiner.create_accumulator()
            for each in inputs:
                accumulator = computation.combiner.add_input(accumulator, each)
            values.update(computation.combiner.extract_output(accumulator))
    return next(float(value) for key, value in values.items() if key.name == "m")


def evaluate(folder, columns, gates=None, slope=1.2, offset=-2.0, **options):
    rows = len(next(iter(columns.values()))) if columns else 0
    kit.write_examples(folder / "examples", columns, rows)
    kit.save_model(folder / "model", slope, offset)
    return kit.run_evaluator(folder, gates or GateOptions(), **options)


def small(rows=400, **changes):
    return {name: list(values) for name, values in kit.click_log(rows).items()} | changes


def test_a_good_model_without_baseline_and_users_is_blessed(tmp_path):
    reports = []
    progress.listen(lambda done, total, unit: reports.append((done, total)))
    run = evaluate(tmp_path, small(3_000), user_column=None)
    progress.listen(None)
    assert reports == [(3_000, None), (3_000, 3_000)]
    assert run["verdict"]["blessed"] and model_utils.is_model_blessed(run["blessing"])
    assert [path.name for path in Path(run["blessing"].uri).iterdir()] == ["BLESSED"]
    (part,) = run["verdict"]["slices"]
    assert part["baseline_metrics"] is None and part["metrics"]["gauc"] is None
    assert part["metrics"]["auc"] > 0.7


def test_nan_predictions_refuse_the_model(tmp_path):
    run = evaluate(tmp_path, small(), slope=math.nan)
    assert not run["verdict"]["blessed"]
    assert refusals(run["verdict"])[0] == "400 predictions are NaN or outside 0..1, must be none"
    assert run["verdict"]["slices"][0]["metrics"]["auc"] is None


def test_an_eval_split_without_rows_is_an_error(tmp_path):
    with pytest.raises(DataVerdictError, match="the eval split has 0 rows"):
        evaluate(tmp_path, {})


def test_a_baseline_that_is_gone_is_named(tmp_path):
    with pytest.raises(InfrastructureError, match=r"gone/Format-Serving: there is no saved_model.pb; the stable model"):
        evaluate(tmp_path, small(), baseline=tmp_path / "gone")


def test_labels_that_are_no_labels_are_an_error(tmp_path):
    with pytest.raises(DataVerdictError, match="of 400 rows 1 have none and 1 another value"):
        evaluate(tmp_path, small(click=[5, None] + [0, 1] * 199))


@pytest.mark.parametrize("clicks", [0, 400])
def test_one_class_only_is_an_error_with_the_counts(clicks):
    counts = {"example_count": 400.0, "clicks": float(clicks), "missing_labels": 0.0, "bad_labels": 0.0}
    with pytest.raises(DataVerdictError, match=f"one class only: {clicks} clicks in 400 rows"):
        check_eval_rows([SliceMetrics({}, counts)], "click")


def test_a_bound_on_gauc_needs_a_user_column():
    channels = [channel_utils.as_channel([kind()]) for kind in (standard_artifacts.Examples, standard_artifacts.Model)]
    with pytest.raises(ConfigError, match=r"`gauc` needs the user"):
        ModelEvaluator(*channels, gates=GateOptions(metrics={"gauc": Bound(min=0.5)}), label_column="click")
    component = ModelEvaluator(*channels, gates=GateOptions(), label_column="click", user_column="user")
    assert set(component.outputs) == {"evaluation", "blessing", "verdict"}
