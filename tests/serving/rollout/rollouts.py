"""A store with versions, a server that lives in a file, and metrics: what the tests of rollouts share."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

from hivemill.common.errors import InfrastructureError
from hivemill.common.storage.atomic import write_json_atomically
from hivemill.serving.rollout.controller import RolloutMachine
from hivemill.serving.rollout.metrics import RolloutMetrics
from hivemill.serving.rollout.model_server import VersionState
from hivemill.serving.rollout.options import RolloutOptions
from hivemill.serving.store.bucket import open_store
from hivemill.serving.store.model_store import ModelStore
from hivemill.serving.store.server_config import parse_models_config

NO_WAIT = RolloutOptions(min_hours=0, min_impressions=1, load_timeout_seconds=3)


def make_store(folder: Path, num_versions: int = 2, place: str | None = None) -> ModelStore:
    """In `folder`, or at the URL `place`."""
    source = folder / "export"
    source.mkdir(parents=True)
    (source / "saved_model.pb").write_bytes(b"graph")
    store = open_store(place or folder / "models", "shop")
    for number in range(num_versions):
        store.publish(source, {"run_id": f"run-{number}"}, f"source-{number}")
    return store


class FileServer:
    """TensorFlow Serving's rules about labels and versions, with its memory in a file that outlives a killed caller.

    A label may only point to a version that was loaded before the config came (server_core.cc, ReloadConfig).
    """

    def __init__(self, file: Path, refused: tuple[int, ...] = ()):
        self.file, self.refused = file, refused
        self.reloads: list[dict] = []

    def memory(self) -> dict:
        if not self.file.is_file():
            return {"loaded": [], "labels": {}}
        return json.loads(self.file.read_text())

    def reload(self, config_text: str) -> None:
        (config,) = parse_models_config(config_text).model_config_list.config
        wanted = list(config.model_version_policy.specific.versions)
        labels = dict(config.version_labels)
        loaded = self.memory()["loaded"]
        for label, version in labels.items():
            if loaded and version not in loaded:
                raise InfrastructureError(f"label {label} to version {version}, which is not available")
        now = {"loaded": [version for version in wanted if version not in self.refused], "labels": labels}
        self.reloads.append(now)
        write_json_atomically(self.file, now)

    def states(self, model: str) -> dict[int, VersionState]:
        return {
            **{version: VersionState("AVAILABLE") for version in self.memory()["loaded"]},
            **{version: VersionState("END", "out of memory") for version in self.refused},
        }


def served(store: ModelStore, folder: Path, refused: tuple[int, ...] = ()) -> FileServer:
    """A server that has loaded what models.config says."""
    server = FileServer(folder / "server.json", refused)
    server.reload(store.server_config())
    return server


def machine(store: ModelStore, server: FileServer | None, **options) -> RolloutMachine:
    return RolloutMachine(store, NO_WAIT.model_copy(update=options), server)


def metrics(store: ModelStore, canary: dict | None = None, lift: tuple[float, float] | None = (-0.01, 0.03), **more):
    """Green metrics of the running rollout, until now."""
    rollout = store.state().rollout
    usual = {"errors": 0, "p99_latency_seconds": 0.01, "mean_prediction": 0.08}
    canary = {"impressions": 10_000, **(canary or {})}
    canary = {"clicks": round(0.08 * canary["impressions"]), **canary}
    now = datetime.datetime.now(datetime.timezone.utc)
    document = {
        "version": 1,
        "since_utc": rollout["started_utc"],
        "until_utc": now.isoformat(),
        "variants": {
            "stable": {"model_version": rollout["stable"], "impressions": 90_000, "clicks": 7_200, **usual},
            "canary": {"model_version": rollout["canary"], **usual, **canary},
        },
        "lift": {"low": lift[0], "high": lift[1]} if lift else None,
        **more,
    }
    return RolloutMetrics.model_validate_json(json.dumps(document), strict=True)
