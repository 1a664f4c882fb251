"""A line of crontab(5). No second start beside one that goes on (flock), none that never ends (timeout)."""

from __future__ import annotations

import datetime
import re

from hivemill.common.errors import ConfigError
from hivemill.common.storage import urls
from hivemill.pipeline.config.loader import LoadedConfig
from hivemill.pipeline.scheduling import cron
from hivemill.pipeline.scheduling.rendered import Rendered, Started, called, shell_words

FILE = "crontab"
_MONTHS_COMPARED = 24


def render(started: Started) -> Rendered:
    """Raises ConfigError where the machine's timezone is another than the schedule's: cron knows only its own."""
    config = started.loaded.config
    if urls.is_url(config.root):
        rule = f"cron keeps its lock and its log below `root`, which is {urls.shown(config.root)}"
        raise ConfigError(rule, hint="`hivemill schedule systemd` or `kubernetes` needs no folder there.")
    _check_timezone(started.loaded)
    root = config.root_path()
    seconds = 60 * config.schedule.max_run_minutes
    run = [started.command, *started.words(str(started.config_file), started.run_words())]
    folder, lock, log = (shell_words([str(place)]) for place in (root, root / "schedule.lock", root / "schedule.log"))
    line = (
        f"{cron.CronExpression(config.schedule.cron).numeric} mkdir -p {folder} && "
        f"cd {shell_words([str(started.config_file.parent)])} && "
        f"flock --nonblock {lock} timeout --signal=TERM --kill-after=30 {seconds} {shell_words(run)} >> {log} 2>&1"
    )
    begin, end = _marks(config.name)
    text = f"{begin}\n{line.replace('%', chr(92) + '%')}\n{end}\n"
    notes = (
        "cron makes up for no start that was missed while the machine was off, and tries none again; systemd does.",
        "Secrets (variables of alerts, HIVE_PASSWORD) are variables of the crontab, above the line.",
    )
    return Rendered({FILE: text}, notes)


def install(rendered: Rendered, started: Started) -> list[str]:
    """Replaces the lines of this pipeline in the user's crontab, and no others."""
    begin, end = _marks(started.loaded.config.name)
    before = called("crontab", "-l", may_fail=True)
    others = re.sub(rf"^{re.escape(begin)}\n.*?^{re.escape(end)}\n", "", before, flags=re.MULTILINE | re.DOTALL)
    if others and not others.endswith("\n"):
        others += "\n"
    called("crontab", "-", given=others + rendered.files[FILE])
    return ["Replaced the line in the crontab." if others != before else "Added a line to the crontab."]


def _marks(name: str) -> tuple[str, str]:
    return f"# BEGIN hivemill {name}", f"# END hivemill {name}"


def _check_timezone(loaded: LoadedConfig) -> None:
    """By offsets of two years, since a machine does not always know its timezone's name."""
    name = loaded.config.schedule.timezone
    start = datetime.datetime.now(datetime.timezone.utc)
    times = [start + datetime.timedelta(days=30 * month) for month in range(_MONTHS_COMPARED)]
    if any(time.astimezone().utcoffset() != time.astimezone(cron.zone(name)).utcoffset() for time in times):
        raise ConfigError(
            f"{loaded.path.name}: schedule.timezone is {name}, and this machine, whose time cron goes by, has another",
            hint="`schedule systemd` knows timezones; or set schedule.timezone to the machine's.",
        )
