"""labels.json: all that can change about a model's versions, in one file, so that one rename changes all of it.

    {"version": 1, "labels": {"stable": 1763190000, "canary": 1763190000},
     "also_served": [], "rollout": null, "pending": null, "rejected": {}, "removing": [], "change": {"id": "…", …}}

models.config and the audit log follow from it: whoever takes the store's lock next completes what a killed writer has
left out. Readers that want only labels read only `labels`; what splits the traffic reads `rollout.percent` beside them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hivemill.common.errors import InfrastructureError
from hivemill.common.storage import json_files

LABELS_FILE = "labels.json"
_RESTORE_LABELS = (
    "Restore it from a backup; audit.jsonl beside it has the labels after every change. Do not remove it: without it "
    "the next version that is pushed becomes `stable`."
)


@dataclasses.dataclass(frozen=True)
class StoreState:
    """What labels.json says.

    Attributes:
        labels: version by label.
        also_served: versions that the server keeps loaded without a label, while labels move.
        rollout: the last rollout (serving.rollout.state), or None.
        pending: what the rollout was about to do when labels.json was written (serving.rollout.label_transitions), or
        None.
        rejected: why a version was taken back, by its number in text.
        removing: versions that retention has given up; their folders go next.
        change: the line of the audit log that tells of this state; None in a file of before the audit log.
    """

    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    also_served: tuple[int, ...] = ()
    rollout: Mapping[str, Any] | None = None
    pending: Mapping[str, Any] | None = None
    rejected: Mapping[str, str] = dataclasses.field(default_factory=dict)
    removing: tuple[int, ...] = ()
    change: Mapping[str, Any] | None = None

    def in_use(self) -> set[int]:
        """Versions that must not be removed: what is served, and both sides of a rollout."""
        rollout = self.rollout or {}
        sides = {rollout[key] for key in ("canary", "stable") if rollout.get("state") == "running"}
        return {*self.labels.values(), *self.also_served, *sides}

    def to_document(self) -> dict[str, Any]:
        """What labels.json holds."""
        return {"version": 1, **dataclasses.asdict(self), "labels": dict(sorted(self.labels.items()))}


_STATE = TypeAdapter(StoreState)


def read_state(folder: Path) -> StoreState:
    """The empty state where the file is missing. Raises OSError, and InfrastructureError for a damaged file."""
    file = folder / LABELS_FILE
    if not file.is_file():
        return StoreState()
    document = read_json(file, _RESTORE_LABELS)
    if document.get("version") != 1:
        raise InfrastructureError(
            f"{file}: `version` must be 1; received {document.get('version')!r}",
            hint="A newer Hivemill wrote it: use that one.",
        )
    known = {field.name for field in dataclasses.fields(StoreState)} & document.keys()
    try:
        return _STATE.validate_json(json.dumps({name: document[name] for name in known}), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        rule = f"`{where}`: {first['msg']}; received {str(first['input'])[:60]!r}"
        raise InfrastructureError(f"{file}: {rule}", hint=_RESTORE_LABELS) from error


def read_json(file: Path, hint: str = "Restore the file from a backup.") -> dict[str, Any]:
    """Raises OSError, and InfrastructureError where it is no JSON object."""
    try:
        return json_files.read_object(file)
    except json_files.DamagedJsonError as error:
        raise InfrastructureError(f"{file}: {error}", hint=hint) from error
