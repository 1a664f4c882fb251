"""Days held against the median of days before them: the arithmetic, and through plans of real files."""

import datetime
import os

import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet
import pytest

from hivemill.common.errors import DataNotReadyError
from hivemill.components.hive_example_gen.options import CompletenessOptions, SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning import completeness, file_rows
from hivemill.components.hive_example_gen.planning.completeness import DaySize
from hivemill.components.hive_example_gen.planning.window import plan_window

SUNDAY = datetime.date(2026, 11, 15)
OPTIONS = CompletenessOptions()
WINDOW = WindowOptions(train_days=3, validation_days=1, eval_days=1)


def _before(days, last=SUNDAY):
    return [last - datetime.timedelta(days=back) for back in range(1, days + 1)]


def _judge(today, sizes, options=OPTIONS):
    sizes = {**sizes, SUNDAY: today}
    return completeness.judge(sizes, [SUNDAY], options, lambda day: f"dt={day}")


def test_a_small_sunday_is_held_against_sundays():
    sizes = {day: DaySize(100 if day.weekday() == 6 else 1_000) for day in _before(28)}
    (judgement,) = _judge(DaySize(60), sizes)
    assert (judgement.median, judgement.num_days, judgement.share) == (100, 4, 0.6)
    assert not judgement.is_small
    (judgement,) = _judge(DaySize(49), sizes)
    assert judgement.is_small
    assert (
        str(judgement)
        == "dt=2026-11-15: 49 B < 50.0 % of the median 100 B of 4 Sundays in the last 4 weeks (it has 49.0 %)"
    )


def test_exactly_the_share_is_enough():
    assert not _judge(DaySize(500), {day: DaySize(1_000) for day in _before(28)})[0].is_small


def test_a_young_table_is_held_against_all_its_days():
    (judgement,) = _judge(
        DaySize(10), {day: DaySize(size) for day, size in zip(_before(5), range(30, 80, 10), strict=True)}
    )
    assert (judgement.median, judgement.num_days) == (50, 5)
    assert "of 5 days in the last 4 weeks" in str(judgement)


def test_fewer_than_three_earlier_days_give_no_judgement():
    assert _judge(DaySize(1), {day: DaySize(1_000) for day in _before(2)}) == ()
    assert len(_judge(DaySize(1), {day: DaySize(1_000) for day in _before(3)})) == 1


def test_days_that_are_older_or_later_do_not_count():
    sizes = {day: DaySize(1_000) for day in _before(3, SUNDAY - datetime.timedelta(days=28))}
    sizes |= {SUNDAY + datetime.timedelta(days=1): DaySize(1_000)}
    assert _judge(DaySize(1), sizes) == ()


def test_rows_are_judged_where_they_are_known():
    sizes = {day: DaySize(1_000, 400 if number else None) for number, day in enumerate(_before(6))}
    of_bytes, of_rows = _judge(DaySize(1_000, 100), sizes)
    assert (of_bytes.measure, of_bytes.is_small) == ("bytes", False)
    assert (of_rows.measure, of_rows.median, of_rows.num_days, of_rows.is_small) == ("rows", 400, 5, True)
    assert str(of_rows).startswith("dt=2026-11-15: 100 rows < 50.0 % of the median 400 rows of 5 days in the last 4")


def test_a_share_of_null_judges_nothing():
    off = CompletenessOptions(min_share_of_median=None)
    assert _judge(DaySize(1), {day: DaySize(1_000) for day in _before(28)}, off) == ()
    assert completeness.earlier_days([SUNDAY], off) == []


def test_earlier_days_are_the_weeks_before_the_window():
    days = completeness.earlier_days([SUNDAY, SUNDAY + datetime.timedelta(days=1)], OPTIONS)
    assert (days[0], days[-1], len(days)) == (datetime.date(2026, 10, 18), datetime.date(2026, 11, 14), 28)
    assert completeness.earlier_days([datetime.date(1, 1, 3)], OPTIONS) == [
        datetime.date(1, 1, 1),
        datetime.date(1, 1, 2),
    ]


# --- through plan_window


def _table(path, days=11, data=b"1\n" * 100, **of_days):
    """`days` days up to SUNDAY, all alike but those in `of_days`, by `d15`."""
    for day in [SUNDAY, *_before(days - 1)]:
        folder = path / f"dt={day}"
        folder.mkdir(parents=True)
        content = of_days.get(f"d{day.day:02}", data)
        if isinstance(content, pa.Table):
            pa.parquet.write_table(content, folder / "000000_0")
        else:
            (folder / "000000_0").write_bytes(content)
    return path


def _plan(table, window=WINDOW, **options):
    source = SourceOptions(**{"table": str(table), "columns": {"id": "bigint"}, **options})
    return plan_window(source, window, SUNDAY, str(table.parent / "partitions"))


def _shrinking(window=WINDOW):
    return window.model_copy(update={"incomplete": "shrink"})


def test_a_small_day_stops_the_run_with_its_arithmetic(tmp_path):
    plan = _plan(_table(tmp_path / "t", d15=b"1\n" * 30))
    with pytest.raises(
        DataNotReadyError, match=r"1 too small: dt=2026-11-15: 60 B < 50.0 % of the median 200 B"
    ) as raised:
        plan.check()
    assert raised.value.exit_code == 3
    assert "window.completeness" in raised.value.hint


def test_days_before_the_window_make_the_median(tmp_path):
    plan = _plan(_table(tmp_path / "t", d15=b"1\n" * 60))
    plan.check()
    assert {judgement.day: judgement.num_days for judgement in plan.sizes} == {
        SUNDAY: 10,
        **dict(zip(_before(3), (9, 8, 7), strict=True)),
    }


def test_shrink_leaves_the_small_day_out_and_the_plan_is_another_one(tmp_path):
    table = _table(tmp_path / "t", d13=b"1\n" * 30)
    plan = _plan(table, _shrinking())
    plan.check()
    assert [p.name for p in plan.splits["train"]] == ["dt=2026-11-12"]
    assert [judgement.partition for judgement in plan.small] == ["dt=2026-11-13"]
    assert plan.fingerprint != _plan(table, _shrinking(_with(min_share_of_median=0.1))).fingerprint


def _with(**options):
    return WINDOW.model_copy(update={"completeness": CompletenessOptions(**options)})


def test_shrink_never_goes_on_without_the_days_to_judge_on(tmp_path):
    with pytest.raises(
        DataNotReadyError, match=r"split 'eval' .* no partition at all \(2026-11-15\): 1 too small: dt="
    ):
        _plan(_table(tmp_path / "t", d15=b"1\n"), _shrinking()).check()


def test_the_wait_and_its_policy_do_not_change_what_a_plan_is(tmp_path):
    table = _table(tmp_path / "t")
    waiting = WINDOW.model_copy(
        update={"incomplete": "wait", "completeness": CompletenessOptions(wait_limit_minutes=1)}
    )
    assert _plan(table, waiting).fingerprint == _plan(table).fingerprint
    assert waiting.as_planned() == WINDOW.as_planned()


def test_a_day_with_a_missing_hour_is_missing_it_and_not_too_small(tmp_path):
    table = tmp_path / "t"
    for day in [SUNDAY, *_before(10)]:
        for hour in range(20 if day == SUNDAY else 24):
            folder = table / f"dt={day}" / f"hour={hour:02}"
            folder.mkdir(parents=True)
            (folder / "0").write_bytes(b"1\n" if day == SUNDAY else b"1\n" * 10)
    plan = _plan(table, partition_columns={"dt": "string", "hour": "int"}, hour_column="hour")
    assert plan.missing == tuple(f"dt=2026-11-15/hour={hour}" for hour in range(20, 24))
    assert plan.small == ()


def test_a_late_day_is_no_part_of_the_median(tmp_path):
    table = _table(tmp_path / "t", days=7)
    for day in [SUNDAY, *_before(5)]:
        (table / f"dt={day}" / "_SUCCESS").touch()
    plan = _plan(table, success_file="_SUCCESS")
    assert [judgement.num_days for judgement in plan.sizes if judgement.day == SUNDAY] == [5]


def test_what_is_wrong_before_the_window_stops_no_run(tmp_path):
    table = _table(tmp_path / "t", d13=b"1\n")
    (table / "dt=2026-11-08" / "hour=07").mkdir()
    plan = _plan(table)
    assert "days before the window cannot be listed" in plan.notes[0]
    assert [(judgement.day, judgement.num_days) for judgement in plan.sizes] == [(SUNDAY, 3)]
    (table / "dt=2026-11-13" / "hour=07").mkdir()
    with pytest.raises(Exception, match=r"dt=2026-11-13 holds the folder 'hour=07'"):
        _plan(table)


def _rows(num_rows, noise=""):
    return pa.table({"id": range(num_rows), "noise": [f"{noise}{row}" for row in range(num_rows)]})


def test_parquet_says_its_rows_before_any_cost(tmp_path):
    table = _table(tmp_path / "t", data=_rows(1_000), d15=_rows(400, noise="long text that makes up for it " * 9))
    plan = _plan(table, columns=None)
    assert {judgement.measure: judgement.is_small for judgement in plan.sizes if judgement.day == SUNDAY} == {
        "bytes": False,
        "rows": True,
    }
    with pytest.raises(DataNotReadyError, match=r"dt=2026-11-15: 400 rows < 50.0 % of the median 1,000 rows"):
        plan.check()


def test_orc_says_its_rows_too(tmp_path):
    table = _table(tmp_path / "t")
    for day in [SUNDAY, *_before(10)]:
        pa.orc.write_table(_rows(7), table / f"dt={day}" / "000000_0")
    plan = _plan(table, columns=None, format="orc")
    assert {(judgement.measure, judgement.value) for judgement in plan.sizes if judgement.measure == "rows"} == {
        ("rows", 7)
    }


def test_a_file_that_is_broken_has_unknown_rows(tmp_path):
    table = _table(tmp_path / "t", data=_rows(10), d15=b"PAR1 and no more")
    plan = _plan(table, columns=None)
    assert [judgement.measure for judgement in plan.sizes if judgement.day == SUNDAY] == ["bytes"]


def test_too_many_files_are_judged_by_bytes_and_the_plan_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(file_rows, "MAX_FILES", 10)
    plan = _plan(_table(tmp_path / "t", data=_rows(10)), columns=None)
    assert {judgement.measure for judgement in plan.sizes} == {"bytes"}
    assert plan.notes == ("days are judged by bytes alone: reading the rows of 11 files would take too long",)


def test_a_plan_is_the_same_after_a_conversion(tmp_path):
    from hivemill.components.hive_example_gen.convert import convert_partition
    from hivemill.components.hive_example_gen.options import BadRowOptions

    table = _table(tmp_path / "t", d15=b"1\n" * 60)
    before = _plan(table)
    convert_partition(before.splits["eval"][0], str(table), BadRowOptions(), str(tmp_path / "partitions"))
    after = _plan(table)
    assert after.splits["eval"][0].cached
    assert (after.fingerprint, after.sizes) == (before.fingerprint, before.sizes)


def test_a_reference_day_that_is_replaced_is_read_anew(tmp_path):
    file = _table(tmp_path / "t", data=_rows(10)) / "dt=2026-11-12" / "000000_0"
    assert _rows_on(_plan(tmp_path / "t", columns=None), 12) == 10
    pa.parquet.write_table(_rows(20), file)
    os.utime(file, ns=(1, 1))
    assert _rows_on(_plan(tmp_path / "t", columns=None), 12) == 20


def _rows_on(plan, day):
    return next(one.value for one in plan.sizes if one.measure == "rows" and one.day.day == day)
