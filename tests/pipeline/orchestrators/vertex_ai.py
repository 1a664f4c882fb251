"""Runs a compiled PipelineJob as Vertex AI Pipelines does, with a process for each container, and nothing else.

A small reading of the protos' rules (https://github.com/kubeflow/pipelines/blob/master/api/v2alpha1/pipeline_spec.proto,
schema 2.1.0): task order, constants, task outputs, ExecutorInput for `{{$}}`, ExecutorOutput, caching by a task's
container and inputs. A task gets the image's PATH and the file's `env`, an empty working directory, and of other tasks
what its inputs say. URIs are as the service makes them: {gcsOutputDirectory}/{project number}/{job id}/{task}_{task
id}/{output}.
"""

from __future__ import annotations

import dataclasses
import graphlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec

REPOSITORY = Path(__file__).parents[3]
_PROJECT_NUMBER = 123456789012
_Types = spec.ParameterType


@dataclasses.dataclass
class Ended:
    """One container that ran: its task, exit code, and what it wrote."""

    task: str
    returncode: int
    log: str


class VertexAI:
    """`objects` is the content of the bucket `bucket`; `network` what a process needs to reach it."""

    def __init__(self, folder: Path, objects: dict[str, bytes], network: dict[str, str]):
        self._folder, self._objects, self._network = folder, objects, network
        self.ended: list[Ended] = []
        self._cache: dict[str, dict[str, spec.RuntimeArtifact]] = {}
        python = folder / "bin" / "python"  # the image's: it has the project, wherever it is started
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nPYTHONPATH={REPOSITORY} exec {sys.executable} "$@"\n')
        python.chmod(0o755)

    def run(self, document: dict[str, Any], job_id: str) -> str:
        """SUCCEEDED or FAILED. As on Vertex AI, after a failure whatever does not depend on it still runs."""
        job = json_format.ParseDict(document, spec.PipelineJob())
        pipeline = json_format.ParseDict(document["pipelineSpec"], spec.PipelineSpec())
        deployment = json_format.ParseDict(document["pipelineSpec"]["deploymentSpec"], spec.PipelineDeploymentConfig())
        root = f"{job.runtime_config.gcs_output_directory}/{_PROJECT_NUMBER}/{job_id}"
        tasks = pipeline.root.dag.tasks
        done: dict[str, dict[str, spec.RuntimeArtifact]] = {}
        for name in graphlib.TopologicalSorter({n: _before(t) for n, t in tasks.items()}).static_order():
            if not all(other in done for other in _before(tasks[name])):
                continue
            component = pipeline.components[tasks[name].component_ref.name]
            asked = _executor_input(tasks[name], component, done, root, len(self.ended))
            container = deployment.executors[component.executor_label].container
            key = f"{container}\n{asked.inputs}"
            if tasks[name].caching_options.enable_cache and key in self._cache:
                done[name] = self._cache[key]
            elif self._container(name, container, asked) == 0:
                done[name] = self._cache[key] = self._outputs(asked)
        return "SUCCEEDED" if len(done) == len(tasks) else "FAILED"

    def _container(self, name: str, container: Any, asked: spec.ExecutorInput) -> int:
        place = self._folder / f"{len(self.ended):03d}-{name}"
        (place / "work").mkdir(parents=True)
        words = [*container.command, *container.args]
        words = [json_format.MessageToJson(asked) if word == "{{$}}" else word for word in words]
        assert not any("{{$" in word for word in words), "a placeholder that is not known"
        environment = {"PATH": f"{self._folder}/bin:/usr/bin:/bin", **self._network}
        environment |= {one.name: one.value for one in container.env}
        with open(place / "log", "wb") as log:
            done = subprocess.run(
                words, cwd=place / "work", env=environment, stdout=log, stderr=log, timeout=600, check=False
            )
        self.ended.append(Ended(name, done.returncode, (place / "log").read_text(errors="replace")))
        assert not list((place / "work").iterdir()), "a container left something in its working directory"
        return done.returncode

    def _outputs(self, asked: spec.ExecutorInput) -> dict[str, spec.RuntimeArtifact]:
        """The artifacts that were promised, with the metadata that the executor gave them, numbers as doubles."""
        written = self._objects[asked.outputs.output_file.removeprefix("gs://bucket/")]
        said = json_format.ParseDict(json.loads(written), spec.ExecutorOutput())
        made = {}
        for key, promised in asked.outputs.artifacts.items():
            (artifact,) = promised.artifacts
            if key in said.artifacts:
                (given,) = said.artifacts[key].artifacts
                assert given.uri == artifact.uri, f"{key}: the artifact is not where it was to be"
                artifact.metadata.MergeFrom(given.metadata)
            made[key] = artifact
        return made


def _before(task: Any) -> set[str]:
    producers = {one.task_output_artifact.producer_task for one in task.inputs.artifacts.values()}
    return producers | set(task.dependent_tasks)


def _executor_input(task: Any, component: Any, done: dict, root: str, number: int) -> spec.ExecutorInput:
    asked = spec.ExecutorInput()
    declared = component.input_definitions
    assert set(task.inputs.artifacts) == set(declared.artifacts)
    for key, one in task.inputs.artifacts.items():
        source = one.task_output_artifact
        artifact = done[source.producer_task][source.output_artifact_key]
        assert artifact.type == declared.artifacts[key].artifact_type, f"{key} is of another type than its task takes"
        asked.inputs.artifacts[key].artifacts.append(artifact)
    assert set(task.inputs.parameters) == set(declared.parameters)
    for key, one in task.inputs.parameters.items():
        value = one.runtime_value.constant
        kind = declared.parameters[key].parameter_type
        assert (value.WhichOneof("kind") == "string_value") == (kind == _Types.STRING), f"{key} is not of its type"
        asked.inputs.parameter_values[key].CopyFrom(value)
    place = f"{root}/{task.task_info.name}_{4711 + number}"
    for key, one in component.output_definitions.artifacts.items():
        name = f"projects/{_PROJECT_NUMBER}/locations/europe-west4/metadataStores/default/artifacts/{number}-{key}"
        artifact = spec.RuntimeArtifact(name=name, uri=f"{place}/{key}", type=one.artifact_type, metadata=one.metadata)
        asked.outputs.artifacts[key].artifacts.append(artifact)
    asked.outputs.output_file = f"{place}/executor_output.json"
    return asked
