"""`run_fn` for TFX's Trainer: trains on the declared features, goes on after a kill, exports one SavedModel."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
import tf_keras

from hivemill.common.storage.atomic import fingerprint, write_json_atomically
from hivemill.components.features import FeatureSet
from hivemill.components.tfx_io.staged_executor import true_place
from hivemill.components.trainer import signatures
from hivemill.components.trainer.input import InputSource, count_rows, evaluation_batches
from hivemill.components.trainer.loop.checkpoint_storage import KeptCheckpoints, kept_at
from hivemill.components.trainer.loop.checkpoints import TrainingCheckpoints
from hivemill.components.trainer.loop.monitoring import TensorBoardLog
from hivemill.components.trainer.loop.optimizers import make_optimizer
from hivemill.components.trainer.loop.steps import TrainingSteps
from hivemill.components.trainer.loop.strategies import is_chief, lost_workers_told, make_strategy
from hivemill.components.trainer.loop.training_loop import Schedule, train
from hivemill.components.trainer.model.deepfm import DeepFM
from hivemill.components.trainer.model.embedding_views import EmbeddingViews
from hivemill.components.trainer.model.fields import model_fields
from hivemill.components.trainer.model.networks import make_network
from hivemill.components.trainer.model.sampling_correction import NegativeSample
from hivemill.components.trainer.options import ModelOptions, TrainingOptions
from hivemill.components.transform.layout import FieldLayout


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """What TFX's `custom_config` carries."""

    features: FeatureSet
    model: ModelOptions
    training: TrainingOptions
    checkpoints: str | None
    code: str
    sample: NegativeSample | None = None

    @classmethod
    def of(cls, custom_config: Mapping[str, Any]) -> TrainingConfig:
        checkpoints = custom_config.get("checkpoints")
        sample = custom_config.get("sample")
        return cls(
            features=FeatureSet.model_validate_json(custom_config["features"]),
            model=ModelOptions.model_validate_json(custom_config["model"]),
            training=TrainingOptions.model_validate_json(custom_config["training"]),
            checkpoints=checkpoints,
            code=custom_config.get("code", ""),
            sample=NegativeSample.model_validate_json(sample) if sample else None,
        )


def run_fn(fn_args: Any) -> None:
    """Trains on fn_args.train_files, stops early on fn_args.eval_files (none: no early stopping), exports the model.

    Reads fn_args.transform_output and fn_args.custom_config (`TrainingConfig`); writes the SavedModel to
    fn_args.serving_model_dir, history.json and TensorBoard's events to fn_args.model_run_dir. Raises DataNotReadyError
    without training rows, DataVerdictError or ConfigError when the loss is not a number.
    """
    config = TrainingConfig.of(fn_args.custom_config)
    layout = FieldLayout.of(config.features)
    train_source = InputSource.of(fn_args.train_files, layout)
    eval_source = InputSource.of(fn_args.eval_files or [], layout)
    tf_keras.utils.set_random_seed(config.training.seed)
    transform_output = tft.TFTransformOutput(fn_args.transform_output)
    strategy = make_strategy(config.training.strategy)
    logs = Path(fn_args.model_run_dir)
    with kept_at(_checkpoint_place(config, fn_args, train_source, eval_source)) as kept:
        with lost_workers_told(strategy):
            result = fit(config, transform_output, train_source, eval_source, strategy, kept, logs)
        if is_chief(strategy):
            folder_of_model = fn_args.serving_model_dir
            signatures.export(result.model, transform_output, config.features, folder_of_model, config.sample)
            write_json_atomically(logs / "history.json", result.document)
            kept.remove()


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    model: DeepFM
    document: dict[str, Any]


def fit(
    config: TrainingConfig,
    transform_output: tft.TFTransformOutput,
    train_source: InputSource,
    eval_source: InputSource,
    strategy: tf.distribute.Strategy,
    kept: KeptCheckpoints,
    log_folder: Path,
) -> TrainingResult:
    """The training itself, without export: the model with the weights of the best epoch, and what history.json says."""
    options = config.training
    num_rows = count_rows(train_source, "train")
    schedule = Schedule.of(options, num_rows, strategy.num_replicas_in_sync)
    with strategy.scope():
        model = make_network(model_fields(config.features, config.model, transform_output), config.model)
        steps = TrainingSteps(model, make_optimizer(options), strategy)
        steps.build(train_source)
    checkpoints = TrainingCheckpoints(kept.folder, steps, is_chief(strategy), kept.put)
    validation = evaluation_batches(eval_source, options.batch_size) if eval_source.files else None
    views = EmbeddingViews(model, config.features)
    histograms = views.histograms if options.tensorboard.histograms else None
    with TensorBoardLog(log_folder if is_chief(strategy) else None, histograms) as log:
        history = train(steps, schedule, options, train_source, validation, checkpoints, log)
    if options.tensorboard.projector_terms and is_chief(strategy):
        views.write_projector(log_folder / "train", transform_output, options.tensorboard.projector_terms)
    best_epoch = history.best_epoch(options.early_stopping)
    document = history.document(num_parameters=model.count_params(), num_train_examples=num_rows, best_epoch=best_epoch)
    if config.sample:
        document["sample"] = config.sample.document()
    return TrainingResult(model, document)


def _checkpoint_place(config: TrainingConfig, fn_args: Any, train_source: InputSource, eval_source: InputSource) -> str:
    """The same inputs, options and code find the same place again after a kill; anything else starts afresh."""
    names = (*train_source.files, *eval_source.files)
    key = fingerprint(
        [(true_place(name), tf.io.gfile.stat(name).length) for name in names],
        true_place(fn_args.transform_output),
        config.features.model_dump(mode="json"),
        config.model.model_dump(mode="json"),
        config.training.model_dump(mode="json"),
        config.code,
    )
    return f"{config.checkpoints or fn_args.model_run_dir + '/checkpoints'}/{key[:32]}"
