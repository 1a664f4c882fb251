"""A CronJob, with the config in a ConfigMap. Fields: the Kubernetes API, batch/v1."""

from __future__ import annotations

import os
import posixpath
from typing import Any

import yaml

from hivemill.common.errors import ConfigError
from hivemill.common.storage.atomic import fingerprint
from hivemill.pipeline.config import loader as config_module
from hivemill.pipeline.config.loader import ENVIRONMENT_PREFIX, LoadedConfig
from hivemill.pipeline.orchestrators.kubeflow.inside import needs_volume
from hivemill.pipeline.scheduling import cron
from hivemill.pipeline.scheduling.rendered import Rendered, Started, called, slug

CONFIG_FOLDER = "/etc/hivemill"
MANIFEST = "cronjob.yaml"
# Config, data verdict and gates: the same start again would end the same way.
FINAL_EXIT_CODES = (2, 4, 5, 9)
_USER = 10001  # of the image
_SCRATCH = "/tmp"


def render(started: Started) -> Rendered:
    """Raises ConfigError where image or volume claim is not given."""
    options = started.loaded.config.schedule.kubernetes
    for key in ("image", *(("volume_claim",) if needs_volume(started.loaded.config) else ())):
        if getattr(options, key) is None:
            rule = f"{started.loaded.path.name}: schedule.kubernetes.{key} is needed for `schedule kubernetes`"
            raise ConfigError(rule, hint="docs/schedules.md has an example.")
    documents = [_config_map(started), _cron_job(started)]
    note = "Relative paths of the config are below the volume: " + ", ".join(
        f"{name}={value}" for name, value in _places(started.loaded).items()
    )
    return Rendered({MANIFEST: yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=120)}, (note,))


def install(rendered: Rendered, started: Started) -> list[str]:
    """Creates or updates the objects in the cluster that kubectl's context names."""
    said = called("kubectl", "apply", "--filename", "-", given=rendered.files[MANIFEST])
    return said.strip().splitlines()


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as a person writes them."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _config_map(started: Started) -> dict[str, Any]:
    text = started.config_file.read_text(encoding="utf-8")
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(started),
        "data": {config_module.DEFAULT_FILE: text},
    }


def _cron_job(started: Started) -> dict[str, Any]:
    schedule = started.loaded.config.schedule
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": _metadata(started),
        "spec": {
            "schedule": cron.CronExpression(schedule.cron).numeric,
            "timeZone": schedule.timezone,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 60 * schedule.start_within_minutes,
            "successfulJobsHistoryLimit": 4,
            "failedJobsHistoryLimit": 4,
            "jobTemplate": {"metadata": {"labels": _labels(started)}, "spec": _job(started)},
        },
    }


def _job(started: Started) -> dict[str, Any]:
    schedule = started.loaded.config.schedule
    codes = {"containerName": "hivemill", "operator": "In", "values": list(FINAL_EXIT_CODES)}
    return {
        "backoffLimit": schedule.retries,
        "activeDeadlineSeconds": 60 * schedule.max_run_minutes,
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": codes},
                # A pod that its node lost is no failure of the run: it goes on where it stopped.
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
        "template": {"metadata": {"labels": _labels(started)}, "spec": _pod(started)},
    }


def _pod(started: Started) -> dict[str, Any]:
    options = started.loaded.config.schedule.kubernetes
    claim = options.volume_claim
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 30,
        "automountServiceAccountToken": False,
        **({"serviceAccountName": options.service_account} if options.service_account else {}),
        **({"nodeSelector": options.node_selector} if options.node_selector else {}),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(started)],
        "volumes": [
            *([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}] if claim else ()),
            {"name": "config", "configMap": {"name": _metadata(started)["name"]}},
            {"name": "scratch", "emptyDir": {}},
        ],
    }


def _container(started: Started) -> dict[str, Any]:
    options = started.loaded.config.schedule.kubernetes
    return {
        "name": "hivemill",
        "image": options.image,
        "args": started.words(f"{CONFIG_FOLDER}/{config_module.DEFAULT_FILE}", started.run_words()),
        "env": [{"name": name, "value": value} for name, value in _environment(started.loaded).items()],
        **({"envFrom": [{"secretRef": {"name": name}} for name in options.secrets]} if options.secrets else {}),
        "resources": _resources(started.loaded),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            *([{"name": "data", "mountPath": options.mount_path}] if options.volume_claim else ()),
            {"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True},
            {"name": "scratch", "mountPath": _SCRATCH},
        ],
    }


def _resources(loaded: LoadedConfig) -> dict[str, Any]:
    """Memory: what is asked for is the limit, so that no neighbour's growth kills the run. CPU may be more."""
    schedule = loaded.config.schedule
    gpus = {"nvidia.com/gpu": str(schedule.gpus)} if schedule.gpus else {}
    return {
        "requests": {"cpu": f"{schedule.cpu:g}", "memory": schedule.memory},
        "limits": {"memory": schedule.memory, **gpus},
    }


def _environment(loaded: LoadedConfig) -> dict[str, str]:
    base = {"HOME": _SCRATCH, "TMPDIR": _SCRATCH}
    return base | _places(loaded) | dict(loaded.config.schedule.kubernetes.environment)


def _places(loaded: LoadedConfig) -> dict[str, str]:
    """Variables that put what lies below the config's folder here below the volume's mount there."""
    folder = str(loaded.path.absolute().parent)
    mount = loaded.config.schedule.kubernetes.mount_path
    found = {}
    for path in config_module.RELATIVE_PATHS:
        value = _value_at(loaded.config, path)
        if isinstance(value, str) and value.startswith(folder + os.sep):
            name = ENVIRONMENT_PREFIX + "__".join(part.upper() for part in path)
            found[name] = posixpath.join(mount, os.path.relpath(value, folder))
    return found


def _value_at(section: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        section = getattr(section, name, None)
    return section


def _metadata(started: Started) -> dict[str, Any]:
    config = started.loaded.config
    return {
        "name": f"hivemill-{slug(config.name)}",
        "namespace": config.schedule.kubernetes.namespace,
        "labels": _labels(started),
        "annotations": {"hivemill/config": fingerprint(started.config_file.read_text(encoding="utf-8"))[:16]},
    }


def _labels(started: Started) -> dict[str, str]:
    return {"app.kubernetes.io/name": "hivemill", "app.kubernetes.io/instance": slug(started.loaded.config.name)}
