"""Run by Spark's own interpreter (test_spark.py): writes the same rows as Hive tables, and says what Spark SQL reads.

Usage: spark_writes_tables.py FOLDER. Leaves FOLDER/warehouse/<format>/, FOLDER/<format>.hql and FOLDER/<format>.json.
"""

import datetime
import json
import os
import sys
import time
from decimal import Decimal

os.environ["TZ"] = "UTC"
time.tzset()

from pyspark.sql import SparkSession  # noqa: E402

COLUMNS = """id bigint, small tinyint, flag boolean, ratio float, price double, exact decimal(8,2), name string,
  short varchar(4), day date, at timestamp, raw binary, query array<string>, recent array<bigint>,
  context map<string,string>, weights map<string,double>, geo struct<lat:double,place:string>"""
NULLS = (None,) * 15
ROWS = [
    (1, 127, True, 0.1, 1.7976931348623157e308, Decimal("123456.78"), "ü 日本 😀", "abcd", datetime.date(2026, 2, 28),
     datetime.datetime(2026, 11, 15, 1, 2, 3, 456789), bytearray(b"\x00\xff\n\x01"), ["rote", "schuhe"], [1, -2],
     {"k": "v", "e": ""}, {"a": 0.25}, (1.5, "x")),
    (2, *NULLS),
    (3, -128, False, float("-inf"), float("nan"), Decimal("-0.01"), "", "", datetime.date(1969, 12, 31),
     datetime.datetime(1969, 12, 31, 23, 59, 59, 1), bytearray(b""), [], [], {}, {}, (None, None)),
    (4, 0, None, -0.0, 5e-324, Decimal("0.00"), " '\"\t\\ \\N x", "üüüü", datetime.date(1600, 1, 1),
     datetime.datetime(2200, 1, 1), bytearray(b"plain"), ["", None, "a b"], [None, 9223372036854775807],
     {"n": None}, {"z": None, "y": -1.0}, (-0.5, None)),
    (-9223372036854775808, 1, True, 1.0, 0.0, None, "NULL", "x", None, None, None, [None], None, None, None, None),
]  # fmt: skip
STORED = {
    "text": "ROW FORMAT DELIMITED FIELDS TERMINATED BY '\\001' STORED AS TEXTFILE",
    "parquet": "STORED AS PARQUET",
    "orc": "STORED AS ORC",
}


def plain(value):
    if isinstance(value, (bytes, bytearray)):
        return {"hex": value.hex()}
    if isinstance(value, datetime.datetime):
        return {"micros": (value - datetime.datetime(1970, 1, 1)) // datetime.timedelta(microseconds=1)}
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, (Decimal, float)):
        return {"float": str(value)}
    if hasattr(value, "asDict"):
        return {"struct": {name: plain(inner) for name, inner in value.asDict().items()}}
    if isinstance(value, dict):
        return {"map": [[plain(key), plain(inner)] for key, inner in value.items()]}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def main(folder):
    spark = (
        SparkSession.builder.master("local[1]")
        .config("spark.sql.warehouse.dir", f"{folder}/warehouse")
        .config("spark.hadoop.javax.jdo.option.ConnectionURL", f"jdbc:derby:;databaseName={folder}/db;create=true")
        .config("spark.driver.extraJavaOptions", f"-Duser.timezone=UTC -Dderby.system.home={folder}")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("hive.exec.dynamic.partition.mode", "nonstrict")
        .enableHiveSupport()
        .getOrCreate()
    )
    spark.createDataFrame(ROWS, COLUMNS.replace("varchar(4)", "string")).createOrReplaceTempView("made")
    for name, stored in STORED.items():
        spark.sql(f"CREATE TABLE {name} ({COLUMNS}) PARTITIONED BY (dt string, place string) {stored}")
        for day in ("2026-11-14", "2026-11-15"):
            spark.sql(f"INSERT INTO {name} PARTITION (dt='{day}', place='a:b/c=d e%f') SELECT * FROM made")
        read = spark.sql(f"SELECT * FROM {name} WHERE dt = '2026-11-14'")
        with open(f"{folder}/{name}.json", "w", encoding="utf-8") as file:
            json.dump([{key: plain(value) for key, value in row.asDict().items()} for row in read.collect()], file)
        with open(f"{folder}/{name}.hql", "w", encoding="utf-8") as file:
            file.write(spark.sql(f"SHOW CREATE TABLE {name} AS SERDE").collect()[0][0])
    print("Spark", spark.version)
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1])
