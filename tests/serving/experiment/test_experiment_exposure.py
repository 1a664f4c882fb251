"""Reading exposure logs: formats, types, rows that are left out, and what stops a report."""

import datetime
import gzip

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.serving.experiment.exposures.log import read_log
from hivemill.serving.experiment.guardrails import health
from tests.serving.experiment.exposure_logs import exposures

HEADER = "request_time,user_id,request_id,variant,propensity,click"
ROW = "2026-11-01T08:00:00Z,u1,r1,stable,0.5,0"


def csv(folder, *lines, name="log.csv"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_parquet_and_csv_say_the_same(tmp_path):
    frame = exposures(users=200)
    frame.to_parquet(tmp_path / "log.parquet")
    frame.to_csv(tmp_path / "log.csv", index=False)
    with gzip.open(tmp_path / "log.csv.gz", "wt", encoding="utf-8") as file:
        frame.to_csv(file, index=False)
    logs = [read_log(tmp_path / f"log.{kind}", slices=["device"], covariates=["past_clicks"]) for kind in
            ("parquet", "csv", "csv.gz")]  # fmt: skip
    for other in logs[1:]:
        pd.testing.assert_frame_equal(
            logs[0].frame.drop(columns="model_version"),
            other.frame.drop(columns="model_version"),
            check_categorical=False,
        )
        assert other.counts == logs[0].counts
    assert len(logs[0].frame) == len(frame) and logs[0].counts.rows == len(frame)
    assert logs[0].variants() == ["canary", "stable"]


def test_hive_folders_are_columns_and_other_files_are_none(tmp_path):
    frame = exposures(users=100, days=2)
    for day, part in frame.groupby(frame["request_time"].dt.date):
        folder = tmp_path / "log" / f"dt={day}" / "city=New%20York"
        folder.mkdir(parents=True)
        part.to_parquet(folder / "part-00000")  # Hive writes no ending
        (folder / ".part-00000.crc").write_bytes(b"crc")
        (folder / "_SUCCESS").write_bytes(b"")
    (tmp_path / "log" / "_tmp").mkdir()
    (tmp_path / "log" / "_tmp" / "part").write_bytes(b"half")
    log = read_log(tmp_path / "log", slices=["city", "dt"])
    assert set(log.frame["city"]) == {"New York"} and set(log.frame["dt"]) == {"2026-11-01", "2026-11-02"}
    assert len(log.frame) == len(frame) and len(log.places) == 2


def test_own_names_of_columns(tmp_path):
    frame = exposures(users=50).rename(columns={"request_time": "shown_at", "user_id": "uid", "click": "clicked"})
    frame.to_parquet(tmp_path / "log.parquet")
    log = read_log(tmp_path / "log.parquet", columns={"request_time": "shown_at", "user_id": "uid", "click": "clicked"})
    assert len(log.frame) == len(frame)


def test_types_that_hive_and_spark_write(tmp_path):
    """Binary and dictionary text, decimals, large strings, nanoseconds, booleans."""
    table = pa.table(
        {
            "request_time": pa.array(["2026-11-01T08:00"] * 3, pa.string()).cast(pa.timestamp("ns")),
            "user_id": pa.array([b"a", b"b", None], pa.binary()),
            "variant": pa.array(["stable", "canary", "stable"]).dictionary_encode(),
            "click": pa.array([True, None, False]),
            "propensity": pa.array(["0.5", "0.5", None]).cast(pa.decimal128(3, 2)),
            "error": pa.array(["", "timeout", None], pa.large_string()),
        }
    )
    pq.write_table(table, tmp_path / "log.parquet")
    log = read_log(tmp_path / "log.parquet")
    assert log.frame["user_id"].tolist() == ["a", "b"] and log.counts.rows_without_user == 1
    assert log.frame["click"].tolist()[0] == 1.0 and np.isnan(log.frame["click"].tolist()[1])
    assert log.frame["error"].tolist() == [False, True] and log.counts.rows_without_click == 1


def test_duplicates_are_merged_and_conflicts_left_out(tmp_path):
    """r1 three times, a late click; r2 in both variants; r3 of two users; rows without an id stay."""
    lines = [
        "2026-11-01T08:00:00Z,u1,r1,stable,0.5,0",
        "2026-11-01T08:00:01Z,u1,r1,stable,0.5,1",
        "2026-11-01T08:00:02Z,u1,r1,stable,0.5,",
        "2026-11-01T08:00:03Z,u2,r2,stable,0.5,0",
        "2026-11-01T08:00:04Z,u2,r2,canary,0.5,1",
        "2026-11-01T08:00:05Z,u3,r3,stable,0.5,0",
        "2026-11-01T08:00:06Z,u4,r3,stable,0.5,0",
        "2026-11-01T08:00:07Z,u5,,canary,0.5,0",
        "2026-11-01T08:00:08Z,u5,,canary,0.5,0",
        *(f"2026-11-01T09:00:00Z,v{number},v{number},canary,0.5,0" for number in range(50)),
    ]
    log = read_log(csv(tmp_path, HEADER, *lines))
    assert log.frame[["user_id", "click"]].values.tolist()[:3] == [["u1", 1.0], ["u5", 0.0], ["u5", 0.0]]
    assert (log.counts.duplicate_rows, log.counts.conflicting_rows, log.counts.rows) == (2, 4, 59)
    assert len(log.frame) == 53


@pytest.mark.parametrize("ids", [lambda frame: frame.index // 2, lambda frame: "all"])
def test_a_request_id_for_several_impressions_is_refused(tmp_path, ids):
    """They would be merged into one, and the CTR would be that of requests."""
    frame = exposures(users=100)
    frame.assign(request_id=ids(frame)).to_parquet(tmp_path / "log.parquet")
    with pytest.raises(DataNotReadyError, match="repeat a request_id, more than 20%"):
        read_log(tmp_path / "log.parquet")


def test_rows_that_break_a_rule_are_named(tmp_path):
    bad = [
        "yesterday,u1,a,stable,0.5,0",
        "2026-11-01T08:00:00Z,u1,b,stable,0.5,2",
        "2026-11-01T08:00:00Z,u1,c,,0.5,0",
        "2026-11-01T08:00:00Z,u1,d,stable,0,0",
        "2026-11-01T08:00:00Z,u1,e,stable,half,0",
    ]
    path = csv(tmp_path, HEADER, ROW, *bad)
    with pytest.raises(DataNotReadyError) as caught:
        read_log(path)
    message = str(caught.value)
    assert "5 of 6 rows" in message
    assert f"{path}, row 2: request_time must be a time in ISO 8601; received 'yesterday'" in message
    assert "row 3: click must be 0, 1, or NULL while it is not known; received '2'" in message
    assert "row 4: variant must not be empty; received None" in message
    assert "row 5: propensity must be above 0 and at most 1; received '0'" in message
    assert "row 6: propensity must be above 0 and at most 1; received 'half'" in message
    log = read_log(path, max_bad_share=0.9)
    assert len(log.frame) == 1 and log.counts.bad_rows == 5 and len(log.bad_rows) == 5


def test_one_bad_row_in_thousands_is_left_out_and_counted(tmp_path):
    frame = exposures(users=500).astype({"click": float})
    frame.loc[7, "click"] = 3.0
    frame.to_parquet(tmp_path / "log.parquet")
    log = read_log(tmp_path / "log.parquet")
    assert log.counts.bad_rows == 1 and len(log.frame) == len(frame) - 1
    assert str(log.bad_rows[0]).endswith("row 8: click must be 0, 1, or NULL while it is not known; received 3.0")


def test_time_zones_are_converted(tmp_path):
    path = csv(tmp_path, HEADER, ROW, "2026-11-01T16:00:00+08:00,u2,r2,canary,0.5,0")
    assert (read_log(path).frame["request_time"] == pd.Timestamp("2026-11-01T08:00")).all()
    table = pa.table({"request_time": pa.array([0], pa.timestamp("s", "Asia/Shanghai")), "user_id": ["a"],
                      "variant": ["stable"], "click": [0]})  # fmt: skip
    pq.write_table(table, tmp_path / "zoned.parquet")
    assert read_log(tmp_path / "zoned.parquet").frame["request_time"].tolist() == [pd.Timestamp(0)]


def test_mixed_time_zones_are_refused(tmp_path):
    path = csv(tmp_path, HEADER, ROW, "2026-11-01T16:00:00,u2,r2,canary,0.5,0")
    with pytest.raises(DataNotReadyError, match="with and without a time zone"):
        read_log(path)
    csv(tmp_path / "log", HEADER, ROW, name="a.csv")
    csv(tmp_path / "log", HEADER, ROW.replace("Z", ""), name="b.csv")
    with pytest.raises(DataNotReadyError, match=r"with a time zone in .*a\.csv, without one in .*b\.csv"):
        read_log(tmp_path / "log")


def test_unknown_columns_are_named_with_the_nearest(tmp_path):
    path = csv(tmp_path, HEADER.replace("user_id", "userid"), ROW)
    with pytest.raises(ConfigError, match=r"no column 'user_id'") as caught:
        read_log(path)
    assert "userid" in caught.value.hint and "--column user_id=NAME" in caught.value.hint
    with pytest.raises(ConfigError, match="no column 'devise'"):
        read_log(csv(tmp_path, HEADER, ROW), slices=["devise"])
    with pytest.raises(ConfigError, match="'uid' is no column of an exposure log"):
        read_log(path, columns={"uid": "userid"})
    with pytest.raises(ConfigError, match="another use"):
        read_log(path, slices=["variant"])


def test_a_column_must_be_in_every_file(tmp_path):
    csv(tmp_path / "log", HEADER, ROW, name="a.csv")
    csv(tmp_path / "log", "request_time,user_id,variant", "2026-11-01T08:00:00Z,u,stable", name="b.csv")
    with pytest.raises(ConfigError, match=r"b\.csv: there is no column 'click'"):
        read_log(tmp_path / "log")


@pytest.mark.parametrize(
    ("prepare", "match"),
    [
        (lambda p: None, "no such file or folder"),
        (lambda p: p.mkdir(), "no file with rows"),
        (lambda p: p.write_bytes(b"\x00\x01binary"), "neither a Parquet file nor named"),
        (lambda p: p.write_bytes(b"PAR1 truncated"), "cannot be read: Parquet magic bytes"),
        (lambda p: csv(p, HEADER), "no row with a user"),
    ],
)
def test_files_that_are_no_log(tmp_path, prepare, match):
    prepare(tmp_path / "log")
    with pytest.raises(DataNotReadyError, match=match):
        read_log(tmp_path / "log")


def test_a_torn_csv_line_and_wrong_encoding_are_named(tmp_path):
    path = csv(tmp_path, HEADER, ROW, "2026-11-01T08:00:00Z,u2")
    with pytest.raises(DataNotReadyError, match=r"log\.csv: cannot be read"):
        read_log(path)
    latin = tmp_path / "latin.csv"
    latin.write_bytes((HEADER + "\n" + ROW.replace("u1", "Zoë") + "\n").encode("latin-1"))
    with pytest.raises(DataNotReadyError, match=r"latin\.csv"):
        read_log(latin)


def test_numbers_with_points_are_no_user_ids(tmp_path):
    exposures(users=20).astype({"user_id": float}).to_parquet(tmp_path / "log.parquet")
    with pytest.raises(DataNotReadyError, match="user_id must be text or whole numbers; it is double"):
        read_log(tmp_path / "log.parquet")


def test_only_the_time_asked_for(tmp_path):
    frame = exposures(users=100)
    frame.to_parquet(tmp_path / "log.parquet")
    since = datetime.datetime(2026, 11, 2, tzinfo=datetime.timezone.utc)
    until = datetime.datetime(2026, 11, 3, 8, tzinfo=datetime.timezone(datetime.timedelta(hours=8)))
    log = read_log(tmp_path / "log.parquet", since=since, until=until)
    assert log.frame["request_time"].dt.date.unique().tolist() == [datetime.date(2026, 11, 2)]
    assert len(log.between(until, None).frame) == 0
    with pytest.raises(DataNotReadyError, match="no row with a user in the time asked for"):
        read_log(tmp_path / "log.parquet", since=datetime.datetime(2030, 1, 1))


def test_health_by_hand(tmp_path):
    header = "request_time,user_id,variant,click,prediction,latency_seconds,error"
    lines = [f"2026-11-01T08:00:00Z,s{n},stable,{n % 10 == 0:d},0.2,0.0{n % 10},0" for n in range(1000)]
    lines += [f"2026-11-01T08:00:00Z,c{n},canary,{n % 5 == 0:d},0.1,1,{n % 2}" for n in range(1000)]
    lines += ["2026-11-01T08:00:00Z,c1,canary,,0.9,,timeout"]
    made = health(read_log(csv(tmp_path, header, *lines)))
    stable, canary = made.variants["stable"], made.variants["canary"]
    assert (stable.impressions, stable.clicks, stable.errors, stable.ctr) == (1000, 100, 0, 0.1)
    assert stable.calibration == pytest.approx(2.0) and stable.p99_latency_seconds == pytest.approx(0.09)
    assert (canary.impressions, canary.impressions_with_click_known, canary.users) == (1001, 1000, 1000)
    assert canary.errors == 501 and canary.mean_prediction == pytest.approx(0.1)
    assert made.lift == pytest.approx(1.0) and made.reason is None
    assert made.lift_interval[0] > 0.2 and made.p_value < 0.01


def test_health_says_what_is_missing(tmp_path):
    log = read_log(csv(tmp_path, HEADER, ROW))
    made = health(log)
    assert made.reason == "the log has no row of canary" and made.lift_interval is None
    path = csv(tmp_path, HEADER, ROW, ROW.replace("u1", "u2").replace("r1", "r2").replace("stable", "canary"))
    assert "each variant needs 100 users and 20 clicks" in health(read_log(path)).reason


def test_the_interval_of_a_ramp_is_of_its_last_step(tmp_path):
    """Users of new buckets saw stable before: they count in canary, and their old rows do not."""
    small, large = exposures(users=4000, percent=5, days=1), exposures(users=4000, percent=50, days=2, seed=2)
    large["request_time"] += np.timedelta64(1, "D")
    large["request_id"] = "late-" + large["request_id"]
    pd.concat([small, large]).to_parquet(tmp_path / "both.parquet")
    large.to_parquet(tmp_path / "last.parquet")
    both, last = (health(read_log(tmp_path / f"{name}.parquet")) for name in ("both", "last"))
    assert both.interval == pytest.approx(last.interval) and both.lift == pytest.approx(last.lift)
    assert both.variants["canary"].impressions > last.variants["canary"].impressions


def test_columns_that_only_later_files_have_are_not_known_before(tmp_path):
    """A log goes on while what writes it learns more: rows of old files have not failed, and have no version."""
    folder = tmp_path / "log"
    folder.mkdir()
    row = {"request_time": [datetime.datetime(2026, 11, 15, 8)] * 2, "user_id": ["a", "b"], "click": [0, 1]}
    row["variant"] = ["stable", "canary"]
    pq.write_table(pa.table(row), folder / "1.parquet")
    pq.write_table(pa.table({**row, "model_version": ["7", None], "error": [False, True]}), folder / "2.parquet")
    frame = read_log(folder).frame
    assert frame["error"].dtype == bool and frame["error"].tolist() == [False, False, False, True]
    assert frame["model_version"].tolist() == ["", "", "7", ""]


@pytest.mark.parametrize("kind", ["csv.gz", "parquet"])
def test_whatever_bytes_are_damaged_the_file_is_named(tmp_path, kind):
    """A flipped byte shows in many places: in gzip's stream, in a page, in a text that is no UTF-8 any more."""
    rows = {"request_time": [datetime.datetime(2026, 11, 1)] * 300, "user_id": [f"u{row}" for row in range(300)]}
    frame = pd.DataFrame({**rows, "variant": "stable", "click": 0})
    path = tmp_path / f"log.{kind}"
    if kind == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    whole, random, damaged = path.read_bytes(), np.random.default_rng(1), 0
    for _ in range(250):
        content = bytearray(whole)
        content[random.integers(len(content))] = random.integers(256)
        path.write_bytes(content)
        try:
            read_log(path)
        except (ConfigError, DataNotReadyError) as error:
            damaged += 1
            assert str(path) in error.message
    assert damaged > 50
