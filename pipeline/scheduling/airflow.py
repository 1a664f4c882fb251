"""A DAG file for Airflow 3: a sensor that waits for the partitions, and the run."""

from __future__ import annotations

import os
import string
from pathlib import Path

from hivemill.common.errors import ConfigError
from hivemill.common.storage.atomic import write_text_atomically
from hivemill.pipeline.scheduling import cron
from hivemill.pipeline.scheduling.rendered import Rendered, Started, shell_words, slug

_RETRY_MINUTES = 10
_POKE_SECONDS = 300
# Jinja in single braces would be ours; `$name` is filled in here, `{{ … }}` by Airflow. `ds` is its filter for a day.
_DAG = string.Template('''\
"""Runs of $name. Written by `hivemill schedule airflow`: write it anew instead of changing it.

The run date is the last day that is over, in the table's timezone, at the end of the data interval. It is worked out
from the interval, not from the clock: a run that is late, cleared or made up for has the date of its own week.
"""

import datetime

import pendulum
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.sensors.bash import BashSensor
from airflow.sdk import DAG
from airflow.timetables.trigger import CronTriggerTimetable

TIMEZONE = $timezone
FOLDER = $folder
HIVEMILL = $hivemill
DATE = "{{ macros.ds_add((data_interval_end or dag_run.run_after).in_timezone('" + TIMEZONE + "') | ds, -1) }}"
NOT_READY = 3  # exit code of `hivemill plan` and `hivemill run` while partitions are missing
PLAN = f"cd {FOLDER} && exec {HIVEMILL} plan --date {DATE}"
RUN = f"cd {FOLDER} && exec {HIVEMILL} run --date {DATE} --lock-wait $lock_wait"

with DAG(
    dag_id=$dag_id,
    schedule=CronTriggerTimetable($cron, timezone=TIMEZONE, interval=datetime.timedelta(days=1)),
    start_date=pendulum.datetime(2026, 1, 1, tz=TIMEZONE),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["hivemill"],
):
    partitions = BashSensor(
        task_id="partitions",
        bash_command=PLAN,
        retry_exit_code=NOT_READY,
        mode="reschedule",
        poke_interval=datetime.timedelta(seconds=$poke_seconds),
        timeout=datetime.timedelta(minutes=$start_within_minutes),
    )
    run = BashOperator(
        task_id="run",
        bash_command=RUN,
        execution_timeout=datetime.timedelta(minutes=$max_run_minutes),
        retries=$retries,
        retry_delay=datetime.timedelta(minutes=$retry_minutes),
    )
    partitions >> run
''')


def render(started: Started) -> Rendered:
    """Raises ConfigError for `schedule.date: last-complete`: here the date is the interval's, a sensor waits for it."""
    config = started.loaded.config
    schedule = config.schedule
    if schedule.date == "last-complete":
        rule = f"{started.loaded.path.name}: schedule.date must be scheduled or yesterday for `schedule airflow`"
        raise ConfigError(f"{rule}; received {schedule.date!r}", hint="The sensor waits for that day's partitions.")
    command = shell_words([started.command, *started.words(str(started.config_file), [])])
    text = _DAG.substitute(
        name=config.name,
        dag_id=repr(f"hivemill-{slug(config.name)}"),
        timezone=repr(schedule.timezone),
        folder=repr(shell_words([str(started.config_file.parent)])),
        hivemill=repr(command),
        lock_wait=f"{schedule.lock_wait_minutes:g}",
        cron=repr(cron.CronExpression(schedule.cron).numeric),
        poke_seconds=_POKE_SECONDS,
        start_within_minutes=schedule.start_within_minutes,
        max_run_minutes=schedule.max_run_minutes,
        retries=schedule.retries,
        retry_minutes=_RETRY_MINUTES,
    )
    note = "Airflow's workers need hivemill at the same place, the config, and `root` on a disk that they share."
    return Rendered({f"hivemill_{slug(config.name).replace('-', '_')}.py": text}, (note,))


def install(rendered: Rendered, started: Started) -> list[str]:
    """Into $AIRFLOW_HOME/dags, Airflow's default. Raises ConfigError where that folder is not there."""
    folder = Path(os.environ.get("AIRFLOW_HOME", Path.home() / "airflow")) / "dags"
    if not folder.is_dir():
        raise ConfigError(
            f"there is no folder {folder}", hint="Set AIRFLOW_HOME, or print the file and put it where your DAGs are."
        )
    for name, text in rendered.files.items():
        write_text_atomically(folder / name, text)
    return [f"Wrote {folder / name}" for name in rendered.files]
