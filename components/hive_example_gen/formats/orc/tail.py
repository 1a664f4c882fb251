"""The tail of an ORC file, as far as pyarrow does not give it: statistics of timestamps, calendar, time zones.

It can also be written again with timestamps called bigint: then pyarrow reads their seconds, which do not overflow.
Source: ORC specification v1, "File Tail" (orc_proto.proto).
"""

from __future__ import annotations

import io
import itertools
import zlib
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa

from hivemill.components.hive_example_gen.formats.compression import lz4_size
from hivemill.components.hive_example_gen.formats.data_file import size_of
from hivemill.components.hive_example_gen.formats.hadoop.vints import Damaged
from hivemill.components.hive_example_gen.formats.orc import protobuf_wire as wire

_FOOTER_LENGTH, _COMPRESSION, _BLOCK_SIZE = 1, 2, 3  # PostScript
_STRIPES, _TYPES, _STATISTICS, _WRITER, _CALENDAR = 3, 4, 7, 9, 11  # Footer
_OFFSET, _INDEX_LENGTH, _DATA_LENGTH, _STRIPE_FOOTER_LENGTH, _STRIPE_ROWS = 1, 2, 3, 4, 5  # StripeInformation
_STRIPE_ZONE = 3  # StripeFooter
_KIND, _SUBTYPES, _FIELD_NAMES = 1, 2, 3  # Type
_COUNT, _TIMESTAMP_STATISTICS = 1, 9  # ColumnStatistics
_LIMITS = ((1, 3), (2, 4))  # TimestampStatistics: least and most, each on the writer's clock and in UTC
_LONG, _TIMESTAMP, _CHAR, _INSTANT = 4, 9, 17, 18  # Type.Kind
_NONE, _ZLIB, _SNAPPY, _LZO, _LZ4, _ZSTD = range(6)
_JAVA, _CPP = 0, 1  # Footer.writer
_HYBRID, _PROLEPTIC = 1, 2  # CalendarKind
# Milliseconds that fit in 64 bits of nanoseconds, less two days for time zones.
_SAFE_MILLIS = (1 << 63) // 1_000_000 - 2 * 86_400_000
_MAX_TAIL_BYTES = 256 << 20
_EPOCH_MILLIS = 2 * 86_400_000


@dataclass(frozen=True)
class OrcTail:
    """`content_end` is where the footer begins."""

    content_end: int
    footer: bytes
    postscript: bytes

    @classmethod
    def read(cls, opened: BinaryIO) -> OrcTail:
        """Raises Damaged, OSError, zlib.error."""
        size = size_of(opened)
        if size < 4:
            raise Damaged("it is too short")
        opened.seek(size - 1)
        script_length = opened.read(1)[0]
        script_start = size - 1 - script_length
        postscript = _slice(opened, script_start, script_length)
        script = wire.parsed(postscript)
        footer_length = wire.number(script, _FOOTER_LENGTH)
        stored = _slice(opened, script_start - footer_length, footer_length)
        return cls(script_start - footer_length, _unpacked_by(script, stored), postscript)

    def stripe_ends(self) -> list[int]:
        """For each stripe the number of rows up to its end, its own included."""
        stripes = wire.parts(wire.parsed(self.footer), _STRIPES)
        return list(itertools.accumulate(wire.number(wire.parsed(stripe), _STRIPE_ROWS) for stripe in stripes))

    def zones(self, opened: BinaryIO) -> list[str | None]:
        """The writer's time zone by stripe; Hive before 1.1 names none. Raises Damaged, OSError, zlib.error."""
        script = wire.parsed(self.postscript)
        zones = []
        for part in wire.parts(wire.parsed(self.footer), _STRIPES):
            stripe = wire.parsed(part)
            start = sum(wire.number(stripe, field) for field in (_OFFSET, _INDEX_LENGTH, _DATA_LENGTH))
            stored = _slice(opened, start, wire.number(stripe, _STRIPE_FOOTER_LENGTH))
            names = wire.parts(wire.parsed(_unpacked_by(script, stored)), _STRIPE_ZONE)
            zones.append(names[-1].decode("utf-8", "replace") if names else None)
        return zones

    @property
    def is_proleptic(self) -> bool:
        """Whether old days are proleptic Gregorian; a footer without calendar is one of Java's hybrid years."""
        calendar = wire.number(wire.parsed(self.footer), _CALENDAR)
        return calendar == _PROLEPTIC or (calendar != _HYBRID and self._writer != _JAVA)

    @property
    def is_of_cpp(self) -> bool:
        """Whether ORC's C++ library wrote it, pyarrow for one: what it reads of that is what was written."""
        return self._writer == _CPP

    @property
    def _writer(self) -> int:
        return wire.number(wire.parsed(self.footer), _WRITER, _JAVA)

    @property
    def may_leave_nanoseconds(self) -> bool:
        """Whether a timestamp may lie outside 1677 to 2262, by the file's statistics; True where there are none."""
        return any(_may_reach(part, _SAFE_MILLIS + 1, -_SAFE_MILLIS - 1) for part in self._times(_TIMESTAMP, _INSTANT))

    @property
    def may_precede_epoch(self) -> bool:
        """Whether a timestamp may lie before 1970-01-03, which is after the epoch in every time zone; as above."""
        return any(_may_reach(part, None, _EPOCH_MILLIS) for part in self._times(_TIMESTAMP))

    @property
    def has_timestamps(self) -> bool:
        return bool(self._times(_TIMESTAMP, _INSTANT))

    def _times(self, *wanted: int) -> list[wire.Message]:
        """The statistics of the columns of these kinds, nested ones too; {} where there are none."""
        message = wire.parsed(self.footer)
        kinds = [wire.number(wire.parsed(part), _KIND) for part in wire.parts(message, _TYPES)]
        statistics = [wire.parsed(part) for part in wire.parts(message, _STATISTICS)]
        statistics += [{}] * (len(kinds) - len(statistics))
        return [statistics[index] for index, kind in enumerate(kinds) if kind in wanted]

    @property
    def char_columns(self) -> frozenset[str]:
        """The columns of type char(n)."""
        types = [wire.parsed(part) for part in wire.parts(wire.parsed(self.footer), _TYPES)]
        if not types:
            return frozenset()
        names = [name.decode("utf-8", "replace") for name in wire.parts(types[0], _FIELD_NAMES)]
        kinds = [wire.number(types[index], _KIND) for index in _children(types[0]) if index < len(types)]
        return frozenset(name for name, kind in zip(names, kinds, strict=False) if kind == _CHAR)

    def with_seconds(self) -> bytes:
        """A tail in whose footer timestamps are bigint; it goes behind the file's first `content_end` bytes."""
        types = []
        for part in wire.parts(wire.parsed(self.footer), _TYPES):
            is_time = wire.number(wire.parsed(part), _KIND) in (_TIMESTAMP, _INSTANT)
            types.append(wire.with_number(part, _KIND, _LONG) if is_time else part)
        footer = wire.with_parts(self.footer, _TYPES, types)
        script = wire.parsed(self.postscript)
        if wire.number(script, _COMPRESSION) != _NONE:
            block = wire.number(script, _BLOCK_SIZE, 1 << 18)
            footer = b"".join(_stored_chunk(footer[at : at + block]) for at in range(0, len(footer), block))
        postscript = _moved_last(wire.with_number(self.postscript, _FOOTER_LENGTH, len(footer)))
        return footer + postscript + bytes([len(postscript)])


def _children(record: wire.Message) -> list[int]:
    """The numbers of its fields' types: one by one, or packed."""
    children = []
    for part in record.get(_SUBTYPES, []):
        if isinstance(part, int):
            children.append(part)
            continue
        place = 0
        while place < len(part):
            child, place = wire.varint(part, place)
            children.append(child)
    return children


def _moved_last(postscript: bytes) -> bytes:
    """The magic stays the last field: readers look for it at the end."""
    magic = wire.parts(wire.parsed(postscript), 8000)
    return wire.with_parts(postscript, 8000, magic)


def _slice(opened: BinaryIO, start: int, length: int) -> bytes:
    if start < 0 or length > _MAX_TAIL_BYTES:
        raise Damaged(f"its tail announces {length:,} bytes")
    opened.seek(start)
    data = opened.read(length)
    if len(data) < length:
        raise Damaged("its tail is cut off")
    return data


def _may_reach(statistics: wire.Message, high: int | None, low: int) -> bool:
    """Whether a timestamp may be at or above `high` or at or below `low`, in milliseconds since 1970."""
    if not wire.number(statistics, _COUNT, 1):
        return False
    if _TIMESTAMP_STATISTICS not in statistics:
        return True
    limits = wire.parsed(wire.parts(statistics, _TIMESTAMP_STATISTICS)[-1])
    least, most = ([wire.zigzag(wire.number(limits, field)) for field in pair if field in limits] for pair in _LIMITS)
    if not least or (high is not None and not most):
        return True
    return min(least) <= low or (high is not None and max(most) >= high)


def _unpacked_by(script: wire.Message, stored: bytes) -> bytes:
    return _unpacked(stored, wire.number(script, _COMPRESSION), wire.number(script, _BLOCK_SIZE, 1 << 18))


def _unpacked(stored: bytes, compression: int, block_size: int) -> bytes:
    """Chunks of a 3-byte header and, packed or not, their data."""
    if compression == _NONE:
        return stored
    opened, chunks = io.BytesIO(stored), []
    while header := opened.read(3):
        number = int.from_bytes(header, "little")
        data = opened.read(number >> 1)
        if len(header) < 3 or len(data) < number >> 1:
            raise Damaged("its footer is cut off")
        chunks.append(data if number & 1 else _unpacked_chunk(data, compression, block_size))
    return b"".join(chunks)


def _unpacked_chunk(data: bytes, compression: int, block_size: int) -> bytes:
    if block_size > _MAX_TAIL_BYTES:
        raise Damaged(f"it announces blocks of {block_size:,} bytes")
    if compression == _ZLIB:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, block_size)
    if compression == _SNAPPY:
        size = min(wire.varint(data, 0)[0], block_size)
        return pa.Codec("snappy").decompress(data, size, asbytes=True)
    if compression == _LZ4:
        return pa.Codec("lz4_raw").decompress(data, min(lz4_size(data), block_size), asbytes=True)
    if compression == _ZSTD:
        return pa.CompressedInputStream(pa.BufferReader(data), "zstd").read(block_size)
    raise Damaged(f"its compression has the number {compression}, which is not supported")


def _stored_chunk(data: bytes) -> bytes:
    return (len(data) << 1 | 1).to_bytes(3, "little") + data
