"""The Trainer node of one run on several machines: a TFJob of Kubeflow's Training Operator (kubeflow.org/v1).

Chief and workers have the same command, `hivemill node --node Trainer`. The operator sets TF_CONFIG in each pod; by it
the chief launches the node (lock, metadata, model) and the workers train along (pipeline.orchestrators.training_task).
https://www.kubeflow.org/docs/components/training/tftraining names the fields.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

from hivemill.common.errors import ConfigError
from hivemill.common.storage import urls
from hivemill.pipeline.config.schema import PipelineConfig
from hivemill.pipeline.metadata.options import PASSWORD_VARIABLE
from hivemill.pipeline.orchestrators.kubeflow import inside
from hivemill.pipeline.orchestrators.kubeflow.options import IMAGE_USER, KubeflowOptions, StepOptions

NODE = "Trainer"
_CONTAINER = "tensorflow"  # the operator looks for a container of this name, and puts TF_CONFIG there
_PORT = {"name": "tfjob-port", "containerPort": 2222}
_VOLUME = "root"
_MAX_NAME = 40  # a pod is named <job>-worker-<index>, in 63 characters


def manifest(config: PipelineConfig, pipeline: str, workers: int) -> dict[str, Any]:
    """The TFJob of the run whose compiled pipeline is at the path `pipeline`, on `workers` machines, chief included.

    `config` and `pipeline` are as containers see them. Raises ConfigError for what cannot work there.
    """
    inside.check(config)
    _check(config, pipeline, workers)
    options = config.kubeflow
    step = options.step(NODE)
    policy: dict[str, Any] = {
        "cleanPodPolicy": "Running",  # workers that wait for a chief that has found the model in the cache
        "backoffLimit": options.retries * workers + 1,  # where one is lost, all of them start again
    }
    if step.timeout_seconds:
        policy["activeDeadlineSeconds"] = step.timeout_seconds
    replicas = {"Chief": 1, "Worker": workers - 1}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "TFJob",
        "metadata": {"name": _name(config.name, pipeline), "labels": {"app.kubernetes.io/name": "hivemill"}},
        "spec": {
            "runPolicy": policy,
            "tfReplicaSpecs": {
                # By the kubelet, in the same pod: its name, which TF_CONFIG has, and its host stay.
                kind: {"replicas": count, "restartPolicy": "OnFailure", "template": _template(options, step, pipeline)}
                for kind, count in replicas.items()
            },
        },
    }


def _check(config: PipelineConfig, pipeline: str, workers: int) -> None:
    if config.training.strategy != "multi_worker":
        raise ConfigError(
            f"training.strategy must be multi_worker for a TFJob; received {config.training.strategy}",
            hint="Set it before the run is begun: it is part of the compiled pipeline.",
        )
    if workers < 2:
        raise ConfigError(f"--workers must be 2 or more; received {workers}", hint="One machine needs no TFJob.")
    if config.training.batch_size != "auto" and config.training.batch_size % workers:
        raise ConfigError(
            f"training.batch_size is {config.training.batch_size}, which {workers} workers cannot share equally",
            hint=f"Use a multiple of {workers}, times the GPUs of a machine if it has several.",
        )
    if urls.is_url(config.root):
        raise ConfigError(
            f"root is {urls.shown(config.root)}: chief and workers of a TFJob meet in a folder",
            hint="Use `mirrored` (all GPUs of one machine), or a root on a volume.",
        )
    place = PurePosixPath(pipeline)
    if not place.is_absolute() or PurePosixPath(config.kubeflow.mount_path) not in place.parents:
        raise ConfigError(
            f"--pipeline must be below kubeflow.mount_path ({config.kubeflow.mount_path}), as containers see it; "
            f"received {pipeline}",
            hint="`hivemill node --begin` prints it.",
        )


def _name(pipeline_name: str, pipeline: str) -> str:
    """The run's, as a DNS-1035 label: `shop-2026-11-15-1a2b3c4d`."""
    run_id = inside.kubernetes_name(PurePosixPath(pipeline).parent.name)
    short = re.sub(r"^[^a-z]+", "", inside.kubernetes_name(pipeline_name))[: _MAX_NAME - len(run_id) - 1].strip("-")
    return f"{short or 'run'}-{run_id}"


def _template(options: KubeflowOptions, step: StepOptions, pipeline: str) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": IMAGE_USER,
            "runAsGroup": IMAGE_USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(options, step, pipeline)],
        "volumes": [{"name": _VOLUME, "persistentVolumeClaim": {"claimName": options.volume_claim}}],
    }
    if options.service_account:
        pod["serviceAccountName"] = options.service_account
    if step.node_selector:
        pod["nodeSelector"] = dict(step.node_selector)
    if step.tolerated_taint:
        pod["tolerations"] = [{"key": step.tolerated_taint, "operator": "Exists"}]
    # A sidecar of Istio keeps the pods from each other, and from ending.
    return {"metadata": {"annotations": {"sidecar.istio.io/inject": "false"}}, "spec": pod}


def _container(options: KubeflowOptions, step: StepOptions, pipeline: str) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": _CONTAINER,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "image": options.image,
        "command": ["hivemill"],
        "args": ["node", "--node", NODE, "--pipeline", pipeline],
        "ports": [dict(_PORT)],
        "env": _environment(options),
        "volumeMounts": [{"name": _VOLUME, "mountPath": options.mount_path}],
    }
    amounts = {"cpu": step.cpu, "memory": step.memory}
    if step.accelerator:
        amounts[step.accelerator] = str(step.accelerators)
    amounts = {name: amount for name, amount in amounts.items() if amount}
    if amounts:
        container["resources"] = {"requests": dict(amounts), "limits": amounts}
    return container


def _environment(options: KubeflowOptions) -> list[dict[str, Any]]:
    secrets = [(PASSWORD_VARIABLE, options.metadata_secret, "password")]
    secrets += [(one.variable, one.secret, one.key) for one in options.secrets]
    return [
        *({"name": name, "value": value} for name, value in options.environment.items()),
        *(
            {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
            for variable, secret, key in secrets
        ),
    ]
