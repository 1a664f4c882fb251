"""A systemd service and its timer: systemd.service(5), systemd.timer(5), systemd.exec(5)."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Sequence
from pathlib import Path

from hivemill.common.errors import ConfigError
from hivemill.common.storage.atomic import write_text_atomically
from hivemill.pipeline.config.loader import LoadedConfig
from hivemill.pipeline.scheduling import cron
from hivemill.pipeline.scheduling.kubernetes import FINAL_EXIT_CODES
from hivemill.pipeline.scheduling.rendered import Rendered, Started, called, is_root, slug

SYSTEM_UNITS = Path("/etc/systemd/system")
_RETRY_MINUTES = 10
_SERVICE = """\
[Unit]
Description=Hivemill: a run of {name}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec={limit_minutes}min
StartLimitBurst={starts}

[Service]
Type=oneshot
{user}WorkingDirectory={folder}
EnvironmentFile=-{environment}
ExecStart={command}
TimeoutStartSec={max_minutes}min
TimeoutStopSec=30s
{restart}CPUQuota={cpu:.0f}%
MemoryMax={memory}
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=full
"""
_TIMER = """\
[Unit]
Description=Starts Hivemill for {name}

[Timer]
{calendar}
Persistent=true
AccuracySec=1min

[Install]
WantedBy=timers.target
"""


def render(started: Started) -> Rendered:
    config = started.loaded.config
    calendar = cron.CronExpression(config.schedule.cron).on_calendar(config.schedule.timezone)
    unit = f"hivemill-{slug(config.name)}"
    timer = _TIMER.format(name=config.name, calendar="\n".join(f"OnCalendar={line}" for line in calendar))
    note = f"Secrets (variables of alerts, HIVE_PASSWORD) belong in {_environment_file(started)}, mode 600."
    return Rendered({f"{unit}.service": _service(started), f"{unit}.timer": timer}, (note,))


def install(rendered: Rendered, started: Started) -> list[str]:
    """As root: system units, for schedule.user; else units of this user. Raises ConfigError, InfrastructureError."""
    folder, scope = _scope(started.loaded)
    for name, text in rendered.files.items():
        write_text_atomically(folder / name, text)
    timer = next(name for name in rendered.files if name.endswith(".timer"))
    called("systemctl", *scope, "daemon-reload")
    called("systemctl", *scope, "enable", "--now", timer)
    lines = [f"Wrote {folder / name}" for name in rendered.files] + [f"Enabled {timer}"]
    return lines if not scope else [*lines, "It runs without a login only after `loginctl enable-linger`."]


def _scope(loaded: LoadedConfig) -> tuple[Path, list[str]]:
    if not is_root():
        return Path.home() / ".config" / "systemd" / "user", ["--user"]
    if loaded.config.schedule.user is None:
        rule = f"{loaded.path.name}: schedule.user is needed to install a system unit; without it runs would be root's"
        raise ConfigError(rule, hint="Name the user that owns `root`, or install as that user.")
    return SYSTEM_UNITS, []


def _service(started: Started) -> str:
    schedule = started.loaded.config.schedule
    words = [started.command, *started.words(str(started.config_file), started.run_words())]
    codes = " ".join(map(str, FINAL_EXIT_CODES))
    restart = (
        f"Restart=on-failure\nRestartSec={_RETRY_MINUTES}min\nRestartPreventExitStatus={codes}\n"
        if schedule.retries
        else ""
    )
    return _SERVICE.format(
        name=started.loaded.config.name,
        user=f"User={schedule.user}\n" if schedule.user else "",
        folder=_escaped(str(started.config_file.parent)),
        environment=_escaped(str(_environment_file(started))),
        command=_command_line(words),
        max_minutes=schedule.max_run_minutes,
        limit_minutes=_limit_minutes(started.loaded),
        starts=schedule.retries + 1,
        restart=restart,
        cpu=100 * schedule.cpu,
        memory=schedule.memory.removesuffix("i"),
    )


def _limit_minutes(loaded: LoadedConfig) -> int:
    """In which the starts of one week count together; shorter than the shortest time to the next start of the timer."""
    schedule = loaded.config.schedule
    after = datetime.datetime(2026, 1, 1, tzinfo=cron.zone(schedule.timezone))
    times = cron.CronExpression(schedule.cron).next_times(after, 60)
    gap = min(later - time for time, later in itertools.pairwise(times))
    wanted = (schedule.retries + 1) * (schedule.max_run_minutes + _RETRY_MINUTES)
    return max(1, min(wanted, int(gap.total_seconds() // 60) - 1))


def _environment_file(started: Started) -> Path:
    return started.config_file.with_name("hivemill.env")


def _command_line(words: Sequence[str]) -> str:
    """systemd's own quoting (systemd.service(5), COMMAND LINES): `%` and `$` have a meaning in every word."""
    quoted = (word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$") for word in words)
    return " ".join(f'"{word}"' for word in quoted)


def _escaped(path: str) -> str:
    return path.replace("%", "%%")
