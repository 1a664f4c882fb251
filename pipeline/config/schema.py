"""The types of hivemill.yaml: one class for each section, and `PipelineConfig` for the whole. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

from hivemill.common.errors import ConfigError
from hivemill.common.options import Options
from hivemill.common.storage import atomic, object_store, urls
from hivemill.components.data_verdict.options import DataVerdictOptions
from hivemill.components.evaluator.options import GateOptions
from hivemill.components.features import Feature, FeatureSet
from hivemill.components.hive_example_gen.options import SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.rows.label_join.options import LabelJoinOptions, LabelRules
from hivemill.components.pusher.options import StoreOptions
from hivemill.components.serving_check.options import ServingCheckOptions
from hivemill.components.trainer.model.sampling_correction import NegativeSample
from hivemill.components.trainer.options import ModelOptions, RateOptions, TrainingOptions
from hivemill.components.tuner.options import TuningOptions
from hivemill.pipeline.alerts.options import AlertOptions
from hivemill.pipeline.metadata.options import MetadataOptions
from hivemill.pipeline.orchestrators.kubeflow.options import KubeflowOptions
from hivemill.pipeline.orchestrators.vertex.options import VertexOptions
from hivemill.pipeline.scheduling.options import ScheduleOptions
from hivemill.serving.experiment.options import ExperimentOptions
from hivemill.serving.rollout.options import RolloutOptions

_CHANGES_NO_MODEL = {
    *("root", "runner", "metadata", "kubeflow", "vertex", "alerts", "experiment", "rollout", "schedule", "tuning"),
}


class LabelOptions(Options):
    column: str = Field(
        description="Column that says whether the impression was clicked: 0 or 1. With `join`, the one that it adds."
    )
    user: str | None = Field(None, description="Column that identifies the user; needed for the metric gauc.")
    weight: str | None = Field(None, description="Column with each example's weight in training, 0 or more.")
    join: LabelJoinOptions | None = Field(
        None, description="Where clicks are in a table of their own: how they are joined to the impressions."
    )


class RunnerOptions(Options):
    name: Literal["local", "beam"] = Field(
        "local", description="local: nodes one after the other in this process; beam: TFX's BeamDagRunner."
    )
    beam_args: tuple[str, ...] = Field(
        (), description="Beam options of the nodes' own pipelines, e.g. [--runner=...]; in this process if empty."
    )
    orchestrator_args: tuple[str, ...] = Field(
        (),
        description="Beam options of the pipeline that orders the nodes, with `name: beam`; in this process if empty.",
    )
    cache: bool = Field(True, description="Take a node's earlier outputs where its inputs and code are the same.")


class PipelineConfig(Options):
    """The whole of hivemill.yaml. `load` also checks what one section demands of another."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=63)] = Field(
        description="Name of the pipeline, and of the model in the store unless store.model says otherwise. At most 63 "
        "letters, digits, `_`, `.` and `-`, the first a letter or digit."
    )
    root: str = Field(
        "hivemill",
        description="Folder of everything that runs leave: artifacts, runs, models. Or s3://BUCKET/FOLDER or "
        "gs://BUCKET/FOLDER (docs/object-stores.md), with metadata on a server.",
    )
    source: SourceOptions = Field(description="Where the click log lies and how its columns are typed.")
    window: WindowOptions = Field(WindowOptions(), description="Which days a run reads.")
    label: LabelOptions = Field(description="The columns that are no features.")
    features: dict[str, Feature] = Field(description="The fields of the model, by name.", min_length=1)
    data_verdict: DataVerdictOptions = Field(DataVerdictOptions(), description="What stops a run before training.")
    model: ModelOptions = Field(ModelOptions(), description="The network, and how large it is.")
    rates: RateOptions = Field(RateOptions(), description="Click rates as inputs of the model: auto, off or details.")
    training: TrainingOptions = Field(TrainingOptions(), description="How it is trained.")
    members: tuple[dict[str, Any], ...] = Field(
        (),
        description="Two or more make the model the mean of the probabilities of as many trainings, each with its own "
        "values of some keys of `model` and `training`: `[{}, {training.seed: 18}]`. Training and prediction then "
        "cost so many times as much.",
        max_length=16,
    )
    tuning: TuningOptions = Field(TuningOptions(), description="What `hivemill tune` searches.")
    gates: GateOptions = Field(GateOptions(), description="What a model must reach to be pushed.")
    serving_check: ServingCheckOptions = Field(
        ServingCheckOptions(), description="What the exported model must reach in a server before it is pushed."
    )
    store: StoreOptions = Field(StoreOptions(), description="Where pushed models go.")
    runner: RunnerOptions = Field(RunnerOptions(), description="What runs the nodes.")
    metadata: MetadataOptions = Field(
        MetadataOptions(), description="Where ML Metadata keeps what ran and what came of it."
    )
    kubeflow: KubeflowOptions = Field(KubeflowOptions(), description="What the containers of Kubeflow Pipelines get.")
    vertex: VertexOptions = Field(VertexOptions(), description="What the containers of Vertex AI Pipelines get.")
    alerts: AlertOptions = Field(AlertOptions(), description="Who is told of verdicts.")
    experiment: ExperimentOptions = Field(
        ExperimentOptions(), description="The A/B test between the versions that serve."
    )
    schedule: ScheduleOptions = Field(ScheduleOptions(), description="When `hivemill schedule` has runs started.")

    rollout: RolloutOptions = Field(RolloutOptions(), description="How a pushed version gets its traffic.")

    def root_path(self) -> Path:
        """The folder of the records of runs: `root`, or this process's copy of what is in an object store."""
        from hivemill.pipeline.root import object_root

        return object_root.folder_of(self.root)

    def model_name(self) -> str:
        return self.store.model or self.name

    def places(self) -> Places:
        def below(name: str) -> str:
            return object_store.join(self.root, name) if urls.is_url(self.root) else str(Path(self.root) / name)

        return Places(*map(below, ("artifacts", "partitions", "checkpoints", "metadata.db", self.store.path)))

    def feature_set(self) -> FeatureSet:
        return FeatureSet(features=self.features, label=self.label.column, weight=self.label.weight)

    def label_rules(self) -> LabelRules | None:
        """What the conversion has to know of the label; None where it is a column like any other."""
        if self.label.join is None and self.source.sampling is None:
            return None
        return LabelRules(column=self.label.column, join=self.label.join)

    def negative_sample(self) -> NegativeSample | None:
        """The sample that the model is trained on; None where that is all rows."""
        sampling = self.source.sampling
        return NegativeSample(negatives=sampling.negatives) if sampling else None

    def to_yaml(self) -> str:
        """All values, defaults too, as a hivemill.yaml that loads to an equal config."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)

    def semantic_fingerprint(self) -> str:
        """SHA-256 of what changes a model or its verdict: all but where things lie, who runs them and the cache.

        The DDL and the curated schema count by content. Raises ConfigError where one of them cannot be read.
        """
        document = self.model_dump(mode="json", exclude=_CHANGES_NO_MODEL | {"features"})
        for key in ("table", "server", "hive"):
            del document["source"][key]
        document["store"] = {"model": self.store.model}
        # What is left out of an incomplete window is in the plan's fingerprint; how long is waited changes no model.
        document["window"] = self.window.as_planned().model_dump(mode="json", exclude={"completeness"})
        del document["serving_check"]["model_server"]
        document["source"]["ddl"] = _content_hash(self.source.ddl, "source.ddl")
        if self.label.join is not None:
            clicks = document["label"]["join"]["clicks"]
            for key in ("table", "server", "hive"):
                del clicks[key]
            clicks["ddl"] = _content_hash(self.label.join.clicks.ddl, "label.join.clicks.ddl")
        document["data_verdict"]["schema_path"] = _content_hash(
            self.data_verdict.schema_path, "data_verdict.schema_path"
        )
        self._without_places_of_serving(document["data_verdict"])
        features = self.model_dump(mode="json", include={"features"})["features"]
        return atomic.fingerprint(document, list(features.items()))  # the order of the features is the model's

    def _without_places_of_serving(self, section: dict[str, Any]) -> None:
        """In place: what serving saw counts by content, where its log lies does not."""
        options = self.data_verdict
        section["serving_statistics"] = _content_hash(options.serving_statistics, "data_verdict.serving_statistics")
        if options.serving_log is not None:
            for key in ("table", "server", "hive"):
                del section["serving_log"][key]
            section["serving_log"]["ddl"] = _content_hash(options.serving_log.ddl, "data_verdict.serving_log.ddl")


@dataclasses.dataclass(frozen=True)
class Places:
    """Where things land below `root` (docs/cli.md): paths, or URLs."""

    artifacts: str
    partitions: str
    checkpoints: str
    metadata: str
    store: str


def _content_hash(path: str | None, key: str) -> str | None:
    if path is None:
        return None
    try:
        return hashlib.sha256(object_store.file_bytes(path)).hexdigest()
    except OSError as error:
        raise ConfigError(f"{key}: {path} cannot be read: {error.strerror}", hint="Correct the path.") from error
