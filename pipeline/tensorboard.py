"""What TensorBoard shows beside the training curves: the verdict of a run as a card, and the trend over all runs.

    <root>/tensorboard/trend/value     metrics/*, drift/* and verdict/* by run date
    <root>/tensorboard/trend/<bound>   lower, upper (confidence), stable, at_least, at_most (limits): the same tags, so
                                       that TensorBoard lays them over the value
    <root>/tensorboard/runs/<run id>   a link to the run's own tensorboard/ folder: curves and card

Written with TensorBoard's own record format, without TensorFlow. The trend is made from all verdicts each time, so it
cannot disagree with them. Steps are the run dates as numbers (20261115), wall times their midnights (UTC): the
horizontal axis WALL has the true distances. The same verdicts give the same bytes.
"""

from __future__ import annotations

import datetime
import io
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hivemill.pipeline.documents import verdict, verdict_summary
from hivemill.pipeline.runs import records

TREND_FOLDER, LINKS_FOLDER, CARD_FOLDER = "trend", "runs", "verdict"
CARD_TAG = "verdict/card"
_COLOURS = {"green": 0.0, "amber": 1.0, "red": 2.0}
_METRICS = ("auc", "gauc", "auc_precision_recall", "logloss", "normalized_entropy", "calibration", "calibration_error")
_EVENTS_NAME = "events.out.tfevents.0.hivemill"
_MAX_DRIFT_FEATURES = 200

Scalars = dict[str, dict[str, float]]  # line (folder below trend/) -> tag -> value


def write_run(run_folder: Path) -> None:
    """The card of a run, from its verdict; nothing where there is none. Raises OSError."""
    made = verdict.read(run_folder)
    if made is None:
        return
    events = [_card_event(made)]
    _write_events(Path(run_folder) / records.TENSORBOARD / CARD_FOLDER, events)


def write_trend(root: Path) -> Path:
    """`<root>/tensorboard`, made anew from the verdicts of all runs; returns it. Raises OSError."""
    folder = root / records.TENSORBOARD
    last_of_day = {made["date"]: made for made in verdict.all_verdicts(root)}
    lines: dict[str, list[Any]] = {}
    for made in last_of_day.values():
        for line, scalars in scalars_of(made).items():
            lines.setdefault(line, []).append(_scalar_event(made["date"], scalars))
        lines.setdefault("value", []).append(_card_event(made))
    trend = folder / TREND_FOLDER
    trend.mkdir(parents=True, exist_ok=True)
    for line, events in lines.items():
        _write_events(trend / line, events)
    for gone in {path.name for path in trend.iterdir()} - set(lines):
        shutil.rmtree(trend / gone)
    _link_runs(root, folder / LINKS_FOLDER)
    return folder


def scalars_of(made: Mapping[str, Any]) -> Scalars:
    """What one verdict adds to the trend, by line."""
    lines: Scalars = {"value": _verdict_scalars(made)}
    whole = verdict_summary.whole_eval(made) or {"metrics": {}}
    for name in _METRICS:
        _add(lines, "value", f"metrics/{name}", whole["metrics"].get(name))
        _add(lines, "stable", f"metrics/{name}", (whole.get("baseline_metrics") or {}).get(name))
        for side in ("lower", "upper"):
            _add(lines, side, f"metrics/{name}", (whole.get("intervals") or {}).get(name, {}).get(side))
    for bound in (made.get("model") or {}).get("bounds", ()):
        if not bound["slice"] and bound.get("limit") is not None:
            _add_limit(lines, f"metrics/{bound['metric']}", bound["limit"], bound["at_least"])
    for one in (made.get("data") or {}).get("drift", ())[:_MAX_DRIFT_FEATURES]:
        _add(lines, "value", f"drift/{one['feature']}", one["value"])
        _add(lines, "at_most", f"drift/{one['feature']}", one["threshold"])
    return lines


def _verdict_scalars(made: Mapping[str, Any]) -> dict[str, float]:
    found = verdict_summary.all_findings(made)
    return {
        "verdict/colour": _COLOURS[made["colour"]],
        "verdict/exit_code": float(made["exit_code"]),
        "verdict/red_findings": float(sum(one["severity"] == "red" for one in found)),
        "verdict/amber_findings": float(sum(one["severity"] == "amber" for one in found)),
    }


def _add(lines: Scalars, line: str, tag: str, value: float | None) -> None:
    if value is not None:
        lines.setdefault(line, {})[tag] = float(value)


def _add_limit(lines: Scalars, tag: str, limit: float, at_least: bool) -> None:
    """Of several limits on one side the strictest is drawn."""
    line = lines.setdefault("at_least" if at_least else "at_most", {})
    line[tag] = (max if at_least else min)(limit, line.get(tag, limit))


def _scalar_event(date: str, scalars: Mapping[str, float]) -> Any:
    from tensorboard.compat.proto import summary_pb2

    values = [summary_pb2.Summary.Value(tag=tag, simple_value=value) for tag, value in sorted(scalars.items())]
    return _event(date, summary_pb2.Summary(value=values))


def _card_event(made: Mapping[str, Any]) -> Any:
    from tensorboard.compat.proto import summary_pb2, tensor_pb2, types_pb2
    from tensorboard.plugins.text import metadata

    text = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[verdict_summary.markdown(made).encode()])
    about = metadata.create_summary_metadata(display_name=None, description=None)
    value = summary_pb2.Summary.Value(tag=CARD_TAG, tensor=text, metadata=about)
    return _event(made["date"], summary_pb2.Summary(value=[value]))


def _event(date: str, summary: Any) -> Any:
    from tensorboard.compat.proto import event_pb2

    day = datetime.date.fromisoformat(date)
    midnight = datetime.datetime.combine(day, datetime.time(), datetime.timezone.utc)
    step = day.year * 10_000 + day.month * 100 + day.day
    return event_pb2.Event(wall_time=midnight.timestamp(), step=step, summary=summary)


def _write_events(folder: Path, events: Sequence[Any]) -> None:
    from tensorboard.compat.proto import event_pb2
    from tensorboard.summary.writer.record_writer import RecordWriter

    content = io.BytesIO()
    writer = RecordWriter(content)
    first = event_pb2.Event(wall_time=events[0].wall_time, file_version="brain.Event:2")
    for event in (first, *events):
        writer.write(event.SerializeToString())
    folder.mkdir(parents=True, exist_ok=True)
    _bring_up_to_date(folder / _EVENTS_NAME, content.getvalue())


def _bring_up_to_date(path: Path, content: bytes) -> None:
    """A file that only lacks its end is lengthened: a TensorBoard that is open reads on where it was.

    Any other is replaced. An open TensorBoard goes on with the old one and shows the new one after a restart.
    """
    there = path.read_bytes() if path.is_file() else None
    if there is not None and content.startswith(there):
        with open(path, "ab") as file:
            file.write(content[len(there) :])
        return
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def _link_runs(root: Path, links: Path) -> None:
    links.mkdir(parents=True, exist_ok=True)
    wanted = {file.parent.name for file in (root / "runs").glob(f"*/{records.TENSORBOARD}")}
    for link in _links(links):
        if link.name not in wanted:
            link.unlink()
    for name in sorted(wanted - {link.name for link in _links(links)}):
        os.symlink(os.path.join("..", "..", "runs", name, records.TENSORBOARD), links / name)


def _links(folder: Path) -> Iterable[Path]:
    return [path for path in folder.iterdir() if path.is_symlink()]
