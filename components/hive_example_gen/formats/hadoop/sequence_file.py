"""SequenceFiles of versions 4 to 6: plain records, compressed records, compressed blocks. Keys are ignored, as in Hive.

Values are Text or BytesWritable, one row each, and go to the row SerDe as one binary array per piece of the file.
Source: org.apache.hadoop.io.SequenceFile (class comment: formats; Reader), Hive's SequenceFileInputFormat.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hivemill.common.errors import DataNotReadyError
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.compression import decompress
from hivemill.components.hive_example_gen.formats.data_file import DataFile, translated
from hivemill.components.hive_example_gen.formats.hadoop import vints
from hivemill.components.hive_example_gen.formats.hadoop.input import (
    MAX_BLOCK_BYTES,
    SYNC_BYTES,
    SYNC_ESCAPE,
    HadoopInput,
)
from hivemill.components.hive_example_gen.formats.hadoop.lazy_binary import LazyBinaryRows
from hivemill.components.hive_example_gen.formats.hadoop.lazy_binary_primitives import (
    BinaryCells,
    binary_array,
    fixed,
    padded,
)
from hivemill.components.hive_example_gen.formats.hadoop.vints import Damaged
from hivemill.components.hive_example_gen.formats.serde import RowSerde, row_serde
from hivemill.components.hive_example_gen.table.spec import TableSpec

MAGIC = b"SEQ"
_VERSIONS = range(4, 7)
_DEFAULT_CODEC = "org.apache.hadoop.io.compress.DefaultCodec"
_PIECE_BYTES = 4 << 20
_SYNC_RECORD = 4 + SYNC_BYTES
_LENGTHS = struct.Struct(">ii")
_MAX_VINT = 9


def read_batches(file: DataFile, spec: TableSpec, bad: BadRows) -> Iterator[pa.RecordBatch]:
    """The rows of `file`; memory: one block or 4 MiB of records. Raises DataNotReadyError, ConfigError."""
    with translated(file, "SequenceFile"), file.open() as opened:
        source = HadoopInput(opened, file, "SequenceFile")
        row = 0
        try:
            header = Header.read(source)
            rows = _row_serde(file, spec, bad)
            for values in _values(source, header):
                yield from rows.from_values(values, row)
                row += len(values)
        except Damaged as error:
            raise source.damage(error) from error


def _row_serde(file: DataFile, spec: TableSpec, bad: BadRows) -> RowSerde | LazyBinaryRows:
    if spec.serde_for("sequence_file") == "lazy_binary":
        return LazyBinaryRows(file, spec, bad)
    return row_serde(file, spec, bad, "sequence_file")


@dataclass(frozen=True)
class Header:
    """What stands before the records. `codec` is a Java class name, None where nothing is compressed."""

    value_class: str
    in_blocks: bool
    codec: str | None
    sync: bytes

    @classmethod
    def read(cls, source: HadoopInput) -> Header:
        """Raises Damaged, DataNotReadyError for a version or a value class that is not supported."""
        magic, version = source.take(3), source.take(1)[0]
        if magic != MAGIC or version not in _VERSIONS:
            raise Damaged(f"it begins with {magic + bytes([version])!r}; versions 4 to 6 are read")
        source.string()  # the class of the keys
        value_class = source.string()
        compressed, in_blocks = source.flag(), source.flag()
        codec = (source.string() if version > 4 else _DEFAULT_CODEC) if compressed else None
        if version > 5:
            source.metadata()
        _check_class(value_class, source.file)
        return cls(value_class, compressed and in_blocks, codec, source.take(SYNC_BYTES))


def _check_class(value_class: str, file: DataFile) -> None:
    if value_class not in _INNER_BOUNDS:
        raise DataNotReadyError(
            f"{file.name} is a SequenceFile whose values are {value_class[:200]}",
            hint="Hive tables hold org.apache.hadoop.io.Text or BytesWritable: is this file part of the table?",
        )


def _values(source: HadoopInput, header: Header) -> Iterator[pa.BinaryArray]:
    pieces = _blocks(source, header) if header.in_blocks else _records(source, header)
    inner_bounds = _INNER_BOUNDS[header.value_class]
    for cells in pieces:
        start = inner_bounds(cells)
        if (start > cells.end).any():
            raise Damaged(f"a value is shorter than its {header.value_class} says")
        if len(start):
            yield binary_array(cells._replace(start=start))


def _text(cells: BinaryCells) -> np.ndarray:
    """Where the bytes of a Text begin, behind their length; beyond the cell if the two do not agree."""
    length, width = vints.read(cells.data, cells.start)
    return np.where(width + length == cells.lengths, cells.start + width, cells.end + 1)


def _bytes(cells: BinaryCells) -> np.ndarray:
    length = fixed(cells.data, cells.start, ">i4").astype(np.int64)
    return np.where(4 + length == cells.lengths, cells.start + 4, cells.end + 1)


_INNER_BOUNDS = {"org.apache.hadoop.io.Text": _text, "org.apache.hadoop.io.BytesWritable": _bytes}


def _records(source: HadoopInput, header: Header) -> Iterator[BinaryCells]:
    rest, wanted = b"", _PIECE_BYTES
    while source.left:
        piece = rest + source.take(min(wanted, source.left))
        start, end, used = _record_bounds(piece, header.sync)
        rest = piece[used:]
        wanted = _missing(rest, source) or _PIECE_BYTES
        if header.codec is None:
            yield BinaryCells(padded(piece), np.array(start, np.int64), np.array(end, np.int64))
        else:
            yield _unpacked(piece, start, end, header.codec)
    if rest:
        raise Damaged(f"the last record is cut off after {len(rest):,} bytes")


def _record_bounds(piece: bytes, sync: bytes) -> tuple[list[int], list[int], int]:
    """Where the values of the whole records in `piece` begin and end, and where the first record that is not lies."""
    starts, ends, place, size = [], [], 0, len(piece)
    while size - place >= _LENGTHS.size:
        length, key_length = _LENGTHS.unpack_from(piece, place)
        if length == SYNC_ESCAPE:
            if size - place < _SYNC_RECORD:
                break
            if piece[place + 4 : place + _SYNC_RECORD] != sync:
                raise Damaged("a sync marker is not that of the header")
            place += _SYNC_RECORD
            continue
        if not 0 <= key_length <= length <= MAX_BLOCK_BYTES:
            raise Damaged(f"a record of {length:,} bytes with a key of {key_length:,}")
        following = place + _LENGTHS.size + length
        if following > size:
            break
        starts.append(place + _LENGTHS.size + key_length)
        ends.append(following)
        place = following
    return starts, ends, place


def _missing(rest: bytes, source: HadoopInput) -> int:
    """How many bytes the record that begins with `rest` lacks, if it says so and they are more than a piece."""
    if len(rest) < _LENGTHS.size:
        return 0
    missing = _LENGTHS.size + _LENGTHS.unpack_from(rest)[0] - len(rest)
    if missing > source.left:
        raise Damaged(f"the last record is cut off: {missing:,} bytes are missing where {source.left:,} are left")
    return max(missing, _PIECE_BYTES)


def _unpacked(piece: bytes, start: list[int], end: list[int], codec: str) -> BinaryCells:
    values = [decompress(codec, piece[a:b]) for a, b in zip(start, end, strict=True)]
    bounds = np.zeros(len(values) + 1, np.int64)
    np.cumsum([len(value) for value in values], out=bounds[1:])
    return BinaryCells(padded(b"".join(values)), bounds[:-1], bounds[1:])


def _blocks(source: HadoopInput, header: Header) -> Iterator[BinaryCells]:
    codec = header.codec or _DEFAULT_CODEC
    while source.left:
        if source.int32() != SYNC_ESCAPE:
            raise Damaged("no sync marker before a block")
        source.expect_sync(header.sync)
        count = source.vint()
        source.block()  # lengths of the keys
        source.block()  # the keys
        lengths = vints.read_all(decompress(codec, source.block(), max(0, count) * _MAX_VINT))
        if len(lengths) != count or (lengths < 0).any() or lengths.astype(float).sum() > MAX_BLOCK_BYTES:
            raise Damaged(f"a block of {count:,} rows does not agree with its lengths")
        total = int(lengths.sum())
        values = decompress(codec, source.block(), total)
        if len(values) < total:
            raise Damaged(f"a block of {total:,} bytes has {len(values):,}")
        bounds = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))
        yield BinaryCells(padded(values), bounds[:-1], bounds[1:])
