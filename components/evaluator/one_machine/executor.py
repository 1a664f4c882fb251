"""Executor of ModelEvaluator on one machine: one batched pass over the eval split, then arrays, without Beam.

Beam's part of the work was mostly Beam: building and translating TFMA's pipeline, and moving rows between its stages.
Distributed runners keep it (pipeline/dag.py); docs/decisions/0094 has the measurements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_model_analysis as tfma
from tfx import types

from hivemill.common.errors import InfrastructureError
from hivemill.components.evaluator import executor, extractors
from hivemill.components.evaluator.metrics import click_metrics
from hivemill.components.evaluator.one_machine import tfma_files
from hivemill.components.evaluator.one_machine.rows import predict_rows
from hivemill.components.evaluator.one_machine.summaries import summaries_by_slice
from hivemill.components.evaluator.options import GateOptions


class OneMachineExecutor(executor.EvaluatorExecutor):
    """The same artifacts as the Beam executor's, in TFMA's own files."""

    def _evaluate(
        self,
        examples: types.Artifact,
        paths: Mapping[str, str],
        specs: Sequence[extractors.SliceSpec],
        config: tfma.EvalConfig,
        output_path: str,
        options: GateOptions,
        exec_properties: dict[str, Any],
    ) -> executor.Predicted:
        folder = executor.eval_split(examples)
        models = {name: _loaded(name, path) for name, path in paths.items()}
        seen = predict_rows(
            models,
            folder,
            exec_properties["label_column"],
            exec_properties.get("user_column"),
            sorted({column for spec in specs for column in spec}),
            options.references.eval_rows,
        )
        tfma_files.write(output_path, config, paths, summaries_by_slice(seen.frames, specs))
        return executor.Predicted(models[click_metrics.CANDIDATE], *seen.sample.taken())


def _loaded(name: str, path: str) -> Any:
    model = tf.saved_model.load(path)
    if click_metrics.SIGNATURE not in model.signatures:
        raise InfrastructureError(
            f"{path}: the {name} model has no signature `{click_metrics.SIGNATURE}`, only {sorted(model.signatures)}",
            hint="See `hivemill models`: point the label to a version that Hivemill exported.",
        )
    return model
