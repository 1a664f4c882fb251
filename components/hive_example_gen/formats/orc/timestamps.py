"""ORC timestamps as Java reads them, where pyarrow (ORC's C++ library) does not: from its nanoseconds and the seconds.

Seconds lie in the file as they are, counted from 2015-01-01 in the writer's time zone, truncated towards 1970 where
there is a fraction of at least a millisecond.
- They say, up to that zone, how often 2^64 nanoseconds (584 years) are missing from what pyarrow gives.
- C++ undoes the truncation on the wall clock instead of in UTC: a fraction between the two epochs is one second off,
  and one in the last second before a clock change an hour. It also takes another offset than Java for days before about
  1914. So all that lies before 1970 is counted again, by Java's rules.
The last second before 1970 in UTC and the first one after it lie in the file as the same numbers (ORC-763): as Java
does, the later one is read.

Source: TimestampTreeWriter and TreeReaderFactory.TimestampTreeReader of orc-core 2.1, ColumnReader.cc of ORC C++ 2.0.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from hivemill.common.errors import DataNotReadyError
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.formats.hadoop.lazy_binary_primitives import (
    DAY_SECONDS,
    FIRST_DAY,
    LAST_DAY,
)
from hivemill.components.hive_example_gen.formats.time.time_zones import java_wall_clock

_ORC_EPOCH = 1_420_070_400
_WRAP_MICROS, _WRAP_NANOS = divmod(1 << 64, 1000)
_SECOND_NANOS = 1_000_000_000
_ZONE_DAYS = 2
_TRUNCATED_NANOS = 999_999
"""Java truncates seconds only where milliseconds are left: getTime() of an instant with less has been rounded down."""


class SecondsFile(io.RawIOBase):
    """A file whose bytes from `content_end` on are replaced by `tail`. Closes the file under it."""

    def __init__(self, opened: BinaryIO, content_end: int, tail: bytes):
        self.opened = opened
        self.content_end = content_end
        self.tail = tail
        self.place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.place, os.SEEK_END: self.content_end + len(self.tail)}[whence]
        self.place = base + offset
        return self.place

    def readinto(self, buffer) -> int:
        """As much as is asked for, unless the file ends: pyarrow takes less for damage."""
        wanted, data = len(buffer), b""
        if self.place < self.content_end:
            self.opened.seek(self.place)
            data = self.opened.read(min(wanted, self.content_end - self.place))
        start = max(0, self.place + len(data) - self.content_end)
        data += self.tail[start : start + wanted - len(data)]
        buffer[: len(data)] = data
        self.place += len(data)
        return len(data)

    def close(self) -> None:
        self.opened.close()
        super().close()


def holds_timestamp(data_type: pa.DataType) -> bool:
    if pa.types.is_nested(data_type):
        return any(holds_timestamp(data_type.field(index).type) for index in range(data_type.num_fields))
    return pa.types.is_timestamp(data_type)


def in_micros(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_type(_type_in_micros(field.type)) for field in schema])


def _type_in_micros(kind: pa.DataType) -> pa.DataType:
    types = pa.types
    if types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    if not holds_timestamp(kind):
        return kind
    if types.is_struct(kind):
        return pa.struct([field.with_type(_type_in_micros(field.type)) for field in kind])
    if types.is_map(kind):
        return pa.map_(_type_in_micros(kind.key_type), _type_in_micros(kind.item_type))
    return pa.list_(_type_in_micros(kind.value_type))


@dataclass(frozen=True)
class Clock:
    """What the seconds of a stripe mean.

    Attributes:
        zone: the writer's time zone; None where what pyarrow gives is right.
        is_known: whether the stripe names it; pyarrow takes the zone of this machine where it does not.
    """

    zone: str | None = None
    is_known: bool = True


def exact(wrapped: pa.Array, seconds: pa.Array, kind: pa.DataType, clock: Clock, file: DataFile) -> pa.Array:
    """`wrapped` as `kind` (microseconds); both arrays have the same values except for timestamps.

    Raises DataNotReadyError for a timestamp outside the years 1 to 9999.
    """
    types = pa.types
    if types.is_timestamp(kind):
        return _exact(wrapped, seconds, kind, clock, file)
    if not holds_timestamp(kind):
        return wrapped
    if types.is_struct(kind):
        children = [
            exact(wrapped.field(index), seconds.field(index), field.type, clock, file)
            for index, field in enumerate(kind)
        ]
        return pa.StructArray.from_arrays(children, fields=list(kind), mask=wrapped.is_null())
    if types.is_map(kind):
        keys = exact(wrapped.keys, seconds.keys, kind.key_type, clock, file)
        items = exact(wrapped.items, seconds.items, kind.item_type, clock, file)
        inner = pa.StructArray.from_arrays([keys, items], fields=[kind.key_field, kind.item_field])
    else:
        inner = exact(wrapped.values, seconds.values, kind.value_type, clock, file)
    return pa.Array.from_buffers(kind, len(wrapped), wrapped.buffers()[:2], offset=wrapped.offset, children=[inner])


def _exact(wrapped: pa.Array, seconds: pa.Array, kind: pa.DataType, clock: Clock, file: DataFile) -> pa.Array:
    nanos = np.asarray(wrapped.cast(pa.int64()).fill_null(0))
    whole = np.asarray(seconds.fill_null(-_ORC_EPOCH)) + _ORC_EPOCH
    days = whole // DAY_SECONDS
    if ((days < FIRST_DAY - _ZONE_DAYS) | (days > LAST_DAY + _ZONE_DAYS)).any():
        raise DataNotReadyError(
            f"{file.name}: a timestamp lies outside the years 1 to 9999, which Hive's timestamps do not leave",
            hint="Write the file again without it, or exclude its column.",
        )
    wraps = np.rint((whole.astype(float) * 1e9 - nanos.astype(float)) / 2.0**64).astype(np.int64)
    micros = nanos // 1000 + wraps * _WRAP_MICROS + (nanos % 1000 + wraps * _WRAP_NANOS) // 1000
    if clock.zone is not None and kind.tz is None:
        again = days < _ZONE_DAYS if clock.is_known else np.ones(len(days), bool)
        fraction = (nanos[again] % _SECOND_NANOS + wraps[again] * ((1 << 64) % _SECOND_NANOS)) % _SECOND_NANOS
        micros[again] = _as_java(whole[again], fraction, clock.zone)
    mask = np.asarray(wrapped.is_null()) if wrapped.null_count else None
    return pa.array(micros, pa.int64(), mask=mask).cast(kind)


def _as_java(whole: np.ndarray, fraction: np.ndarray, zone: str) -> np.ndarray:
    """Microseconds on the writer's clock, of seconds counted as if it were one of UTC and nanoseconds."""
    epoch = np.array([_ORC_EPOCH])
    instants = whole - (java_wall_clock(epoch, zone) - epoch)
    instants -= (instants < 0) & (fraction > _TRUNCATED_NANOS)
    return java_wall_clock(instants, zone) * 1_000_000 + fraction // 1000
