"""Planning the window: days, splits, what is missing, late or empty, and the fingerprint."""

import datetime
import os
import sys

import pytest

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.components.hive_example_gen.options import SourceOptions, TextOptions, WindowOptions
from hivemill.components.hive_example_gen.planning.window import plan_window, window_days

DATE = datetime.date(2026, 11, 15)
WINDOW = WindowOptions(train_days=3, validation_days=1, eval_days=1)
COLUMNS = {"user_id": "bigint"}


def _days(count, last=DATE):
    return [last - datetime.timedelta(days=back) for back in reversed(range(count))]


def _table(path, days=4, hours=None, data=b"1\n"):
    for day in _days(days):
        for name in [f"dt={day}"] if hours is None else [f"dt={day}/hour={hour:02d}" for hour in hours]:
            (path / name).mkdir(parents=True)
            (path / name / "000000_0").write_bytes(data)
    return path


def _plan(table, window=WINDOW, date=DATE, **options):
    source = SourceOptions(**{"table": str(table), "columns": COLUMNS, **options})
    return plan_window(source, window, date, str(table.parent / "partitions"))


def _hourly(table, **options):
    return _plan(table, partition_columns={"dt": "string", "hour": "int"}, hour_column="hour", **options)


def test_splits_are_by_time():
    days = window_days(WindowOptions(train_days=5, validation_days=2, eval_days=2), DATE)
    assert {split: [day.day for day in chosen] for split, chosen in days.items()} == {
        "train": [9, 10, 11],
        "validation": [12, 13],
        "eval": [14, 15],
    }


def test_without_validation_days_there_is_no_such_split():
    assert list(window_days(WindowOptions(train_days=1, validation_days=0), DATE)) == ["train", "eval"]


def test_validation_must_leave_a_day_to_train_on():
    with pytest.raises(ConfigError, match=r"validation_days \(3\) must be less than window.train_days \(3\)"):
        window_days(WindowOptions(train_days=3, validation_days=3), DATE)


def test_a_window_over_new_year_and_leap_day():
    days = window_days(WindowOptions(train_days=2, validation_days=0), datetime.date(2028, 3, 1))
    assert days["train"] == (datetime.date(2028, 2, 28), datetime.date(2028, 2, 29))


def test_a_complete_window(tmp_path):
    plan = _plan(_table(tmp_path / "t", days=10))
    plan.check()
    assert {split: [p.name for p in found] for split, found in plan.splits.items()} == {
        "train": ["dt=2026-11-12", "dt=2026-11-13"],
        "validation": ["dt=2026-11-14"],
        "eval": ["dt=2026-11-15"],
    }
    assert [(len(p.files), p.num_bytes, p.num_rows, p.cached) for p in plan.partitions] == [(1, 2, None, False)] * 4
    assert plan.splits["eval"][0].date == DATE


def test_planning_imports_neither_tensorflow_nor_beam():
    code = (
        "import sys; import hivemill.components.hive_example_gen.table.columns; "
        "print([name for name in sys.modules if name in ('tensorflow', 'apache_beam', 'tfx', 'tfx_bsl')])"
    )
    import subprocess

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_missing_days_are_named(tmp_path):
    plan = _plan(_table(tmp_path / "t", days=1))
    assert plan.missing == ("dt=2026-11-12", "dt=2026-11-13", "dt=2026-11-14")
    with pytest.raises(DataNotReadyError, match="3 missing: dt=2026-11-12, dt=2026-11-13, dt=2026-11-14") as raised:
        plan.check()
    assert raised.value.exit_code == 3
    assert "window.incomplete to wait" in raised.value.hint


def test_missing_hours_are_named_the_first_ten_and_the_count(tmp_path):
    plan = _hourly(_table(tmp_path / "t", hours=[0, 1, 23]))
    assert len(plan.missing) == 4 * 21
    with pytest.raises(DataNotReadyError, match=r"84 missing: dt=2026-11-12/hour=02, .*/hour=11 and 74 more"):
        plan.check()


def test_hours_may_be_written_without_a_zero(tmp_path):
    table = _table(tmp_path / "t", hours=range(24))
    for day in _days(4):
        os.rename(table / f"dt={day}/hour=07", table / f"dt={day}/hour=7")
    _hourly(table).check()


def test_an_hour_that_is_none(tmp_path):
    with pytest.raises(DataNotReadyError, match="partition dt=2026-11-12/hour=24: hour=24 is no hour, 0 to 23"):
        _hourly(_table(tmp_path / "t", hours=range(25)))


def test_late_partitions(tmp_path):
    table = _table(tmp_path / "t")
    for day in _days(3, last=DATE - datetime.timedelta(days=1)):
        (table / f"dt={day}" / "_SUCCESS").touch()
    plan = _plan(table, success_file="_SUCCESS")
    assert plan.late == ("dt=2026-11-15",)
    with pytest.raises(DataNotReadyError, match=r"1 late \(no _SUCCESS\): dt=2026-11-15"):
        plan.check()


def test_empty_partitions(tmp_path):
    table = _table(tmp_path / "t")
    (table / "dt=2026-11-13" / "000000_0").write_bytes(b"")
    plan = _plan(table)
    assert plan.empty == ("dt=2026-11-13",)
    with pytest.raises(DataNotReadyError, match=r"1 empty .*: dt=2026-11-13"):
        plan.check()


def test_shrink_goes_on_without_them_but_not_without_a_whole_split(tmp_path):
    shrinking = WINDOW.model_copy(update={"incomplete": "shrink"})
    table = _table(tmp_path / "t")
    os.remove(table / "dt=2026-11-12" / "000000_0")
    plan = _plan(table, shrinking)
    plan.check()
    assert [p.name for p in plan.splits["train"]] == ["dt=2026-11-13"]
    os.remove(table / "dt=2026-11-15" / "000000_0")
    with pytest.raises(DataNotReadyError, match=r"split 'eval' .* has no partition at all"):
        _plan(table, shrinking).check()


def test_the_fingerprint_is_of_files_and_of_how_they_are_read(tmp_path):
    table = _table(tmp_path / "t")
    first = _plan(table)
    assert _plan(table).fingerprint == first.fingerprint
    others = {
        _plan(table, columns={"user_id": "int"}).fingerprint,
        _plan(table, exclude_columns=("dt",)).fingerprint,
        _plan(table, text=TextOptions(null_text="")).fingerprint,
        _plan(table, partition_columns={"dt": "date"}).fingerprint,
        _plan(table, WINDOW.model_copy(update={"train_days": 2})).fingerprint,
    }
    os.utime(table / "dt=2026-11-15" / "000000_0", ns=(1, 1))
    touched = _plan(table)
    assert len({first.fingerprint, touched.fingerprint, *others}) == 7
    changed = [a.fingerprint != b.fingerprint for a, b in zip(first.partitions, touched.partitions, strict=True)]
    assert changed == [False, False, False, True]


def test_a_day_keeps_its_fingerprint_when_the_window_moves(tmp_path):
    table = _table(tmp_path / "t", days=5)
    last_week = _plan(table, date=DATE - datetime.timedelta(days=1))
    assert last_week.splits["eval"][0].fingerprint == _plan(table).splits["validation"][0].fingerprint


def test_a_table_elsewhere_with_the_same_files_has_the_same_fingerprint(tmp_path):
    plan = _plan(_table(tmp_path / "t"))
    os.rename(tmp_path / "t", tmp_path / "u")
    assert _plan(tmp_path / "u").fingerprint == plan.fingerprint


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"date_column": "day"}, "source.date_column is 'day', which is no partition column"),
        ({"hour_column": "hour"}, "source.hour_column is 'hour', which is no partition column"),
        ({"columns": {"a": "intt"}}, "source.columns.a: .*'intt' is no supported type"),
        ({"partition_columns": {"dt": "array<int>"}}, "source.partition_columns.dt: .*primitive"),
        ({"columns": None, "format": "text"}, "such a file does not say its columns"),
        ({"exclude_columns": ("USER_ID",)}, "source.exclude_columns leaves no column"),
        ({"exclude_columns": ("userid",)}, "names 'userid', which the table does not have"),
        ({"text": TextOptions(field_delimiter="→")}, "source.text.field_delimiter must be one byte"),
    ],
)
def test_wrong_options_name_their_key(tmp_path, options, problem):
    with pytest.raises(ConfigError, match=problem) as raised:
        _plan(_table(tmp_path / "t"), **options)
    assert raised.value.exit_code == 2


def test_a_ddl_gives_columns_partitions_format_and_delimiters(tmp_path):
    ddl = tmp_path / "t.hql"
    ddl.write_text("CREATE TABLE t (a int) PARTITIONED BY (dt date) ROW FORMAT DELIMITED FIELDS TERMINATED BY '\\t'")
    from hivemill.components.hive_example_gen.table.spec import resolve_spec

    source = SourceOptions(table="t", ddl=str(ddl))
    spec = resolve_spec(source)
    assert (spec.columns, spec.partition_columns, spec.format) == ({"a": "int"}, {"dt": "date"}, "text")
    assert (spec.text.field_delimiter, spec.text.collection_delimiter) == ("\t", "\x02")
    explicit = SourceOptions(table="t", ddl=str(ddl), text=TextOptions(field_delimiter=","), format="parquet")
    assert (resolve_spec(explicit).text.field_delimiter, resolve_spec(explicit).format) == (",", "parquet")
    with pytest.raises(ConfigError, match=r"source.ddl and source.columns both"):
        resolve_spec(SourceOptions(table="t", ddl=str(ddl), columns={"a": "int"}))
