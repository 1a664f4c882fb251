"""Makes what ModelEvaluator needs: an eval split of tf.Examples and tiny SavedModels with the exported signature."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

SLOPE_FEATURE = "x"


def write_examples(folder: Path, columns: dict[str, list], rows: int) -> None:
    """Writes a GZIP TFRecord of one Split-eval; a column's None is a missing value."""
    import tensorflow as tf
    from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

    split = folder / "Split-eval"
    split.mkdir(parents=True)
    arrays = {name: _lists(values) for name, values in columns.items()}
    encoded = RecordBatchToExamplesEncoder().encode(pa.RecordBatch.from_pydict(arrays)) if rows else []
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(str(split / "data_tfrecord-00000-of-00001.gz"), options) as writer:
        for record in encoded:
            writer.write(record)


def _lists(values: list) -> pa.Array:
    rows = [None if v is None else v if isinstance(v, list) else [v] for v in values]
    rows = [None if row is None else [v.encode() if isinstance(v, str) else v for v in row] for row in rows]
    return pa.array(rows)


def save_model(folder: Path, slope: float = 1.0, offset: float = 0.0) -> None:
    """click_probability = sigmoid(slope * x + offset), from serialised examples, shape [batch, 1]."""
    import tensorflow as tf

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def serve(self, examples):
            parsed = tf.io.parse_example(examples, {SLOPE_FEATURE: tf.io.FixedLenFeature([1], tf.float32, 0.0)})
            return {"click_probability": tf.sigmoid(slope * parsed[SLOPE_FEATURE] + offset)}

    model = Model()
    tf.saved_model.save(model, str(folder / "Format-Serving"), signatures={"serving_default": model.serve})


def run_evaluator(
    folder: Path, gates, user_column: str | None = "user", baseline: Path | None = None, on_beam: bool = False
) -> dict:
    """Runs the executor on folder/examples and folder/model; returns its output artifacts and the verdict."""
    from tfx.dsl.components.base import base_beam_executor
    from tfx.types import standard_artifacts

    from hivemill.components.artifacts import ModelVerdict
    from hivemill.components.evaluator import executor
    from hivemill.components.evaluator.one_machine import executor as one_machine

    inputs = {
        "examples": [_artifact(standard_artifacts.Examples, folder / "examples")],
        "model": [_artifact(standard_artifacts.Model, folder / "model")],
    }
    inputs["examples"][0].split_names = '["eval"]'
    outputs = {
        "evaluation": [_artifact(standard_artifacts.ModelEvaluation, folder / "evaluation")],
        "blessing": [_artifact(standard_artifacts.ModelBlessing, folder / "blessing")],
        "verdict": [_artifact(ModelVerdict, folder / "verdict")],
    }
    properties = {
        "gates": gates.model_dump_json(),
        "label_column": "click",
        "user_column": user_column,
        "baseline_path": str(baseline / "Format-Serving") if baseline else None,
        "baseline_version": 7 if baseline else None,
    }
    context = base_beam_executor.BaseBeamExecutor.Context(
        make_beam_pipeline_fn=_pipeline, tmp_dir=str(folder / "tmp"), unique_id="1"
    )
    kind = executor.EvaluatorExecutor if on_beam else one_machine.OneMachineExecutor
    kind(context).Do(inputs, outputs, properties)
    verdict = json.loads((folder / "verdict" / "verdict.json").read_text())
    return {"verdict": verdict, "blessing": outputs["blessing"][0], "evaluation": outputs["evaluation"][0]}


def _pipeline():
    import apache_beam as beam

    return beam.Pipeline(runner="FnApiRunner")


def _artifact(kind, path: Path):
    artifact = kind()
    artifact.uri = str(path)
    path.mkdir(parents=True, exist_ok=True)
    return artifact


def click_log(rows: int, seed: int = 3) -> dict[str, np.ndarray]:
    """x ~ N(0, 1), click ~ sigmoid(1.2 x - 2), a user of 50, a device of 3, tags (an array), an hour."""
    random = np.random.default_rng(seed)
    x = random.normal(size=rows)
    return {
        "x": x.astype(np.float32),
        "click": (random.random(rows) < 1 / (1 + np.exp(2 - 1.2 * x))).astype(np.int64),
        "user": np.array([f"ü{i}" for i in random.integers(0, 50, rows)], object),
        "device": np.array(["ios", "android", "web"], object)[random.integers(0, 3, rows)],
        "hour": random.integers(0, 24, rows),
    }
