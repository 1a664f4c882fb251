"""Runs in Airflow's environment: imports a DAG file as Airflow does, and prints what Airflow made of it as JSON.

Words: the DAG file, then moments (ISO) at each of which it says which run Airflow would have started last.
"""

import datetime
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pendulum
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.execution_time.macros import ds_add
from airflow.timetables.base import TimeRestriction


def main() -> None:
    file, *moments = sys.argv[1:]
    bag = DagBag(dag_folder=file, include_examples=False)
    (dag,) = bag.dags.values()
    tasks = {task.task_id: task for task in dag.tasks}
    print(
        json.dumps(
            {
                "errors": dict(bag.import_errors),
                "dag_id": dag.dag_id,
                "catchup": dag.catchup,
                "max_active_runs": dag.max_active_runs,
                "upstream_of_run": sorted(tasks["run"].upstream_task_ids),
                "retry_exit_code": tasks["partitions"].retry_exit_code,
                "mode": tasks["partitions"].mode,
                "commands": [_rendered(tasks["run"], _interval(dag, moment)) for moment in moments],
            }
        )
    )


def _interval(dag, moment):
    """The data interval of the newest run that is due at `moment`."""
    now = pendulum.parse(moment)
    earliest, interval = now - datetime.timedelta(days=40), None
    while True:
        info = dag.timetable.next_dagrun_info(
            last_automated_data_interval=interval,
            restriction=TimeRestriction(earliest=earliest, latest=None, catchup=True),
        )
        if info.run_after > now:
            return interval
        interval = info.data_interval


def _rendered(task, interval):
    template = task.get_template_env().from_string(task.bash_command)
    run = SimpleNamespace(run_after=interval.end)
    return template.render(data_interval_end=interval.end, dag_run=run, macros=SimpleNamespace(ds_add=ds_add))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
