"""Launches ONE node of a compiled pipeline: TFX's launcher, driver, caching and metadata, and a record of the cost."""

from __future__ import annotations

import dataclasses
import errno
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hivemill.common import runtime

runtime.prepare_tensorflow()

from ml_metadata.proto import metadata_store_pb2 as mlmd  # noqa: E402
from tfx.orchestration.local import runner_utils  # noqa: E402
from tfx.orchestration.portable import launcher  # noqa: E402
from tfx.proto.orchestration import pipeline_pb2  # noqa: E402
from tfx.types.standard_artifacts import PushedModel  # noqa: E402

import hivemill.components.tfx_io.filesystem  # noqa: E402, F401 (TFX's launcher makes and removes URIs)
from hivemill.common import errors  # noqa: E402
from hivemill.common.errors import HivemillError, InfrastructureError  # noqa: E402
from hivemill.common.storage import object_store, urls  # noqa: E402
from hivemill.pipeline.metadata.client import metadata_of  # noqa: E402
from hivemill.pipeline.orchestrators.beam.dataflow import jobs_end_with_the_node  # noqa: E402
from hivemill.pipeline.orchestrators.node_cost import NodeCost, output_bytes  # noqa: E402
from hivemill.pipeline.root import object_root  # noqa: E402
from hivemill.pipeline.runs.records import NodeRecord, RunFolder  # noqa: E402


def launch_node(ir: pipeline_pb2.Pipeline, node_id: str, folder: RunFolder) -> NodeRecord:
    """Runs the node, writes its record below the run's folder, and returns it.

    Raises the node's error, translated to the tree of common.errors where it can be told, after recording it.
    """
    root = folder.path.parents[1]
    object_root.put_changes(root)  # what the node is to read
    started = time.monotonic()
    with NodeCost() as cost:
        try:
            done, error = _launch(ir, node_id), None
        except Exception as caught:
            done, error = _Outcome("failed"), translated(caught)
            cause = caught
    record = _record(node_id, done, cost, time.monotonic() - started, error)
    folder.write_node(record)
    object_root.put_changes(root)
    if error is not None:
        raise error from cause
    return record


@dataclasses.dataclass(frozen=True)
class _Outcome:
    """`written` are bytes of the output artifacts, known where the node itself made them."""

    state: str
    rows: int | None = None
    written: int | None = None


def _record(node_id: str, done: _Outcome, cost: NodeCost, seconds: float, error: BaseException | None) -> NodeRecord:
    return NodeRecord(
        node_id,
        done.state,
        seconds,
        done.rows,
        cost.peak_memory_bytes,
        cpu_seconds=round(cost.cpu_seconds, 2),
        rows_per_second=round(done.rows / seconds, 1) if done.rows and done.state == "succeeded" else None,
        output_bytes=done.written,
        error=_card(error),
    )


def translated(error: BaseException) -> BaseException:
    """The error of common.errors behind `error`: itself, one in its chain, one that Beam made text of, or errno's."""
    ours = [link for link in _chain(error) if isinstance(link, HivemillError)]
    if ours:
        return ours[-1]  # Beam re-raises a copy with words added to its message; the first one, below it, is whole
    for link in _chain(error):
        found = _from_text(str(link))
        if found is not None:
            return found
        if isinstance(link, OSError) and link.errno in _DISK_ERRORS:
            return _disk_error(link)
        if _is_of_google_cloud(link):
            return InfrastructureError(" ".join(str(link).split())[:_LONGEST_MESSAGE], hint=_GOOGLE_HINT)
    if re.search(r"No space left on device|ResourceExhaustedError.*(space|disk)", str(error)):
        return InfrastructureError(f"the disk is full: {_last_line(error)}", hint=_DISK_HINT)
    return error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Each error once: a library may chain errors in a circle."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
_LONGEST_MESSAGE = 1000
_GOOGLE_HINT = (
    "The run's log and Dataflow's page of the job say more. Check the account's rights and runner.beam_args, then run "
    "again: finished nodes are reused."
)
_DISK_HINT = "Free some space below `root` (or grant the rights) and run again: finished nodes are reused."


def _launch(ir: pipeline_pb2.Pipeline, node_id: str) -> _Outcome:
    node = next(n.pipeline_node for n in ir.nodes if n.pipeline_node.node_info.id == node_id)
    deployment = runner_utils.extract_local_deployment_config(ir)
    executor = runner_utils.extract_executor_spec(deployment, node_id)
    with jobs_end_with_the_node(getattr(executor, "beam_pipeline_args", ())):
        info = launcher.Launcher(
            pipeline_node=node,
            mlmd_connection=metadata_of(ir),
            pipeline_info=ir.pipeline_info,
            pipeline_runtime_spec=ir.runtime_spec,
            executor_spec=executor,
            custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, node_id),
        ).launch()
    with metadata_of(ir) as handle:
        return _outcome(handle.store, info.execution_id if info else None, node_id)


def _outcome(store: Any, execution_id: int | None, node_id: str) -> _Outcome:
    """State and rows as the metadata has them: the launcher itself does not raise for unresolved inputs."""
    if not execution_id:
        return _Outcome("skipped")
    execution = store.get_executions_by_id([execution_id])[0]
    if execution.last_known_state not in (mlmd.Execution.COMPLETE, mlmd.Execution.CACHED):
        raise InfrastructureError(
            f"node {node_id}: its inputs could not be resolved from the metadata (execution {execution_id})",
            hint="`hivemill run --force` runs every node anew.",
        )
    artifacts = {True: [], False: []}
    for event in store.get_events_by_execution_ids([execution_id]):
        is_output = event.type == mlmd.Event.OUTPUT
        artifacts[is_output].extend(store.get_artifacts_by_id([event.artifact_id]))
    cached = execution.last_known_state == mlmd.Execution.CACHED
    if cached:
        _check_present(artifacts[True], node_id)
    rows = _rows_of_node(artifacts[False], artifacts[True])
    if cached:
        return _Outcome("cached", rows)
    return _Outcome("succeeded", rows, output_bytes(artifact.uri for artifact in artifacts[True]))


def _check_present(outputs: list[mlmd.Artifact], node_id: str) -> None:
    for artifact in outputs:
        if not _is_there(artifact.uri):
            raise InfrastructureError(
                f"node {node_id}: the metadata knows the artifact {artifact.uri}, but it is not there any more",
                hint="Somebody removed files below `root`; `hivemill run --force` makes them anew.",
            )


def _is_there(uri: str) -> bool:
    return bool(object_store.sizes(uri)) if urls.is_url(uri) else Path(uri).exists()


def _rows_of_node(inputs: list[mlmd.Artifact], outputs: list[mlmd.Artifact]) -> int | None:
    """Those that its outputs tell of, else those of its examples. The Pusher takes only some of them, for warm-up."""
    if any(artifact.type == PushedModel.TYPE_NAME for artifact in outputs):
        return None
    rows = _num_rows(outputs)
    return _num_rows(inputs) if rows is None else rows


def _num_rows(artifacts: list[mlmd.Artifact]) -> int | None:
    rows = [a.custom_properties["num_rows"].int_value for a in artifacts if "num_rows" in a.custom_properties]
    return max(rows, default=None)


def _from_text(text: str) -> HivemillError | None:
    """Beam carries an error of a worker only as text: a traceback whose last line names the class and the message."""
    found = re.findall(r"^(?:[\w.]*: )?hivemill\.common\.errors\.(\w+): (.*(?:\n  .*)*)", text, flags=re.MULTILINE)
    if not found:
        return None
    name, body = found[0]  # the innermost error stands first in a traceback
    message, _, hint = re.sub(r" \[while running '.*?'\](\Z|\n)", r"\1", body).partition("\n  ")
    kind = getattr(errors, name, None)
    return kind(message.strip(), hint=hint.strip() or None) if kind else None


def _is_of_google_cloud(error: BaseException) -> bool:
    """A refused call, missing credentials, or a job on Dataflow that failed. By name: few runs load these modules."""
    kind = type(error)
    return (
        kind.__module__.startswith(("google.api_core.", "google.auth.")) or kind.__name__ == "DataflowRuntimeException"
    )


def _disk_error(error: OSError) -> InfrastructureError:
    return InfrastructureError(f"{error.filename or 'a file'}: {error.strerror}", hint=_DISK_HINT)


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _card(error: BaseException | None) -> dict[str, Any] | None:
    if error is None:
        return None
    if isinstance(error, HivemillError):
        return {
            "message": error.message,
            "hint": error.hint,
            "exit_code": error.exit_code,
            "details": error.details,
        }
    return {"message": f"{type(error).__name__}: {_last_line(error)}", "hint": None, "exit_code": 1}
