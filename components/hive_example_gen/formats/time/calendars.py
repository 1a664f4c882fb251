"""Old dates and time zones: what a file's numbers mean, by who wrote it.

Hive before 3.1 and Spark before 3.0 count days in Java's hybrid calendar (Julian before 1582-10-15), later ones in the
proleptic Gregorian calendar; as everywhere in Hive the label counts: a day that was written as 0001-01-01 is read as
0001-01-01. Files say which one they use in metadata, or not at all. Where nothing says, days from 1582-10-15 on are the
same in both, and an older one is refused: a wrong guess would shift it silently.

Timestamps of Hive are wall clocks. Where a file holds instants instead (INT96 in Parquet, Avro of Hive before 3.1), its
metadata names the writer's time zone, and the wall clock there is what is read; without it that of UTC.

Two keys of `source.serde_properties` decide for files that do not: `writer.date.proleptic` (true or false) and
`writer.time.zone`. They are Hive's names of the footer entries (DataWritableWriteSupport).

Source: Hive's CalendarUtils and DataWritableReadSupport, Spark's DataSourceUtils.datetimeRebaseSpec.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.formats.hadoop.lazy_binary_primitives import DAY_SECONDS
from hivemill.components.hive_example_gen.formats.time.time_zones import is_zone, wall_clock

PROLEPTIC_KEY = "writer.date.proleptic"
ZONE_KEY = "writer.time.zone"
_AVRO_PROLEPTIC_KEY = "writer.proleptic"
SPARK_VERSION_KEY = "org.apache.spark.version"
_SPARK_LEGACY = "org.apache.spark.legacyDateTime"
_FIRST_SAME_DAY = -141_427  # 1582-10-15
_DAY_TICKS = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


@dataclass(frozen=True)
class Writer:
    """How a file's days and instants were written.

    Attributes:
        proleptic: whether days before 1582-10-15 are proleptic Gregorian; None where nothing says.
        zone: timestamps without a time zone are instants, and the wall clock of this zone is read; None: they are wall
            clocks already (or of UTC).
        zone_of_instants: the same for timestamps that the file itself calls instants (of UTC).
        old_timestamps: those before 1582-10-15: their calendar is that of the dates, or they are proleptic anyway, or
            they are refused (Spark's legacy mode shifts instants by what a zone's clocks were in the year 1500).
    """

    proleptic: bool | None = None
    zone: str | None = None
    old_timestamps: Literal["like dates", "proleptic", "refused"] = "like dates"
    zone_of_instants: str | None = None

    @classmethod
    def declared(cls, properties: Mapping[str, str]) -> Writer:
        """By `source.serde_properties`. Raises ConfigError."""
        text = properties.get(PROLEPTIC_KEY)
        if text is not None and text.lower() not in ("true", "false"):
            raise ConfigError(f"source.serde_properties.{PROLEPTIC_KEY} must be true or false, found {text!r}")
        zone = properties.get(ZONE_KEY)
        if zone is not None and not is_zone(zone):
            raise ConfigError(
                f"source.serde_properties.{ZONE_KEY}: no time zone is called {zone!r}",
                hint="Names are those of the IANA database, such as Europe/Berlin.",
            )
        return cls(None if text is None else text.lower() == "true", zone)

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, str]) -> Writer:
        """By the metadata that Hive and Spark write into Parquet and Avro files."""
        text = next((metadata[key] for key in (PROLEPTIC_KEY, _AVRO_PROLEPTIC_KEY) if key in metadata), None)
        proleptic = None if text is None else text.lower() == "true"
        zone = metadata.get(ZONE_KEY)
        if proleptic is not None or SPARK_VERSION_KEY not in metadata:
            return cls(proleptic, zone)
        major = metadata[SPARK_VERSION_KEY].partition(".")[0]
        proleptic = not (major in ("0", "1", "2") or _SPARK_LEGACY in metadata)
        return cls(proleptic, zone, "like dates" if proleptic else "refused")

    def completed_by(self, other: Writer) -> Writer:
        """What this one does not know is taken from `other`."""
        proleptic = other.proleptic if self.proleptic is None else self.proleptic
        return replace(self, proleptic=proleptic, zone=self.zone or other.zone)

    @property
    def without_zone(self) -> Writer:
        return replace(self, zone=None)

    def read(self, array: pa.Array, column: str, file: DataFile) -> pa.Array:
        """Dates and timestamps of `array`, nested ones too, as proleptic wall clocks.

        Raises DataNotReadyError for an old day of an unknown calendar.
        """
        if not holds_time(array.type) or (self.proleptic and not (self.zone or self.zone_of_instants)):
            return array
        return self._read(array, column, file)

    def _read(self, array: pa.Array, column: str, file: DataFile) -> pa.Array:
        types = pa.types
        if types.is_date32(array.type):
            days = self._rebased(np.asarray(array.cast(pa.int32()).fill_null(0)).astype(np.int64), column, file)
            return _with_values(array, days.astype(np.int32), pa.int32())
        if types.is_timestamp(array.type):
            return self._timestamp(array, column, file)
        if not holds_time(array.type):
            return array
        if types.is_struct(array.type):
            children = [self._read(array.field(index), column, file) for index in range(array.type.num_fields)]
            return pa.StructArray.from_arrays(children, fields=list(array.type), mask=array.is_null())
        if types.is_map(array.type):
            entries = [self._read(side, column, file) for side in (array.keys, array.items)]
            children = pa.StructArray.from_arrays(entries, fields=[array.type.key_field, array.type.item_field])
        else:
            children = self._read(array.values, column, file)
        return pa.Array.from_buffers(
            array.type, len(array), array.buffers()[:2], offset=array.offset, children=[children]
        )

    def _timestamp(self, array: pa.Array, column: str, file: DataFile) -> pa.Array:
        zone = self.zone if array.type.tz is None else self.zone_of_instants
        if zone:
            wall_clock = in_zone(array.cast(pa.timestamp(array.type.unit)), zone)
            array = wall_clock.cast(array.type)  # as if of UTC: the wall clock is what counts from here on
        day = _DAY_TICKS[array.type.unit]
        ticks = np.asarray(array.cast(pa.int64()).fill_null(0))
        days = ticks // day
        if self.old_timestamps != "like dates":
            self._check_timestamps(days, column, file)
            return array
        shift = self._rebased(days, column, file) - days
        return _with_values(array, ticks + shift * day, pa.int64()) if shift.any() else array

    def _check_timestamps(self, days: np.ndarray, column: str, file: DataFile) -> None:
        if self.old_timestamps == "refused" and (days < _FIRST_SAME_DAY).any():
            raise DataNotReadyError(
                f"{file.name}: column {column!r} holds an instant before 1582-10-15 of Spark's legacy mode",
                hint="Write it again with spark.sql.*.datetimeRebaseModeInWrite=CORRECTED, or exclude the column.",
            )

    def _rebased(self, days: np.ndarray, column: str, file: DataFile) -> np.ndarray:
        old = days < _FIRST_SAME_DAY
        if self.proleptic or not old.any():
            return days
        if self.proleptic is None:
            raise DataNotReadyError(
                f"{file.name}: column {column!r} holds a day before 1582-10-15, and the file does not say in which "
                "calendar (Hive before 3.1 and Spark before 3.0 write another one than later versions)",
                hint=f"Set source.serde_properties.{PROLEPTIC_KEY}: 'true' for files of Hive >= 3.1 or Spark >= 3.0, "
                "'false' for older writers.",
            )
        result = days.copy()
        result[old] = _proleptic_days(*_julian_date(days[old]))
        return result


def in_zone(array: pa.Array, zone: str) -> pa.Array:
    """Instants (timestamps of UTC without a zone) as the wall clock of `zone`."""
    second = _DAY_TICKS[array.type.unit] // DAY_SECONDS
    seconds, rest = np.divmod(np.asarray(array.cast(pa.int64()).fill_null(0)), second)
    return _with_values(array, wall_clock(seconds, zone) * second + rest, pa.int64())


def holds_time(data_type: pa.DataType) -> bool:
    if pa.types.is_nested(data_type):
        return any(holds_time(data_type.field(index).type) for index in range(data_type.num_fields))
    return pa.types.is_date32(data_type) or pa.types.is_timestamp(data_type)


def _with_values(array: pa.Array, values: np.ndarray, storage: pa.DataType) -> pa.Array:
    mask = np.asarray(array.is_null()) if array.null_count else None
    return pa.array(values, storage, mask=mask).cast(array.type)


def _julian_date(days: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Year, month and day in the Julian calendar of days since 1970-01-01 (E. G. Richards, Mapping Time, 1998)."""
    quarters = 4 * (days + 2_440_588 + 1_401) + 3
    fifths = 5 * (quarters % 1461 // 4) + 2
    month = (fifths // 153 + 2) % 12 + 1
    return quarters // 1461 - 4716 + (14 - month) // 12, month, fifths % 153 // 5 + 1


def _proleptic_days(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Days since 1970-01-01 of a date of the proleptic Gregorian calendar; years are counted from March."""
    year = year - (month <= 2)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return 365 * year + year // 4 - year // 100 + year // 400 + day_of_year - 719_468
