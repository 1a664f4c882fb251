"""Tables that changed over the months: columns added, dropped, reordered, widened; zones and calendars; partitions.

Standard library only: Spark's interpreter and the tests' own both import this.
"""

from __future__ import annotations

from tests.components.hive_example_gen.conformance.conformance_tables import (
    HIVE_WRITES,
    RC_BINARY,
    RC_COLUMNAR,
    SEQUENCE_BINARY,
    Table,
    compressed,
)

NEW_YORK = "America/New_York"
MANY_ROWS = 20_000
STORED = {
    "text": "STORED AS TEXTFILE",
    "sequence": "STORED AS SEQUENCEFILE",
    "sequence_binary": SEQUENCE_BINARY,
    "rcfile_columnar": RC_COLUMNAR,
    "rcfile_binary": RC_BINARY,
    "parquet": "STORED AS PARQUET",
    "orc": "STORED AS ORC",
    "avro": "STORED AS AVRO",
}
LEGACY_MODE = ("old_parquet_legacy", "old_parquet_legacy_micros")
"""Spark shifts their instants by what the zone's clocks were before 1582; Hivemill refuses those and reads the days."""
SILENT_WRITERS = ("sequence_binary", "rcfile_binary", "avro", "parquet_hive")
BY_NAME = ("parquet", "orc", "avro")
"""Their files name the columns; in all others a column is a place."""

_BEFORE = {
    "id": "int",
    "name": "string",
    "count": "int",
    "ratio": "float",
    "price": "decimal(9,2)",
    "geo": "struct<lat:double,place:string>",
    "items": "array<struct<item:int,name:string>>",
    "gone": "string",
}
_ROWS = [
    (0, None, None, None, None, None, None, None),
    (1, "a", -(2**31), 0.1, "9999999.99", (1.5, "x"), [(1, "p"), None], "g"),
    (2, "", 2**31 - 1, float("nan"), "-0.01", (None, None), [], ""),
    (3, "ü", 0, -0.0, "0.00", (0.0, ""), [(None, None)], "h"),
]


def _changed(**changes: str) -> dict[str, str]:
    return {**_BEFORE, **changes}


_ADDED = {**_BEFORE, "extra": "string", "later": "array<bigint>", "point": "struct<x:int>", "since": "timestamp"}
_WIDE = {"count": "bigint", "ratio": "double", "price": "decimal(12,2)"}
_WIDENED = _changed(**_WIDE)
_DEEPER = _changed(
    geo="struct<lat:double,place:string,zoom:int>",
    items="array<struct<item:int,name:string,price:decimal(9,2)>>",
)
_REORDERED = {name: _BEFORE[name] for name in ("gone", "price", "id", "items", "name")}
_SHORTER = {name: kind for name, kind in _BEFORE.items() if name != "gone"}
_MIXED = {name.title(): kind.replace("lat", "Lat") for name, kind in _BEFORE.items()}
_UPPER = {name.upper(): kind for name, kind in _BEFORE.items()}


def _evolved() -> list[Table]:
    tables = []
    for kind, stored in STORED.items():
        after = {"added": _ADDED, "shorter": _SHORTER}
        if kind != "sequence_binary":  # LazyBinarySerDe reads a longer struct in a row as garbage, in Hive too
            after["deeper"] = _DEEPER
        if kind not in ("sequence_binary", "rcfile_binary"):  # their bytes do not say how wide a value is
            after["widened"] = _WIDENED
        if kind in BY_NAME:
            after["reordered"] = _REORDERED
        if kind in ("parquet", "orc"):  # Spark takes Avro's schema from the columns as they are spelled
            after["upper"] = _UPPER
        for change, columns in after.items():
            tables.append(Table(f"{change}_{kind}", _BEFORE, stored, _ROWS, read_columns=columns))
    converted = _changed(count="double", price="decimal(14,4)")
    for kind in ("parquet", "orc"):  # Spark keeps the case of names in its files, the metastore does not
        tables.append(Table(f"mixed_{kind}", _MIXED, STORED[kind], _ROWS, read_columns=_BEFORE))
        tables.append(Table(f"converted_{kind}", _BEFORE, STORED[kind], _ROWS, read_columns=converted))
    tables.append(Table("spelled_orc", _BEFORE, STORED["orc"], _ROWS, read_columns=_changed(count="string")))
    return tables


_WHEN = {"id": "int", "day": "date", "at": "timestamp", "seen": "array<timestamp>"}
_DST = [
    "2026-03-08 01:59:59.999999", "2026-03-08 03:00:00", "2026-07-01 12:00:00", "2026-11-01 00:59:59",
    "2026-11-01 02:00:00", "1969-12-31 23:59:59.5", "1900-01-01 00:00:00", "2200-01-01 00:00:00",
]  # fmt: skip
_OLD = ["1582-10-14", "1582-10-05", "1582-10-04", "1500-03-01", "1500-02-28", "1000-01-01", "0004-02-29", "0001-01-01"]


def _zones() -> list[Table]:
    when = [(index, text[:10], text, [text, None]) for index, text in enumerate(_DST)]
    writers = {**{kind: {} for kind in STORED}, "parquet_hive": HIVE_WRITES, "orc_hive": HIVE_WRITES,
               "parquet_micros": {"spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS"}}  # fmt: skip
    return [
        Table(
            f"zone_{kind}",
            _WHEN,
            STORED[_format(kind)],
            when,
            settings=settings,
            zone=NEW_YORK,
            read_properties={"writer.time.zone": NEW_YORK},
        )
        for kind, settings in writers.items()
    ]


def _calendars() -> list[Table]:
    old = [(index, text, f"{text} 12:00:00.5", [f"{text} 00:00:00"]) for index, text in enumerate(_OLD)]
    legacy = {
        "spark.sql.parquet.datetimeRebaseModeInWrite": "LEGACY",
        "spark.sql.parquet.int96RebaseModeInWrite": "LEGACY",
    }
    micros = {"spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS"}
    writers = {
        **{kind: {} for kind in STORED},
        "parquet_hive": HIVE_WRITES,
        "orc_hive": HIVE_WRITES,
        "parquet_micros": micros,
        "parquet_legacy": legacy,
        "parquet_legacy_micros": {**legacy, **micros},
    }
    silent = {"writer.date.proleptic": "false"}  # Hive 2.3 does not say in the file that its calendar is the hybrid one
    tables = []
    for kind, settings in writers.items():
        properties = silent if kind in SILENT_WRITERS else {}
        table = Table(f"old_{kind}", _WHEN, STORED[_format(kind)], old, settings=settings, read_properties=properties)
        tables.append(table)
    return tables


def _format(writer: str) -> str:
    return writer if writer in STORED else writer.split("_")[0]


def _many() -> list[Table]:
    """More rows than a batch, a row group of RCFile and a block of a SequenceFile hold."""
    columns = {"id": "int", "big": "bigint", "name": "string", "half": "double", "words": "array<string>"}
    query = (
        "SELECT CAST(id AS int) AS id, id * id * 1000003 AS big, repeat(md5(CAST(id AS string)), 8) AS name, "
        "IF(id % 7 = 0, NULL, id / 2) AS half, IF(id % 5 = 0, NULL, array(CAST(id AS string), '')) AS words "
        f"FROM range({MANY_ROWS})"
    )
    when = {"id": "int", "at": "timestamp", "seen": "array<timestamp>"}
    at = "CAST(make_date(CAST(1 + (id * 37) % 9999 AS int), 1, 1) AS timestamp) + make_dt_interval(0, 0, 0, id / 1000)"
    times = f"SELECT CAST(id AS int) AS id, {at} AS at, array(NULL, {at}) AS seen FROM range({MANY_ROWS // 4})"
    stripes = "STORED AS ORC TBLPROPERTIES ('orc.stripe.row.count'='999')"
    groups = {"parquet.block.size": "16384", "parquet.page.size": "4096", "parquet.page.size.row.check.min": "10"}
    packed = {"sequence": compressed("snappy", "RECORD"), "sequence_binary": compressed("deflate"),
              "rcfile_binary": compressed("snappy")}  # fmt: skip
    return [
        Table("many_stripes", when, stripes, query=times),
        Table("many_row_groups", when, STORED["parquet"], query=times, settings=groups),
        *(
            Table(f"many_{kind}", columns, stored, query=query, settings=packed.get(kind, {}))
            for kind, stored in STORED.items()
        ),
    ]


_PLACES = [
    "a b",
    "a/b",
    "a:b",
    "a%b",
    "a=b",
    "ü日本",
    "{x}[y]^",
    '"q"',
    "a\\b",
    "#?*",
    "'",
    "é\u0301",
    "\x01\x7f",
    None,
    "",
]


def _partitions() -> list[Table]:
    tables = []
    data = {"id": "int", "name": "string"}
    for kind in ("text", "parquet", "orc", "avro"):
        tables.append(
            Table(
                f"places_{kind}",
                {**data, "place": "string"},
                STORED[kind],
                [(index, "x", place) for index, place in enumerate(_PLACES)],
                partitioned_by=("place",),
            )
        )
        hours = [(0, "x", "00"), (1, "y", "07"), (2, "z", "23"), (3, "w", "7x"), (4, None, None)]
        tables.append(Table(f"hours_{kind}", {**data, "hour": "string"}, STORED[kind], hours, partitioned_by=("hour",)))
        typed = [(0, "x", 0, "2026-02-28", "1.50"), (1, "y", -7, "1969-12-31", "-0.01"), (2, "z", None, None, None)]
        tables.append(
            Table(
                f"typed_{kind}",
                {**data, "hour": "int", "day": "date", "price": "decimal(9,2)"},
                STORED[kind],
                typed,
                partitioned_by=("hour", "day", "price"),
            )
        )
    return tables


PARTITIONED: list[Table] = _partitions()
CHANGED: list[Table] = [*_evolved(), *_zones(), *_calendars(), *_many()]
