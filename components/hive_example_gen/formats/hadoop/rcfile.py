"""RCFiles: groups of rows, each column of a group stored (and compressed) by itself.

Both versions are read: the old one wears the magic of a SequenceFile. The cells of a column are what a column SerDe
makes of them: text (ColumnarSerDe) or LazyBinary (LazyBinaryColumnarSerDe, the default since Hive 0.12), where a cell
without bytes is NULL and the byte 0xBF alone an empty string. Columns are taken by position: columns that the file does
not have are NULL, further ones are not looked at, as in Hive. Only the columns that are read are decompressed.

Source: org.apache.hadoop.hive.ql.io.RCFile (class comment, KeyBuffer, ValueBuffer, Reader),
serde2.columnar.ColumnarStruct and LazyBinaryColumnarStruct.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.columnar import BATCH_ROWS
from hivemill.components.hive_example_gen.formats.compression import decompress
from hivemill.components.hive_example_gen.formats.data_file import DataFile, translated
from hivemill.components.hive_example_gen.formats.hadoop import vints
from hivemill.components.hive_example_gen.formats.hadoop.input import (
    MAX_BLOCK_BYTES,
    SYNC_BYTES,
    SYNC_ESCAPE,
    HadoopInput,
)
from hivemill.components.hive_example_gen.formats.hadoop.lazy_binary_primitives import BinaryCells, padded
from hivemill.components.hive_example_gen.formats.hadoop.rcfile_columns import column_decoder
from hivemill.components.hive_example_gen.formats.hadoop.vints import Damaged
from hivemill.components.hive_example_gen.table.spec import TableSpec

MAGIC = b"RCF"
_OLD_MAGIC = b"SEQ\x06"
_BUFFER_CLASSES = tuple(f"org.apache.hadoop.hive.ql.io.RCFile${name}" for name in ("KeyBuffer", "ValueBuffer"))
_COLUMN_NUMBER = "hive.io.rcfile.column.number"
_MAX_COLUMNS = 100_000
_MAX_GROUP_ROWS = 1 << 24
"""A group of NULLs alone takes no bytes, so that the size of the file does not bound its rows. Hive writes 4 MiB."""


def is_old_rcfile(head: bytes) -> bool:
    """Whether the first 64 bytes of a file with the magic of a SequenceFile are those of an RCFile."""
    return head.startswith(_OLD_MAGIC) and head[5:].startswith(_BUFFER_CLASSES[0].encode())


def column_count(file: DataFile) -> int:
    """How many columns `file` has. Raises DataNotReadyError."""
    with translated(file, "RCFile"), file.open() as opened:
        source = HadoopInput(opened, file, "RCFile")
        try:
            return _Header.read(source).columns
        except Damaged as error:
            raise source.damage(error) from error


def read_batches(file: DataFile, spec: TableSpec, bad: BadRows) -> Iterator[pa.RecordBatch]:
    """The rows of `file`; memory: one group (4 MiB by default). Raises DataNotReadyError, ConfigError."""
    with translated(file, "RCFile"), file.open() as opened:
        source = HadoopInput(opened, file, "RCFile")
        row = 0
        try:
            header = _Header.read(source)
            columns = column_decoder(file, spec, bad)
            for group in _groups(source, header, columns.wanted):
                for start in range(0, group.rows, BATCH_ROWS):
                    stop = min(start + BATCH_ROWS, group.rows)
                    yield from columns.batches(group.cells(start, stop), stop - start, row)
                    row += stop - start
        except Damaged as error:
            raise source.damage(error) from error


@dataclass(frozen=True)
class _Header:
    columns: int
    codec: str | None
    sync: bytes

    @classmethod
    def read(cls, source: HadoopInput) -> _Header:
        magic = source.take(4)
        is_old = magic == _OLD_MAGIC
        if not is_old and (magic[:3] != MAGIC or magic[3] > 1):
            raise Damaged(f"it begins with {magic!r}; versions 0 and 1 are read")
        is_old = is_old or magic[3] == 0
        if is_old and (source.string(), source.string()) != _BUFFER_CLASSES:
            raise Damaged("it is a SequenceFile of something else")
        compressed = source.flag()
        if is_old and source.flag():
            raise Damaged("it says that it is compressed in blocks, which an RCFile never is")
        codec = source.string() if compressed else None
        return cls(_column_number(source.metadata()), codec, source.take(SYNC_BYTES))


def _column_number(metadata: dict[str, str]) -> int:
    text = metadata.get(_COLUMN_NUMBER, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 7 and 0 < int(text) <= _MAX_COLUMNS):
        raise Damaged(f"its metadata says {_COLUMN_NUMBER}={text[:20]!r}")
    return int(text)


@dataclass(frozen=True)
class _Column:
    """One column of a group: runs of cells of one length, and their bytes.

    `rows` and `places` are the cells and bytes up to the end of each run.
    """

    lengths: np.ndarray
    rows: np.ndarray
    places: np.ndarray
    data: np.ndarray

    def cells(self, start: int, stop: int) -> BinaryCells:
        first, last = np.searchsorted(self.rows, [start, stop - 1], side="right")
        ends = np.minimum(self.rows[first : last + 1], stop)
        counts = np.diff(ends, prepend=start)
        lengths = np.repeat(self.lengths[first : last + 1], counts)
        begin = int(self.places[first] - self.lengths[first] * (self.rows[first] - start))
        bounds = np.cumsum(lengths)
        return BinaryCells(self.data, begin + bounds - lengths, begin + bounds)


@dataclass(frozen=True)
class _Group:
    rows: int
    columns: dict[int, _Column]

    def cells(self, start: int, stop: int) -> dict[int, BinaryCells]:
        return {index: column.cells(start, stop) for index, column in self.columns.items()}


def _groups(source: HadoopInput, header: _Header, wanted: frozenset[int]) -> Iterator[_Group]:
    while source.left:
        record_length = source.int32()
        if record_length == SYNC_ESCAPE:
            source.expect_sync(header.sync)
            if not source.left:
                return
            record_length = source.int32()
        key_length, stored_length = source.int32(), source.int32()
        if not 0 <= key_length <= min(record_length, MAX_BLOCK_BYTES):
            raise Damaged(f"a group of {record_length:,} bytes with a key of {key_length:,}")
        key = source.take(stored_length)
        if header.codec is not None:
            key = decompress(header.codec, key, key_length)
        if len(key) != key_length:
            raise Damaged(f"a key of {len(key):,} bytes where {key_length:,} are announced")
        yield _group(source, header, key, record_length - key_length, wanted)


def _group(source: HadoopInput, header: _Header, key: bytes, value_length: int, wanted: frozenset[int]) -> _Group:
    rows, place = vints.read_one(key, 0)
    if not 0 <= rows <= _MAX_GROUP_ROWS:
        raise Damaged(f"a group of {rows:,} rows; up to {_MAX_GROUP_ROWS:,} are read")
    columns = {}
    for index in range(header.columns):
        stored, place = vints.read_one(key, place)
        plain, place = vints.read_one(key, place)
        size, place = vints.read_one(key, place)
        if not (0 <= size <= len(key) - place and 0 <= stored <= value_length and 0 <= plain <= MAX_BLOCK_BYTES):
            raise Damaged(f"column {index + 1} of a group says {stored:,}, {plain:,} and {size:,} bytes")
        value_length -= stored
        data = source.take(stored)
        if index in wanted:
            columns[index] = _column(data, plain, key[place : place + size], rows, header.codec)
        place += size
    if value_length:
        raise Damaged(f"{value_length:,} bytes of a group belong to no column")
    return _Group(rows, columns)


def _column(data: bytes, plain: int, packed_lengths: bytes, rows: int, codec: str | None) -> _Column:
    if codec is not None:
        data = decompress(codec, data, plain) if plain else b""
    lengths, counts = _runs(packed_lengths, rows)
    if len(data) != plain or (lengths > plain).any():
        raise Damaged(f"a column of {len(data):,} bytes where {plain:,} are announced")
    if float((lengths.astype(float) * counts).sum()) > MAX_BLOCK_BYTES or int((lengths * counts).sum()) != plain:
        raise Damaged("the lengths of a column do not add up to its bytes")
    return _Column(lengths, np.cumsum(counts), np.cumsum(lengths * counts), padded(data))


def _runs(packed: bytes, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of cells and how many have each: a negative number n repeats the length before it ~n times more."""
    if not packed:  # a column of NULLs
        return np.zeros(1, np.int64), np.array([rows], np.int64)
    numbers = vints.read_all(packed)
    is_length = numbers >= 0
    if not is_length[0]:
        raise Damaged("the lengths of a column begin with a repetition")
    lengths = numbers[is_length]
    counts = np.ones(len(lengths), np.int64)
    repeats = ~numbers[~is_length]
    if (repeats > rows).any():
        raise Damaged(f"a length is repeated more often than there are rows ({rows:,})")
    np.add.at(counts, np.cumsum(is_length)[~is_length] - 1, repeats)
    if int(counts.sum()) != rows:
        raise Damaged(f"a column has {int(counts.sum()):,} cells where its group has {rows:,} rows")
    return lengths, counts
