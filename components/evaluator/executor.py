"""Executor of ModelEvaluator: one TFMA run over the eval split, then the gates, then the blessing.

This one runs on Beam, for Flink, Spark and Dataflow. On one machine `one_machine.executor` takes its place.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma
from absl import logging
from tfx import types
from tfx.components.evaluator import constants
from tfx.components.util import tfxio_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from hivemill.common import progress
from hivemill.common.errors import DataVerdictError, InfrastructureError
from hivemill.common.storage import object_store, urls
from hivemill.common.storage.atomic import json_text, write_json_atomically
from hivemill.components.artifacts import NUM_ROWS_PROPERTY, SAMPLED_NEGATIVES_PROPERTY
from hivemill.components.evaluator import (
    example_sample,
    extractors,
    gates,
    importance,
    tfma_results,
)
from hivemill.components.evaluator.metrics import bootstrap, click_metrics, comparison
from hivemill.components.evaluator.options import GateOptions, MetricName, ReferenceOptions
from hivemill.components.evaluator.references import compare
from hivemill.components.evaluator.references.transformed import Rows, predict

EVAL_SPLIT, TRAIN_SPLIT, VALIDATION_SPLIT = "eval", "train", "validation"
VERDICT_FILE = "verdict.json"
BATCH_ROWS = 4096
MIN_ROWS_OF_CURVE = 1000  # a slice's calibration by decile is told from here on


@dataclasses.dataclass(frozen=True)
class Predicted:
    """What an evaluation has at hand for the comparison with reference models."""

    model: Any  # the candidate's SavedModel, loaded
    rows: Rows  # at most ReferenceOptions.eval_rows, spread over the eval split
    predictions: np.ndarray  # float64, of these rows


class EvaluatorExecutor(base_beam_executor.BaseBeamExecutor):
    """Inputs examples, model; outputs evaluation, blessing, verdict. Raises DataVerdictError (check_eval_rows)."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        self._log_startup(input_dict, output_dict, exec_properties)
        options = GateOptions.model_validate_json(exec_properties["gates"])
        evaluation = artifact_utils.get_single_instance(output_dict["evaluation"])
        label_column = exec_properties["label_column"]
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        paths = _model_paths(input_dict, exec_properties)
        specs = extractors.slice_specs(options)
        config = click_metrics.eval_config(label_column, specs, len(paths) > 1)
        predicted = self._evaluate(examples, paths, specs, config, evaluation.uri, options, exec_properties)
        slices = tfma_results.load_slices(evaluation.uri)
        check_eval_rows(slices, label_column)
        section = model_section(
            options,
            slices,
            tfma_results.load_calibration_curves(evaluation.uri),
            exec_properties.get("baseline_version"),
            besides(input_dict, options, label_column, predicted),
            "users" if exec_properties.get("user_column") else "rows",
        )
        _write_verdict(section, slices, output_dict)
        _write_blessing(section["blessed"], input_dict, output_dict, exec_properties)

    def _evaluate(
        self,
        examples: types.Artifact,
        paths: Mapping[str, str],
        specs: Sequence[extractors.SliceSpec],
        config: tfma.EvalConfig,
        output_path: str,
        options: GateOptions,
        exec_properties: dict[str, Any],
    ) -> Predicted | None:
        """Writes TFMA's files to `output_path`. `paths` are those of the SavedModels by name, the candidate first."""
        models = [_shared_model(name, path, config) for name, path in paths.items()]
        extractors.rows_predicted = 0
        rows = _eval_examples(examples)
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "ReadEvalSplit" >> rows.BeamSource(batch_size=BATCH_ROWS)
                | "Evaluate"
                >> tfma.ExtractEvaluateAndWriteResults(
                    eval_shared_model=models if len(models) > 1 else models[0],
                    eval_config=config,
                    extractors=extractors.batch_extractors(
                        config, models, exec_properties["label_column"], exec_properties.get("user_column"), specs
                    ),
                    output_path=output_path,
                )
            )
        return None


def check_eval_rows(slices: list[gates.SliceMetrics], label_column: str) -> None:
    """Raises DataVerdictError where the eval split has no rows, one class only, or labels that are neither 0 nor 1."""
    if not slices:
        raise _no_rows()
    counts = slices[0].metrics
    rows, clicks = int(counts["example_count"] or 0), int(counts["clicks"] or 0)
    missing, bad = int(counts["missing_labels"] or 0), int(counts["bad_labels"] or 0)
    if missing or bad:
        raise DataVerdictError(
            f"label `{label_column}` must be 0 or 1 in every row of the eval split; of {rows:,} rows {missing:,} "
            f"have none and {bad:,} another value",
            hint="Correct the label column of the table, or name the right one in `label.column`.",
        )
    if clicks in (0, rows):
        raise DataVerdictError(
            f"the eval split has one class only: {clicks:,} clicks in {rows:,} rows; no model can be judged by it",
            hint="Widen window.eval_days, or check that clicks had arrived when the partitions were written.",
        )


def model_section(
    options: GateOptions,
    slices: list[gates.SliceMetrics],
    calibration_curves: dict[tuple, list[dict[str, Any]]],
    baseline_version: int | None,
    beside: dict[str, Any] | None = None,
    unit: str = "rows",
) -> dict[str, Any]:
    """The `model` section of a run's verdict.json; `version` is filled in after the push.

    `beside` is that of `besides`; `unit` what the bootstrap draws, users or rows.
    """
    beside = beside or {"references": None, "importance": None, "problem": None}
    bounds = [*gates.judge(options, slices), *compare.bounds(beside["references"], options.references)]
    rows_of = {gates.slice_key(part.slice): part.metrics.get("example_count") or 0.0 for part in slices}
    found = gates.findings(bounds, rows_of.get((), 0.0), rows_of)
    return {
        "blessed": gates.is_blessed(bounds),
        "version": None,
        "baseline_version": baseline_version,
        "findings": found,
        "bounds": bounds,
        "bootstrap": {"unit": unit, "level": bootstrap.LEVEL, "replicates": bootstrap.REPLICATES},
        "slices": [_slice(part, calibration_curves) for part in slices],
        "calibration_curve": calibration_curves.get((), []),
        **beside,
    }


def _slice(part: gates.SliceMetrics, calibration_curves: dict[tuple, list[dict[str, Any]]]) -> dict[str, Any]:
    has_baseline = part.baseline_metrics is not None
    both = (part.metrics, part.replicates, part.baseline_metrics, part.baseline_replicates)
    is_big = (part.metrics.get("example_count") or 0) >= MIN_ROWS_OF_CURVE
    return {
        "slice": dict(part.slice),
        "metrics": _named(part.metrics),
        "intervals": comparison.intervals(part.metrics, part.replicates),
        "baseline_metrics": _named(part.baseline_metrics) if has_baseline else None,
        "differences": comparison.differences(*both) if has_baseline else None,
        "calibration_curve": calibration_curves.get(gates.slice_key(part.slice), []) if is_big else [],
    }


def besides(
    input_dict: dict[str, list[types.Artifact]],
    options: GateOptions,
    label_column: str,
    predicted: Predicted | None = None,
) -> dict[str, Any]:
    """{references, importance, problem}: what is told beside the gates. It judges nothing, so its failure is told too
    (`problem`), and ends no run."""
    made: dict[str, Any] = {"references": None, "importance": None, "problem": None}
    try:
        _look_beside(made, input_dict, options.references, label_column, predicted)
    except Exception as error:
        logging.exception("The references and the importance of columns could not be computed.")
        made["problem"] = f"{type(error).__name__}: {error}"[:500]
    return made


def _look_beside(
    made: dict[str, Any],
    input_dict: dict[str, list[types.Artifact]],
    options: ReferenceOptions,
    label_column: str,
    predicted: Predicted | None,
) -> None:
    artifact = artifact_utils.get_single_instance(input_dict["examples"])
    splits = artifact_utils.decode_split_names(artifact.split_names)
    seen = predicted or _predicted(input_dict, _sample(artifact, EVAL_SPLIT, options.eval_rows, label_column))
    wanted = max(options.train_rows, options.boosted_trees_rows if options.boosted_trees else 0)
    train = _sample(artifact, TRAIN_SPLIT, wanted, label_column) if TRAIN_SPLIT in splits else None
    if train is not None and all(len(np.unique(rows[1])) == 2 for rows in (train, seen.rows)):
        watched = options.eval_rows if options.boosted_trees and VALIDATION_SPLIT in splits else 0
        samples = compare.Samples(
            train,
            _sample(artifact, VALIDATION_SPLIT, watched, label_column) if watched else None,
            seen.rows,
            artifact.get_float_custom_property(SAMPLED_NEGATIVES_PROPERTY) or 1.0,
        )
        made["references"] = compare.compare(seen.model, samples, seen.predictions, options)
    if len(seen.rows[1]):
        made["importance"] = importance.importance(seen.model, seen.rows, options.importance_predictions)


def _predicted(input_dict: dict[str, list[types.Artifact]], rows: Rows) -> Predicted:
    uri = artifact_utils.get_single_instance(input_dict["model"]).uri
    model = tf.saved_model.load(path_utils.serving_model_path(uri))
    return Predicted(model, rows, predict(model, rows[0]))


def _sample(artifact: types.Artifact, split: str, rows: int, label_column: str) -> Rows:
    uri = artifact_utils.get_split_uris([artifact], split)[0]
    num_rows = artifact.get_int_custom_property(f"{NUM_ROWS_PROPERTY}_{split}")
    return example_sample.sample_rows(uri, rows, label_column, num_rows)


def _named(values: gates.Metrics) -> dict[str, float | None]:
    return {name: values.get(name) for name in get_args(MetricName)}


def _no_rows() -> DataVerdictError:
    return DataVerdictError(
        "the eval split has 0 rows; no model can be judged by it",
        hint="Check the partitions of the last window.eval_days days (`hivemill plan --date D`).",
    )


def _model_paths(input_dict: dict[str, list[types.Artifact]], exec_properties: dict[str, Any]) -> dict[str, str]:
    """SavedModel folders: the candidate, and `stable` where there is one. Raises InfrastructureError if one is gone."""
    model = artifact_utils.get_single_instance(input_dict["model"])
    paths = {click_metrics.CANDIDATE: path_utils.serving_model_path(model.uri)}
    if exec_properties.get("baseline_path"):
        paths[click_metrics.BASELINE] = exec_properties["baseline_path"]
    for name, path in paths.items():
        if not fileio.exists(os.path.join(path, "saved_model.pb")):
            raise InfrastructureError(
                f"{path}: there is no saved_model.pb; the {name} model cannot be evaluated",
                hint="See `hivemill models`: point the label to a version that is there, or restore this one.",
            )
    return paths


def eval_split(examples: types.Artifact) -> str:
    """The folder of the eval split's files. Raises DataVerdictError where there are none."""
    uri = artifact_utils.get_split_uris([examples], EVAL_SPLIT)[0]
    if not fileio.exists(uri) or not fileio.listdir(uri):
        raise _no_rows()
    return uri


def _eval_examples(examples: types.Artifact) -> Any:
    factory = tfxio_utils.get_tfxio_factory_from_artifact(
        examples=[examples],
        telemetry_descriptors=["ModelEvaluator"],  # names Beam counters; nothing is sent
        raw_record_column_name=tfma.constants.ARROW_INPUT_COLUMN,
    )
    return factory(io_utils.all_files_pattern(eval_split(examples)))


def _shared_model(name: str, path: str, config: tfma.EvalConfig) -> tfma.types.EvalSharedModel:
    return tfma.default_eval_shared_model(eval_saved_model_path=path, model_name=name, eval_config=config)


def _write_verdict(
    section: dict[str, Any], slices: list[gates.SliceMetrics], output_dict: dict[str, list[types.Artifact]]
) -> None:
    verdict = artifact_utils.get_single_instance(output_dict["verdict"])
    _write_json(os.path.join(verdict.uri, VERDICT_FILE), section)
    rows = int(slices[0].metrics["example_count"] or 0)
    for output in ("evaluation", "verdict"):
        artifact_utils.get_single_instance(output_dict[output]).set_int_custom_property("num_rows", rows)
    progress.report(rows, rows)


def _write_json(place: str, document: dict[str, Any]) -> None:
    """A file or, where no executor stages the artifacts, an object of a store: both appear as a whole."""
    if urls.is_url(place):
        object_store.write_bytes(place, json_text(document).encode("utf-8"))
    else:
        write_json_atomically(place, document)


def _write_blessing(
    blessed: bool,
    input_dict: dict[str, list[types.Artifact]],
    output_dict: dict[str, list[types.Artifact]],
    exec_properties: dict[str, Any],
) -> None:
    """Files and properties as TFX's own Evaluator writes them, so that Cond and other pushers understand."""
    blessing = artifact_utils.get_single_instance(output_dict["blessing"])
    model = artifact_utils.get_single_instance(input_dict["model"])
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    if exec_properties.get("baseline_path"):
        blessing.set_string_custom_property(
            constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, exec_properties["baseline_path"]
        )
    name = constants.BLESSED_FILE_NAME if blessed else constants.NOT_BLESSED_FILE_NAME
    io_utils.write_string_file(os.path.join(blessing.uri, name), "")
    value = constants.BLESSED_VALUE if blessed else constants.NOT_BLESSED_VALUE
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, value)
    logging.info("Model %s.", "blessed" if blessed else "not blessed")
