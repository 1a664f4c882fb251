"""Files that Spark 4 and its Hive 2.3 wrote (fixtures/make_fixtures.py): every binary format, compression and SerDe.

The JVM ran in America/New_York: whoever stores instants shows it.
"""

import datetime
import importlib.util
from pathlib import Path

import pytest

from hivemill.common.errors import DataNotReadyError
from hivemill.components.hive_example_gen.formats import reader
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.table.spec import TableSpec

FOLDER = Path(__file__).with_name("fixtures")
_SPEC = importlib.util.spec_from_file_location("make_fixtures", FOLDER / "make_fixtures.py")
made = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(made)

COLUMNS = {
    "id": "bigint",
    "small": "tinyint",
    "flag": "boolean",
    "ratio": "float",
    "exact": "decimal(8,2)",
    "name": "string",
    "at": "timestamp",
    "day": "date",
    "tags": "array<string>",
    "weights": "map<string,double>",
    "geo": "struct<lat:double,place:string>",
}
SERDES = {
    "sequence_lazy_binary": "lazy_binary",
    "rcfile_text": "columnar",
    "rcfile_text_packed": "columnar",
}
FORMATS = {"sequence": "sequence_file"}
ZONE = {"writer.time.zone": made.ZONE}
OF_INSTANTS = {"sequence_lazy_binary", "rcfile_lazy_binary", "rcfile_lazy_binary_packed", "parquet_hive",
               "parquet_spark_int96", "avro_null", "avro_snappy", "avro_deflate"}  # fmt: skip
WITH_UTC = {"parquet_lz4"}
"""INT64 with isAdjustedToUTC: Spark's timestamps are instants, and Hive reads them as the wall clock of UTC."""


def _read(name, columns=COLUMNS, **options):
    kind = name.removeprefix("old_").split("_")[0]
    spec = TableSpec(
        format=FORMATS.get(kind, kind), columns=columns, partition_columns={}, serde=SERDES.get(name), **options
    )
    bad = BadRows()
    batches = list(reader.read_batches(DataFile(str(FOLDER / name), name), spec, bad))
    assert (bad.total, bad.notes) == (0, {})
    return [row for batch in batches for row in batch.to_pylist()]


def _expected(name):
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in made.ROWS]
    for row in rows:
        if row["id"] != 2:
            row["geo"] = dict(zip(("lat", "place"), row["geo"], strict=True))
            row["weights"] = list(row["weights"].items())
        if name.startswith("avro") and row["at"]:  # timestamp-millis
            row["at"] = row["at"].replace(microsecond=row["at"].microsecond // 1000 * 1000)
        if name in WITH_UTC and row["at"]:
            row["at"] += datetime.timedelta(hours=4 if row["at"].year == 2026 else 5)
    return rows


@pytest.mark.parametrize("name", made.TABLES)
def test_rows_as_written(name):
    properties = ZONE if name in OF_INSTANTS else {}
    rows = sorted(_read(name, serde_properties=properties), key=lambda row: row["id"])
    assert rows == _expected(name)


@pytest.mark.parametrize("name", sorted(OF_INSTANTS))
def test_instants_without_a_zone_are_wall_clocks_of_utc(name):
    moments = [row["at"] for row in _read(name) if row["id"] == 3]
    assert moments == [datetime.datetime(1960, 1, 1, 6)]


@pytest.mark.parametrize("name", made.OLD_FILES)
def test_old_and_far_days(name):
    """Spark writes ORC in the hybrid calendar; Parquet in the proleptic one unless it is told otherwise."""
    columns = {"id": "bigint", "day": "date"} | (
        {"at_local": "timestamp"} if "parquet" in name else {"at": "timestamp"}
    )
    rows = sorted(_read(name, columns), key=lambda row: row["id"])
    assert [row["day"] for row in rows] == [datetime.date(1, 1, 1), datetime.date(9999, 12, 31)]
    if "parquet" in name:
        assert [row["at_local"] for row in rows] == [
            datetime.datetime(1, 1, 1),
            datetime.datetime(9999, 12, 31, 23, 59, 59),
        ]
    else:
        assert [row["at"] for row in rows] == [datetime.datetime(1500, 1, 1, 12), datetime.datetime(9999, 12, 31, 12)]


def test_old_instants_of_sparks_legacy_mode_are_refused():
    assert _read("old_parquet", {"at": "timestamp"})[0] == {"at": datetime.datetime(1500, 1, 1, 16, 56, 2)}
    with pytest.raises(DataNotReadyError, match="column 'at' holds an instant before 1582-10-15"):
        _read("old_parquet_legacy", {"at": "timestamp"})
