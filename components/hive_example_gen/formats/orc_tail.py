"""The tail of an ORC file, as far as pyarrow does not give it: statistics of timestamps, the writer's calendar.

It can also be written again with timestamps called bigint: then pyarrow reads their seconds, which do not overflow.
Source: ORC specification v1, "File Tail" (orc_proto.proto).
"""

from __future__ import annotations

import io
import os
import zlib
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa

from components.hive_example_gen.formats import protobuf_wire as wire
from components.hive_example_gen.formats.compression import lz4_size
from components.hive_example_gen.formats.vints import Damaged

_FOOTER_LENGTH, _COMPRESSION, _BLOCK_SIZE, _METADATA_LENGTH = 1, 2, 3, 5  # PostScript
_TYPES, _STATISTICS, _WRITER, _CALENDAR = 4, 7, 9, 11  # Footer
_KIND, _SUBTYPES, _FIELD_NAMES = 1, 2, 3  # Type
_COUNT, _TIMESTAMP_STATISTICS = 1, 9  # ColumnStatistics
_LONG, _TIMESTAMP, _CHAR, _INSTANT = 4, 9, 17, 18  # Type.Kind
_NONE, _ZLIB, _SNAPPY, _LZO, _LZ4, _ZSTD = range(6)
_JAVA, _HYBRID, _PROLEPTIC = 0, 1, 2
# Milliseconds that fit in 64 bits of nanoseconds, less two days for time zones.
_SAFE_MILLIS = (1 << 63) // 1_000_000 - 2 * 86_400_000
_MAX_TAIL_BYTES = 256 << 20


@dataclass(frozen=True)
class OrcTail:
    """`content_end` is where the footer begins."""

    content_end: int
    footer: bytes
    postscript: bytes

    @classmethod
    def read(cls, opened: BinaryIO) -> OrcTail:
        """Raises Damaged, OSError, zlib.error."""
        size = opened.seek(0, os.SEEK_END)
        if size < 4:
            raise Damaged("it is too short")
        opened.seek(size - 1)
        script_length = opened.read(1)[0]
        script_start = size - 1 - script_length
        postscript = _slice(opened, script_start, script_length)
        script = wire.parsed(postscript)
        footer_length = wire.number(script, _FOOTER_LENGTH)
        stored = _slice(opened, script_start - footer_length, footer_length)
        footer = _unpacked(stored, wire.number(script, _COMPRESSION), wire.number(script, _BLOCK_SIZE, 1 << 18))
        return cls(script_start - footer_length, footer, postscript)

    @property
    def is_proleptic(self) -> bool:
        """Whether old days are proleptic Gregorian; a footer without calendar is one of Java's hybrid years."""
        message = wire.parsed(self.footer)
        calendar = wire.number(message, _CALENDAR)
        return calendar == _PROLEPTIC or (calendar != _HYBRID and wire.number(message, _WRITER, _JAVA) != _JAVA)

    @property
    def may_leave_nanoseconds(self) -> bool:
        """Whether a timestamp may lie outside 1677 to 2262, by the statistics of the file; True where they are none."""
        message = wire.parsed(self.footer)
        kinds = [wire.number(wire.parsed(part), _KIND) for part in wire.parts(message, _TYPES)]
        statistics = wire.parts(message, _STATISTICS)
        times = [index for index, kind in enumerate(kinds) if kind in (_TIMESTAMP, _INSTANT)]
        return any(index >= len(statistics) or _may_leave(wire.parsed(statistics[index])) for index in times)

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


def _may_leave(statistics: wire.Message) -> bool:
    if _TIMESTAMP_STATISTICS not in statistics:
        return wire.number(statistics, _COUNT, 1) > 0
    limits = wire.parsed(wire.parts(statistics, _TIMESTAMP_STATISTICS)[-1])
    known = [wire.zigzag(wire.number(limits, field)) for field in (1, 2, 3, 4) if field in limits]
    has_both = (1 in limits and 2 in limits) or (3 in limits and 4 in limits)
    return not has_both or any(abs(millis) > _SAFE_MILLIS for millis in known)


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
