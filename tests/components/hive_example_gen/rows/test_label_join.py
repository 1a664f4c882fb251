"""The joined label against a plain reference: every impression, any order, across the borders of days and hours."""

import datetime
import itertools
import os
import shutil

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.components.hive_example_gen import convert
from hivemill.components.hive_example_gen.options import SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning import table_checks
from hivemill.components.hive_example_gen.planning.window import plan_window
from hivemill.components.hive_example_gen.rows import manifest_entries
from hivemill.components.hive_example_gen.rows.label_join import days as join_days
from hivemill.components.hive_example_gen.rows.label_join.options import LabelJoinOptions, LabelRules
from tests.components.hive_example_gen.converted_rows import examples_of

DATE = datetime.date(2026, 11, 15)
WINDOW = WindowOptions(train_days=2, validation_days=0, completeness={"min_share_of_median": None})
HOUR = 3600
MIDNIGHT = int(datetime.datetime(2026, 11, 13, tzinfo=datetime.timezone.utc).timestamp())
"""Seconds at the first midnight of the window: 13 and 14 November train, 15 evaluates. The tables have a day more on
either side."""
NUM_WINDOW_DAYS = 3
TABLE_DAYS = range(-1, NUM_WINDOW_DAYS + 1)
_names = itertools.count()


@pytest.fixture(autouse=True)
def _without_syncing(monkeypatch):
    """Hundreds of small conversions: waiting for the disk is most of their time."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


class Tables:
    """Impressions (id, user, time in seconds since MIDNIGHT) and clicks (user, time), a file per day."""

    def __init__(self, folder, impressions, clicks):
        self.folder = folder
        for table in ("impressions", "clicks"):
            shutil.rmtree(folder / table, ignore_errors=True)
        self.write("impressions", impressions, ["id", "user", "seen"])
        self.write("clicks", clicks, ["who", "at"])

    def write(self, table, rows, names):
        types = {"id": pa.int64(), "user": pa.string(), "who": pa.string()}
        for day in TABLE_DAYS:
            of_day = [row for row in rows if (row[-1] or 0) // (24 * HOUR) == day]
            columns = [pa.array([row[i] for row in of_day], types.get(n)) for i, n in enumerate(names[:-1])]
            times = [None if row[-1] is None else (MIDNIGHT + row[-1]) * 1_000_000 for row in of_day]
            columns.append(pa.array(times, pa.int64()).cast(pa.timestamp("us")))
            path = self.path(table, day)
            path.parent.mkdir(parents=True)
            pa.parquet.write_table(pa.table(columns, names), path, row_group_size=5)

    def path(self, table, day):
        return self.folder / table / f"dt={DATE + datetime.timedelta(days=day - 2)}" / "part-0"

    def rules(self, **options):
        options = {"take": "last", "within": "24h", "impression_time": "seen", "click_time": "at", **options}
        options = {"keys": ["user"], "click_keys": ["who"], **options}
        return LabelRules(
            column="click",
            join=LabelJoinOptions(clicks=SourceOptions(table=str(self.folder / "clicks")), **options),
        )

    def plan(self, rules, window=WINDOW, **source):
        self.source = SourceOptions(table=str(self.folder / "impressions"), **source)
        return plan_window(self.source, window, DATE, str(self.folder / "partitions"), rules)

    def converted(self, plan):
        """(records, examples) of all partitions."""
        plan.check()
        table_checks.check(self.source, plan)
        records, examples = [], []
        for partition in plan.partitions:
            cache = self.folder / "partitions"
            record = convert.convert_partition(partition, self.source.table, self.source.bad_rows, str(cache))
            records.append(record)
            examples += examples_of(cache, record)
        return records, examples

    def labels(self, rules, **source):
        """id -> label of every impression that was written."""
        _, examples = self.converted(self.plan(rules, **source))
        return {example["id"][0]: example["click"][0] for example in examples}


def reference(impressions, clicks, take, within):
    """The rule of docs/decisions, row by row and in no clever way."""
    labels = {row: 0 for row, _, _ in impressions}
    for who, at in clicks:
        if who is None or at is None:
            continue
        candidates = [
            (seen, row)
            for row, user, seen in impressions
            if user == who and seen is not None and 0 <= at - seen <= within
        ]
        if not candidates:
            continue
        chosen = {"last": max(candidates)[0], "first": min(candidates)[0], "every": None}[take]
        for seen, row in candidates:
            if take == "every" or seen == chosen:
                labels[row] = 1
    return labels


def of_window(impressions, labels):
    return {row: labels[row] for row, _, seen in impressions if 0 <= (seen or 0) < NUM_WINDOW_DAYS * 24 * HOUR}


# Few users and few times, near midnights, so that keys repeat, times tie and limits are met exactly.
_TIMES = st.builds(
    lambda day, offset: min(max(day * 24 * HOUR + offset, -24 * HOUR), 4 * 24 * HOUR - 1),
    st.integers(-1, 4),
    st.sampled_from([-2 * HOUR, -HOUR, -1, 0, 1, HOUR, 2 * HOUR, 12 * HOUR]),
)
_USERS = st.sampled_from(["a", "b", "a longer key of more than 32 bytes", None])
_IMPRESSIONS = st.lists(st.tuples(_USERS, st.one_of(_TIMES, _TIMES, _TIMES, st.none())), min_size=1, max_size=25)
_CLICKS = st.lists(st.tuples(_USERS, st.one_of(_TIMES, _TIMES, _TIMES, st.none())), max_size=15)
_EVERY_DAY = [(90 + day, "nobody", day * 24 * HOUR) for day in TABLE_DAYS]
_CLICKS_EVERY_DAY = [("somebody", day * 24 * HOUR) for day in TABLE_DAYS]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_IMPRESSIONS, _CLICKS, st.sampled_from(["last", "first", "every"]), st.sampled_from([1, 2, 13, 24]))
def test_every_impression_gets_the_label_of_the_rule(tmp_path, impressions, clicks, take, within):
    rows = [(index, *row) for index, row in enumerate(impressions)] + _EVERY_DAY
    clicks = [*clicks, *_CLICKS_EVERY_DAY]
    tables = Tables(tmp_path / str(next(_names)), rows, clicks)
    found = tables.labels(tables.rules(take=take, within=f"{within}h"))
    assert found == of_window(rows, reference(rows, clicks, take, within * HOUR))


def test_the_same_with_buckets_on_disk(tmp_path, monkeypatch):
    import numpy as np

    from hivemill.components.hive_example_gen.rows import event_index

    monkeypatch.setattr(event_index.EventSorter.__init__, "__defaults__", (event_index.distinct, 40, 0))
    random = np.random.default_rng(3)
    impressions = [
        (i, f"user {random.integers(60)}", int(time))
        for i, time in enumerate(random.integers(-24 * HOUR, 96 * HOUR, 3000))
    ]
    clicks = [(f"user {random.integers(80)}", int(time)) for time in random.integers(-24 * HOUR, 96 * HOUR, 700)]
    tables = Tables(tmp_path, impressions, clicks)
    for take in ("last", "first", "every"):
        expected = of_window(impressions, reference(impressions, clicks, take, 6 * HOUR))
        assert 100 < sum(expected.values()) < 2000
        assert tables.labels(tables.rules(take=take, within="6h")) == expected


def with_clicks_every_day(folder):
    impressions = [(0, "c", -HOUR), (1, "a", 10), (2, "b", 25 * HOUR), (3, "a", 49 * HOUR), (4, "c", 73 * HOUR)]
    return Tables(folder, impressions, [("a", 20), *(("z", day * 24 * HOUR + HOUR) for day in (-1, 1, 2, 3))])


def test_counts_and_label_are_written(tmp_path):
    tables = with_clicks_every_day(tmp_path)
    records, examples = tables.converted(tables.plan(tables.rules()))
    assert records[0].step_counts == {"labelled": 1, "without_key": 0, "without_time": 0}
    assert records[0].features["click"] == ("int64", False)
    assert [(example["id"], example["click"]) for example in examples] == [([1], [1]), ([2], [0]), ([3], [0])]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_IMPRESSIONS, _CLICKS, st.sampled_from(["last", "every"]))
def test_clicks_without_impression_are_counted(tmp_path, impressions, clicks, take):
    rows = [(index, *row) for index, row in enumerate(impressions)] + _EVERY_DAY
    clicks = [*clicks, *_CLICKS_EVERY_DAY]
    tables = Tables(tmp_path / str(next(_names)), rows, clicks)
    plan = tables.plan(tables.rules(take=take, within="13h"))
    records, _ = tables.converted(plan)
    by_key = {record.fingerprint: record for record in records}
    facts = manifest_entries.facts(plan, by_key, str(tables.folder / "partitions"))["label_join"]
    expected = {}
    for day in range(NUM_WINDOW_DAYS + 1):
        of_day = {(who, at) for who, at in clicks if at is not None and who and at // (24 * HOUR) == day}
        alone = [
            c for c in of_day if not any(u == c[0] and s is not None and 0 <= c[1] - s <= 13 * HOUR for _, u, s in rows)
        ]
        expected[str(DATE + datetime.timedelta(days=day - 2))] = len(of_day), len(alone)
    found = {each["day"]: (each["distinct"], each["without_impression"]) for each in facts["clicks"]}
    edges = {str(DATE - datetime.timedelta(days=2)), str(DATE + datetime.timedelta(days=1))}
    assert {day: counts[0] if day in edges else counts for day, counts in expected.items()} == {
        day: counts[0] if day in edges else counts for day, counts in found.items()
    }
    assert all(found[day][1] is None for day in edges), "impressions of the days beside the window are not converted"


def test_key_and_time_may_be_left_out_of_what_is_written(tmp_path):
    tables = with_clicks_every_day(tmp_path)
    _, examples = tables.converted(tables.plan(tables.rules(), exclude_columns=("user", "seen")))
    assert [sorted(example) for example in examples] == [["click", "dt", "id"]] * 3
    assert [example["click"][0] for example in examples] == [1, 0, 0]


def test_the_plan_needs_the_days_after_the_last(tmp_path):
    tables = with_clicks_every_day(tmp_path)
    shutil.rmtree(tables.path("clicks", 3).parent)
    plan = tables.plan(tables.rules())
    assert plan.missing == ("clicks: dt=2026-11-16",)
    with pytest.raises(DataNotReadyError, match="1 missing: clicks: dt=2026-11-16"):
        plan.check()
    shutil.rmtree(tables.path("impressions", 3).parent)
    assert tables.plan(tables.rules()).missing == ("clicks: dt=2026-11-16", "dt=2026-11-16")
    assert tables.plan(tables.rules(take="every")).missing == ("clicks: dt=2026-11-16",)


def test_a_day_without_its_clicks_is_left_out_where_the_window_shrinks(tmp_path):
    tables = with_clicks_every_day(tmp_path)
    shutil.rmtree(tables.path("clicks", 1).parent)
    window = WindowOptions(**{**WINDOW.model_dump(), "incomplete": "shrink", "train_days": 3})
    plan = tables.plan(tables.rules(within="1h"), window)
    plan.check()
    assert plan.missing == ("clicks: dt=2026-11-14",)
    # Clicks of the 14th can belong to the last hour of the 13th too.
    assert [partition.date.day for partition in plan.partitions] == [12, 15]


def test_a_day_with_far_fewer_clicks_than_others_is_incomplete(tmp_path):
    """A half-loaded day of clicks would turn clicked impressions into negatives."""
    clicks = [("z", day * 24 * HOUR + second) for day in TABLE_DAYS for second in range(300 if day != 3 else 20)]
    tables = Tables(tmp_path, [(day, "a", day * 24 * HOUR) for day in TABLE_DAYS], clicks)
    window = WindowOptions(**{**WINDOW.model_dump(), "completeness": {"min_share_of_median": 0.5}})
    plan = tables.plan(tables.rules(within="1h", take="every"), window)
    with pytest.raises(DataNotReadyError, match=r"too small: clicks: dt=2026-11-16: .*dt=2026-11-16: 20 rows"):
        plan.check()
    assert plan.join.incomplete_days == {DATE}, "its last hour may be clicked on the 16th"
    shrunk = tables.plan(plan.label, window.model_copy(update={"incomplete": "shrink"}))
    assert [partition.date.day for partition in shrunk.partitions] == [13, 14]


@pytest.mark.parametrize(
    ("table", "changes"),
    [("clicks", {0: True, 1: True, 2: False}), ("impressions", {0: True, 1: True, 2: False})],
)
def test_fingerprints_cover_the_files_that_the_labels_depend_on(tmp_path, table, changes):
    """A changed day changes the partitions that its rows can label, and no other."""
    tables = with_clicks_every_day(tmp_path)
    before = [partition.fingerprint for partition in tables.plan(tables.rules()).partitions]
    path = tables.path(table, 1)
    pa.parquet.write_table(pa.parquet.read_table(path).slice(0, 1), path, compression="gzip")
    plan = tables.plan(tables.rules())
    after = [partition.fingerprint for partition in plan.partitions]
    assert {day: before[day] != after[day] for day in range(3)} == changes
    other = tables.plan(tables.rules(within="23h"))
    assert not {partition.fingerprint for partition in other.partitions} & set(after)


@pytest.mark.parametrize(
    ("options", "clicks", "impressions"),
    [
        ({"within": "24h"}, [0, 1], [0, 1]),
        ({"within": "24h", "take": "first"}, [0, 1], [-1, 0]),
        ({"within": "25h", "take": "first"}, [0, 1, 2], [-2, -1, 0]),
        ({"within": "1s", "take": "every"}, [0, 1], []),
        ({"within": "22h", "partition_slack": "1h"}, [-1, 0, 1], [-1, 0, 1]),
        ({"within": "24h", "partition_slack": "1h"}, [-1, 0, 1, 2], [-1, 0, 1, 2]),
    ],
)
def test_the_days_that_a_day_needs(options, clicks, impressions):
    options = LabelJoinOptions(
        clicks=SourceOptions(table="t"), keys=("k",), impression_time="i", click_time="c", **options
    )
    found = [
        [(day - DATE).days for day in of(options, DATE)]
        for of in (join_days.days_of_clicks, join_days.days_of_impressions)
    ]
    assert found == [clicks, impressions]


def shift(path, column, seconds):
    table = pa.parquet.read_table(path)
    index = table.schema.get_field_index(column)
    moved = pa.array([value + datetime.timedelta(seconds=seconds) for value in table[column].to_pylist()])
    pa.parquet.write_table(table.set_column(index, column, moved), path)


def test_a_click_far_from_its_day_is_refused(tmp_path):
    tables = with_clicks_every_day(tmp_path)
    shift(tables.path("clicks", 1), "at", -2 * HOUR)
    rule = r"clicks of 2026-11-14: 1 of 1 rows cannot be used.*1 with a at outside 2026-11-14 00:00:00 to 2026-11-15"
    with pytest.raises(DataNotReadyError, match=rule):
        tables.labels(tables.rules())
    assert tables.labels(tables.rules(partition_slack="2h", within="20h")) == {1: 1, 2: 0, 3: 0}


def test_an_impression_far_from_its_day_is_a_bad_row(tmp_path):
    tables = with_clicks_every_day(tmp_path)
    shift(tables.path("impressions", 1), "seen", 24 * HOUR)
    records, examples = tables.converted(tables.plan(tables.rules()))
    assert records[1].bad_rows == {"value": 1}
    assert [example["id"] for example in examples] == [[1], [3]]


def test_integer_times_and_keys_of_other_widths(tmp_path):
    tables = with_clicks_every_day(tmp_path)
    numbers = {"a": 1, "b": 2, "c": 3, "z": 26}
    for table, key, time, width in (("impressions", "user", "seen", pa.int32()), ("clicks", "who", "at", pa.int64())):
        for day in TABLE_DAYS:
            read = pa.parquet.read_table(tables.path(table, day)).to_pydict()
            read[key] = pa.array([numbers[value] for value in read[key]], width)
            read[time] = [int(value.replace(tzinfo=datetime.timezone.utc).timestamp() * 1000) for value in read[time]]
            pa.parquet.write_table(pa.table(read), tables.path(table, day))
    assert tables.labels(tables.rules(time_unit="ms")) == {1: 1, 2: 0, 3: 0}


def test_an_impression_that_deduplication_drops_takes_no_click(tmp_path):
    """The same impression logged twice: the first row stays, and gets the click that followed the second."""
    impressions = [(1, "a", 10), (1, "a", 15), *_EVERY_DAY]
    tables = Tables(tmp_path, impressions, [("a", 20), *_CLICKS_EVERY_DAY])
    records, examples = tables.converted(tables.plan(tables.rules(), deduplicate_by=("id",)))
    assert [(example["id"][0], example["click"][0]) for example in examples][:1] == [(1, 1)]
    assert records[0].step_counts["duplicates"] == 1


def test_indexes_are_built_once(tmp_path, monkeypatch):
    from hivemill.components.hive_example_gen.rows.label_join import build

    tables = with_clicks_every_day(tmp_path)
    tables.labels(tables.rules())
    monkeypatch.setattr(build, "_build", lambda *_: pytest.fail("built again"))
    tables.labels(tables.rules())
    (plan,) = tables.plan(tables.rules()).splits["eval"]
    index = plan.rules.join.clicks[0]
    (tmp_path / "partitions" / index.fingerprint / "time").write_bytes(b"")
    assert build.find_all([index], str(tmp_path / "partitions")) == {}, "a damaged index counts as absent"


MISTAKES = {
    "no such key": ({"keys": ["uesr"]}, "label.join.keys: the table of impressions has no column `uesr`; did you mean"),
    "no such click key": ({"click_keys": ["nobody"]}, "label.join.click_keys: the table of clicks has no column `nob"),
    "partition column": ({"keys": ["dt"]}, "label.join.keys: `dt` is a partition column"),
    "other kind": (
        {"keys": ["id"]},
        "label.join.click_keys: `id` is bigint in the impressions, `who` is string in the",
    ),
    "text for a time": ({"click_time": "who"}, "label.join.click_time: `who` is string; a time must be a timestamp"),
    "no unit": ({"impression_time": "id"}, "label.join.impression_time: `id` is bigint: say in label.join.time_unit"),
    "no such time": ({"impression_time": "sen"}, "label.join.impression_time: the table of impressions has no column"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_in_the_columns(tmp_path, case):
    options, rule = MISTAKES[case]
    tables = with_clicks_every_day(tmp_path)
    plan = tables.plan(tables.rules(**options))
    with pytest.raises(ConfigError) as raised:
        table_checks.check(tables.source, plan)
    assert rule in str(raised.value)


def test_a_label_that_the_table_has(tmp_path):
    tables = with_clicks_every_day(tmp_path)
    plan = tables.plan(tables.rules().model_copy(update={"column": "user"}))
    with pytest.raises(ConfigError, match=r"label.column: the table has a column `user` already"):
        table_checks.check(tables.source, plan)


@pytest.mark.parametrize("within", ["24", "0h", "h", "-1h", "1.5h", "400d", "24 h"])
def test_what_is_no_duration(tmp_path, within):
    with pytest.raises(ValueError, match="must be"):
        LabelJoinOptions(
            clicks=SourceOptions(table="t"), keys=("k",), impression_time="i", click_time="c", within=within
        )
