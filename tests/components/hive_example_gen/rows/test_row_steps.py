"""Deduplication and sampling, through the conversion of partitions."""

import datetime
import itertools
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.components.hive_example_gen import convert
from hivemill.components.hive_example_gen.options import SamplingOptions, SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning import table_checks
from hivemill.components.hive_example_gen.planning.window import plan_window
from hivemill.components.hive_example_gen.rows import deduplication, hashing
from hivemill.components.hive_example_gen.rows.event_index import PAIR, EventIndex, EventSorter
from hivemill.components.hive_example_gen.rows.label_join.options import LabelRules
from hivemill.components.hive_example_gen.rows.negative_sampling import Sampler
from tests.components.hive_example_gen.converted_rows import examples_of

WINDOW = WindowOptions(train_days=2, validation_days=1, completeness={"min_share_of_median": None})
DATE = datetime.date(2026, 11, 15)
LABEL = LabelRules(column="click")
_names = itertools.count()


@pytest.fixture(autouse=True)
def _without_syncing(monkeypatch):
    """Hundreds of small conversions: waiting for the disk is most of their time."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


class Case:
    """The same rows on a train, a validation and an eval day; the rows of a day may be split into files."""

    def __init__(self, folder, *files, **source):
        self.folder = folder
        for day in (13, 14, 15):
            path = folder / "log" / f"dt=2026-11-{day}"
            path.mkdir(parents=True)
            for index, table in enumerate(files):
                pa.parquet.write_table(table, path / f"part-{index}", row_group_size=7)
        self.source = SourceOptions(table=str(folder / "log"), **source)

    def plan(self):
        return plan_window(self.source, WINDOW, DATE, str(self.folder / "partitions"), LABEL)

    def converted(self):
        """split -> (record, rows as dicts)."""
        plan = self.plan()
        table_checks.check(self.source, plan)
        cache, found = self.folder / "partitions", {}
        for split, (partition,) in plan.splits.items():
            record = convert.convert_partition(partition, self.source.table, self.source.bad_rows, str(cache))
            found[split] = record, examples_of(cache, record)
        return found


def _table(rows):
    columns = [pa.array([row[i] for row in rows], t) for i, t in enumerate((pa.int64(), pa.string(), pa.int64()))]
    return pa.table(columns, ["id", "key", "click"])


_KEYS = st.sampled_from([None, "", "a", "b", "c", "d" * 40])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(_KEYS, st.integers(0, 1)), min_size=1, max_size=40), st.integers(0, 40), st.booleans())
def test_the_first_row_of_each_key_stays(tmp_path, rows, cut, two_keys):
    rows = [(index, *row) for index, row in enumerate(rows)]
    columns = ("key", "click") if two_keys else ("key",)
    case = Case(tmp_path / str(next(_names)), _table(rows[:cut]), _table(rows[cut:]), deduplicate_by=columns)
    record, found = case.converted()["eval"]
    seen, expected = set(), []
    for row in rows:
        key = row[1:] if two_keys else row[1:2]
        if None in key or key not in seen:
            expected.append(row[0])
        seen.add(key)
    assert [row["id"][0] for row in found] == expected
    assert record.step_counts["duplicates"] == len(rows) - len(expected)


def test_duplicates_far_apart_with_little_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(EventSorter.__init__, "__defaults__", (deduplication.at_most_two, 600, 0))
    random = np.random.default_rng(5)
    keys = random.integers(0, 3000, 5000)
    rows = [(index, str(key), 0) for index, key in enumerate(keys)]
    case = Case(tmp_path, _table(rows[:1234]), _table(rows[1234:]), deduplicate_by=("key",), exclude_columns=("key",))
    _, found = case.converted()["train"]
    first = sorted({key: index for index, key in reversed(list(enumerate(keys.tolist())))}.values())
    assert [row["id"][0] for row in found] == first
    assert "key" not in found[0]
    assert not list((tmp_path / "partitions").glob(".keys*"))


def test_only_repeated_keys_are_kept_on_disk(tmp_path):
    sorter = EventSorter(tmp_path / "buckets", deduplication.at_most_two, max_pairs=8)
    ones = np.array([1, 2, 3, 1, 1, 1, 1, 1, 1, 1, 4, 4, 5] * 3 + [6], np.uint64)
    sorter.add(ones, ones, np.zeros(len(ones), np.int64))
    assert sorter.write(tmp_path / "index", deduplication.second) == 5
    assert np.fromfile(tmp_path / "index" / "hash1", PAIR["hash1"]).tolist() == [1, 2, 3, 4, 5]
    assert len(EventIndex(tmp_path / "index")) == 5


def _log(num_rows=4000):
    random = np.random.default_rng(2)
    rows = [(index, f"user {index % 500}", int(random.random() < 0.2)) for index in range(num_rows)]
    return _table(rows), rows


def test_negatives_are_sampled_in_train_and_validation_only(tmp_path):
    table, rows = _log()
    case = Case(tmp_path, table, sampling=SamplingOptions(negatives=0.25, key=("id", "dt")))
    found = case.converted()
    ids = {split: {row["id"][0] for row in examples} for split, (_, examples) in found.items()}
    positives = {index for index, _, click in rows if click}
    assert ids["eval"] == set(range(len(rows)))
    negatives = len(rows) - len(positives)
    for split in ("train", "validation"):
        assert positives <= ids[split]
        kept = len(ids[split]) - len(positives)
        # Five standard deviations of a binomial of 3,200 or so.
        assert abs(kept - 0.25 * negatives) < 5 * (negatives * 0.25 * 0.75) ** 0.5
        assert found[split][0].step_counts == {"negatives_left_out": negatives - kept, "negatives_without_key": 0}
    assert ids["train"] != ids["validation"], "dt is part of the key"


def test_a_file_without_the_column_that_decides(tmp_path):
    """A column added last month: older files read it as NULL, and one hash would decide about all their rows."""
    table, _ = _log(10)
    case = Case(tmp_path, table, sampling=SamplingOptions(negatives=0.5, key=("key",)))
    path = tmp_path / "log" / "dt=2026-11-13" / "part-0"
    pa.parquet.write_table(table.drop_columns(["key"]), path)
    with pytest.raises(DataNotReadyError, match=r"dt=2026-11-13/part-0 has no column 'key', which decides"):
        case.converted()


def test_negatives_without_any_key_are_counted(tmp_path):
    case = Case(tmp_path, _table([(1, None, 0), (2, None, 1), (3, None, 0), (4, "a", 0)]))
    case.source = case.source.model_copy(update={"sampling": SamplingOptions(negatives=0.5, key=("key",))})
    record, rows = case.converted()["train"]
    assert record.step_counts["negatives_without_key"] == 2
    assert len({row["id"][0] for row in rows} & {1, 3}) in (0, 2), "together"


def test_rows_of_one_key_stay_together(tmp_path):
    table, rows = _log()
    case = Case(tmp_path, table, sampling=SamplingOptions(negatives=0.5, key=("key",)))
    _, found = case.converted()["train"]
    kept = {row["key"][0].decode() for row in found if not row["click"][0]}
    expected = [index for index, key, click in rows if click or key in kept]
    assert [row["id"][0] for row in found] == expected
    assert 0 < len(kept) < 500


def test_the_hash_that_decides_is_the_documented_one():
    """shiftrightunsigned(xxhash64('salt', id, key), 11) < rate * 2^53, with Spark's own values of xxhash64."""
    options = SamplingOptions(negatives=0.5, key=("id", "key"), salt="Spark")
    batch = pa.record_batch({"id": [1, 2, 3, 4], "key": ["a", None, "c", "d"], "click": [0, 0, 0, 1]})
    hashed = hashing.hashes([pa.array(["Spark"] * 4), batch.column("id"), batch.column("key")])
    expected = [row for row in range(4) if row == 3 or (int(hashed[row]) >> 11) < 0.5 * 2**53]
    assert Sampler(options, "click").apply(batch).column("id").to_pylist() == [row + 1 for row in expected]


@pytest.mark.parametrize("label", [pa.array([0.0, 1.0, None]), pa.array([False, True, None]), pa.array([0, 1, None])])
def test_labels_of_every_number_type(label):
    batch = pa.record_batch({"id": [1, 2, 3], "click": label})
    kept = Sampler(SamplingOptions(negatives=1e-18, key=("id",)), "click").apply(batch)
    assert kept.column("id").to_pylist() == [2, 3], "a row without a label is the data verdict's matter"


def test_what_a_sample_depends_on_is_in_the_fingerprint(tmp_path):
    table, _ = _log(10)
    case = Case(tmp_path, table)

    def fingerprints(**source):
        case.source = SourceOptions(table=case.source.table, **source)
        return {split: partition.fingerprint for split, (partition,) in case.plan().splits.items()}

    plain = fingerprints()
    sampled = fingerprints(sampling=SamplingOptions(negatives=0.5, key=("id",)))
    assert sampled["eval"] == plain["eval"], "what is not sampled is not converted again"
    assert sampled["train"] != plain["train"]
    for other in (
        {"negatives": 0.4, "key": ("id",)},
        {"negatives": 0.5, "key": ("key",)},
        {"negatives": 0.5, "key": ("id",), "salt": "x"},
    ):
        assert fingerprints(sampling=SamplingOptions(**other))["train"] != sampled["train"]
    assert fingerprints(deduplicate_by=("id",))["eval"] != plain["eval"]


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ({"deduplicate_by": ("kye",)}, "source.deduplicate_by: the table has no column `kye`; did you mean `key`?"),
        ({"deduplicate_by": ("dt",)}, "source.deduplicate_by: `dt` is a partition column"),
        ({"sampling": {"negatives": 0.5, "key": ("idd",)}}, "source.sampling.key: the table has no column `idd`"),
        ({"sampling": {"negatives": 0.5, "key": ("price",)}}, "source.sampling.key: `price` is double; a key must be"),
    ],
)
def test_mistakes_in_the_columns(tmp_path, source, rule):
    table = _table([(1, "a", 0)]).append_column("price", pa.array([1.5]))
    case = Case(tmp_path, table, **source)
    with pytest.raises(ConfigError) as raised:
        table_checks.check(case.source, case.plan())
    assert rule in str(raised.value)
