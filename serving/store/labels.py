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

from hivemill.common.errors import InfrastructureError

LABELS_FILE = "labels.json"


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


def read_state(folder: Path) -> StoreState:
    """The empty state where the file is missing. Raises OSError, and InfrastructureError for a damaged file."""
    file = folder / LABELS_FILE
    if not file.is_file():
        return StoreState()
    document = read_json(file)
    if document.get("version") != 1:
        raise InfrastructureError(
            f"{file}: `version` must be 1; received {document.get('version')!r}",
            hint="A newer Hivemill wrote it: use that one.",
        )
    known = {field.name for field in dataclasses.fields(StoreState)} & document.keys()
    state = StoreState(**{name: document[name] for name in known})
    if not isinstance(state.labels, dict) or not all(type(value) is int for value in state.labels.values()):
        raise InfrastructureError(
            f"{file}: `labels` must map labels to versions; received {state.labels!r}", hint="Restore the file."
        )
    return dataclasses.replace(state, also_served=tuple(state.also_served), removing=tuple(state.removing))


def read_json(file: Path) -> dict[str, Any]:
    """Raises OSError, and InfrastructureError where it is no JSON object."""
    try:
        document = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise InfrastructureError(f"{file}: not valid JSON: {error}", hint="Restore the file or remove it.") from error
    if not isinstance(document, dict):
        raise InfrastructureError(f"{file}: must be a JSON object", hint="Restore the file or remove it.")
    return document
