"""What every engine has to say: files, how they get to their places, and the command that starts a run."""

from __future__ import annotations

import dataclasses
import datetime
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.pipeline.config.loader import LoadedConfig
from hivemill.pipeline.scheduling import cron

_NUM_NEXT = 3


@dataclasses.dataclass(frozen=True)
class Rendered:
    """The files of a schedule by name, and what a person should know of them."""

    files: dict[str, str]
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Started:
    """What is started: the config, with the overrides that the schedule was made with.

    `command` is `hivemill` on the machine that runs it.
    """

    loaded: LoadedConfig
    overrides: tuple[str, ...]
    command: str

    @property
    def config_file(self) -> Path:
        return self.loaded.path.absolute()

    def settings(self) -> list[str]:
        return [word for override in self.overrides for word in ("--set", override)]

    def words(self, config_file: str, verb: Sequence[str]) -> list[str]:
        """`--config FILE --set … VERB …`"""
        return ["--config", config_file, *self.settings(), *verb]

    def run_words(self, date: str | None = None) -> list[str]:
        schedule = self.loaded.config.schedule
        return ["run", "--date", date or schedule.date, "--lock-wait", f"{schedule.lock_wait_minutes:g}"]


def command_of(given: str | None) -> str:
    """`hivemill` of this environment unless another is given. Raises ConfigError where there is none."""
    if given is not None:
        return given
    script = Path(sys.executable).with_name("hivemill")
    if not script.is_file():
        rule = f"there is no {script}, so it is not known what a schedule on this machine would start"
        raise ConfigError(rule, hint="Install Hivemill (`pip install .`), or name the program with --command FILE.")
    return str(script)


def next_starts(loaded: LoadedConfig, now: datetime.datetime) -> list[dict[str, str]]:
    """The next starts, each with its run date."""
    schedule = loaded.config.schedule
    times = cron.CronExpression(schedule.cron).next_times(now.astimezone(cron.zone(schedule.timezone)), _NUM_NEXT)
    return [
        {"start": time.isoformat(timespec="minutes"), "date": (time.date() - datetime.timedelta(days=1)).isoformat()}
        for time in times
    ]


def slug(name: str, longest: int = 40) -> str:
    """The pipeline's name as names of Kubernetes and systemd go: small letters, digits and `-`."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:longest].rstrip("-")


def shell_words(words: Sequence[str]) -> str:
    text = shlex.join(words)
    if "\n" in text:
        raise ConfigError("a line break in a path or an override cannot be written into a schedule")
    return text


def called(program: str, *words: str, given: str | None = None, may_fail: bool = False) -> str:
    """Runs a program of the machine and returns its output. Raises InfrastructureError with what it said."""
    try:
        done = subprocess.run([program, *words], input=given, capture_output=True, text=True, timeout=120, check=False)
    except FileNotFoundError:
        raise InfrastructureError(
            f"there is no program `{program}` on this machine", hint="Without --install the schedule is only printed."
        ) from None
    except subprocess.TimeoutExpired:
        raise InfrastructureError(f"`{program} {' '.join(words)}` gave no answer in 120 s") from None
    if done.returncode and not may_fail:
        said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise InfrastructureError(f"`{program} {' '.join(words)}` failed: {said}")
    return done.stdout if not done.returncode else ""


def is_root() -> bool:
    return os.geteuid() == 0
