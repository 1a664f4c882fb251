"""The click metrics as one TFMA metric, and the EvalConfig that asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import calibration_plot, metric_types, metric_util
from tensorflow_model_analysis.proto import metrics_for_slice_pb2

from hivemill.components.evaluator.extractors import GROUPS_KEY, USERS_KEY, SliceSpec
from hivemill.components.evaluator.metrics import bootstrap, click_summary

CANDIDATE, BASELINE = "candidate", "stable"
SIGNATURE = "serving_default"
REPLICATES_NAME = "bootstrap_replicates"  # float32[len(resampling.METRICS), replicates + 1]


def eval_config(label_column: str, specs: Sequence[SliceSpec], has_baseline: bool) -> tfma.EvalConfig:
    """What TFMA computes: a model, maybe a baseline, ClickMetrics on every slice; no thresholds: gates.py judges."""
    models = [_model_spec(CANDIDATE, label_column)]
    if has_baseline:
        models.append(_model_spec(BASELINE, label_column, is_baseline=True))
    metric = tfma.MetricConfig(class_name=ClickMetrics.__name__, module=ClickMetrics.__module__)
    return tfma.EvalConfig(
        model_specs=models,
        slicing_specs=[_slicing_spec(spec) for spec in specs],
        metrics_specs=[tfma.MetricsSpec(metrics=[metric], model_names=[model.name for model in models])],
    )


def _model_spec(name: str, label_column: str, is_baseline: bool = False) -> tfma.ModelSpec:
    return tfma.ModelSpec(
        name=name,
        model_type=tfma.constants.TF_GENERIC,
        signature_name=SIGNATURE,
        label_key=label_column,
        is_baseline=is_baseline,
    )


def _slicing_spec(spec: SliceSpec) -> tfma.SlicingSpec:
    return tfma.SlicingSpec(
        feature_keys=[column for column, value in spec.items() if value is None],
        feature_values={column: str(value) for column, value in spec.items() if value is not None},
    )


class ClickMetrics(tfma.metrics.Metric):
    """Every metric of `MetricName`, the counts of unusable rows, replicates and the calibration plot, in one pass."""

    def __init__(self, name: str = "click_metrics"):
        super().__init__(metric_util.merge_per_key_computations(_click_metrics), name=name)


def _click_metrics(name: str = "click_metrics", model_name: str = "") -> metric_types.MetricComputations:
    combiner = _SummaryCombineFn(model_name)
    inputs = metric_types.StandardMetricInputsPreprocessor(include_filter=[tfma.FEATURES_KEY])
    return [metric_types.MetricComputation(keys=combiner.keys(), preprocessors=[inputs], combiner=combiner)]


class _SummaryCombineFn(beam.CombineFn):
    """StandardMetricInputs of whole slices -> ClickSummary -> metrics by key."""

    def __init__(self, model_name: str):
        self._model_name = model_name

    def keys(self) -> list[metric_types.MetricKey]:
        return list(metrics_by_key(click_summary.empty_summary(), self._model_name))

    def create_accumulator(self) -> click_summary.ClickSummary:
        return click_summary.empty_summary()

    def add_input(
        self, accumulator: click_summary.ClickSummary, element: metric_types.StandardMetricInputs
    ) -> click_summary.ClickSummary:
        predictions = element.get_predictions(self._model_name)
        users, groups = (element[tfma.FEATURES_KEY].get(key) for key in (USERS_KEY, GROUPS_KEY))
        rows = click_summary.summarize(element.labels, predictions, users, groups)
        return click_summary.merge([accumulator, rows]) if accumulator.examples else rows

    def merge_accumulators(self, accumulators: Iterable[click_summary.ClickSummary]) -> click_summary.ClickSummary:
        return click_summary.merge(accumulators)

    def extract_output(self, accumulator: click_summary.ClickSummary) -> metric_types.MetricsDict:
        return metrics_by_key(accumulator, self._model_name)


def metrics_by_key(summary: click_summary.ClickSummary, model_name: str) -> metric_types.MetricsDict:
    """Every metric as TFMA keeps it, the replicates (float32) and the calibration plot under a PlotKey."""
    values: dict[str, Any] = dict(click_summary.metrics_of(summary))
    values[REPLICATES_NAME] = bootstrap.replicates(summary.groups).astype(np.float32)
    found = {metric_types.MetricKey(name=name, model_name=model_name): value for name, value in values.items()}
    plot_key = metric_types.PlotKey(name=calibration_plot.CALIBRATION_PLOT_NAME, model_name=model_name)
    return found | {plot_key: _calibration_plot(click_summary.calibration_bins(summary))}


def _calibration_plot(
    bins: Sequence[click_summary.CalibrationBin],
) -> metrics_for_slice_pb2.CalibrationHistogramBuckets:
    plot = metrics_for_slice_pb2.CalibrationHistogramBuckets()
    for each in bins:
        plot.buckets.add(
            lower_threshold_inclusive=each.lower,
            upper_threshold_exclusive=each.upper,
            num_weighted_examples={"value": each.examples},
            total_weighted_refined_prediction={"value": each.prediction_sum},
            total_weighted_label={"value": each.clicks},
        )
    return plot
