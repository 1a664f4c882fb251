"""A recurring run of Kubeflow Pipelines: six-field cron, one run at a time, none made up for."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hivemill.common.errors import ConfigError
from hivemill.pipeline.scheduling import cron
from hivemill.pipeline.scheduling.rendered import Rendered, Started

PACKAGE, REQUEST = "pipeline.yaml", "recurring_run.json"


def render(started: Started) -> Rendered:
    """The compiled pipeline, and what is asked of the server besides it.

    Raises ConfigError where the schedule's timezone is not UTC: Kubeflow's controller reads all schedules in its own.
    """
    from hivemill.pipeline.cli.verbs.orchestrators import write_package

    config = started.loaded.config
    if config.schedule.timezone != "UTC":
        raise ConfigError(
            f"schedule.timezone: Kubeflow reads schedules in its controller's timezone, UTC; received "
            f"{config.schedule.timezone}",
            hint="Write schedule.cron in UTC and set schedule.timezone to UTC.",
        )
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / PACKAGE
        write_package(started.loaded, package)
        text = package.read_text(encoding="utf-8")
    notes = (
        "Kubeflow reads cron in its controller's timezone (CRON_SCHEDULE_TIMEZONE), UTC unless it was changed.",
        "A start while another run goes on ends with exit code 7; schedule.retries and lock_wait_minutes are not used.",
    )
    return Rendered({PACKAGE: text, REQUEST: json.dumps(_request(started), indent=2) + "\n"}, notes)


def install(rendered: Rendered, started: Started) -> list[str]:
    """Creates or replaces the recurring run at kubeflow.endpoint."""
    from hivemill.pipeline.orchestrators.kubeflow.service import Service

    request = json.loads(rendered.files[REQUEST])
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / PACKAGE
        package.write_text(rendered.files[PACKAGE], encoding="utf-8")
        service = Service(started.loaded.config)
        cron_text = request["trigger"]["cron_schedule"]["cron"]
        made = service.schedule(package, cron_text, request["runtime_config"]["parameters"])
    lines = [f"Recurring run {made['recurring_run_id']} of {request['display_name']}: {made['state']}."]
    return lines + [f"Removed the earlier recurring run {one}." for one in made["removed"]]


def _request(started: Started) -> dict[str, Any]:
    """Of POST /apis/v2beta1/recurringruns, without the pipeline and the experiment's id."""
    config = started.loaded.config
    return {
        "display_name": config.name,
        "max_concurrency": "1",
        "no_catchup": True,
        "trigger": {"cron_schedule": {"cron": f"0 {cron.CronExpression(config.schedule.cron).numeric}"}},
        "runtime_config": {"parameters": {"date": config.schedule.date}},
    }
