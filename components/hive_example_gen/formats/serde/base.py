"""What every SerDe of text rows shares: the encoding, the numbers of rows, the way into typed columns."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hivemill.components.hive_example_gen.formats import columnar
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows, Cause
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.formats.text.rules import ENCODING, encoding_of
from hivemill.components.hive_example_gen.formats.text.typed_columns import TypedColumns
from hivemill.components.hive_example_gen.table.spec import TableSpec

_LF = 10


@dataclass(frozen=True)
class Lines:
    """Whole lines, each ending in LF, and the number in the file of each row (int64, from 0)."""

    block: bytes
    numbers: np.ndarray

    @classmethod
    def of(cls, block: bytes, first_row: int) -> Lines:
        count = int(np.count_nonzero(np.frombuffer(block, np.uint8) == _LF))  # a fourth of what bytes.count takes
        return cls(block, np.arange(first_row, first_row + count))

    @classmethod
    def joined(cls, lines: list[bytes], numbers: np.ndarray) -> Lines:
        return cls(b"\n".join(lines) + b"\n" if lines else b"", numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def split(self) -> list[bytes]:
        return self.block[:-1].split(b"\n") if len(self) else []

    def bytes(self) -> np.ndarray:
        return np.frombuffer(self.block, np.uint8)

    def ends(self) -> np.ndarray:
        """Where the LF of each line is."""
        return np.flatnonzero(self.bytes() == _LF)

    def has_empty(self) -> bool:
        """Whether there is a line without a byte, but for the first (a quarter of the time of `in` on bytes)."""
        ends = self.bytes() == _LF
        return bool((ends[1:] & ends[:-1]).any())

    def kept(self, good: np.ndarray) -> Lines:
        """The lines that are good, by a mask."""
        lines = [line for line, keep in zip(self.split(), good.tolist(), strict=True) if keep]
        return Lines.joined(lines, self.numbers[good])


class RowSerde(abc.ABC):
    """Rows of one file to batches of `spec.schema`; bad rows go to `bad` and are left out."""

    escaped = False  # whether ESCAPED BY holds for the SerDe

    def __init__(self, file: DataFile, spec: TableSpec, bad: BadRows):
        self.file = file
        self.spec = spec
        self.bad = bad
        self.typed = TypedColumns(file, spec, bad, escaped=self.escaped)
        self.columns = tuple(spec.layout or {})
        self.encoding = encoding_of(spec)

    def from_lines(self, lines: Lines) -> Iterator[pa.RecordBatch]:
        """Lines in the encoding of the file."""
        yield from self.batches(self._recoded(lines) if self.encoding else lines)

    def from_values(self, values: pa.BinaryArray, first_row: int) -> Iterator[pa.RecordBatch]:
        """`values`: a row each (SequenceFile); they may hold LF."""
        rows = [value or b"" for value in values.to_pylist()]
        numbers = np.arange(first_row, first_row + len(rows))
        if any(b"\n" in row or b"\r" in row for row in rows):
            yield from self.batches_of_values(rows, numbers)
        elif rows:
            lines = Lines.joined(rows, numbers)
            yield from self.batches(self._recoded(lines) if self.encoding else lines)

    @abc.abstractmethod
    def batches(self, lines: Lines) -> Iterator[pa.RecordBatch]:
        """The rows of UTF-8 `lines`; batches of at most BATCH_ROWS rows."""

    @abc.abstractmethod
    def batches_of_values(self, rows: list[bytes], numbers: np.ndarray) -> Iterator[pa.RecordBatch]:
        """The same for rows that hold LF or CR, not yet in UTF-8."""

    def reject(self, number: int, cause: Cause, message: str, raw: bytes, column: str | None = None) -> None:
        """A bad row; `number` counts from 0."""
        self.bad.add(self.file.name, int(number) + 1, cause, message, raw, column=column)

    def recoded_row(self, row: bytes, number: int) -> bytes | None:
        """A row in UTF-8; None where it is not in the declared encoding, and a bad row then."""
        if not self.encoding:
            return row
        try:
            return row.decode(self.encoding).encode()
        except UnicodeError:
            self.reject(number, "encoding", f"not valid {self.spec.serde_properties[ENCODING]}", row)
            return None

    def recoded_rows(self, rows: list[bytes], numbers: np.ndarray) -> tuple[list[bytes], np.ndarray]:
        """Those rows that are in the declared encoding, in UTF-8."""
        recoded = [self.recoded_row(*pair) for pair in zip(rows, numbers.tolist(), strict=True)]
        good = np.asarray([row is not None for row in recoded], bool)
        return [row for row in recoded if row is not None], numbers[good]

    def _recoded(self, lines: Lines) -> Lines:
        try:
            return Lines(lines.block.decode(self.encoding or "").encode(), lines.numbers)
        except UnicodeError:
            return Lines.joined(*self.recoded_rows(lines.split(), lines.numbers))

    def in_batches(self, count: int) -> Iterator[slice]:
        for start in range(0, count, columnar.BATCH_ROWS):
            yield slice(start, min(start + columnar.BATCH_ROWS, count))


class SplitRows(RowSerde):
    """A SerDe that reads rows as they are, one by one: it does not care whether they hold LF."""

    def batches(self, lines: Lines) -> Iterator[pa.RecordBatch]:
        yield from self._in_parts(lines.split(), lines.numbers)

    def batches_of_values(self, rows: list[bytes], numbers: np.ndarray) -> Iterator[pa.RecordBatch]:
        yield from self._in_parts(*self.recoded_rows(rows, numbers))

    def _in_parts(self, rows: list[bytes], numbers: np.ndarray) -> Iterator[pa.RecordBatch]:
        for part in self.in_batches(len(rows)):
            yield self.batch(rows[part], numbers[part])

    @abc.abstractmethod
    def batch(self, rows: list[bytes], numbers: np.ndarray) -> pa.RecordBatch:
        """At most BATCH_ROWS rows in UTF-8 (or what should be), with their numbers in the file."""
