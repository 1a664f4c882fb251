"""Days of one table: what is there and can be read, what is not, and whether there is as much of it as usual."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.components.hive_example_gen.catalog import catalog
from hivemill.components.hive_example_gen.catalog.listing import PartitionListing, TableListing
from hivemill.components.hive_example_gen.catalog.partition_names import date_folder
from hivemill.components.hive_example_gen.options import SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning import completeness, file_rows
from hivemill.components.hive_example_gen.planning.availability import Triage
from hivemill.components.hive_example_gen.planning.completeness import DaySize, SizeJudgement
from hivemill.components.hive_example_gen.table.spec import TableSpec


@dataclass(frozen=True)
class Survey:
    """What was found of the days asked for.

    Attributes:
        spec: how rows are read.
        ready: the partitions of each day that can be read.
        triage: what is missing, late or empty.
        sizes: judgements of the days that are there as a whole.
    """

    spec: TableSpec
    ready: dict[datetime.date, list[PartitionListing]]
    triage: Triage
    sizes: tuple[SizeJudgement, ...]
    notes: tuple[str, ...]

    @property
    def incomplete_days(self) -> frozenset[datetime.date]:
        """Days that are not there as they should be, too small ones among them."""
        return frozenset(self.triage.incomplete_days) | {one.day for one in self.sizes if one.is_small}


def survey(source: SourceOptions, window: WindowOptions, days: Sequence[datetime.date]) -> Survey:
    """Raises ConfigError where source or DDL are wrong, DataNotReadyError where a folder cannot be read."""
    spec, listing = _listed(source, window, days)
    triage = Triage(source)
    ready = {day: triage.ready(day, listing.partitions[day]) for day in days}
    sizes, notes = _judged(source, spec, window, days, ready, listing, triage)
    return Survey(spec, ready, triage, sizes, (*listing.notes, *notes))


def _listed(
    source: SourceOptions, window: WindowOptions, days: Sequence[datetime.date]
) -> tuple[TableSpec, TableListing]:
    """The days of the window and, with them, those before it that their sizes are held against."""
    earlier = [] if source.query is not None else completeness.earlier_days(days, window.completeness)
    try:
        return catalog.find(source, window, [*earlier, *days])
    except (ConfigError, DataNotReadyError):
        if not earlier:
            raise
    # What is wrong in a folder of some earlier week is no reason not to run; in one of the window it is raised again.
    spec, listing = catalog.find(source, window, days)
    note = "the days before the window cannot be listed, so that days are held against those of the window alone"
    return spec, replace(listing, notes=(*listing.notes, note))


def _judged(
    source: SourceOptions,
    spec: TableSpec,
    window: WindowOptions,
    days: Sequence[datetime.date],
    ready: Mapping[datetime.date, list[PartitionListing]],
    listing: TableListing,
    triage: Triage,
) -> tuple[tuple[SizeJudgement, ...], tuple[str, ...]]:
    """The judgements of the days that are there as a whole, and a note where rows could not be judged."""
    if window.completeness.min_share_of_median is None:
        return (), ()
    kept = {
        day: [p for p in found if p.has_success_file or not source.success_file] if day not in ready else ready[day]
        for day, found in listing.partitions.items()
    }
    files = {day: [file for p in found for file in p.files] for day, found in kept.items()}
    files = {day: found for day, found in files.items() if found}
    rows, notes = file_rows.rows_by_day(source.place, spec.format, files)
    sizes = {day: DaySize(sum(file.num_bytes for file in found), rows.get(day)) for day, found in files.items()}
    whole = [day for day in days if day not in triage.incomplete_days]
    return completeness.judge(sizes, whole, window.completeness, lambda day: date_folder(source, day)), notes
