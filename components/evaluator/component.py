"""ModelEvaluator: metrics of the candidate and of the version labelled `stable` on the eval split, and the blessing."""

from __future__ import annotations

from pathlib import Path

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from hivemill.common.errors import ConfigError
from hivemill.common.storage.atomic import code_fingerprint
from hivemill.components.artifacts import ModelVerdict
from hivemill.components.evaluator import executor
from hivemill.components.evaluator.options import GateOptions


class ModelEvaluatorSpec(ComponentSpec):
    PARAMETERS = {  # noqa: RUF012  (TFX reads these class attributes)
        "gates": ExecutionParameter(type=str),
        "label_column": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str),  # so that TFX's cache sees that the code has changed
        "user_column": ExecutionParameter(type=str, optional=True),
        "baseline_path": ExecutionParameter(type=str, optional=True),
        "baseline_version": ExecutionParameter(type=int, optional=True),
    }
    INPUTS = {  # noqa: RUF012
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "model": ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {  # noqa: RUF012
        "evaluation": ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
        "verdict": ChannelParameter(type=ModelVerdict),
    }


class ModelEvaluator(base_beam_component.BaseBeamComponent):
    """Evaluates `model` on the `eval` split of `examples` and judges it by `gates`.

    Outputs: `evaluation` (TFMA's files), `blessing` (ModelBlessing as TFX writes it), `verdict` (`verdict.json`).
    The node succeeds whether the model is blessed or not; it fails (DataVerdictError) with nothing to judge by.
    """

    SPEC_CLASS = ModelEvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.EvaluatorExecutor)

    def __init__(
        self,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        gates: GateOptions,
        label_column: str,
        user_column: str | None = None,
        baseline_path: str | None = None,
        baseline_version: int | None = None,
    ):
        """`baseline_path` is the SavedModel folder of the version labelled `stable`; without it no change limit counts.

        Raises ConfigError where a bound is on gauc and there is no user column.
        """
        metrics = {*gates.metrics, *(bound.metric for bound in gates.slice_bounds)}
        if "gauc" in metrics and user_column is None:
            raise ConfigError(
                "gates: a bound on `gauc` needs the user of each row, and label.user is not set",
                hint="Name the user column in `label.user`, or remove the bound.",
            )
        spec = ModelEvaluatorSpec(
            examples=examples,
            model=model,
            gates=gates.model_dump_json(),
            label_column=label_column,
            code=code_fingerprint(Path(__file__).parent),
            user_column=user_column,
            baseline_path=baseline_path,
            baseline_version=baseline_version,
            evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
            blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            verdict=types.Channel(type=ModelVerdict),
        )
        super().__init__(spec=spec)
