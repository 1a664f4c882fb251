"""The generated log: layout, content, equality of formats, extension, refusal to overwrite, memory."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow.orc
import pyarrow.parquet
import pytest

from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.data.click_log import generator, truth
from hivemill.data.click_log.generator import click_log_options, generate
from hivemill.data.click_log.shop import hour_rows
from hivemill.data.columns import COLUMNS, columns_of
from hivemill.data.hive_table import arrow_schema
from tests.data.hive_text import read_rows

SMALL = {"start_date": "2026-11-13", "days": 2, "rows_per_day": 600, "num_users": 300, "num_items": 200}


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows_of(table: Path, columns: dict[str, str] = COLUMNS) -> list[dict]:
    """All rows of a text table in path order."""
    return [row for path in sorted(table.rglob("000000_0")) for row in read_rows(path, columns)]


def test_layout_is_that_of_hive(small_logs):
    names = set(digests(small_logs["text"]))
    hours = [f"dt=2026-11-{day}/hour={hour:02}" for day in (13, 14) for hour in range(24)]
    expected = {f"{hour}/{name}" for hour in hours for name in ("000000_0", "_SUCCESS")}
    assert names == expected | {"_truth.json", "_truth_counts.json"}
    assert (small_logs["text"] / hours[0] / "_SUCCESS").stat().st_size == 0


@pytest.mark.parametrize("name", ["text", "parquet", "orc"])
def test_same_options_give_the_same_bytes(name, small_logs, tmp_path):
    generate(click_log_options(**SMALL, format=name), tmp_path / "again")
    assert digests(tmp_path / "again") == digests(small_logs[name])


def test_bytes_are_those_of_every_other_machine(small_logs):
    """A golden digest: when it changes, every published figure about a generated log has to be measured again."""
    files = sorted(small_logs["text"].rglob("000000_0"))
    content = b"".join(path.read_bytes() for path in files)
    assert hashlib.sha256(content).hexdigest()[:16] == "405416bd668b6c43"


def test_another_seed_gives_another_log(small_logs, tmp_path):
    generate(click_log_options(**SMALL, format="text", seed=2), tmp_path)
    assert rows_of(tmp_path) != rows_of(small_logs["text"])


def test_all_formats_hold_the_same_rows(small_logs):
    for day, hour in (("2026-11-13", "20"), ("2026-11-14", "03")):
        place = f"dt={day}/hour={hour}/000000_0"
        text = read_rows(small_logs["text"] / place, COLUMNS)
        parquet = pyarrow.parquet.ParquetFile(small_logs["parquet"] / place).read().cast(arrow_schema(COLUMNS))
        orc = pyarrow.orc.read_table(small_logs["orc"] / place).cast(arrow_schema(COLUMNS))
        assert parquet.equals(orc)
        rows = [{**row, "context": None if row["context"] is None else dict(row["context"])} for row in orc.to_pylist()]
        assert rows == text


def test_rows_are_where_and_when_they_should_be(small_logs):
    for path in sorted(small_logs["text"].rglob("000000_0")):
        day, hour = path.parts[-3].removeprefix("dt="), int(path.parts[-2].removeprefix("hour="))
        times = [row["request_time"] for row in read_rows(path, COLUMNS)]
        assert times == sorted(times)
        assert {(time.date().isoformat(), time.hour) for time in times} == {(day, hour)}


def test_weekends_and_evenings_are_busier(small_logs):
    days = json.loads((small_logs["text"] / "_truth.json").read_text())["days"]
    assert {day: row["rows"] for day, row in days.items()} == {"2026-11-13": 600, "2026-11-14": 672}
    friday, saturday = (np.array(hour_rows(click_log_options(start_date=day).start_date, 10_000)) for day in days)
    assert friday.argmax() == 21 and friday[3] < friday[12] < friday[21]
    assert (saturday / saturday.sum())[10] > (friday / friday.sum())[10]


def test_a_week_has_seven_times_rows_per_day():
    options = click_log_options(start_date="2026-11-09", days=7, rows_per_day=30_000)
    assert sum(sum(hour_rows(date, options.rows_per_day)) for date in options.dates) == 210_000


def test_content_is_what_a_real_log_is_like(small_logs):
    rows = rows_of(small_logs["text"])
    shares = {name: sum(row[name] is None for row in rows) / len(rows) for name in COLUMNS}
    assert 0.03 < shares["age_band"] < 0.15 and 0.05 < shares["gender"] < 0.2 and 0.01 < shares["price"] < 0.08
    assert 0.4 < shares["query"] < 0.6 and 0.02 < shares["recent_items"] < 0.1 and 0 < shares["context"] < 0.03
    for name in ("request_time", "user_id", "item_id", "category", "position", "click", "member_level"):
        assert shares[name] == 0
    assert any(row["query"] == [] for row in rows) and any(row["recent_items"] == [] for row in rows)
    assert any(not row["city"].isascii() for row in rows if row["city"])
    assert {row["click"] for row in rows} == {0, 1}
    assert {tuple(row["context"]) for row in rows if row["context"]} >= {("page",), ("page", "network", "campaign")}


def test_users_and_items_have_a_long_tail_and_new_ones_every_day(small_logs):
    rows = rows_of(small_logs["text"])
    for name, known in (("user_id", 300), ("item_id", 200)):
        counts = np.unique([row[name] for row in rows if row[name] <= known], return_counts=True)[1]
        top = np.sort(counts)[::-1]
        assert top[: len(top) // 10].sum() > 0.2 * top.sum()
        new = {day: {row[name] for row in rows if row["request_time"].day == day} for day in (13, 14)}
        assert {value for value in new[14] - new[13] if value > known}
    assert all(row["recent_items"] is None for row in rows if row["user_id"] > 300)


def test_a_user_keeps_its_attributes_and_an_item_its_own(small_logs):
    for key, names in (("user_id", ("age_band", "gender", "city", "member_level")), ("item_id", ("category", "brand"))):
        seen: dict[int, tuple] = {}
        for row in rows_of(small_logs["text"]):
            attributes = tuple(row[name] for name in names)
            assert seen.setdefault(row[key], attributes) == attributes


def test_adding_days_later_gives_the_same_as_all_at_once(small_logs, tmp_path):
    generate(click_log_options(**{**SMALL, "days": 1}, format="text"), tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("000000_0")}
    truth = generate(click_log_options(**SMALL, format="text"), tmp_path)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert digests(tmp_path) == digests(small_logs["text"])
    assert truth == json.loads((small_logs["text"] / "_truth.json").read_text())


def test_adding_days_by_a_later_start_gives_the_same_rows_and_truth(small_logs, tmp_path):
    generate(click_log_options(**{**SMALL, "days": 1}, format="text"), tmp_path)
    truth = generate(click_log_options(**{**SMALL, "days": 1, "start_date": "2026-11-14"}, format="text"), tmp_path)
    expected = json.loads((small_logs["text"] / "_truth.json").read_text())
    assert (truth["days"], truth["all"]) == (expected["days"], expected["all"])
    assert rows_of(tmp_path) == rows_of(small_logs["text"])


def test_hour_is_a_column_without_hourly_partitions(small_logs, tmp_path):
    generate(click_log_options(**SMALL, format="text", hours=False), tmp_path)
    rows = rows_of(tmp_path, columns_of(hours=False))
    assert (tmp_path / "dt=2026-11-13/_SUCCESS").exists()
    assert all(row.pop("hour") == f"{row['request_time'].hour:02}" for row in rows)
    assert rows == rows_of(small_logs["text"])


def test_other_content_is_not_overwritten_unless_told(tmp_path):
    options = {**SMALL, "days": 1, "format": "text", "hours": False}
    generate(click_log_options(**options), tmp_path)
    place = tmp_path / "dt=2026-11-13/000000_0"
    place.write_bytes(place.read_bytes() + b"tampered\n")
    with pytest.raises(ConfigError, match=r"dt=2026-11-13 exists with other content"):
        generate(click_log_options(**options), tmp_path)
    assert place.read_bytes().endswith(b"tampered\n")
    generate(click_log_options(**options), tmp_path, overwrite=True)
    assert not place.read_bytes().endswith(b"tampered\n")


@pytest.mark.parametrize(("name", "value"), [("seed", 5), ("num_items", 400), ("click_rate", 0.2), ("format", "orc")])
def test_one_table_holds_one_kind_of_log(name, value, tmp_path):
    options = {**SMALL, "days": 1, "format": "text", "hours": False}
    generate(click_log_options(**options), tmp_path)
    with pytest.raises(ConfigError, match=rf"holds a click log with {name}="):
        generate(click_log_options(**{**options, "start_date": "2026-11-14", name: value}), tmp_path, overwrite=True)


def test_a_failure_leaves_no_part_of_a_partition(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hivemill.data.writers._write_text", full_disk)
    with pytest.raises(InfrastructureError, match="No space left") as failure:
        generate(click_log_options(**SMALL, format="text"), tmp_path / "log")
    assert "Free some space" in failure.value.hint
    assert not list(tmp_path.rglob("*hour=*"))


def test_a_destination_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(InfrastructureError, match="cannot write the click log"):
        generate(click_log_options(**SMALL), tmp_path / "file")


def test_memory_is_bounded_by_a_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr(generator, "CHUNK_ROWS", 500)
    monkeypatch.setattr(truth, "CALIBRATION_ROWS", 500)

    def peak(rows: int) -> int:
        options = click_log_options(**{**SMALL, "days": 1, "rows_per_day": rows}, hours=False)
        tracemalloc.start()
        generate(options, tmp_path / str(rows))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1_000)
    assert peak(60_000) < 1.5 * peak(6_000)


def test_no_tensorflow_is_imported():
    modules = "hivemill.data.click_log.generator, hivemill.data.importers.public_logs"
    code = f"import sys, {modules}; sys.exit('tensorflow' in sys.modules or 'tfx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3]).returncode == 0
