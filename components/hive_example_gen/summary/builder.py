"""Makes the summary of a partition from the record batches that the encoder has in hand, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hivemill.components.hive_example_gen.summary import summary_file
from hivemill.components.hive_example_gen.summary.columns import BatchColumns
from hivemill.components.hive_example_gen.summary.numbers import Numbers
from hivemill.components.hive_example_gen.summary.request import CountedValues, SummaryRequest
from hivemill.components.hive_example_gen.summary.row_sample import RowSample
from hivemill.components.hive_example_gen.summary.value_counts import ValueCounts

if TYPE_CHECKING:
    from hivemill.components.hive_example_gen.summary.statistics import StatisticsAccumulators


class Summariser:
    """Takes the batches of one partition; `scratch`, a folder that exists, takes counts that do not fit in memory."""

    def __init__(self, request: SummaryRequest, scratch: Path):
        self._request = request
        self._counts = {each: ValueCounts(scratch, str(index)) for index, each in enumerate(request.counted)}
        self._rows_with_value = dict.fromkeys(request.counted, 0)
        self._numbers = {each: Numbers.of(each.error) for each in request.numbers}
        self._statistics = _statistics() if request.statistics else None
        self._sample = RowSample(request.sample_rows) if request.sample_rows else None
        self._rows = 0

    def add(self, batch: pa.RecordBatch, records: Sequence[bytes] | np.ndarray) -> None:
        """Flattened features, and the serialized tf.Examples of the same rows.

        Raises ConfigError where the lists of a map are not parallel, OSError.
        """
        columns = BatchColumns(batch)
        self._rows += batch.num_rows
        for each in self._request.counted:
            self._count(each, columns)
        for numbers in self._request.numbers:
            column = columns.get(numbers.column)
            if column is not None and not pa.types.is_binary(column.values.type):
                self._numbers[numbers].add(column.first_floats())
        if self._statistics is not None:
            self._statistics.add(batch)
        if self._sample is not None:
            self._sample.add(batch, records)

    def write(self, path: Path) -> int:
        """Writes the summary's file; the number of rows. Raises OSError."""
        statistics = self._statistics.to_bytes() if self._statistics is not None else None
        made = summary_file.Contents(self._request, self._rows, self._counts, self._rows_with_value, self._numbers)
        summary_file.write(path, made, statistics, self._sample)
        return self._rows

    def _count(self, wanted: CountedValues, columns: BatchColumns) -> None:
        column = columns.counted(wanted)
        if column is None or not len(column.values):
            return
        self._rows_with_value[wanted] += column.rows_with_value
        labels = columns.labels(self._request.label)
        self._counts[wanted].add(column.values, None if labels is None else column.of_rows(labels))


def _statistics() -> StatisticsAccumulators:
    # TensorFlow comes with it: whoever converts without statistics starts in under a second.
    from hivemill.components.hive_example_gen.summary.statistics import StatisticsAccumulators

    return StatisticsAccumulators()
