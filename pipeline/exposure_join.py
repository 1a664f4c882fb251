"""`hivemill data collect`: exposure logs and the features that were shown become the next window's partitions."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from hivemill.common.errors import ConfigError, DataNotReadyError, LockHeldError
from hivemill.common.storage.atomic import cannot_write
from hivemill.data import collection
from hivemill.serving.experiment.exposures import files as exposure_files
from hivemill.serving.experiment.exposures import log as exposure

LOCK_FILE = ".collect.lock"
DOCUMENT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Collection:
    """What is collected.

    Attributes:
        exposures: the exposure log, a file or folder (docs/experiments.md).
        impressions: Parquet file or folder: the features of each impression, with its request id.
        table: folder of the Hive table.
        first, last: days in UTC, both included.
        date_column: the table's partition column. label: the label's column.
        max_lost_share: of a day's exposures that cannot be joined.
        columns: the exposure log's own names of standard columns.
    """

    exposures: Path
    impressions: Path
    table: Path
    first: datetime.date
    last: datetime.date
    file_format: collection.ColumnarFormat = "parquet"
    date_column: str = "dt"
    label: str = "click"
    unknown_clicks: collection.UnknownClicks = "fail"
    max_lost_share: float = 0.001
    max_bad_share: float = 0.001
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    overwrite: bool = False

    def days(self) -> list[datetime.date]:
        return [self.first + datetime.timedelta(days=number) for number in range((self.last - self.first).days + 1)]


def collect(wanted: Collection, now: datetime.datetime) -> dict[str, Any]:
    """Writes a partition for each day, the oldest first, and returns what became of the rows.

    The same call again changes nothing. Where a day cannot be collected, those before it stay. Raises ConfigError,
    DataNotReadyError (a day that is not over, has no exposures, unknown clicks or too many without features),
    LockHeldError, InfrastructureError.
    """
    _check_days(wanted, now)
    _check_table(wanted)
    log = _log(wanted)
    files = _impression_files(wanted)
    days = {}
    with _alone(wanted.table):
        for day in wanted.days():
            table, facts = _joined(wanted, day, _of_day(log, day), files)
            state = "written" if _publish(wanted, day, table) else "unchanged"
            days[day.isoformat()] = {"state": state, **dataclasses.asdict(facts)}
    return {
        "version": DOCUMENT_VERSION,
        "table": str(wanted.table),
        "log": dataclasses.asdict(log.counts),
        "not_features": [collection.REQUEST_ID, *collection.KEPT],
        "columns": {field.name: str(field.type) for field in table.schema},
        "days": days,
    }


def _publish(wanted: Collection, day: datetime.date, table: pa.Table) -> bool:
    folder = wanted.table / f"{wanted.date_column}={day.isoformat()}"
    try:
        for leftover in wanted.table.glob(f".{folder.name}.*.tmp"):  # of a killed call; Hive does not see them
            shutil.rmtree(leftover)
        return collection.publish(table, folder, wanted.file_format, wanted.overwrite)
    except OSError as error:
        raise cannot_write(folder, error) from error


def _check_days(wanted: Collection, now: datetime.datetime) -> None:
    if wanted.first > wanted.last:
        raise ConfigError(f"--from must not be after --to; received {wanted.first} and {wanted.last}")
    today = now.astimezone(datetime.timezone.utc).date()
    if wanted.last >= today:
        raise DataNotReadyError(
            f"{wanted.last} is not over (UTC): its partition would lack the rows that are still to come",
            hint=f"Collect up to {today - datetime.timedelta(days=1)}.",
        )


def _check_table(wanted: Collection) -> None:
    """A day's file beside folders of its hours would be read twice, or not at all."""
    deeper = next(wanted.table.glob(f"{wanted.date_column}=*/*=*/"), None)
    if deeper is not None:
        raise ConfigError(
            f"{wanted.table} has partitions below its days ({deeper.relative_to(wanted.table)}); one file a day is "
            "written here",
            hint="Collect into a table of daily partitions.",
        )


def _log(wanted: Collection) -> exposure.ExposureLog:
    return exposure.read_log(
        wanted.exposures,
        columns=wanted.columns,
        since=datetime.datetime.combine(wanted.first, datetime.time()),
        until=datetime.datetime.combine(wanted.last, datetime.time()) + datetime.timedelta(days=1),
        max_bad_share=wanted.max_bad_share,
    )


def _of_day(log: exposure.ExposureLog, day: datetime.date) -> pd.DataFrame:
    start = datetime.datetime.combine(day, datetime.time())
    frame = log.between(start, start + datetime.timedelta(days=1)).frame
    if frame.empty:
        raise DataNotReadyError(
            f"the exposure log has no row of {day}", hint="Is the day's log delivered? Leave the day out with --from."
        )
    return frame


def _impression_files(wanted: Collection) -> list[exposure_files.LogFile]:
    files = exposure_files.files_of(wanted.impressions)
    for file in files:
        if not file.is_parquet:
            raise ConfigError(
                f"{file.path}: impressions must be Parquet; in CSV there are no types and no lists",
                hint="Write them as Parquet, or join them in Hive and let `source.query` read the result.",
            )
    return files


def _joined(
    wanted: Collection, day: datetime.date, exposures: pd.DataFrame, files: Sequence[exposure_files.LogFile]
) -> tuple[pa.Table, collection.JoinFacts]:
    near = [file for file in files if _may_hold(file, wanted.date_column, day)]
    if not near:
        raise DataNotReadyError(f"{wanted.impressions} has no file for {day}, so the features of that day are lost")
    impressions = _one_table(near, wanted.date_column, exposures)
    table, facts = collection.join_day(exposures, impressions, wanted.label, wanted.unknown_clicks)
    if facts.lost > wanted.max_lost_share * facts.exposures or not facts.rows:
        raise DataNotReadyError(
            f"{day}: {facts.lost:,} of {facts.exposures:,} exposures cannot be joined to features, more than the share "
            f"of {wanted.max_lost_share:g} that may: {facts.without_features:,} have no impression, "
            f"{facts.without_request_id:,} no request id, {facts.other_user:,} an impression of another user",
            hint=f"Is {wanted.impressions} complete? --max-lost-share lets more of them be left out.",
            details=dataclasses.asdict(facts),
        )
    return table, facts


def _may_hold(file: exposure_files.LogFile, date_column: str, day: datetime.date) -> bool:
    """A request around midnight may be logged a day off: files of the days beside are looked into too."""
    value = file.partition.get(date_column)
    try:
        return value is None or abs((datetime.date.fromisoformat(value) - day).days) <= 1
    except ValueError:
        raise ConfigError(f"{file.path}: {date_column} must be a day like 2026-11-15; received {value!r}") from None


def _one_table(files: Sequence[exposure_files.LogFile], date_column: str, exposures: pd.DataFrame) -> pa.Table:
    """The impressions of the day's request ids. Partition columns but the date are columns."""
    ids = pa.array(exposures.get(collection.REQUEST_ID, []), pa.string())
    parts: list[pa.Table] = []
    for file in files:
        part = exposure_files.read(file, [name for name in file.columns if name != date_column])
        if collection.REQUEST_ID not in part.column_names:
            near = ", ".join(part.column_names[:20])
            raise ConfigError(f"{file.path}: no column {collection.REQUEST_ID!r}", hint=f"It has: {near}.")
        if parts and not _alike(part, parts[0]):
            raise ConfigError(
                f"{file.path}: its columns are not those of {files[0].path}: {_difference(part, parts[0])}",
                hint="Collect the days before and after a change of the columns in two calls.",
            )
        is_wanted = pc.is_in(part.column(collection.REQUEST_ID).cast(pa.string()), value_set=ids)
        parts.append(part.filter(is_wanted))
    return pa.concat_tables(parts)


def _alike(one: pa.Table, other: pa.Table) -> bool:
    return one.schema.names == other.schema.names and one.schema.types == other.schema.types


def _difference(one: pa.Table, other: pa.Table) -> str:
    columns = [{(field.name, str(field.type)) for field in table.schema} for table in (one, other)]
    words = [f"{name} {kind}" for name, kind in sorted(columns[0] ^ columns[1])]
    return ", ".join(words[:5]) or "another order"


@contextlib.contextmanager
def _alone(table: Path) -> Iterator[None]:
    """Two calls at once would remove each other's unfinished partitions."""
    try:
        table.mkdir(parents=True, exist_ok=True)
        lock_file = open(table / LOCK_FILE, "a")  # noqa: SIM115, closed below
    except OSError as error:
        raise cannot_write(table, error) from error
    with lock_file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockHeldError(f"another `data collect` writes to {table}", hint="Wait until it is done.") from None
        yield
