"""Run by test_experiment_assignment.py with an interpreter that has pyspark: FOLDER/in.json has ids and expressions,
FOLDER/out.json gets what Spark SQL makes of them, in the order of the ids."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pyspark.sql import SparkSession


def main(folder: Path) -> None:
    given = json.loads((folder / "in.json").read_text())
    spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    found = {}
    for name, kind in (("text", "string"), ("number", "bigint")):
        rows = list(enumerate(given[name]))
        table = str(folder / name)
        spark.createDataFrame(rows, f"place int, {name} {kind}").write.parquet(table)
        spark.read.parquet(table).createOrReplaceTempView("users")
        query = given["queries"][name]
        made = spark.sql(f"SELECT {query['bucket']} AS b, {query['variant']} AS v FROM users ORDER BY place").collect()
        found[name] = [[row.b, row.v] for row in made]
    (folder / "out.json").write_text(json.dumps(found))
    spark.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
