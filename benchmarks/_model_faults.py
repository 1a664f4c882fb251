"""The model's side of `verdict_faults`: a small model a week, broken on purpose, judged by the Evaluator's node.

The model is a logistic regression on hashed values and a few crosses, as a SavedModel with the signature that a server
and the Evaluator ask. What is judged is real: TFX's executor, TFMA, bootstrap, gates, against the model of the week
before as `stable`. What is broken is the logit that a good model has found.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import scipy.sparse
import tensorflow as tf
from sklearn.linear_model import LogisticRegression
from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.types import standard_artifacts
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from hivemill.components.artifacts import ModelVerdict
from hivemill.components.evaluator.one_machine.executor import OneMachineExecutor
from hivemill.components.evaluator.options import GateOptions

GATES = GateOptions(slices=(("device",),))  # everything else as it is by default
_STRINGS = ("age_band", "gender", "city", "category", "brand", "device")
_INTEGERS = ("member_level", "position", "item_id")
_CROSSES = (("category", "gender"), ("category", "age_band"), ("position", "device"))
_BUCKETS = 1 << 15
_STRENGTH = 0.1  # inverse of L2: tried 0.03 to 1 on clean weeks, the AUC is the same within 0.002
_SAVED_MODEL = "Format-Serving"

Columns = Mapping[str, tf.Tensor]
Breaking = Callable[[tf.Tensor, Columns, float], tf.Tensor]
"""(logits [N], columns [N], mean logit) -> logits of the broken model."""


@dataclasses.dataclass(frozen=True)
class ModelFault:
    """`causes` are the right answers."""

    name: str
    breaking: Breaking
    causes: tuple[str, ...]


def _constant(logits: tf.Tensor, columns: Columns, mean: float) -> tf.Tensor:
    return tf.fill(tf.shape(logits), mean)


def _odds_raised(factor: float) -> Breaking:
    """As of a model that was trained on a sample of the negatives, and not corrected for it."""
    return lambda logits, columns, mean: logits + np.log(factor)


def _too_sure(logits: tf.Tensor, columns: Columns, mean: float) -> tf.Tensor:
    return mean + 2 * (logits - mean)


def _reversed(logits: tf.Tensor, columns: Columns, mean: float) -> tf.Tensor:
    return 2 * mean - logits


def _on_ios(breaking: Breaking) -> Breaking:
    return lambda logits, columns, mean: tf.where(columns["device"] == "ios", breaking(logits, columns, mean), logits)


MODEL_FAULTS = (
    ModelFault("constant prediction", _constant, ("constant_prediction",)),
    ModelFault("miscalibrated model: odds times 2.5", _odds_raised(2.5), ("miscalibrated",)),
    ModelFault("miscalibrated model: logits doubled", _too_sure, ("miscalibrated",)),
    ModelFault("one slice broken: iOS, odds times 4", _on_ios(_odds_raised(4.0)), ("slice_broken",)),
    ModelFault("one slice broken: iOS, order reversed", _on_ios(_reversed), ("slice_broken",)),
)


class WeeklyModel(tf.Module):
    """Fitted on `records` (serialised tf.Examples) and their labels."""

    def __init__(self, records: np.ndarray, labels: np.ndarray):
        super().__init__()
        ids_NF = self._ids(self._parsed(tf.constant(records))).numpy()
        places = np.arange(len(labels) + 1) * ids_NF.shape[1]
        design = scipy.sparse.csr_matrix((np.ones(ids_NF.size), ids_NF.ravel(), places), (len(labels), _BUCKETS))
        fitted = LogisticRegression(C=_STRENGTH, max_iter=100).fit(design, labels)
        self._weights = tf.constant(fitted.coef_[0], tf.float32)
        self._bias = tf.constant(fitted.intercept_[0], tf.float32)
        self._mean = float((design @ fitted.coef_[0] + fitted.intercept_[0]).mean())

    def save(self, folder: Path, breaking: Breaking | None = None) -> Path:
        """Writes the SavedModel, broken or not, below `folder` as the trainer does; returns `folder`."""

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def serve(examples: tf.Tensor) -> Columns:
            columns = self._parsed(examples)
            logits = tf.reduce_sum(tf.gather(self._weights, self._ids(columns)), axis=1) + self._bias
            logits = breaking(logits, columns, self._mean) if breaking else logits
            return {"click_probability": tf.sigmoid(logits)[:, tf.newaxis]}

        tf.saved_model.save(self, str(folder / _SAVED_MODEL), signatures={"serving_default": serve})
        return folder

    def _parsed(self, examples: tf.Tensor) -> Columns:
        spec = {name: tf.io.FixedLenFeature([], tf.string, "") for name in _STRINGS}
        spec |= {name: tf.io.FixedLenFeature([], tf.int64, -1) for name in _INTEGERS}
        return tf.io.parse_example(examples, spec | {"price": tf.io.FixedLenFeature([], tf.float32, 0.0)})

    def _ids(self, columns: Columns) -> tf.Tensor:
        """int64 [N, F] in [0, _BUCKETS)."""
        texts = {name: columns[name] for name in _STRINGS}
        texts |= {name: tf.strings.as_string(columns[name]) for name in _INTEGERS}
        texts["price"] = tf.strings.as_string(tf.cast(2 * tf.math.log1p(columns["price"]), tf.int64))
        texts |= {f"{a}x{b}": tf.strings.join([texts[a], texts[b]], "|") for a, b in _CROSSES}
        named = [tf.strings.join([name, text], "=") for name, text in texts.items()]
        return tf.stack([tf.strings.to_hash_bucket_fast(one, _BUCKETS) for one in named], axis=1)


class WeekOfExamples:
    """The days of a week as the Evaluator reads them, on disk: the last one is the eval split."""

    def __init__(self, days: Mapping[str, pa.Table], folder: Path):
        *train, last = (days[day] for day in sorted(days))
        self.folder, self._train = folder, pa.concat_tables(train)
        _write_split(folder / "Split-train", self._train)
        _write_split(folder / "Split-eval", last)

    def model(self) -> WeeklyModel:
        labels = self._train.column("click").combine_chunks().flatten()
        return WeeklyModel(_encoded(self._train), labels.to_numpy(zero_copy_only=False).astype(np.float64))


def model_verdict(week: WeekOfExamples, model: Path, stable: Path | None, folder: Path) -> dict[str, Any]:
    """The `model` section of the verdict, by the Evaluator's own executor in this process."""
    examples = _artifact(standard_artifacts.Examples, week.folder)
    examples.split_names = '["train", "eval"]'
    inputs = {"examples": [examples], "model": [_artifact(standard_artifacts.Model, model)]}
    kinds = {
        "evaluation": standard_artifacts.ModelEvaluation,
        "blessing": standard_artifacts.ModelBlessing,
        "verdict": ModelVerdict,
    }
    outputs = {name: [_artifact(kind, folder / name)] for name, kind in kinds.items()}
    properties = {
        "gates": GATES.model_dump_json(),
        "label_column": "click",
        "user_column": "user_id",
        "baseline_path": str(stable / _SAVED_MODEL) if stable else None,
        "baseline_version": 1 if stable else None,
    }
    context = base_beam_executor.BaseBeamExecutor.Context(
        make_beam_pipeline_fn=lambda: beam.Pipeline(runner="FnApiRunner"), tmp_dir=str(folder / "tmp"), unique_id="1"
    )
    OneMachineExecutor(context).Do(inputs, outputs, properties)
    return json.loads((folder / "verdict" / "verdict.json").read_text(encoding="utf-8"))


def _write_split(folder: Path, rows: pa.Table) -> None:
    folder.mkdir(parents=True)
    options = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)
    with tf.io.TFRecordWriter(str(folder / "data_tfrecord-00000-of-00001.gz"), options) as writer:
        for record in _encoded(rows):
            writer.write(record)


def _encoded(rows: pa.Table) -> np.ndarray:
    encoder = RecordBatchToExamplesEncoder()
    return np.array([row for batch in rows.to_batches() for row in encoder.encode(batch)], object)


def _artifact(kind: type[types.Artifact], path: Path) -> types.Artifact:
    artifact = kind()
    artifact.uri = str(path)
    path.mkdir(parents=True, exist_ok=True)
    return artifact
