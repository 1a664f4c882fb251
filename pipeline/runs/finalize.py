"""The end of a run: what its nodes left becomes the verdict, the page, the alerts and the run's record."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hivemill.common.errors import HivemillError
from hivemill.common.storage.atomic import write_json_atomically
from hivemill.components.hive_example_gen.cache import quarantine
from hivemill.pipeline.alerts.delivery import Alerts, Reports
from hivemill.pipeline.documents import diagnosis, verdict
from hivemill.pipeline.root import object_root
from hivemill.pipeline.runs import publish, records
from hivemill.pipeline.runs.records import RunFolder


@dataclasses.dataclass(frozen=True)
class EndedRun:
    """Concludes the run of `folder`. `record` is its run.json, which is completed in place; `say` prints a line."""

    folder: RunFolder
    record: dict[str, Any]
    alerts: Alerts
    say: Callable[[str], None]

    def conclude(
        self,
        collected: dict[str, Any],
        error: BaseException | None,
        node_ids: Sequence[str],
        alerted: Reports = (),
    ) -> None:
        """Writes verdict.json, the page and the record, and sends the alerts.

        Args:
            collected: pipeline.runs.collect_artifacts's result.
            error: what stopped the run outside of a node, if anything; a node's own error is in its record.
            node_ids: in the order of the pipeline.
            alerted: what was sent while the run went on.
        """
        root = self.folder.path.parents[1]
        nodes = [self.folder.node(node_id) or _skipped(node_id) for node_id in node_ids]
        card = next((node["error"] for node in nodes if node.get("error")), None) or error_card(error, self.folder)
        earlier = verdict.earlier_verdicts(root, self.record["date"], self.folder.run_id)
        evidence = diagnosis.Evidence.of(self.folder.path)
        made = verdict.assemble(self.record, collected, card, earlier, evidence)
        write_json_atomically(self.folder.file(records.VERDICT_JSON), made)
        self.record.update(
            state="succeeded" if made["exit_code"] == 0 else "failed",
            finished_utc=records.utc_now(),
            exit_code=made["exit_code"],
            error=card or verdict.refusal_card(made),
            nodes=nodes,
            model_version=(made["model"] or {}).get("version"),
        )
        self.folder.write(self.record)
        publish.show(self.folder, root, self.say)
        object_root.put_changes(root)  # whoever is told of the page finds it
        self.record["alerts"] = [*alerted, *publish.tell(self.alerts, made, self.folder, self.say)]
        self.folder.write(self.record)

    def tell(self, seconds: float, planned_small: Sequence[str] = ()) -> None:
        """The last lines that a person reads; `planned_small` are partitions named before the first node."""
        for line in self._left_out(records.read_json(self.folder.file(records.MANIFEST_JSON)) or {}, planned_small):
            self.say(line)
        page = object_root.place_of(self.folder.file(records.REPORT_HTML))
        if self.record["exit_code"] == 0:
            version = self.record["model_version"]
            self.say(f"Done in {seconds:.0f} s: version {version} is in the store.\nReport: {page}")
            return
        log = object_root.place_of(self.folder.file(records.LOG_TXT))
        code = self.record["exit_code"]
        self.say(f"Failed after {seconds:.0f} s (exit code {code}).\nReport: {page}\nLog: {log}")

    def _left_out(self, manifest: dict[str, Any], planned: Sequence[str]) -> Iterator[str]:
        """What was left out only when the rows were read; the rest stands before the first node."""
        small = {one["partition"]: one["words"] for one in manifest.get("small", ())}
        yield from (f"LEFT OUT: {words}" for name, words in small.items() if name not in planned)
        rows = quarantine.summary(manifest)
        if rows:
            yield rows


def gather(ir: Any, folder: RunFolder, record: dict[str, Any]) -> dict[str, Any]:
    """Copies what the page and the verdict need from the artifacts into the run's folder;
    pipeline.runs.collect_artifacts's result.

    The run's copy of the manifest says how its window came to be; the artifact is the same for every run of the inputs.
    """
    from hivemill.pipeline.runs import collect_artifacts

    collected = collect_artifacts.collect(ir, folder)
    path = folder.file(records.MANIFEST_JSON)
    manifest = records.read_json(path)
    if manifest is not None:
        write_json_atomically(path, {**manifest, "lateness": record["lateness"]})
    return collected


def error_card(error: BaseException | None, folder: RunFolder) -> dict[str, Any] | None:
    """{message, hint, exit_code} of what stopped a run outside of a node."""
    if error is None:
        return None
    if isinstance(error, HivemillError):
        return {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}
    return {
        "message": f"{type(error).__name__}: {error}",
        "hint": f"This is a defect of ours; the traceback is in {object_root.place_of(folder.file(records.LOG_TXT))}.",
        "exit_code": 1,
    }


def _skipped(node_id: str) -> dict[str, Any]:
    return {"node_id": node_id, "state": "skipped", "seconds": 0.0, "rows": None, "peak_memory_bytes": None}
