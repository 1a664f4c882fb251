"""`run_fn` for TFX's Trainer: trains on the declared features, goes on after a kill, exports one SavedModel."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
import tf_keras

from hivemill.common.storage.atomic import fingerprint, write_json_atomically
from hivemill.components.features import FeatureSet
from hivemill.components.tfx_io.staged_executor import true_place
from hivemill.components.trainer.calibration import Calibration, calibrate
from hivemill.components.trainer.input import InputSource, count_rows, evaluation_batches
from hivemill.components.trainer.loop.checkpoint_storage import KeptCheckpoints, kept_at
from hivemill.components.trainer.loop.checkpoints import TrainingCheckpoints
from hivemill.components.trainer.loop.history import TrainingHistory
from hivemill.components.trainer.loop.monitoring import TensorBoardLog
from hivemill.components.trainer.loop.optimizers import make_optimizer
from hivemill.components.trainer.loop.steps import TrainingSteps
from hivemill.components.trainer.loop.strategies import is_chief, lost_workers_told, make_strategy
from hivemill.components.trainer.loop.training_loop import Schedule, Watch, train
from hivemill.components.trainer.model.deepfm import DeepFM, Field
from hivemill.components.trainer.model.embedding_views import EmbeddingViews
from hivemill.components.trainer.model.fields import model_fields
from hivemill.components.trainer.model.mean_model import MeanModel
from hivemill.components.trainer.model.networks import make_network
from hivemill.components.trainer.model.sampling_correction import NegativeSample
from hivemill.components.trainer.option_changes import sections_of, with_values
from hivemill.components.trainer.options import ModelOptions, RateOptions, TrainingOptions
from hivemill.components.trainer.rates.layer import ClickRates
from hivemill.components.trainer.rates.prepare import PreparedRates, prepare
from hivemill.components.trainer.signatures import TracedModel
from hivemill.components.transform.layout import FieldLayout


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """What TFX's `custom_config` carries."""

    features: FeatureSet
    model: ModelOptions
    training: TrainingOptions
    rates: RateOptions
    checkpoints: str | None
    code: str
    sample: NegativeSample | None = None
    members: tuple[dict[str, Any], ...] = ()

    @classmethod
    def of(cls, custom_config: Mapping[str, Any]) -> TrainingConfig:
        checkpoints = custom_config.get("checkpoints")
        sample = custom_config.get("sample")
        return cls(
            features=FeatureSet.model_validate_json(custom_config["features"]),
            model=ModelOptions.model_validate_json(custom_config["model"]),
            training=TrainingOptions.model_validate_json(custom_config["training"]),
            rates=RateOptions.model_validate_json(custom_config["rates"])
            if "rates" in custom_config
            else RateOptions(),
            checkpoints=checkpoints,
            code=custom_config.get("code", ""),
            sample=NegativeSample.model_validate_json(sample) if sample else None,
            members=tuple(json.loads(custom_config.get("members", "[]"))),
        )

    def changed(self, values: Mapping[str, Any]) -> TrainingConfig:
        """With other values of options, by dotted key. Raises ValidationError where the options refuse one."""
        sections = with_values(sections_of(self.model, self.training, self.rates), values)
        return dataclasses.replace(
            self,
            model=ModelOptions.model_validate(sections["model"]),
            training=TrainingOptions.model_validate(sections["training"]),
            rates=RateOptions.model_validate(sections["rates"]),
        )

    def trainings(self) -> list[TrainingConfig]:
        """One for each member of the model."""
        return [self.changed(values) for values in self.members] or [self]


def run_fn(fn_args: Any) -> None:
    """Trains on fn_args.train_files, watches fn_args.eval_files (none: trains all epochs), exports the model.

    Reads fn_args.transform_output and fn_args.custom_config (`TrainingConfig`); writes the SavedModel to
    fn_args.serving_model_dir, history.json and TensorBoard's events to fn_args.model_run_dir. Raises DataNotReadyError
    without training rows, DataVerdictError or ConfigError when the loss is not a number.
    """
    config = TrainingConfig.of(fn_args.custom_config)
    layout = FieldLayout.of(config.features)
    train_source = InputSource.of(fn_args.train_files, layout)
    eval_source = InputSource.of(fn_args.eval_files or [], layout)
    transform_output = tft.TFTransformOutput(fn_args.transform_output)
    strategy = make_strategy(config.training.strategy)
    logs = Path(fn_args.model_run_dir)
    trainings = config.trainings()
    places = [_checkpoint_place(one, fn_args, train_source, eval_source) for one in trainings]
    with contextlib.ExitStack() as stack:
        kept = [stack.enter_context(kept_at(place)) for place in places]
        results = []
        for number, one in enumerate(trainings):
            tf_keras.utils.set_random_seed(one.training.seed)
            logs_of_one = logs / f"member-{number}" if number else logs
            with lost_workers_told(strategy):
                results.append(
                    fit(one, transform_output, train_source, eval_source, strategy, kept[number], logs_of_one)
                )
        if is_chief(strategy):
            _traced(results, config, transform_output).save(fn_args.serving_model_dir)
            write_json_atomically(logs / "history.json", _document(results, config))
            for each in kept:  # members that had ended would train again without theirs
                each.remove()


def _traced(
    results: Sequence[TrainingResult], config: TrainingConfig, transform_output: tft.TFTransformOutput
) -> TracedModel:
    """What is exported. All members have the same click rates."""
    if len(results) == 1:
        return results[0].traced
    calibrations = [(result.calibration.scale, result.calibration.offset) for result in results]
    mean = MeanModel([result.model for result in results], calibrations)
    return TracedModel(mean, transform_output, config.features, config.sample, results[0].rates)


def _document(results: Sequence[TrainingResult], config: TrainingConfig) -> dict[str, Any]:
    """history.json: of the first member, with what the others have reached."""
    document = results[0].document
    if len(results) == 1:
        return document
    best = [result.document["checks"][result.document["best_check"] - 1] for result in results]
    members = [
        {
            "values": values,
            "best_check": result.document["best_check"],
            "val_loss": check["val_loss"],
            "calibration": result.document["calibration"],
        }
        for values, result, check in zip(config.members, results, best, strict=True)
    ]
    parameters = sum(result.document["num_parameters"] for result in results)
    return {**document, "num_parameters": parameters, "members": members}


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    model: DeepFM
    rates: ClickRates | None
    traced: TracedModel
    calibration: Calibration
    document: dict[str, Any]


def fit(
    config: TrainingConfig,
    transform_output: tft.TFTransformOutput,
    train_source: InputSource,
    eval_source: InputSource,
    strategy: tf.distribute.Strategy,
    kept: KeptCheckpoints,
    log_folder: Path,
    watch: Watch = lambda history: False,
) -> TrainingResult:
    """The training itself, without export: the model with the weights of the best check, and what history.json says.

    `watch` is asked after each check whether to stop.
    """
    rows_of_files = count_rows(train_source, "train")
    fields = model_fields(config.features, config.model, transform_output)
    with _rates_folder(kept.folder, strategy) as scratch:
        rates = prepare(config.rates, fields, train_source, eval_source, rows_of_files, scratch)
        num_rows = sum(rows_of_files)
        model, traced, history, calibration = _train(
            config, fields, rates, num_rows, strategy, kept, transform_output, log_folder, watch
        )
    document = history.document(
        num_parameters=model.count_params(),
        num_train_examples=num_rows,
        best_check=history.best_check(config.training.plateau),
    )
    document["rates"] = rates.document
    document["calibration"] = calibration.document()
    if config.sample:
        document["sample"] = config.sample.document()
    return TrainingResult(model, rates.layer, traced, calibration, document)


def _train(
    config: TrainingConfig,
    fields: list[Field],
    rates: PreparedRates,
    num_rows: int,
    strategy: tf.distribute.Strategy,
    kept: KeptCheckpoints,
    transform_output: tft.TFTransformOutput,
    log_folder: Path,
    watch: Watch,
) -> tuple[DeepFM, TracedModel, TrainingHistory, Calibration]:
    options, chief = config.training, is_chief(strategy)
    num_validation_rows = sum(count_rows(rates.validation, "validation")) if rates.validation.files else 0
    schedule = Schedule.of(options, num_rows, strategy.num_replicas_in_sync, num_validation_rows)
    arguments = {"num_rates": rates.width, "prior_logit": math.log(rates.prior) - math.log1p(-rates.prior)}
    with strategy.scope():
        model = make_network(fields, config.model, **arguments)
        steps = TrainingSteps(model, make_optimizer(options, config.model.embedding_l2), strategy)
        steps.build(rates.train)
    served = model
    if options.strategy != "none":  # a function over variables of several replicas cannot be saved
        served = make_network(fields, config.model, **arguments)
        served(rates.train.parse_nothing()[0])
    traced = TracedModel(served, transform_output, config.features, config.sample, rates.layer)
    checkpoints = TrainingCheckpoints(kept.folder, steps, chief, kept.put)
    validation = evaluation_batches(rates.validation, max(schedule.batch_size, 1024)) if num_validation_rows else None
    views = EmbeddingViews(model, config.features)
    histograms = views.histograms if options.tensorboard.histograms else None
    with TensorBoardLog(log_folder if chief else None, histograms) as log:
        history = train(steps, schedule, options, rates.train, validation, checkpoints, log, watch)
    if options.tensorboard.projector_terms and chief:
        views.write_projector(log_folder / "train", transform_output, options.tensorboard.projector_terms)
    if served is not model:  # by all workers: reading moving statistics is a collective
        for target, trained in zip(served.variables, model.variables, strict=True):
            target.assign(trained)
    calibration = Calibration()
    if validation is not None and options.calibration == "auto":
        calibration = calibrate(served, validation)
        traced.calibrate(calibration.scale, calibration.offset)
    return served, traced, history, calibration


@contextlib.contextmanager
def _rates_folder(checkpoints: Path, strategy: tf.distribute.Strategy) -> Iterator[Path]:
    """An empty folder beside the checkpoints, one for each worker; what a killed training left there goes first."""
    resolver = strategy.cluster_resolver
    worker = f"{resolver.task_type}-{resolver.task_id}" if resolver is not None and resolver.task_type else "only"
    folder = checkpoints.with_name(f"{checkpoints.name}-rates-{worker}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _checkpoint_place(config: TrainingConfig, fn_args: Any, train_source: InputSource, eval_source: InputSource) -> str:
    """The same inputs, options and code find the same place again after a kill; anything else starts afresh."""
    names = (*train_source.files, *eval_source.files)
    key = fingerprint(
        [(true_place(name), tf.io.gfile.stat(name).length) for name in names],
        true_place(fn_args.transform_output),
        config.features.model_dump(mode="json"),
        config.model.model_dump(mode="json"),
        config.training.model_dump(mode="json"),
        config.rates.model_dump(mode="json"),
        config.code,
    )
    return f"{config.checkpoints or fn_args.model_run_dir + '/checkpoints'}/{key[:32]}"
