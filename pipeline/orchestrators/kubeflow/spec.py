"""The DAG for Kubeflow Pipelines 2: IR YAML whose steps are `hivemill node` (docs/decisions/0052).

The first step begins the run and hands on the path of its compiled pipeline; one step launches each node, in the order
of the local runner; the last one ends the run, and the exit handler ends it where a step has failed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler, components, dsl, kubernetes

from hivemill.common.errors import ConfigError
from hivemill.common.storage.atomic import write_text_atomically
from hivemill.pipeline.config.errors import did_you_mean
from hivemill.pipeline.config.loader import LoadedConfig
from hivemill.pipeline.config.schema import PipelineConfig
from hivemill.pipeline.metadata.options import PASSWORD_VARIABLE
from hivemill.pipeline.orchestrators.kubeflow import inside as inside_of_containers
from hivemill.pipeline.orchestrators.kubeflow.inside import config_inside, kubernetes_name
from hivemill.pipeline.orchestrators.kubeflow.options import ALL_STEPS, IMAGE_USER, KubeflowOptions, StepOptions

BEGIN, END = "begin", "end"
_NO_TIMEOUT_SECONDS = 7 * 86_400  # what a step without a timeout is taken to need at most


def write(loaded: LoadedConfig, node_ids: Sequence[str], path: Path) -> None:
    """Writes the IR YAML of the pipeline with these nodes, in their order, to `path`.

    Raises ConfigError where the config does not fit a cluster.
    """
    inside = config_inside(loaded)
    check(inside.config)
    if "{{" in _text(inside):
        raise ConfigError("the config has `{{`, which Kubeflow would replace", hint="Write it without `{{`.")
    _check_steps(inside.config.kubeflow, node_ids)
    _compiler().compile(_pipeline(loaded.config.kubeflow, inside, node_ids), package_path=str(path))
    _write_retry_windows(path, inside.config.kubeflow)


def check(config: PipelineConfig) -> None:
    """Raises ConfigError for what cannot work in the containers of a pipeline; `config` is the one inside of them."""
    inside_of_containers.check(config)
    if config.training.strategy == "multi_worker":
        raise ConfigError(
            "training.strategy is `multi_worker`, and the steps of Kubeflow Pipelines know nothing of each other",
            hint="Use `mirrored` (all GPUs of one machine), or train by a TFJob: `hivemill compile --engine tfjob`.",
        )


def _check_steps(options: KubeflowOptions, node_ids: Sequence[str]) -> None:
    known = [ALL_STEPS, BEGIN, END, *node_ids]
    for name in options.steps:
        if name not in known:
            raise ConfigError(f"kubeflow.steps: there is no step {name!r}; {did_you_mean(name, known)}")


def _pipeline(options: KubeflowOptions, inside: LoadedConfig, node_ids: Sequence[str]) -> Any:
    config_words = ["--config", str(inside.path), "--config-text", _text(inside)]

    def pipeline(date="yesterday", overrides=[]):  # noqa: B006 (KFP reads the defaults)
        def end() -> dsl.PipelineTask:
            task = _end_step(options.image, config_words)(job=dsl.PIPELINE_JOB_ID_PLACEHOLDER, overrides=overrides)
            return _equipped(task, inside.config, END)

        with dsl.ExitHandler(end(), name="run"):
            begin = _begin_step(options.image, config_words)
            begun = begin(date=date, job=dsl.PIPELINE_JOB_ID_PLACEHOLDER, overrides=overrides)
            last = _equipped(begun, inside.config, BEGIN)
            for node_id in node_ids:
                task = _node_step(options.image, node_id)(pipeline=begun.outputs["pipeline"])
                last = _equipped(task, inside.config, node_id).after(last)
            end().after(last)

    pipeline.__annotations__ = {"date": str, "overrides": list}  # KFP wants the types themselves, not their names
    name = inside.config.name
    description = f"Hivemill: {len(node_ids)} nodes, each a container; image {options.image}"
    return dsl.pipeline(name=kubernetes_name(name), display_name=name, description=description)(pipeline)


def _begin_step(image: str, config_words: list[str]) -> components.BaseComponent:
    words = ["node", "--begin", *config_words, "--date", _input("date"), "--job", _input("job")]
    words += ["--overrides", _input("overrides"), "--pipeline-to", {"outputPath": "pipeline"}]
    inputs = [_declared("date"), _declared("job"), _declared("overrides", "JsonArray")]
    return _step(BEGIN, image, words, inputs, outputs=[_declared("pipeline")])


def _node_step(image: str, node_id: str) -> components.BaseComponent:
    return _step(node_id, image, ["node", "--node", node_id, "--pipeline", _input("pipeline")], [_declared("pipeline")])


def _end_step(image: str, config_words: list[str]) -> components.BaseComponent:
    words = ["node", "--end", *config_words, "--job", _input("job"), "--overrides", _input("overrides")]
    return _step(END, image, words, [_declared("job"), _declared("overrides", "JsonArray")])


def _step(
    name: str, image: str, words: list[Any], inputs: list[dict[str, str]], outputs: Sequence[dict[str, str]] = ()
) -> components.BaseComponent:
    container = {"image": image, "command": ["hivemill"], "args": words}
    document = {"name": name, "inputs": inputs, "outputs": list(outputs), "implementation": {"container": container}}
    return components.load_component_from_text(yaml.safe_dump(document))


def _equipped(task: dsl.PipelineTask, config: PipelineConfig, name: str) -> dsl.PipelineTask:
    """The volume, the environment, what it may use, and when it is tried again."""
    options = config.kubeflow
    step = options.step(name)
    task.set_display_name(name)
    task.set_caching_options(False)  # TFX's own caching decides, by inputs and code
    if inside_of_containers.needs_volume(config):
        kubernetes.mount_pvc(task, pvc_name=options.volume_claim, mount_path=options.mount_path)
    kubernetes.use_secret_as_env(task, options.metadata_secret, {"password": PASSWORD_VARIABLE})
    for secret in options.secrets:
        kubernetes.use_secret_as_env(task, secret.secret, {secret.key: secret.variable})
    for variable, value in options.environment.items():
        task.set_env_variable(variable, value)
    if options.retries:
        pause = f"{options.retry_pause_seconds}s"
        task.set_retry(options.retries, backoff_duration=pause, backoff_factor=2.0)
    kubernetes.set_security_context(task, run_as_user=IMAGE_USER, run_as_group=IMAGE_USER, run_as_non_root=True)
    _limited(task, step)
    return task


def _write_retry_windows(path: Path, options: KubeflowOptions) -> None:
    """Lets each step be tried again until its last attempt has had its time.

    Argo counts backoffMaxDuration from the start of the first attempt, and kfp caps it at an hour: a step that fails
    after 61 minutes would never be tried again. So the file that kfp has written is changed.
    """
    documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    for dag in _dags(documents[0]):
        for name, task in dag["tasks"].items():
            if "retryPolicy" in task:
                task["retryPolicy"]["backoffMaxDuration"] = f"{_retry_window(options, task, name)}s"
    write_text_atomically(path, yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=120))


def _dags(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for component in (document["root"], *document["components"].values()):
        if "dag" in component:
            yield component["dag"]


def _retry_window(options: KubeflowOptions, task: dict[str, Any], name: str) -> int:
    """(retries + 1) * timeout + the pauses between, in seconds."""
    step = options.step(task.get("taskInfo", {}).get("name", name))
    pauses = sum(options.retry_pause_seconds * 2**attempt for attempt in range(options.retries))
    return (options.retries + 1) * (step.timeout_seconds or _NO_TIMEOUT_SECONDS) + pauses


def _limited(task: dsl.PipelineTask, step: StepOptions) -> None:
    if step.cpu:
        task.set_cpu_request(step.cpu).set_cpu_limit(step.cpu)
    if step.memory:
        task.set_memory_request(step.memory).set_memory_limit(step.memory)
    if step.accelerator:
        task.set_accelerator_type(step.accelerator).set_accelerator_limit(step.accelerators)
    for label, value in (step.node_selector or {}).items():
        kubernetes.add_node_selector(task, label, value)
    if step.tolerated_taint:
        kubernetes.add_toleration(task, key=step.tolerated_taint, operator="Exists")
    if step.timeout_seconds:
        kubernetes.set_timeout(task, step.timeout_seconds)


@functools.cache
def _compiler() -> compiler.Compiler:
    return compiler.Compiler()


def _text(inside: LoadedConfig) -> str:
    return yaml.safe_dump(inside.tree.data, sort_keys=False, allow_unicode=True, width=120)


def _declared(name: str, kind: str = "String") -> dict[str, str]:
    return {"name": name, "type": kind}


def _input(name: str) -> dict[str, str]:
    return {"inputValue": name}
