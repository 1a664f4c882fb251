"""One trial: a training with some options changed, in a process of its own. Resumes after a kill, as every training."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from hivemill.common import runtime

runtime.prepare_tensorflow()

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tensorflow_transform as tft  # noqa: E402
import tf_keras  # noqa: E402

from hivemill.common.errors import ConfigError, HivemillError  # noqa: E402
from hivemill.common.storage.atomic import write_json_atomically  # noqa: E402
from hivemill.components.trainer.input import InputSource, evaluation_batches  # noqa: E402
from hivemill.components.trainer.loop.checkpoint_storage import KeptCheckpoints  # noqa: E402
from hivemill.components.trainer.loop.history import TrainingHistory  # noqa: E402
from hivemill.components.trainer.loop.strategies import make_strategy  # noqa: E402
from hivemill.components.trainer.model.deepfm import RATES_KEY  # noqa: E402
from hivemill.components.trainer.option_changes import Values  # noqa: E402
from hivemill.components.trainer.run_fn import TrainingConfig, TrainingResult, fit  # noqa: E402
from hivemill.components.transform.layout import FieldLayout  # noqa: E402
from hivemill.components.tuner.judging import Predictions  # noqa: E402
from hivemill.components.tuner.pruning import is_hopeless  # noqa: E402

RESULT_JSON, CHECKS_JSON, PREDICTIONS = "result.json", "checks.json", "predictions.npz"
_BATCH_ROWS = 8192
_WATCH_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class TrialSpec:
    """What a process needs for one trial. `deadline` is of time.monotonic(); None: the trial trains to its end."""

    folder: Path
    values: Values
    train_files: tuple[str, ...]
    eval_files: tuple[str, ...]
    transform_output: str
    custom_config: dict[str, Any]
    is_config: bool
    deadline: float | None = None


def start_worker(parent: int, threads: int) -> None:
    """What a worker process does first: takes its share of the cores, and ends when its parent ends."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def run_trial(spec: TrialSpec) -> dict[str, Any]:
    """Trains, and writes checks.json, predictions.npz and, last, result.json to spec.folder; returns the result.

    A trial that has a result is not repeated. `state`: complete, pruned, failed (`error` says why: the training
    diverged), or out of time, which leaves its checkpoint and no result.
    """
    known = read(spec.folder / RESULT_JSON)
    if known is not None and known["values"] == spec.values:
        return known
    started = time.monotonic()
    tf_keras.backend.clear_session()  # of the trial that this process trained before
    watch = _Watch(spec)
    try:
        fitted = _fit(spec, watch)
    except ConfigError as error:
        return _ended(spec, started, {"state": "failed", "error": error.message, "checks": []})
    except tf.errors.ResourceExhaustedError as error:
        message = f"not enough memory: {str(error).splitlines()[0]}"
        return _ended(spec, started, {"state": "failed", "error": message, "checks": []})
    except HivemillError as error:  # the data's fault: every trial would end so
        return {"state": "refused", "kind": type(error).__name__, "error": error.message, "hint": error.hint}
    result, source = fitted
    if watch.state == "out of time":
        return {"state": "out of time", "values": spec.values, "checks": result.document["checks"]}
    predictions = predict(result, source)
    np.savez(spec.folder / PREDICTIONS, **dataclasses.asdict(predictions))
    best = result.document["best_check"]
    made = {
        "state": watch.state,
        "error": None,
        "val_logloss": predictions.logloss(),
        "val_auc": predictions.auc(),
        "best_epoch": result.document["checks"][best - 1]["epoch"],
        "num_parameters": result.document["num_parameters"],
        "checks": result.document["checks"],
    }
    return _ended(spec, started, made)


def predict(result: TrainingResult, source: InputSource) -> Predictions:
    """What the model says of the rows of `source`, with click rates as a server looks them up."""
    parts: list[tuple[Any, Any, Any]] = []
    apply = tf.function(lambda inputs: result.model(_with_rates(result, inputs), training=False), reduce_retracing=True)
    for inputs, labels, weights in evaluation_batches(source, _BATCH_ROWS):
        parts.append((tf.sigmoid(apply(inputs)).numpy(), labels.numpy(), weights.numpy()))
    columns = [np.concatenate(each)[:, 0].astype(np.float64) for each in zip(*parts, strict=True)]
    return Predictions(*columns)


def read(path: Path) -> Any | None:
    """The JSON document at `path`, or None where there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _with_rates(result: TrainingResult, inputs: dict[str, Any]) -> dict[str, Any]:
    return inputs if result.rates is None else {**inputs, RATES_KEY: result.rates(inputs)}


def _fit(spec: TrialSpec, watch: _Watch) -> tuple[TrainingResult, InputSource]:
    config = _config_of(spec)
    layout = FieldLayout.of(config.features)
    train, watched = InputSource.of(spec.train_files, layout), InputSource.of(spec.eval_files, layout)
    tf_keras.utils.set_random_seed(config.training.seed)
    kept = KeptCheckpoints(spec.folder / "checkpoints", None)
    transform_output = tft.TFTransformOutput(spec.transform_output)
    logs = spec.folder / "tensorboard"
    result = fit(config, transform_output, train, watched, make_strategy("none"), kept, logs, watch)
    return result, watched


def _config_of(spec: TrialSpec) -> TrainingConfig:
    config = TrainingConfig.of(spec.custom_config).changed(spec.values)
    return dataclasses.replace(config, training=config.training.model_copy(update={"strategy": "none"}))


class _Watch:
    """Looks at the training after each check: tells the other trials how far it is, and whether it should stop."""

    def __init__(self, spec: TrialSpec):
        self._spec, self.state = spec, "complete"

    def __call__(self, history: TrainingHistory) -> bool:
        spec = self._spec
        write_json_atomically(spec.folder / CHECKS_JSON, {"checks": history.checks, "ended": False})
        if spec.is_config:
            return False  # all others are compared with it
        # Earlier ones only: with one worker, a trial that is repeated after a kill ends as it did before.
        files = sorted(spec.folder.parent.glob(f"*/{CHECKS_JSON}"))
        rivals = [read(file) for file in files if file.parent.name < spec.folder.name]
        if is_hopeless(history.checks, rivals):
            self.state = "pruned"
        elif spec.deadline is not None and time.monotonic() >= spec.deadline:
            self.state = "out of time"
        return self.state != "complete"


def _ended(spec: TrialSpec, started: float, made: dict[str, Any]) -> dict[str, Any]:
    write_json_atomically(spec.folder / CHECKS_JSON, {"checks": made["checks"], "ended": True})
    document = {"values": spec.values, "seconds": round(time.monotonic() - started, 1), **made}
    write_json_atomically(spec.folder / RESULT_JSON, document)
    KeptCheckpoints(spec.folder / "checkpoints", None).remove()
    return document


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)
