"""The file of a summary: a zip archive, not compressed, so that a reader takes only what it needs.

summary.json        version, request, rows, and what is small: rows with a value, moments
counts-<i>.arrow    Arrow IPC stream of the i-th counted values, ascending (value_counts)
sketches            pickled quantile sketches, in the order of `numbers`
sample              Arrow IPC stream of rows with their hashes (row_sample); the header has its limit
statistics          TFDV's accumulators (statistics)
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from hivemill.common.errors import InfrastructureError
from hivemill.components.hive_example_gen.summary.numbers import Numbers
from hivemill.components.hive_example_gen.summary.record import VERSION, statistics_version
from hivemill.components.hive_example_gen.summary.request import CountedValues, SummarisedNumbers, SummaryRequest
from hivemill.components.hive_example_gen.summary.row_sample import RowSample
from hivemill.components.hive_example_gen.summary.value_counts import (
    CountStream,
    ValueCounts,
    counts_schema,
    write_stream,
)

SUFFIX = ".summary"
_READ_AT_ONCE_BYTES = 1 << 18
_HEADER, _SKETCHES, _STATISTICS, _SAMPLE = "summary.json", "sketches", "statistics", "sample"


@dataclass(frozen=True)
class Contents:
    request: SummaryRequest
    rows: int
    counts: Mapping[CountedValues, ValueCounts]
    rows_with_value: Mapping[CountedValues, int]
    numbers: Mapping[SummarisedNumbers, Numbers]


def write(path: Path, contents: Contents, statistics: bytes | None, sample: RowSample | None) -> None:
    """Raises OSError."""
    request = contents.request
    rows = sample.table() if sample is not None else None
    header = {
        "version": VERSION,
        "statistics_version": statistics_version(),
        "request": request.model_dump(mode="json"),
        "rows": contents.rows,
        "rows_with_value": [contents.rows_with_value[each] for each in request.counted],
        "sample_limit": sample.limit if sample is not None else 0,
        "moments": [contents.numbers[each].moments for each in request.numbers],
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_HEADER, json.dumps(header))
        archive.writestr(_SKETCHES, pickle.dumps([contents.numbers[each].sketch for each in request.numbers]))
        if statistics is not None:
            archive.writestr(_STATISTICS, statistics)
        if rows is not None:
            with archive.open(_SAMPLE, "w", force_zip64=True) as member:
                write_stream(pa.PythonFile(member, "w"), rows.to_batches(), rows.schema)
        for index, each in enumerate(request.counted):
            counts = contents.counts[each]
            if counts.value_type is not None:
                with archive.open(f"counts-{index}.arrow", "w", force_zip64=True) as member:
                    write_stream(pa.PythonFile(member, "w"), counts.stream(), counts_schema(counts.value_type))


class SummaryFile:
    """A file that `write` made. Raises InfrastructureError where it is not one of this version, or damaged."""

    def __init__(self, path: Path):
        self._path = path
        try:
            header = json.loads(self._bytes(_HEADER))
            if header["version"] != VERSION:
                raise self._unusable(f"its version is {header['version']}, not {VERSION}")
            self.rows: int = header["rows"]
            self.request = SummaryRequest.model_validate(header["request"])
            self.statistics_version: str = header["statistics_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise self._unusable(f"{_HEADER} in it is not a summary's: {error!r}") from error
        self._header: dict[str, Any] = header

    def rows_with_value(self, wanted: CountedValues) -> int:
        return int(self._header["rows_with_value"][self.request.counted.index(wanted)])

    def counts(self, wanted: CountedValues) -> CountStream:
        """Counts by value, ascending."""
        try:
            yield from self._counts(f"counts-{self.request.counted.index(wanted)}.arrow")
        except (OSError, zipfile.BadZipFile, pa.ArrowInvalid) as error:
            raise self._unusable(str(error)) from error

    def _counts(self, name: str) -> CountStream:
        with zipfile.ZipFile(self._path) as archive:
            if name not in archive.namelist():
                return
            if archive.getinfo(name).file_size <= _READ_AT_ONCE_BYTES:
                source: pa.NativeFile = pa.BufferReader(archive.read(name))
                archive.close()  # a window of many small partitions must not hold as many open files
            else:
                source = pa.PythonFile(archive.open(name), "r")
            with source, pa.ipc.open_stream(source) as reader:
                yield from reader

    def numbers(self, wanted: SummarisedNumbers) -> Numbers:
        index = self.request.numbers.index(wanted)
        sketch = pickle.loads(self._bytes(_SKETCHES))[index]
        return Numbers(wanted.error, *self._header["moments"][index], sketch=sketch)

    def statistics(self) -> bytes:
        return self._bytes(_STATISTICS)

    @property
    def sample_limit(self) -> int:
        """The sample has every row with a hash below it."""
        return int(self._header["sample_limit"])

    def sample(self) -> pa.Table:
        """As RowSample.table."""
        return pa.ipc.open_stream(self._bytes(_SAMPLE)).read_all()

    def _bytes(self, name: str) -> bytes:
        try:
            with zipfile.ZipFile(self._path) as archive:
                return archive.read(name)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise self._unusable(str(error)) from error

    def _unusable(self, reason: str) -> InfrastructureError:
        hint = "Remove it and run again: it is made anew from the rows."
        return InfrastructureError(f"{self._path} cannot be read: {reason}", hint=hint)
