"""Runs the containers of a compiled Kubeflow pipeline as processes: in its order, with its commands, its environment.

A small reading of the IR's rules (https://github.com/kubeflow/pipelines/blob/master/api/v2alpha1/pipeline_spec.proto):
task order, parameters, placeholders, retries and the exit handler. The image's `hivemill` is a script on PATH.
"""

from __future__ import annotations

import dataclasses
import graphlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[3]


@dataclasses.dataclass
class Ended:
    """One container that ran: its task, exit code, and what it wrote to standard error."""

    task: str
    returncode: int
    stderr: str


class Cluster:
    """`secrets` is {secret: {key: value}}; each container gets an empty working directory below `folder`."""

    def __init__(self, package: Path, folder: Path, secrets: dict[str, dict[str, str]]):
        self._pipeline, self._platform = yaml.safe_load_all(package.read_text())
        self._folder, self._secrets = folder, secrets
        self.ended: list[Ended] = []
        # Of a task whose first container is killed (SIGKILL) as soon as the function says so.
        self.kill: dict[str, Callable[[], bool]] = {}
        script = folder / "bin" / "hivemill"
        script.parent.mkdir(parents=True)
        script.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(REPOSITORY)!r})\n"
            "from hivemill.pipeline.cli.main import entry\nentry()\n"
        )
        script.chmod(0o755)

    def run(self, job: str, **parameters: Any) -> str:
        """SUCCEEDED or FAILED, as Kubeflow would call the run `job`."""
        declared = self._pipeline["root"]["inputDefinitions"]["parameters"]
        given = {name: one.get("defaultValue") for name, one in declared.items()} | parameters
        return "SUCCEEDED" if self._dag(self._pipeline["root"]["dag"], given, job) else "FAILED"

    def _dag(self, dag: dict[str, Any], given: dict[str, Any], job: str) -> bool:
        outputs: dict[str, dict[str, str]] = {}
        succeeded = True
        tasks = dag["tasks"]
        for name in graphlib.TopologicalSorter(
            {n: t.get("dependentTasks", ()) for n, t in tasks.items()}
        ).static_order():
            task = tasks[name]
            always = task.get("triggerPolicy", {}).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED"
            if not succeeded and not always:
                continue
            inputs = {key: self._value(one, given, outputs, job) for key, one in self._inputs(task).items()}
            component = self._pipeline["components"][task["componentRef"]["name"]]
            if "dag" in component:
                done = self._dag(component["dag"], inputs, job)
            else:
                done = self._retried(name, task, component, inputs, outputs)
            succeeded = succeeded and done
        return succeeded

    def _inputs(self, task: dict[str, Any]) -> dict[str, Any]:
        return task.get("inputs", {}).get("parameters", {})

    def _value(self, one: dict[str, Any], given: dict[str, Any], outputs: dict[str, Any], job: str) -> Any:
        if "componentInputParameter" in one:
            return given[one["componentInputParameter"]]
        if "taskOutputParameter" in one:
            source = one["taskOutputParameter"]
            return outputs[source["producerTask"]][source["outputParameterKey"]]
        constant = one["runtimeValue"]["constant"]
        return job if constant == "{{$.pipeline_job_uuid}}" else constant

    def _retried(self, name: str, task: Any, component: Any, inputs: dict[str, Any], outputs: dict[str, Any]) -> bool:
        for _ in range(1 + task.get("retryPolicy", {}).get("maxRetryCount", 0)):
            if self._container(name, component, inputs, outputs) == 0:
                return True
        return False

    def _container(self, name: str, component: Any, inputs: dict[str, Any], outputs: dict[str, Any]) -> int:
        label = component["executorLabel"]
        container = self._pipeline["deploymentSpec"]["executors"][label]["container"]
        place = self._folder / f"{len(self.ended):03d}-{name}"
        (place / "work").mkdir(parents=True)
        written = {key: place / key for key in component.get("outputDefinitions", {}).get("parameters", {})}
        command = [self._filled(word, inputs, written) for word in [*container["command"], *container["args"]]]
        with open(place / "stderr", "wb") as stderr:
            process = subprocess.Popen(
                command, cwd=place / "work", env=self._environment(label, container), stdout=stderr, stderr=stderr
            )
            self._wait(process, self.kill.pop(name, None))
        said = (place / "stderr").read_text(errors="replace")
        self.ended.append(Ended(name, process.returncode, said))
        assert not list((place / "work").iterdir()), "a container left something in its working directory"
        if process.returncode == 0:
            outputs[name] = {key: path.read_text() for key, path in written.items()}
        return process.returncode

    def _wait(self, process: subprocess.Popen, kill_when: Callable[[], bool] | None) -> None:
        while kill_when is not None and process.poll() is None:
            if kill_when():
                process.kill()
                kill_when = None
            time.sleep(0.02)
        process.wait(timeout=600)

    def _environment(self, label: str, container: dict[str, Any]) -> dict[str, str]:
        """PATH, as the image declares it, and what the file declares."""
        found = {"PATH": f"{self._folder}/bin:/usr/bin:/bin"}
        found |= {one["name"]: one["value"] for one in container.get("env", ())}
        extra = self._platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][label]
        for secret in extra["secretAsEnv"]:
            values = self._secrets[secret["secretName"]]
            found |= {one["envVar"]: values[one["secretKey"]] for one in secret["keyToEnv"]}
        return found

    def _filled(self, word: str, inputs: dict[str, Any], written: dict[str, Path]) -> str:
        def value(match: re.Match) -> str:
            found = inputs[match[1]]
            return found if isinstance(found, str) else json.dumps(found)

        word = re.sub(r"\{\{\$\.inputs\.parameters\['(\w+)'\]\}\}", value, word)
        word = re.sub(r"\{\{\$\.outputs\.parameters\['(\w+)'\]\.output_file\}\}", lambda m: str(written[m[1]]), word)
        assert "{{$" not in word, f"a placeholder that is not known: {word}"
        return word
