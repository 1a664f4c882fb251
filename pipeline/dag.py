"""The DAG, readable from top to bottom: what feeds what. Wiring only."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hivemill.common import runtime

runtime.prepare_tensorflow()

from tfx.components.example_validator.component import ExampleValidator  # noqa: E402
from tfx.components.schema_gen.component import SchemaGen  # noqa: E402
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen  # noqa: E402
from tfx.components.statistics_gen.component import StatisticsGen  # noqa: E402
from tfx.components.trainer.component import Trainer  # noqa: E402
from tfx.components.transform.component import Transform  # noqa: E402
from tfx.dsl.components.base import base_node, executor_spec  # noqa: E402
from tfx.orchestration import pipeline  # noqa: E402
from tfx.proto import trainer_pb2, transform_pb2  # noqa: E402
from tfx.types import BaseChannel  # noqa: E402

from hivemill.common.storage import urls  # noqa: E402
from hivemill.common.storage.atomic import code_fingerprint  # noqa: E402
from hivemill.components.data_verdict.component import DataVerdictGate  # noqa: E402
from hivemill.components.data_verdict.profile.column_roles import ColumnRoles, kinds_of  # noqa: E402
from hivemill.components.evaluator.component import ModelEvaluator  # noqa: E402
from hivemill.components.evaluator.one_machine import executor as evaluator_executor  # noqa: E402
from hivemill.components.hive_example_gen.component import HiveLogExampleGen  # noqa: E402
from hivemill.components.hive_example_gen.rows.negative_sampling import SAMPLED_SPLITS  # noqa: E402
from hivemill.components.hive_example_gen.summary.request import SummaryRequest  # noqa: E402
from hivemill.components.pusher.component import StorePusher  # noqa: E402
from hivemill.components.serving_check.component import ServingCheck  # noqa: E402
from hivemill.components.statistics_gen import executor as statistics_executor  # noqa: E402
from hivemill.components.tfx_io import staged_executor  # noqa: E402
from hivemill.components.trainer.options import TrainingOptions  # noqa: E402
from hivemill.components.transform import executor as transform_executor  # noqa: E402
from hivemill.components.transform.analysis import request_of  # noqa: E402
from hivemill.pipeline.config import worker_rules  # noqa: E402
from hivemill.pipeline.config.schema import PipelineConfig  # noqa: E402
from hivemill.pipeline.history.baseline import DataBaseline  # noqa: E402
from hivemill.pipeline.metadata.client import connection_config  # noqa: E402
from hivemill.pipeline.orchestrators.beam.options import IN_THIS_PROCESS  # noqa: E402

_CODE = Path(__file__).parents[1]
_BEAM_IN_THIS_PROCESS = (
    IN_THIS_PROCESS,
    "--direct_running_mode=in_memory",
    "--direct_num_workers=1",
    # Says that the workers have the code. Without it TFX packs itself into an sdist for every Beam node (2 s each).
    "--sdk_container_image=this-process",
)


@dataclasses.dataclass(frozen=True)
class RunInputs:
    """What tells one run from another of the same config. `baseline_*` is the store's `stable` version, if any.

    `root_identity` is part of the pipeline's name where several roots may share a metadata server.
    """

    date: datetime.date
    run_id: str
    plan_fingerprint: str
    baseline_path: str | None
    baseline_version: int | None
    data_baseline: DataBaseline = dataclasses.field(default_factory=DataBaseline)
    root_identity: str | None = None


def create_pipeline(
    config: PipelineConfig,
    inputs: RunInputs,
    last: Callable[[Sequence[base_node.BaseNode]], base_node.BaseNode] | None = None,
) -> pipeline.Pipeline:
    """The whole DAG of one run, for any runner. `last` makes one more node of all others."""
    data = _data_nodes(config, inputs)
    trainer = _trainer(config, data.transform, data.schema_gen)
    evaluator = _evaluator(config, inputs, data.examples, trainer)
    serving_check = _serving_check(config, data.examples, trainer, evaluator)
    pusher = _pusher(config, inputs, data.examples, trainer, evaluator, serving_check)
    judges = [evaluator, *([serving_check] if serving_check else [])]
    nodes = [*data.nodes, trainer, *judges, pusher]
    if last is not None:
        nodes.append(last(nodes))
    if urls.is_url(config.root):
        by_themselves = [data.nodes[0]]
        if not worker_rules.are_here(config.runner.beam_args):
            # Beam workers elsewhere see no scratch folder of this machine: TFX, TensorFlow and Beam read gs://.
            by_themselves += [data.statistics_gen, data.transform, evaluator]
        for node in nodes:
            if node not in by_themselves:
                staged_executor.stage(node)
    return _pipeline(config, inputs, nodes)


def create_tuning_pipeline(config: PipelineConfig, inputs: RunInputs, folder: str) -> pipeline.Pipeline:
    """The nodes up to Transform, which a run shares by the cache, and TFX's Tuner. `folder` keeps the trials."""
    from tfx.components.tuner.component import Tuner  # loads Keras 3, which no run needs

    from hivemill.components.tuner import executor as tuner_executor

    data = _data_nodes(config, inputs)
    fit_split, watch_split = _fit_and_watch_splits(config)
    tuner = Tuner(
        examples=data.transform.outputs["transformed_examples"],
        transform_graph=data.transform.outputs["transform_graph"],
        schema=data.schema_gen.outputs["schema"],
        tuner_fn="hivemill.components.tuner.search.tuner_fn",
        train_args=trainer_pb2.TrainArgs(splits=[fit_split]),
        eval_args=trainer_pb2.EvalArgs(splits=[watch_split]),
        custom_config={
            **_training_config(config),
            "tuning": config.tuning.model_dump_json(),
            "folder": folder,
            "tuner_code": _code_of("tuner"),
        },
    )
    tuner.executor_spec = executor_spec.ExecutorClassSpec(tuner_executor.TunerExecutor)
    return _pipeline(config, inputs, [*data.nodes, tuner])


@dataclasses.dataclass(frozen=True)
class _DataNodes:
    """The nodes before the training, and those of them that later ones read."""

    nodes: list[base_node.BaseNode]
    examples: BaseChannel
    statistics_gen: base_node.BaseNode
    schema_gen: base_node.BaseNode
    transform: Transform


def _data_nodes(config: PipelineConfig, inputs: RunInputs) -> _DataNodes:
    example_gen = _example_gen(config, inputs)
    examples = example_gen.outputs["examples"]
    statistics_gen = _on_one_machine(
        config, StatisticsGen(examples=examples), statistics_executor.StatisticsGenExecutor
    )
    schema_gen = _schema_node(config, statistics_gen)
    example_validator = ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema_gen.outputs["schema"]
    )
    data_verdict = _data_verdict(config, inputs, example_gen, statistics_gen, schema_gen, example_validator)
    transform = _transform(config, examples, schema_gen)
    transform.add_upstream_node(data_verdict)  # a red verdict stops the run here
    nodes = [example_gen, statistics_gen, schema_gen, example_validator, data_verdict, transform]
    return _DataNodes(nodes, examples, statistics_gen, schema_gen, transform)


def _pipeline(config: PipelineConfig, inputs: RunInputs, nodes: list[base_node.BaseNode]) -> pipeline.Pipeline:
    places = config.places()
    return pipeline.Pipeline(
        pipeline_name=config.name if inputs.root_identity is None else f"{config.name}-{inputs.root_identity}",
        pipeline_root=places.artifacts,
        components=nodes,
        enable_cache=config.runner.cache,
        metadata_connection_config=connection_config(config.metadata, Path(places.metadata)),
        beam_pipeline_args=list(config.runner.beam_args or _BEAM_IN_THIS_PROCESS),
    )


def _example_gen(config: PipelineConfig, inputs: RunInputs) -> HiveLogExampleGen:
    return HiveLogExampleGen(
        source=config.source,
        window=config.window,
        label=config.label_rules(),
        date=inputs.date,
        plan_fingerprint=inputs.plan_fingerprint,
        partitions_path=config.places().partitions,
        # Beam's workers convert without TensorFlow; there TFX's executors read the rows.
        summary=None if config.runner.beam_args else _summary_request(config),
    )


def _summary_request(config: PipelineConfig) -> SummaryRequest:
    """What the nodes after ExampleGen ask of every partition, so that none of them reads its rows again."""
    asked = statistics_executor.STATISTICS.with_all_of(request_of(config.feature_set()))
    return asked.model_copy(update={"sample_rows": config.data_verdict.sample_rows})


def _on_one_machine(config: PipelineConfig, node: base_node.BaseNode, executor: type) -> Any:
    """The node with an executor that reads the data in large batches, unless Beam is to spread the work."""
    if not config.runner.beam_args:
        node.executor_spec = executor_spec.BeamExecutorSpec(executor)
    return node


def _schema_node(config: PipelineConfig, statistics_gen: StatisticsGen) -> base_node.BaseNode:
    if config.data_verdict.schema_path:
        return ImportSchemaGen(schema_file=config.data_verdict.schema_path)
    return SchemaGen(
        statistics=statistics_gen.outputs["statistics"],
        # A column that has no missing value this week may have one next week: no shape is inferred from its absence.
        infer_feature_shape=False,
        exclude_splits=["validation", "eval"],
    )


def _data_verdict(
    config: PipelineConfig,
    inputs: RunInputs,
    example_gen: HiveLogExampleGen,
    statistics_gen: StatisticsGen,
    schema_gen: base_node.BaseNode,
    example_validator: ExampleValidator,
) -> base_node.BaseNode:
    return DataVerdictGate(
        statistics=statistics_gen.outputs["statistics"],
        schema=schema_gen.outputs["schema"],
        anomalies=example_validator.outputs["anomalies"],
        options=config.data_verdict,
        roles=_column_roles(config),
        examples=example_gen.outputs["examples"],
        manifest=example_gen.outputs["manifest"],
        baseline_path=inputs.data_baseline.path,
        baseline_fingerprint=inputs.data_baseline.fingerprint,
        partitions_path=config.places().partitions,
    ).with_id("DataVerdict")


def _fit_and_watch_splits(config: PipelineConfig) -> tuple[str, str]:
    """The splits that the model is fitted on, and watched on for early stopping."""
    return "train", "validation" if config.window.validation_days else "eval"


def _transform(config: PipelineConfig, examples: BaseChannel, schema_gen: base_node.BaseNode) -> Transform:
    fit_split, watch_split = _fit_and_watch_splits(config)
    transform = Transform(
        examples=examples,
        schema=schema_gen.outputs["schema"],
        preprocessing_fn="hivemill.components.transform.preprocessing.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=[fit_split], transform=[fit_split, watch_split]),
        custom_config={"features": config.feature_set().model_dump_json(), "code": _code_of("transform")},
        # Both statistics passes of Transform repeat StatisticsGen's work on data that this node has just made.
        disable_statistics=True,
        # The analyzer cache would double the analysis to save it on spans; our spans are windows that slide.
        disable_analyzer_cache=True,
    )
    return _on_one_machine(config, transform, transform_executor.TransformExecutor)


def _trainer(config: PipelineConfig, transform: Transform, schema_gen: base_node.BaseNode) -> Trainer:
    fit_split, watch_split = _fit_and_watch_splits(config)
    return Trainer(
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema_gen.outputs["schema"],
        run_fn="hivemill.components.trainer.run_fn.run_fn",
        train_args=trainer_pb2.TrainArgs(splits=[fit_split]),
        eval_args=trainer_pb2.EvalArgs(splits=[watch_split]),
        custom_config=_training_config(config),
    )


def _training_config(config: PipelineConfig) -> dict[str, Any]:
    """`trainer.run_fn.TrainingConfig`."""
    sample = config.negative_sample()
    return {
        "features": config.feature_set().model_dump_json(),
        "model": config.model.model_dump_json(),
        "training": _training_options(config).model_dump_json(),
        "rates": config.rates.model_dump_json(),
        "checkpoints": config.places().checkpoints,
        "code": _code_of("trainer"),
        **({"sample": sample.model_dump_json()} if sample else {}),
        **({"members": json.dumps(config.members)} if config.members else {}),
    }


def _training_options(config: PipelineConfig) -> TrainingOptions:
    """Nothing is fitted to the days that the gates judge on."""
    _, watch_split = _fit_and_watch_splits(config)
    return config.training.model_copy(update={} if watch_split == "validation" else {"calibration": "off"})


def _evaluator(
    config: PipelineConfig, inputs: RunInputs, examples: BaseChannel, trainer: Trainer
) -> base_node.BaseNode:
    evaluator = ModelEvaluator(
        examples=examples,
        model=trainer.outputs["model"],
        gates=config.gates,
        label_column=config.label.column,
        user_column=config.label.user,
        baseline_path=inputs.baseline_path,
        baseline_version=inputs.baseline_version,
    ).with_id("Evaluator")
    return _on_one_machine(config, evaluator, evaluator_executor.OneMachineExecutor)


def _serving_check(
    config: PipelineConfig, examples: BaseChannel, trainer: Trainer, evaluator: base_node.BaseNode
) -> base_node.BaseNode | None:
    if not config.serving_check.enabled:
        return None
    return ServingCheck(
        model=trainer.outputs["model"],
        examples=examples,
        blessing=evaluator.outputs["blessing"],
        options=config.serving_check,
        label_column=config.label.column,
    ).with_id("ServingCheck")


def _pusher(
    config: PipelineConfig,
    inputs: RunInputs,
    examples: BaseChannel,
    trainer: Trainer,
    evaluator: base_node.BaseNode,
    serving_check: base_node.BaseNode | None,
) -> base_node.BaseNode:
    sample = config.negative_sample()
    return StorePusher(
        model=trainer.outputs["model"],
        blessing=evaluator.outputs["blessing"],
        model_verdict=evaluator.outputs["verdict"],
        infra_blessing=serving_check.outputs["infra_blessing"] if serving_check else None,
        store_path=config.places().store,
        model_name=config.model_name(),
        examples=examples,
        label_column=config.label.column,
        options=config.store,
        run_id=inputs.run_id,
        run_date=inputs.date,
        lineage={
            "plan_fingerprint": inputs.plan_fingerprint,
            "config_fingerprint": config.semantic_fingerprint(),
            **({"sampled_negatives": str(sample.negatives)} if sample else {}),
        },
    ).with_id("Pusher")


def _column_roles(config: PipelineConfig) -> ColumnRoles:
    return ColumnRoles(
        label=config.label.column,
        user=config.label.user,
        date=config.source.date_column,
        date_format=config.source.date_format,
        hour=config.source.hour_column,
        kinds=kinds_of(config.feature_set()),
        thinned_splits=SAMPLED_SPLITS if config.negative_sample() else (),
    )


def _code_of(component: str) -> str:
    """TFX's cache sees a dotted `run_fn` as a name only; the hash of its code makes a changed code a changed node."""
    return code_fingerprint(_CODE / "components" / component, _CODE / "components" / "features.py")
