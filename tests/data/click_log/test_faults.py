"""Planted faults: each is where it was asked for, and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow.orc
import pyarrow.parquet
import pytest

from hivemill.common.errors import ConfigError
from hivemill.data.click_log.generator import click_log_options, generate
from hivemill.data.columns import COLUMNS, columns_of
from tests.data.hive_text import read_rows

SMALL = {"start_date": "2026-11-13", "days": 2, "rows_per_day": 600, "num_users": 300, "num_items": 200}
FIRST, SECOND = "2026-11-13", "2026-11-14"


def make(folder: Path, **options) -> dict:
    return generate(click_log_options(**{**SMALL, "hours": False, "format": "text", **options}), folder)


def day_rows(table: Path, day: str) -> list[dict]:
    return read_rows(table / f"dt={day}" / "000000_0", columns_of(hours=False))


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    make(folder)
    return folder


def test_numeric_drift_starts_on_its_day(sound, tmp_path):
    make(tmp_path, drift=(f"price:{SECOND}:1.5",))
    assert day_rows(tmp_path, FIRST) == day_rows(sound, FIRST)
    for before, after in zip(day_rows(sound, SECOND), day_rows(tmp_path, SECOND), strict=True):
        assert (before["price"] is None) == (after["price"] is None)
        assert after["price"] is None or after["price"] == pytest.approx(before["price"] * 1.5, abs=0.0051)
        assert before["item_id"] == after["item_id"]


def test_position_drift_gives_whole_positions(tmp_path, sound):
    make(tmp_path, drift=(f"position:{FIRST}:0.3",))
    pairs = zip(day_rows(sound, FIRST), day_rows(tmp_path, FIRST), strict=True)
    assert all(after["position"] == max(1, round(before["position"] * 0.3)) for before, after in pairs)


@pytest.mark.parametrize("feature", ["category", "gender", "member_level"])
def test_categorical_drift_moves_a_share_of_the_rows(feature, sound, tmp_path):
    make(tmp_path, drift=(f"{feature}:{SECOND}:0.4",))
    assert day_rows(tmp_path, FIRST) == day_rows(sound, FIRST)
    pairs = [
        (before[feature], after[feature])
        for before, after in zip(day_rows(sound, SECOND), day_rows(tmp_path, SECOND), strict=True)
    ]
    assert all(after is None for before, after in pairs if before is None)
    known = [before != after for before, after in pairs if before is not None]
    assert np.mean(known) == pytest.approx(0.4, abs=0.08)


def test_the_truth_knows_of_the_drift(sound, tmp_path):
    """Dearer items are clicked less: the clicks follow what the log says."""
    drifted = make(tmp_path, drift=(f"price:{FIRST}:20",))
    clicks = sum(row["click"] for row in day_rows(sound, FIRST))
    assert drifted["days"][FIRST]["clicks"] < 0.8 * clicks


def test_missing_hour_is_absent(tmp_path):
    truth = make(tmp_path, hours=True, missing_hours=(f"{FIRST}/07",))
    assert not (tmp_path / f"dt={FIRST}/hour=07").exists()
    assert len(list(tmp_path.glob("dt=*/hour=*"))) == 47
    assert truth["days"][FIRST]["rows"] == sum(
        len(read_rows(path, COLUMNS)) for path in (tmp_path / f"dt={FIRST}").rglob("000000_0")
    )


def test_a_whole_missing_day_is_absent(tmp_path):
    truth = make(tmp_path, missing_hours=(SECOND,))
    assert not (tmp_path / f"dt={SECOND}").exists()
    assert truth["days"][SECOND]["rows"] == 0


def test_late_partition_is_half_and_unfinished(sound, tmp_path):
    truth = make(tmp_path, late_partitions=(SECOND,))
    assert not (tmp_path / f"dt={SECOND}/_SUCCESS").exists()
    assert day_rows(tmp_path, SECOND) == day_rows(sound, SECOND)[:336]
    assert truth["days"][SECOND]["rows"] == 336
    assert (tmp_path / f"dt={FIRST}/_SUCCESS").exists()


def test_late_day_makes_all_its_hours_late(tmp_path):
    make(tmp_path, hours=True, late_partitions=(SECOND, f"{FIRST}/03"))
    unfinished = {path.parent.name for path in tmp_path.rglob("000000_0") if not (path.parent / "_SUCCESS").exists()}
    assert len(unfinished) == 24
    assert not (tmp_path / f"dt={FIRST}/hour=03/_SUCCESS").exists()


def test_corrupt_rows_are_of_four_kinds_and_not_in_the_truth(sound, tmp_path):
    truth = make(tmp_path, corrupt_share=0.2)
    lines = (tmp_path / f"dt={FIRST}/000000_0").read_bytes().split(b"\n")[:-1]
    whole = (sound / f"dt={FIRST}/000000_0").read_bytes().split(b"\n")[:-1]
    width = len(columns_of(hours=False))
    kinds = {"surplus": 0, "short": 0, "bad UTF-8": 0, "no number": 0}
    for line, before in zip(lines, whole, strict=True):
        if line != before:
            kinds[_kind(line, width)] += 1
    assert min(kinds.values()) > 10
    assert sum(kinds.values()) / len(lines) == pytest.approx(0.2, abs=0.05)
    assert truth["days"][FIRST]["rows"] == len(lines) - sum(kinds.values())


def _kind(line: bytes, width: int) -> str:
    cells = line.split(b"\x01")
    if len(cells) != width:
        return "surplus" if len(cells) == width + 1 else "short"
    if cells[1] == b"n/a":
        return "no number"
    with pytest.raises(UnicodeDecodeError):
        line.decode()
    return "bad UTF-8"


def test_every_row_may_be_corrupt(tmp_path):
    truth = make(tmp_path, corrupt_share=1.0)
    assert truth["all"]["rows"] == 0 and truth["all"]["best_auc"] is None


@pytest.mark.parametrize("file_format", ["parquet", "orc"])
def test_schema_changes_in_files_with_a_schema(file_format, tmp_path):
    changes = (f"add:campaign:string:{SECOND}", f"rename:price:cost:{SECOND}", f"retype:user_id:string:{SECOND}")
    make(tmp_path, format=file_format, schema_changes=changes)
    first, second = (_schema(file_format, tmp_path / f"dt={day}/000000_0") for day in (FIRST, SECOND))
    assert list(first) == list(columns_of(hours=False))
    assert list(second) == [{"price": "cost"}.get(name, name) for name in first] + ["campaign"]
    assert (first["user_id"], second["user_id"], second["cost"]) == ("int64", "string", "double")


def _schema(file_format: str, path: Path) -> dict[str, str]:
    schema = (
        pyarrow.parquet.ParquetFile(path).schema_arrow if file_format == "parquet" else pyarrow.orc.ORCFile(path).schema
    )
    return {field.name: str(field.type) for field in schema}


def test_schema_changes_in_text(sound, tmp_path):
    make(tmp_path, schema_changes=(f"add:bonus:int:{SECOND}", f"retype:member_level:double:{SECOND}"))
    columns = {**columns_of(hours=False), "member_level": "double", "bonus": "int"}
    rows = read_rows(tmp_path / f"dt={SECOND}/000000_0", columns)
    assert {row["bonus"] for row in rows} == {0, 1, 2}
    assert [row["member_level"] for row in rows] == [row["member_level"] for row in day_rows(sound, SECOND)]
    assert b"\x012.0\x01" in (tmp_path / f"dt={SECOND}/000000_0").read_bytes()
    assert day_rows(tmp_path, FIRST) == day_rows(sound, FIRST)


def test_a_log_can_be_extended_by_faulty_days(sound, tmp_path):
    make(tmp_path, days=1)
    make(tmp_path, drift=(f"price:{SECOND}:2",), schema_changes=(f"add:bonus:int:{SECOND}",))
    assert day_rows(tmp_path, FIRST) == day_rows(sound, FIRST)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drift": ("prize:2026-11-14:2",)}, r"option drift.0: 'prize' cannot drift; one of price, position, age_band"),
        ({"drift": ("price:2026-11-14",)}, r"write it as feature:start:amount; got 'price:2026-11-14'"),
        ({"drift": ("price:soon:2",)}, r"option drift.0.start: .*got 'soon'"),
        ({"drift": ("price:2026-11-14:-1",)}, r"option drift.0.amount: .*greater than 0; got '-1'"),
        ({"drift": ("category:2026-11-14:1.5",)}, r"a share of the rows, at most 1; got 1.5"),
        ({"missing_hours": ("2026-11-14 07",)}, r"a partition is written 2026-11-12/07 .*got '2026-11-14 07'"),
        ({"missing_hours": ("2026-11-14/24",)}, r"option missing_hours: a partition is written"),
        ({"missing_hours": ("2026-11-15/07",)}, r"2026-11-15/07 is not among the days 2026-11-13 to 2026-11-14"),
        ({"late_partitions": ("2026-11-14/07",), "hours": False}, r"no hourly partitions; write 2026-11-14"),
        (
            {"late_partitions": ("2026-11-14/07",), "missing_hours": ("2026-11-14/07",), "hours": True},
            r"2026-11-14/07 cannot be missing and late at once",
        ),
        ({"corrupt_share": 0.1, "format": "orc"}, r"corrupt_share needs `format: text`; orc files"),
        ({"corrupt_share": 2}, r"option corrupt_share: .*less than or equal to 1; got 2"),
        ({"schema_changes": ("rename:price:cost:2026-11-14",), "format": "text"}, r"a rename cannot be seen"),
        ({"schema_changes": ("retype:price:string:2026-11-14",), "format": "text"}, r"'price' as string; use double"),
        ({"schema_changes": ("drop:price:x:2026-11-14",)}, r"option schema_changes.0.kind: .*got 'drop'"),
        ({"schema_changes": ("add:price:int:2026-11-14",)}, r"cannot add 'price': it is a column already"),
        ({"schema_changes": ("rename:prize:cost:2026-11-14",)}, r"cannot rename 'prize': it is no column"),
        ({"schema_changes": ("rename:price:brand:2026-11-14",)}, r"that is a column already"),
        (
            {"schema_changes": ("retype:query:string:2026-11-14",)},
            r"'query' is array<string> and can turn into no",
        ),
        ({"schema_changes": ("add:x:map:2026-11-14",)}, r"an added column is string, int or double; got 'map'"),
        (
            {"schema_changes": ("rename:price:cost:2026-11-14", "retype:price:string:2026-11-14"), "format": "orc"},
            r"one change for each column; got price, price",
        ),
        ({"days": 0}, r"option days: .*got 0"),
        ({"rows_per_day": 3}, r"option rows_per_day: .*got 3"),
        ({"format": "csv"}, r"option format: .*got 'csv'"),
        ({"sed": 3}, r"option sed: .*got 3"),
        ({"start_date": "13.11.2026"}, r"option start_date: .*got '13.11.2026'"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ConfigError, match=message) as error:
        click_log_options(**{**SMALL, "format": "parquet", **options})
    assert error.value.exit_code == 2 and error.value.hint


def faulty_pairs(sound, folder, fault, day=SECOND):
    """Rows of the sound log and of the one with the fault, pairwise."""
    make(folder, faults=(fault,))
    if day == SECOND:
        assert day_rows(folder, FIRST) == day_rows(sound, FIRST)
    return list(zip(day_rows(sound, day), day_rows(folder, day), strict=True))


def changed_columns(pairs) -> set[str]:
    return {name for before, after in pairs for name in before if before[name] != after[name]}


def test_a_unit_changes_in_the_log_and_not_the_clicks(sound, tmp_path):
    pairs = faulty_pairs(sound, tmp_path, f"unit:price:{SECOND}:100")
    assert changed_columns(pairs) == {"price"}
    assert all(after["price"] == pytest.approx(before["price"] * 100) for before, after in pairs if before["price"])


def test_swapped_columns_hold_each_others_values(sound, tmp_path):
    pairs = faulty_pairs(sound, tmp_path, f"swap:gender+device:{SECOND}:1")
    assert all((after["gender"], after["device"]) == (before["device"], before["gender"]) for before, after in pairs)


def test_a_dead_column_is_empty(sound, tmp_path):
    pairs = faulty_pairs(sound, tmp_path, f"dead:device:{SECOND}:1")
    assert changed_columns(pairs) == {"device"} and {after["device"] for _, after in pairs} == {""}


def test_a_truncated_vocabulary_keeps_its_most_frequent_values(sound, tmp_path):
    pairs = faulty_pairs(sound, tmp_path, f"truncate:device:{SECOND}:2")
    assert {after["device"] for _, after in pairs} == {"android", "ios", None}
    assert all(after["device"] in (before["device"], None) for before, after in pairs)


def test_a_flood_brings_new_values_to_a_share_of_the_rows(sound, tmp_path):
    pairs = faulty_pairs(sound, tmp_path, f"flood:category:{SECOND}:0.3")
    new = [after["category"] for before, after in pairs if after["category"] != before["category"]]
    assert 0.2 < len(new) / len(pairs) < 0.4 and len(set(new)) > 100
    assert all(value.startswith("category-") for value in new)


def test_a_leak_tells_the_click(sound, tmp_path):
    pairs = faulty_pairs(sound, tmp_path, f"leak:position:{SECOND}:1")
    assert changed_columns(pairs) <= {"position"}
    assert all(after["position"] == (1 if after["click"] else 2) for _, after in pairs)


def test_bots_are_three_users_who_never_click(sound, tmp_path):
    pairs = faulty_pairs(sound, tmp_path, f"bots:user_id:{SECOND}:0.2")
    bots = [after for before, after in pairs if after["user_id"] != before["user_id"]]
    assert 0.1 < len(bots) / len(pairs) < 0.3
    assert len({row["user_id"] for row in bots}) == 3 and {row["click"] for row in bots} == {0}


def test_lost_clicks_are_those_of_one_hour_of_one_day(sound, tmp_path):
    pairs = faulty_pairs(sound, tmp_path, f"clicks_lost:20:{FIRST}:1", day=FIRST)
    assert changed_columns(pairs) <= {"click"}
    assert all(after["click"] == (0 if after["hour"] == "20" else before["click"]) for before, after in pairs)
    assert day_rows(tmp_path, SECOND) == day_rows(sound, SECOND)


def test_a_clock_moves_by_hours_and_partitions_do_not(sound, tmp_path):
    make(tmp_path, faults=(f"clock:request_time:{SECOND}:-3",))
    pairs = list(zip(day_rows(sound, SECOND), day_rows(tmp_path, SECOND), strict=True))
    assert changed_columns(pairs) == {"request_time"}


def test_volume_multiplies_the_rows_of_later_days(sound, tmp_path):
    make(tmp_path, faults=(f"volume:rows:{SECOND}:2",))
    assert day_rows(tmp_path, FIRST) == day_rows(sound, FIRST)
    assert len(day_rows(tmp_path, SECOND)) == 2 * len(day_rows(sound, SECOND))


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("unit:city:2026-11-13:100", "unit is possible for price, position; got 'city'"),
        ("swap:gender:2026-11-13:1", "swap is possible for"),
        ("swap:gender+position:2026-11-13:1", "swap needs two columns of one type"),
        ("leak:position:2026-11-13:1.5", "the amount of leak is above 0 and at most 1; got 1.5"),
        ("clicks_lost:24:2026-11-13:1", "clicks_lost is possible for 00, 01"),
        ("volume:rows:2026-11-13:0", "the amount of volume is above 0; got 0"),
        ("moon:price:2026-11-13:1", "Input should be 'unit', 'swap'"),
    ],
)
def test_an_impossible_fault_is_refused(fault, rule):
    with pytest.raises(ConfigError, match=re.escape(rule)):
        click_log_options(faults=(fault,))
