"""A day of an exposure log and its features as a partition: the join by hand, the bytes, what is refused."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.data.collection import KEPT, join_day, publish


def exposures(**columns):
    times = pd.to_datetime(["2026-11-09 10:00:02", "2026-11-09 10:00:01", "2026-11-09 10:00:03"])
    usual = {
        "request_time": times,
        "user_id": pd.Categorical(["7", "8", "7"]),
        "variant": pd.Categorical(["canary", "stable", "canary"]),
        "click": [1.0, 0.0, 0.0],
        "request_id": ["a/1", "b/0", "c/2"],
        "model_version": ["12", "11", ""],
        "propensity": [0.1, 0.9, np.nan],
        "prediction": [0.25, 0.5, 0.125],
        "latency_seconds": [0.01, 0.01, 0.01],
    }
    return pd.DataFrame({**usual, **columns})


def impressions(**columns):
    usual = {
        "request_id": ["c/2", "x/0", "b/0", "a/1"],
        "user_id": pa.array([7, 9, 8, 7], pa.int64()),
        "price": [3.0, 9.0, 2.0, None],
        "tags": pa.array([["u"], ["v"], None, ["w", "x"]], pa.list_(pa.string())),
        "context": pa.array([[("k", "v")], [], None, []], pa.map_(pa.string(), pa.string())),
    }
    return pa.table({**usual, **columns})


def test_rows_meet_by_request_id_in_order_of_time():
    table, facts = join_day(exposures(), impressions(), "click")
    assert table.to_pydict() == {
        "request_id": ["b/0", "a/1", "c/2"],
        "user_id": [8, 7, 7],
        "price": [2.0, None, 3.0],
        "tags": [None, ["w", "x"], ["u"]],
        "context": [None, [], [("k", "v")]],
        "click": [0, 1, 0],
        "request_time": list(exposures()["request_time"].iloc[[1, 0, 2]]),
        "model_version": ["11", "12", None],
        "variant": ["stable", "canary", "canary"],
        "propensity": [0.9, 0.1, None],
        "prediction": [0.5, 0.25, 0.125],
    }
    assert table.schema.field("click").type == pa.int32()
    assert {name: table.schema.field(name).type for name in KEPT} == KEPT
    assert (facts.exposures, facts.rows, facts.clicks, facts.lost) == (3, 3, 1, 0)


def test_columns_that_the_log_lacks_are_null_and_the_impressions_own_stay_in_place():
    log = exposures().drop(columns=["model_version", "propensity", "prediction"])
    table, _ = join_day(log, impressions(click=[9, 9, 9, 9], hour=["1", "2", "3", "4"]), "click")
    own = ["request_id", "user_id", "price", "tags", "context", "click", "hour"]
    assert table.column_names == [*own, "request_time", *KEPT]
    assert table.column("click").to_pylist() == [0, 1, 0]
    assert table.column("model_version").null_count == table.column("propensity").null_count == 3


def test_what_cannot_be_joined_is_counted():
    log = exposures(request_id=["a/1", None, "gone"])
    table, facts = join_day(log, impressions(user_id=pa.array([7, 9, 8, 6], pa.int64())), "click")
    assert table.num_rows == 0
    counted = (facts.without_request_id, facts.without_features, facts.other_user, facts.lost, facts.rows)
    assert counted == (1, 1, 1, 3, 0)


def test_the_first_of_repeated_impressions_counts():
    log = exposures().iloc[[0]]
    table, facts = join_day(log, impressions(request_id=["a/1", None, None, "a/1"]), "click")
    assert table.column("price").to_pylist() == [3.0] and facts.repeated_impressions == 1


@pytest.mark.parametrize(("rule", "clicks"), [("negative", [0, 0, 0]), ("drop", [0, 0])])
def test_clicks_that_are_not_known(rule, clicks):
    log = exposures(click=[np.nan, 0.0, 0.0])
    with pytest.raises(DataNotReadyError, match=r"click is not known of 1 of 3 exposures, the first being a/1"):
        join_day(log, impressions(), "click")
    table, facts = join_day(log, impressions(), "click", rule)
    assert table.column("click").to_pylist() == clicks and facts.unknown_clicks == 1


def test_columns_of_both_logs_are_refused():
    with pytest.raises(ConfigError, match=r"'variant' is the exposure log's"):
        join_day(exposures(), impressions(variant=["a", "b", "c", "d"]), "click")
    with pytest.raises(ConfigError, match=r"'prediction' is the exposure log's"):
        join_day(exposures(), impressions(), "prediction")
    with pytest.raises(ConfigError, match=r"exposure log has no column 'request_id'"):
        join_day(exposures().drop(columns="request_id"), impressions(), "click")
    with pytest.raises(ConfigError, match=r"impressions have no column 'request_id'"):
        join_day(exposures(), impressions().drop_columns("request_id"), "click")


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("file_format", ["parquet", "orc"])
def test_a_partition_is_written_once_and_the_same(tmp_path, file_format):
    table, _ = join_day(exposures(), impressions(), "click")
    folder = tmp_path / "dt=2026-11-09"
    assert publish(table, folder, file_format)
    before = content(folder)
    assert set(before) == {"000000_0", "_SUCCESS"}
    assert not publish(table, folder, file_format) and content(folder) == before
    shuffled, _ = join_day(exposures().iloc[[2, 0, 1]], impressions().take([3, 1, 0, 2]), "click")
    assert not publish(shuffled, folder, file_format)
    read = (
        pq.ParquetFile(folder / "000000_0").read()
        if file_format == "parquet"
        else pa.orc.read_table(folder / "000000_0")
    )
    assert (
        read.select(["price", "tags", "context", "click"]).to_pydict()
        == table.select(["price", "tags", "context", "click"]).to_pydict()
    )


def test_other_content_is_replaced_only_when_told(tmp_path):
    folder = tmp_path / "dt=2026-11-09"
    publish(join_day(exposures(), impressions(), "click")[0], folder, "parquet")
    late, _ = join_day(exposures(click=[1.0, 1.0, 0.0]), impressions(), "click")
    before = content(folder)
    with pytest.raises(ConfigError, match=r"exists with other content"):
        publish(late, folder, "parquet")
    assert content(folder) == before
    assert publish(late, folder, "parquet", overwrite=True)
    assert pq.ParquetFile(folder / "000000_0").read().column("click").to_pylist() == [1, 1, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["dt=2026-11-09"]


def test_a_replacement_is_there_before_the_old_partition_is_removed(tmp_path, monkeypatch):
    """Whatever cuts the removal off, readers have one partition, and it is whole."""
    folder = tmp_path / "dt=2026-11-09"
    publish(join_day(exposures(), impressions(), "click")[0], folder, "parquet")
    late, _ = join_day(exposures(click=[1.0, 1.0, 0.0]), impressions(), "click")

    def stopped(place, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr("hivemill.common.storage.atomic.shutil.rmtree", stopped)
    with pytest.raises(KeyboardInterrupt):
        publish(late, folder, "parquet", overwrite=True)
    assert set(content(folder)) == {"000000_0", "_SUCCESS"}
    assert pq.ParquetFile(folder / "000000_0").read().column("click").to_pylist() == [1, 1, 0]
    monkeypatch.undo()
    assert not publish(late, folder, "parquet")
