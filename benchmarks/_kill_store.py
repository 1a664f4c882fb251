"""A process that looks at a model store again and again, as a server does, and keeps what it should never have seen."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

_PAUSE_SECONDS = 0.01


class Watcher:
    """`with Watcher(store / model) as watcher: …; watcher.faults()`: what a reader saw that was not whole.

    A version must have the same files, of the same sizes, from the moment that its folder is there until the end;
    labels must name versions that are there, and their file be whole at every look.
    """

    def __init__(self, model: Path):
        self._model = model
        context = multiprocessing.get_context("spawn")
        self._stop = context.Event()
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_watch, args=(str(model), self._stop, theirs), daemon=True)
        self._looks = 0

    def __enter__(self) -> Watcher:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._faults, self._looks = self._ask()
        self._stop.set()
        self._process.join(30)

    def faults(self) -> list[str]:
        return self._ask()[0] if self._process.is_alive() else self._faults

    def num_looks(self) -> int:
        return self._looks

    def _ask(self) -> tuple[list[str], int]:
        self._ours.send("report")
        return self._ours.recv()


def _watch(model: str, stop: Any, connection: Any) -> None:
    seen: dict[str, str] = {}
    faults: dict[str, None] = {}
    looks = 0
    while not stop.is_set():
        faults |= dict.fromkeys(look(Path(model), seen))
        looks += 1
        if connection.poll():
            connection.recv()
            connection.send((list(faults), looks))
        time.sleep(_PAUSE_SECONDS)


def look(model: Path, seen: dict[str, str]) -> list[str]:
    """One look. `seen` keeps the fingerprint of each version at its first look."""
    labels = _labels(model)  # before the versions: a version may come between, and none goes
    if isinstance(labels, str):
        return [labels]
    faults = []
    versions = sorted(entry.name for entry in model.glob("[0-9]*")) if model.is_dir() else []
    for version in versions:
        files = _files(model / version)
        if "saved_model.pb" not in files:
            faults.append("a version without saved_model.pb")
        now = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
        if seen.setdefault(version, now) != now:
            faults.append("a version whose files changed after it was there")
    faults += [
        f"a label {name} of a version that is not there" for name, at in labels.items() if str(at) not in versions
    ]
    return faults


def _labels(model: Path) -> dict[str, int] | str:
    try:
        return json.loads((model / "labels.json").read_text(encoding="utf-8")).get("labels", {})
    except FileNotFoundError:
        return {}
    except ValueError:
        return "labels.json that is not whole"


def _files(version: Path) -> dict[str, int]:
    return {str(file.relative_to(version)): file.stat().st_size for file in version.rglob("*") if file.is_file()}
