"""Run by test_label_join_spark.py with an interpreter that has pyspark: FOLDER gets tables and what SQL says of them.

FOLDER/impressions and FOLDER/clicks: Parquet, partitioned by dt. FOLDER/labels.json: the label of every impression by
`take`, from the queries of docs/decisions/0032. FOLDER/sample.json: the ids that the documented sampling keeps.
"""

from __future__ import annotations

import datetime
import json
import os
import random
import sys
import time
from pathlib import Path

os.environ["TZ"] = "UTC"
time.tzset()

from pyspark.sql import SparkSession  # noqa: E402

START = datetime.datetime(2026, 11, 12)
DAYS = 5
WITHIN_SECONDS = 6 * 3600
NUM_IMPRESSIONS, NUM_CLICKS = 6000, 1500
IMPRESSIONS = "id bigint, user string, item int, seen timestamp, dt string"
CLICKS = "who string, what bigint, at timestamp, dt string"

# What a click belongs to by each rule; `before` and `after` are the key's impressions at other times.
OWNED = {
    "last": "(i.after IS NULL OR c.at < i.after)",
    "first": f"(i.before IS NULL OR c.at > i.before + INTERVAL {WITHIN_SECONDS} SECONDS)",
    "every": "true",
}
LABELS = f"""
WITH neighbours AS (
  SELECT *,
    max(seen) OVER (PARTITION BY user, item ORDER BY seen
                    RANGE BETWEEN UNBOUNDED PRECEDING AND INTERVAL 1 MICROSECOND PRECEDING) AS before,
    min(seen) OVER (PARTITION BY user, item ORDER BY seen
                    RANGE BETWEEN INTERVAL 1 MICROSECOND FOLLOWING AND UNBOUNDED FOLLOWING) AS after
  FROM impressions)
SELECT i.id, count(c.at) > 0 AS label
FROM neighbours i LEFT JOIN clicks c
  ON c.who = i.user AND c.what = i.item AND c.at >= i.seen
  AND c.at <= i.seen + INTERVAL {WITHIN_SECONDS} SECONDS AND OWNED
GROUP BY i.id
"""
SAMPLE = """
SELECT id FROM impressions
WHERE shiftrightunsigned(xxhash64('salt', id, user, cast(item AS BIGINT), seen), 11) < 0.3 * 9007199254740992
"""


def main(folder: Path) -> None:
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.sql.session.timeZone", "UTC").config("spark.sql.shuffle.partitions", "2")
    spark = builder.getOrCreate()
    print("Spark", spark.version)
    write(spark, folder)
    labels = {}
    for take, owned in OWNED.items():
        labels[take] = {row.id: int(row.label) for row in spark.sql(LABELS.replace("OWNED", owned)).collect()}
    (folder / "labels.json").write_text(json.dumps(labels))
    (folder / "sample.json").write_text(json.dumps([row.id for row in spark.sql(SAMPLE).collect()]))


def write(spark: SparkSession, folder: Path) -> None:
    choose = random.Random(7)

    def user():
        return choose.choice([None, "", "é", *(f"user {index}" for index in range(12)), "x" * 50])

    def moment():  # of whole half hours, so that times tie and limits are met exactly
        at = START + datetime.timedelta(minutes=30 * choose.randrange(DAYS * 48))
        return at + datetime.timedelta(microseconds=choose.choice([0, 0, 0, 1]))

    def item():
        return choose.choice([None, *range(-3, 8)])

    days = [START + datetime.timedelta(days=day) for day in range(DAYS)]
    times = [*(moment() for _ in range(NUM_IMPRESSIONS)), *days]
    impressions = [(index, user(), item(), at, at.strftime("%Y-%m-%d")) for index, at in enumerate(times)]
    times = [*(moment() for _ in range(NUM_CLICKS)), *days]
    clicks = [(user(), item(), at, at.strftime("%Y-%m-%d")) for at in times]
    for name, rows, schema in (("impressions", impressions, IMPRESSIONS), ("clicks", clicks, CLICKS)):
        frame = spark.createDataFrame(rows, schema).repartition(2)
        frame.write.partitionBy("dt").parquet(str(folder / name))
        frame.createOrReplaceTempView(name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
