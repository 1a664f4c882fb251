"""Executor of StorePusher: publishes a blessed model into the model store."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from absl import logging
from tfx import types
from tfx.components.util import model_utils
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from hivemill.common.errors import BaselineMovedError, InfrastructureError
from hivemill.common.storage.atomic import fingerprint
from hivemill.components.evaluator.gates import refusals
from hivemill.components.pusher.options import StoreOptions
from hivemill.serving.store.bucket import open_store
from hivemill.serving.store.mirror import StoreMirror
from hivemill.serving.store.model_store import STABLE, ModelStore

_CHUNK_BYTES = 1 << 20


class StorePusherExecutor(base_executor.BaseExecutor):
    """Output pushed_model with the custom properties of TFX's own Pusher; the inputs are those of StorePusher."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
        verdict = _read_verdict(artifact_utils.get_single_instance(input_dict["model_verdict"]))
        if not model_utils.is_model_blessed(artifact_utils.get_single_instance(input_dict["blessing"])):
            pushed.set_int_custom_property("pushed", 0)
            logging.info("Nothing pushed: %s", "; ".join(refusals(verdict)))
            return
        if not _is_checked(input_dict.get("infra_blessing") or []):
            pushed.set_int_custom_property("pushed", 0)
            logging.info("Nothing pushed: the serving check has not passed.")
            return
        model = artifact_utils.get_single_instance(input_dict["model"])
        saved_model = Path(path_utils.serving_model_path(model.uri))
        store = open_store(exec_properties["store_path"], exec_properties["model_name"])
        # The run's id is part of the source: a pusher that is killed and run again finds its version, while a forced
        # run (an id of its own) gives a new one, even of a model with the same bytes.
        source = fingerprint(exec_properties["run_id"], saved_model_fingerprint(saved_model))
        options = StoreOptions.model_validate_json(exec_properties.get("options") or '{"warm_up_rows": 0}')
        judged_against = verdict["baseline_version"]
        version = store.publish(
            saved_model,
            _record(verdict, exec_properties),
            source,
            _warm_up(saved_model, store.model, input_dict.get("examples"), exec_properties, options),
            check=lambda labels: check_baseline(judged_against, labels.get(STABLE)),
        )
        if exec_properties.get("options") and options.keep_versions is not None:
            removed = store.retain(options.keep_versions, options.grace_hours)
            logging.info("Versions removed from the store: %s", removed or "none")
        if options.mirror is not None:
            _mirror(store, options.mirror, version)
        pushed.set_int_custom_property("pushed", 1)
        pushed.set_string_custom_property("pushed_destination", store.place_of(version))
        pushed.set_string_custom_property("pushed_version", str(version))


def _mirror(store: ModelStore, url: str, version: int) -> None:
    """A run whose bucket is behind has failed, though its version is in the store: the next attempt ends it."""
    try:
        synced = StoreMirror(store, url).sync()
    except InfrastructureError as error:
        raise InfrastructureError(
            f"version {version} is in the store, but {error.message}",
            hint=f"{error.hint} The same run again then ends well, and pushes nothing twice.",
        ) from error
    logging.info("Mirror of the store: %s uploaded, %s removed", len(synced.uploaded), len(synced.removed))


def _warm_up(
    saved_model: Path,
    model: str,
    examples: list[types.Artifact] | None,
    exec_properties: dict[str, Any],
    options: StoreOptions,
) -> dict[str, bytes]:
    """The version's extra files: warm-up requests made of rows of the eval split."""
    if not examples or not options.warm_up_rows:
        return {}
    from hivemill.components.evaluator.example_sample import sample_rows
    from hivemill.components.pusher.warm_up import WARM_UP_FILE, warm_up_requests

    split = artifact_utils.get_split_uris(examples, "eval")[0]
    rows, _ = sample_rows(split, options.warm_up_rows, exec_properties["label_column"])
    requests = warm_up_requests(saved_model, model, rows.tolist(), options.warm_up_signatures)
    return {} if requests is None else {WARM_UP_FILE: requests}


def check_baseline(judged_against: int | None, stable: int | None) -> None:
    """Raises BaselineMovedError where the model was judged against another version than the one that is stable now.

    Two roots or hosts may share a store, and a rollout may promote a version while a run judges.
    """
    if stable != judged_against:
        was = f"version {judged_against}" if judged_against else "no version at all (none was stable)"
        now = f"version {stable}" if stable else "none"
        raise BaselineMovedError(
            f"the model was judged against {was}, but {now} is stable now; it was never compared with that one",
            hint="Run it again: only the judging and the push are repeated.",
        )


def _is_checked(infra_blessings: list[types.Artifact]) -> bool:
    """A red check fails its own node, so this is the second lock on the door. No check at all is a choice."""
    return all(one.get_int_custom_property("blessed") == 1 for one in infra_blessings)


def saved_model_fingerprint(saved_model: Path) -> str:
    """SHA-256 (hex) of the names and contents of a SavedModel's files."""
    digest = hashlib.sha256()
    for file in sorted(path for path in saved_model.rglob("*") if path.is_file()):
        content = hashlib.sha256()
        with open(file, "rb") as opened:
            while chunk := opened.read(_CHUNK_BYTES):
                content.update(chunk)
        digest.update(f"{file.relative_to(saved_model).as_posix()}\0{content.hexdigest()}\n".encode())
    return digest.hexdigest()


def _read_verdict(artifact: types.Artifact) -> dict[str, Any]:
    return json.loads((Path(artifact.uri) / "verdict.json").read_text("utf-8"))


def _record(verdict: dict[str, Any], exec_properties: dict[str, Any]) -> dict[str, Any]:
    overall = next(part for part in verdict["slices"] if not part["slice"])
    return {
        "run_id": exec_properties["run_id"],
        "run_date": exec_properties["run_date"],
        **json.loads(exec_properties.get("lineage") or "{}"),
        "baseline_version": verdict["baseline_version"],
        "metrics": overall["metrics"],
    }
