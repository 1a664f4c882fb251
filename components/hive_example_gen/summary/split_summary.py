"""The summary of a split: those of its partitions, which the Examples artifact carries, merged as they are read.

    <examples>/Summaries/<split>/00000-of-00007.summary

TFX's own components read the split's folder alone and do not see them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hivemill.components.hive_example_gen.summary.numbers import Numbers
from hivemill.components.hive_example_gen.summary.record import statistics_version
from hivemill.components.hive_example_gen.summary.request import CountedValues, SummarisedNumbers, SummaryRequest
from hivemill.components.hive_example_gen.summary.summary_file import SUFFIX, SummaryFile
from hivemill.components.hive_example_gen.summary.value_counts import CountStream, merged

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import statistics_pb2

_FOLDER = "Summaries"


class SplitSummary:
    """`files`: of the partitions; all of them answer what is asked."""

    def __init__(self, files: Sequence[SummaryFile]):
        self._files = files

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self._files)

    def counts(self, wanted: CountedValues) -> CountStream:
        """Exact counts by value, each value once, ascending."""
        return merged([file.counts(wanted) for file in self._files])

    def rows_without(self, wanted: CountedValues) -> int:
        """Rows that have no value there."""
        return self.rows - sum(file.rows_with_value(wanted) for file in self._files)

    def numbers(self, wanted: SummarisedNumbers) -> Numbers:
        total = Numbers.of(wanted.error)
        for file in self._files:
            total.merge(file.numbers(wanted))
        return total

    def sample(self, limit: int) -> tuple[pa.Table, np.ndarray] | None:
        """The rows with a hash below the limit, and their hashes; None where the partitions keep less than half.

        The rows are in the order of the files. Without the columns of which none of them has a value.
        """
        known = min([limit, *(file.sample_limit for file in self._files)])
        if 2 * known < limit:
            return None
        tables = []
        for file in self._files:
            rows = file.sample()
            tables.append(rows.filter(pc.less(rows.column("hash"), pa.scalar(known, pa.uint64()))))
        table = pa.concat_tables(tables, promote_options="default")
        return table.drop_columns(["hash"]), table.column("hash").to_numpy()

    def statistics(self) -> statistics_pb2.DatasetFeatureStatisticsList:
        """TensorFlow Data Validation's statistics of all rows."""
        # TensorFlow comes with it.
        from hivemill.components.hive_example_gen.summary.statistics import StatisticsAccumulators

        accumulators = StatisticsAccumulators()
        accumulators.merge(file.statistics() for file in self._files)
        return accumulators.finished()


def targets(examples_uri: str, partitions: Mapping[str, int]) -> dict[str, list[str]]:
    """Where the summaries of so many partitions of each split belong in an Examples artifact, in their order."""
    return {
        split: [f"{examples_uri}/{_FOLDER}/{split}/{index:05d}-of-{number:05d}{SUFFIX}" for index in range(number)]
        for split, number in partitions.items()
    }


def carried(examples_uri: str, splits: Sequence[str], request: SummaryRequest) -> SplitSummary | None:
    """What the artifact carries; None where it carries nothing, or what does not answer the request.

    Raises InfrastructureError where a summary is damaged.
    """
    files = []
    for split in splits:
        paths = sorted((Path(examples_uri) / _FOLDER / split).glob(f"*{SUFFIX}"))
        if not paths:
            return None
        files += [SummaryFile(path) for path in paths]
    return SplitSummary(files) if all(_answers(file, request) for file in files) else None


def summary_of(
    examples_uri: str, splits: Sequence[str], files: Sequence[str], request: SummaryRequest, scratch: Path
) -> SplitSummary:
    """What the artifact carries, else a summary made by one pass over `files`, the GZIP TFRecords of the splits.

    `scratch`, a folder that exists, must stay while the summary is used.
    """
    return carried(examples_uri, splits, request) or made_of(files, request, scratch)


def made_of(files: Sequence[str], request: SummaryRequest, scratch: Path) -> SplitSummary:
    # TensorFlow comes with it.
    from hivemill.components.hive_example_gen.summary.from_examples import summarise

    path = scratch / f"made{SUFFIX}"
    summarise(files, request, scratch).write(path)
    return SplitSummary([SummaryFile(path)])


def _answers(file: SummaryFile, request: SummaryRequest) -> bool:
    same = file.statistics_version == statistics_version()
    return request.is_met_by(file.request) and (same or not request.statistics)
