"""Lays public click data sets out as partitioned Hive tables: MovieLens 100K, Criteo, the Open Bandit Dataset.

Each reads the files that its publisher (or, for MovieLens, RecBole) distributes, with typed columns, and writes daily
partitions `dt=YYYY-MM-DD/000000_0` with `_SUCCESS`. The columns are in MOVIELENS, CRITEO and OPEN_BANDIT.
"""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hivemill.data.click_log.history import past_clicks, recent_items
from hivemill.data.importers.tables import (
    ImportedTable,
    joined,
    pseudo_days,
    read_delimited,
    require_among,
    require_values,
    write_days,
)
from hivemill.data.writers import FileFormat

PARTITION_COLUMNS = {"dt": "string"}
CLICK_RATING = 4
"""A MovieLens rating of so many stars counts as a click."""
MOVIELENS = ImportedTable(
    columns={
        "user_id": "bigint",
        "item_id": "bigint",
        "rated_at": "timestamp",
        "rating": "int",
        "age": "int",
        "gender": "string",
        "occupation": "string",
        "zip_code": "string",
        "title": "string",
        "release_year": "int",
        "genres": "array<string>",
        "user_impressions": "int",
        "user_click_rate": "double",
        "item_impressions": "int",
        "item_click_rate": "double",
        "recent_items": "array<bigint>",
        "click": "int",
    },
    label="click",
    user="user_id",
    partition_columns=PARTITION_COLUMNS,
)
"""`rating` decides `click`: it must never be a feature. The last five before `click` are what was known before."""
NUM_RECENT_ITEMS = 20
CRITEO = ImportedTable(
    columns={
        "label": "int",
        **{f"I{number}": "bigint" for number in range(1, 14)},
        **{f"C{number}": "string" for number in range(1, 27)},
    },
    label="label",
    user=None,
    partition_columns=PARTITION_COLUMNS,
)
NUM_USER_FEATURES, NUM_AFFINITIES = 4, 34
OPEN_BANDIT = ImportedTable(
    columns={
        "shown_at": "timestamp",
        "policy": "string",
        "item_id": "bigint",
        "position": "int",
        "propensity_score": "double",
        **{f"user_feature_{number}": "string" for number in range(NUM_USER_FEATURES)},
        "user_item_affinity": "double",
        "item_feature_0": "double",
        **{f"item_feature_{number}": "string" for number in range(1, 4)},
        "click": "int",
    },
    label="click",
    user=None,
    partition_columns=PARTITION_COLUMNS,
)
"""`user_item_affinity` is that of the shown item; the files have those of all items."""
POLICIES = ("bts", "random")
RECBOLE_BLANKS = ("unkonwn", "V")
"""What RecBole's conversion of MovieLens 100K left in the place of the release year of films 267 and 1412."""
FIRST_PSEUDO_DAY = datetime.date(2026, 11, 1)


def import_movielens(
    source: Path, destination: Path, *, format: FileFormat = "parquet", partitions: int | None = None
) -> dict[str, int]:
    """MovieLens 100K in RecBole's atomic files (ml-100k.inter, .user, .item); returns rows by day.

    In time order (ties by the order of the file), in daily partitions by UTC date, or in `partitions` pseudo-days of
    equal size from FIRST_PSEUDO_DAY on: ten of them are the 80/10/10 benchmark. A click is a rating of at least 4.
    """
    source = Path(source)
    ratings_path, users_path, items_path = (source / f"ml-100k.{kind}" for kind in ("inter", "user", "item"))
    ratings = _read_ratings(ratings_path)
    table = joined(ratings, _read_users(users_path), "user_id", ratings_path, users_path)
    table = joined(table, _read_items(items_path), "item_id", ratings_path, items_path)
    table = _with_history(table)
    if partitions is None:
        days = table.column("rated_at").to_numpy().astype("datetime64[D]")
    else:
        days = pseudo_days(table.num_rows, partitions, FIRST_PSEUDO_DAY)
    return write_days(table, days, destination, MOVIELENS.columns, format)


def import_criteo(
    source: Path, destination: Path, *, format: FileFormat = "parquet", days: int = 10, file: str = "train.csv"
) -> dict[str, int]:
    """A file in Criteo's format (label, 13 numbers, 26 tokens, tabs, no header, blanks for missing); rows by day.

    The publisher gives no time but says that the rows are in time order: they are cut into `days` equal pseudo-days.
    """
    path = Path(source) / file
    arrow_types = {name: pa.string() if name.startswith("C") else pa.int64() for name in CRITEO.columns}
    table = read_delimited(path, arrow_types, header=None, delimiter="\t")
    require_values(table, ["label"], path, first_line=1)
    require_among(table, "label", [0, 1], path, first_line=1)
    return write_days(table, pseudo_days(table.num_rows, days, FIRST_PSEUDO_DAY), destination, CRITEO.columns, format)


def import_open_bandit(
    source: Path, destination: Path, *, format: FileFormat = "parquet", campaign: str = "men"
) -> dict[str, int]:
    """Both policies of one campaign of the Open Bandit Dataset (arXiv 2008.07146), by UTC day; returns rows by day.

    Reads SRC/<policy>/<campaign>/<campaign>.csv and item_context.csv. Item features are hashed anew for each policy.
    """
    parts = [_read_policy(Path(source) / policy / campaign, policy, campaign) for policy in POLICIES]
    table = pa.concat_tables(parts).sort_by([("shown_at", "ascending"), ("policy", "ascending")])
    days = table.column("shown_at").to_numpy().astype("datetime64[D]")
    return write_days(table, days, destination, OPEN_BANDIT.columns, format)


def _read_ratings(path: Path) -> pa.Table:
    """Ratings with the click, in time order."""
    header = ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]
    types = dict(zip(header, (pa.int64(), pa.int64(), pa.int32(), pa.int64()), strict=True))
    table = read_delimited(path, types, header=header, delimiter="\t").rename_columns(_plain(header))
    require_values(table, table.column_names, path, first_line=2)
    require_among(table, "rating", [1, 2, 3, 4, 5], path, first_line=2)
    table = table.take(pa.array(np.argsort(table.column("timestamp").to_numpy(), kind="stable")))
    rated_at = table.column("timestamp").cast(pa.timestamp("s"))
    click = pc.greater_equal(table.column("rating"), CLICK_RATING).cast(pa.int32())
    return table.append_column("rated_at", rated_at).append_column("click", click)


def _with_history(table: pa.Table) -> pa.Table:
    """Adds what was known at each rating from strictly earlier ones; a rate without any is NULL."""
    users, items, times, clicks = (table.column(n).to_numpy() for n in ("user_id", "item_id", "timestamp", "click"))
    for kind, keys in (("user", users), ("item", items)):
        shown, clicked = past_clicks(keys, times, clicks)
        rate = np.divide(clicked, shown, out=np.zeros(len(shown)), where=shown > 0)
        table = table.append_column(f"{kind}_impressions", pa.array(shown, pa.int32()))
        table = table.append_column(f"{kind}_click_rate", pa.array(rate, mask=shown == 0))
    recent = recent_items(users, items, times, clicks, NUM_RECENT_ITEMS)
    return table.append_column("recent_items", pa.array(recent, pa.list_(pa.int64())))


def _read_users(path: Path) -> pa.Table:
    header = ["user_id:token", "age:token", "gender:token", "occupation:token", "zip_code:token"]
    types = dict.fromkeys(header, pa.string()) | {"user_id:token": pa.int64(), "age:token": pa.int32()}
    return read_delimited(path, types, header=header, delimiter="\t").rename_columns(_plain(header))


def _read_items(path: Path) -> pa.Table:
    """Films; a film without a year has NULL, one without genres an empty array."""
    header = ["item_id:token", "movie_title:token_seq", "release_year:token", "class:token_seq"]
    types = dict.fromkeys(header, pa.string()) | {"item_id:token": pa.int64(), "release_year:token": pa.int32()}
    table = read_delimited(path, types, header=header, delimiter="\t", null_words=RECBOLE_BLANKS)
    genres = [text.split(" ") if text else [] for text in table.column(header[3]).to_pylist()]
    table = table.rename_columns(["item_id", "title", "release_year", "genres"])
    return table.set_column(3, "genres", pa.array(genres, pa.list_(pa.string())))


def _read_policy(folder: Path, policy: str, campaign: str) -> pa.Table:
    path, items_path = folder / f"{campaign}.csv", folder / "item_context.csv"
    features = [f"user_feature_{number}" for number in range(NUM_USER_FEATURES)]
    affinities = [f"user-item_affinity_{number}" for number in range(NUM_AFFINITIES)]
    header = ["", "timestamp", "item_id", "position", "click", "propensity_score", *features, *affinities]
    integers = dict.fromkeys(("item_id", "position", "click"), pa.int64())
    types = dict.fromkeys(header[1:], pa.float64()) | integers | dict.fromkeys(features, pa.string())
    types["timestamp"] = pa.timestamp("us", "UTC")
    table = read_delimited(path, types, header=header, delimiter=",")
    require_values(table, header[1:6], path, first_line=2)
    require_among(table, "click", [0, 1], path, first_line=2)
    require_among(table, "item_id", list(range(NUM_AFFINITIES)), path, first_line=2)
    item_ids = table.column("item_id").to_numpy()
    # The publisher's rows hold the affinity to every item; a click model of the shown item needs that item's only.
    affinity = np.stack([table.column(name).to_numpy() for name in affinities])[item_ids, np.arange(len(item_ids))]
    table = table.drop_columns(affinities).append_column("user_item_affinity", pa.array(affinity))
    table = table.append_column("policy", pa.array([policy] * table.num_rows))
    table = table.append_column("shown_at", table.column("timestamp").cast(pa.timestamp("us")))
    return joined(table, _read_item_context(items_path), "item_id", path, items_path).drop_columns(["timestamp"])


def _read_item_context(path: Path) -> pa.Table:
    header = ["", "item_id", *(f"item_feature_{number}" for number in range(4))]
    types = dict.fromkeys(header[1:], pa.string()) | {"item_id": pa.int64(), "item_feature_0": pa.float64()}
    return read_delimited(path, types, header=header, delimiter=",")


def _plain(header: list[str]) -> list[str]:
    """RecBole writes `name:type`."""
    return [name.partition(":")[0] for name in header]
