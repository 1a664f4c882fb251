"""Run by Spark's own interpreter: writes the tables of conformance_tables.py, and says what Spark SQL reads of each.

Usage: spark_writes_conformance.py FOLDER ZONE [TABLE ...], where ZONE is that of the JVM. Leaves
FOLDER/tables/<name>/dt=.../ with the data, FOLDER/<name>.hql, FOLDER/<name>.shown.hql (SHOW CREATE TABLE) and
FOLDER/<name>.json: {"rows": [...]} or {"error": "..."}.
"""

import contextlib
import datetime
import json
import os
import re
import sys
import time
import traceback

from pyspark.sql import SparkSession, types

from tests.components.hive_example_gen.conformance.all_tables import ALL
from tests.components.hive_example_gen.conformance.conformance_tables import DAY, Table

_CAST_FROM_TEXT = re.compile(r"\b(date|timestamp|decimal\(\d+,\d+\)|varchar\(\d+\)|char\(\d+\))")


def main(folder: str, zone: str, names: list[str]) -> None:
    started = time.monotonic()
    spark = _session(folder, zone)
    spark.sparkContext.setLogLevel("ERROR")
    print(f"session in {zone} after {time.monotonic() - started:.1f} s")
    _print_versions(spark)
    tables = [table for table in ALL if table.zone == zone and (not names or table.name in names)]
    for table in tables:
        before = time.monotonic()
        _make(spark, folder, table)
        print(f"{table.name}: {time.monotonic() - before:.1f} s", flush=True)
    print(f"{len(tables)} tables after {time.monotonic() - started:.1f} s")
    spark.stop()


def _session(folder: str, zone: str) -> SparkSession:
    settings = {
        "spark.sql.warehouse.dir": f"{folder}/warehouse",
        "spark.hadoop.javax.jdo.option.ConnectionURL": f"jdbc:derby:memory:{os.path.basename(folder)};create=true",
        "spark.driver.extraJavaOptions": f"-Duser.timezone={zone} -XX:TieredStopAtLevel=1 -Dderby.system.home={folder}",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": zone,
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.codegen.wholeStage": "false",  # compiling costs more than these few rows
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.ansi.enabled": "false",
        "spark.sql.mapKeyDedupPolicy": "LAST_WIN",
        "hive.exec.dynamic.partition.mode": "nonstrict",
    }
    builder = SparkSession.builder.master("local[1]")
    for key, value in settings.items():
        builder = builder.config(key, value)
    return builder.enableHiveSupport().getOrCreate()


def _print_versions(spark: SparkSession) -> None:
    java = spark._jvm.java.lang.System.getProperty("java.version")
    hive = spark._jvm.org.apache.hive.common.util.HiveVersionInfo.getVersion()
    print(f"Spark {spark.version}, Hive {hive}, Java {java}, Python {sys.version.split()[0]}")


def _make(spark: SparkSession, folder: str, table: Table) -> None:
    place = f"{folder}/tables/{table.name}" + ("" if table.partitioned_by else f"/dt={DAY}")
    os.makedirs(place)
    answer = {}
    try:
        _keep(f"{folder}/{table.name}.hql", table.ddl())
        with _settings(spark, table.settings):
            _write(spark, table, place)
            answer["rows"] = _read(spark, table)
            _keep(f"{folder}/{table.name}.shown.hql", _shown_ddl(spark, table))
    except Exception:  # the test of this table says so; the others still have theirs
        answer = {"error": traceback.format_exc()[-4000:]}
    _keep(f"{folder}/{table.name}.json", json.dumps(answer))


def _shown_ddl(spark: SparkSession, table: Table) -> str:
    return spark.sql(f"SHOW CREATE TABLE {table.name} AS SERDE").collect()[0][0]


def _write(spark: SparkSession, table: Table, place: str) -> None:
    for name, content in table.files.items():
        with open(f"{place}/{name}", "wb") as file:
            file.write(content)
    if not table.files:
        spark.sql(table.written_ddl(place))
        _insert(spark, table, table.query or _cast_rows(spark, table))
    if table.written_name != table.name or table.files:
        spark.sql(table.ddl(place))


def _insert(spark: SparkSession, table: Table, query: str) -> None:
    place = f"PARTITION (dt, {', '.join(table.partitioned_by)})" if table.partitioned_by else ""
    spark.sql(f"INSERT INTO {table.written_name} {place} SELECT /*+ COALESCE(1) */ * FROM ({query})")


def _cast_rows(spark: SparkSession, table: Table) -> str:
    """A query for the table's rows, whose dates, timestamps and decimals are text."""
    taken = ", ".join(f"`{name}` {_CAST_FROM_TEXT.sub('string', kind)}" for name, kind in table.columns.items())
    spark.createDataFrame(table.rows, types._parse_datatype_string(taken)).createOrReplaceTempView("made")
    cast = [f"CAST(`{name}` AS {kind}) AS `{name}`" for name, kind in table.columns.items()]
    if table.partitioned_by:
        cast.insert(len(cast) - len(table.partitioned_by), f"'{DAY}' AS dt")
    return f"SELECT {', '.join(cast)} FROM made"


def _read(spark: SparkSession, table: Table) -> list:
    read = spark.table(table.name).drop("dt")
    shown = [f"{_shown(f'`{field.name}`', field.dataType)} AS `{field.name}`" for field in read.schema]
    return [_plain(row) for row in read.selectExpr(*shown).collect()]


def _shown(value: str, kind: types.DataType, depth: int = 0) -> str:
    """An SQL expression that gives `value` in types that JSON has; a map becomes an array of key and value."""
    inner = f"x{depth}"
    if isinstance(kind, (types.TimestampType, types.DateType, types.DecimalType)):
        return f"CAST({value} AS string)"
    if isinstance(kind, types.BinaryType):
        return f"lower(hex({value}))"
    if isinstance(kind, types.ArrayType):
        return f"transform({value}, {inner} -> {_shown(inner, kind.elementType, depth + 1)})"
    if isinstance(kind, types.MapType):
        sides = [f"'{side}', {_shown(f'{inner}.{side}', of, depth + 1)}" for side, of in
                 (("key", kind.keyType), ("value", kind.valueType))]  # fmt: skip
        return f"transform(map_entries({value}), {inner} -> named_struct({', '.join(sides)}))"
    if isinstance(kind, types.StructType):
        fields = ", ".join(f"'{f.name}', {_shown(f'{value}.{f.name}', f.dataType, depth)}" for f in kind)
        return f"if({value} IS NULL, NULL, named_struct({fields}))"
    return value


def _plain(value):
    if isinstance(value, types.Row):
        return {name: _plain(inner) for name, inner in value.asDict().items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return {"float": repr(value)}
    assert not isinstance(value, (datetime.date, bytes, bytearray)), value
    return value


@contextlib.contextmanager
def _settings(spark: SparkSession, settings: dict):
    for key, value in settings.items():
        spark.conf.set(key, value)
    try:
        yield
    finally:
        for key in settings:
            spark.conf.unset(key)


def _keep(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
