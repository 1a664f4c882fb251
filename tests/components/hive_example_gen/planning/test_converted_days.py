"""Days judged by the rows that a conversion found, for files that do not say them before."""

import datetime

import pytest

from hivemill.common.errors import DataNotReadyError
from hivemill.components.hive_example_gen.convert import convert_partition
from hivemill.components.hive_example_gen.options import (
    BadRowOptions,
    CompletenessOptions,
    SourceOptions,
    WindowOptions,
)
from hivemill.components.hive_example_gen.planning import converted_completeness
from hivemill.components.hive_example_gen.planning.window import plan_window

DATE = datetime.date(2026, 11, 15)
WINDOW = WindowOptions(train_days=4, validation_days=1, eval_days=1)


class Case:
    """Five days of 100 short rows; `fat` writes a day of fewer rows in as many bytes."""

    def __init__(self, folder):
        self.table = folder / "t"
        self.kept = str(folder / "partitions")
        self.source = SourceOptions(table=str(self.table), columns={"id": "bigint", "name": "string"})
        for day in range(11, 16):
            self.write(day, b"7\x01good\n" * 100)

    def write(self, day, data):
        folder = self.table / f"dt=2026-11-{day}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "000000_0").write_bytes(data)

    def fat(self, day, rows):
        self.write(day, (b"7\x01" + b"x" * (700 // rows) + b"\n") * rows)

    def judged(self, window=WINDOW):
        plan = plan_window(self.source, window, DATE, self.kept)
        plan.check()
        records = {
            p.fingerprint: convert_partition(p, str(self.table), BadRowOptions(max_share=1), self.kept)
            for p in plan.partitions
        }
        return converted_completeness.judged(plan, records, self.source, window)


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


def _shrinking():
    return WINDOW.model_copy(update={"incomplete": "shrink"})


def test_days_alike_are_judged_and_kept(case):
    plan = case.judged()
    rows = [(judgement.day.day, judgement.num_days) for judgement in plan.sizes if judgement.measure == "rows"]
    assert rows == [(14, 3), (15, 4)]
    assert len(plan.partitions) == 5


def test_few_fat_rows_stop_the_run(case):
    case.fat(15, rows=40)
    with pytest.raises(DataNotReadyError, match=r"1 too small: dt=2026-11-15: 40 rows < 50.0 % of the median 100 rows"):
        case.judged()


def test_bad_rows_were_there_too(case):
    case.write(15, b"x\x01bad\n" * 90)
    assert not case.judged().small


def test_shrink_leaves_a_small_day_out_but_never_all_that_is_judged(case):
    case.fat(14, rows=10)
    with pytest.raises(DataNotReadyError, match=r"split 'validation' .*: 1 too small: dt=2026-11-14: 10 rows"):
        case.judged(_shrinking())
    window = _shrinking().model_copy(update={"validation_days": 2})
    plan = case.judged(window)
    assert [p.name for p in plan.splits["validation"]] == ["dt=2026-11-13"]
    assert [judgement.partition for judgement in plan.small] == ["dt=2026-11-14"]


def test_sizes_that_nobody_judges(case):
    case.fat(15, rows=1)
    off = CompletenessOptions(min_share_of_median=None)
    assert case.judged(WINDOW.model_copy(update={"completeness": off})).sizes == ()


def test_a_second_run_judges_alike(case):
    assert case.judged().sizes == case.judged().sizes
