"""Writes the files of an evaluation by TFMA's own converters, for `tfma.load_eval_result` and its like to read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf
import tensorflow_model_analysis as tfma
from google.protobuf import json_format
from google.protobuf.message import Message
from tensorflow_model_analysis.evaluators import metrics_validator
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.version import VERSION
from tensorflow_model_analysis.writers import eval_config_writer
from tensorflow_model_analysis.writers import metrics_plots_and_validations_writer as tfma_writer

from hivemill.components.evaluator.metrics import click_metrics
from hivemill.components.evaluator.one_machine.summaries import Summaries

_SHARD = "-00000-of-00001.tfrecord"


def write(folder: str, config: tfma.EvalConfig, model_paths: Mapping[str, str], summaries: Summaries) -> None:
    """Metrics, plots, attributions (none), validations and the EvalConfig of an evaluation, in `folder`."""
    config = tfma.utils.update_eval_config_with_defaults(config, has_baseline=len(model_paths) > 1)
    tf.io.gfile.makedirs(folder)
    metrics, plots = {}, {}
    for key, of_models in summaries.items():
        metrics[key], plots[key] = _metrics_and_plots(of_models)
    _write_records(folder, "metrics" + _SHARD, (_metrics_proto(one) for one in metrics.items()))
    _write_records(
        folder, "plots" + _SHARD, (tfma_writer.convert_slice_plots_to_proto(one, []) for one in plots.items())
    )
    _write_records(
        folder, "attributions" + _SHARD, (tfma_writer.convert_slice_attributions_to_proto((key, {})) for key in metrics)
    )
    _write_records(folder, "validations.tfrecord", [_validation(config, metrics)])
    _write_eval_config(folder, config, model_paths)


def _metrics_and_plots(of_models: Mapping[str, Any]) -> tuple[dict[Any, Any], dict[Any, Any]]:
    only = len(of_models) == 1  # TFMA does not name the model of an evaluation without a baseline
    metrics: dict[Any, Any] = {}
    for name, summary in of_models.items():
        metrics |= click_metrics.metrics_by_key(summary, "" if only else name)
    plots = {key: metrics.pop(key) for key in list(metrics) if isinstance(key, metric_types.PlotKey)}
    if not only:
        metrics |= {
            key.make_diff_key(): value - metrics[key.make_baseline_key(click_metrics.BASELINE)]
            for key, value in metrics.items()
            if key.model_name != click_metrics.BASELINE
        }
    return metrics, plots


def _metrics_proto(of_slice: tuple[Any, Any]) -> Message:
    return tfma_writer.convert_slice_metrics_to_proto(of_slice, [])


def _validation(config: tfma.EvalConfig, metrics: Mapping[Any, Any]) -> Message:
    combiner = tfma_writer.CombineValidations(config)
    result = combiner.create_accumulator()
    for of_slice in metrics.items():
        result = combiner.add_input(result, metrics_validator.validate_metrics(of_slice, config))
    return combiner.extract_output(result)


def _write_records(folder: str, name: str, messages: Iterable[Message]) -> None:
    with tf.io.TFRecordWriter(os.path.join(folder, name)) as writer:
        for message in messages:
            writer.write(message.SerializeToString())


def _write_eval_config(folder: str, config: tfma.EvalConfig, model_paths: Mapping[str, str]) -> None:
    run = config_pb2.EvalRun(
        eval_config=config,
        version=VERSION,
        data_location="<user provided PCollection>",
        file_format="<unknown>",
        model_locations=dict(model_paths) if len(model_paths) > 1 else {"": next(iter(model_paths.values()))},
    )
    name = f"{eval_config_writer.EVAL_CONFIG_FILE}.{eval_config_writer.EVAL_CONFIG_FILE_FORMAT}"
    with tf.io.gfile.GFile(os.path.join(folder, name), "w") as file:
        file.write(json_format.MessageToJson(run))
