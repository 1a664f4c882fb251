"""Finding partitions in a warehouse directory."""

import datetime
import os
import time

import pytest

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.components.hive_example_gen.catalog import directory, partition_names, table_files
from hivemill.components.hive_example_gen.options import SourceOptions

DAY = datetime.date(2026, 11, 15)


def _write(file, data=b"x"):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def _list(table, columns=("dt",), days=(DAY,), **options):
    return directory.list_days(SourceOptions(table=str(table), **options), columns, days)


def test_hidden_files_checksums_and_empty_files_are_no_data(tmp_path):
    for name in ("000000_0", "_SUCCESS", "_committed_1", ".hive-staging", "000000_0.crc", ".000000_0.crc"):
        _write(tmp_path / "dt=2026-11-15" / name)
    _write(tmp_path / "dt=2026-11-15" / "000001_0", b"")
    (partition,) = _list(tmp_path).partitions[DAY]
    assert [(file.path, file.num_bytes) for file in partition.files] == [("dt=2026-11-15/000000_0", 1)]


def test_a_partition_with_empty_files_only_has_no_files(tmp_path):
    _write(tmp_path / "dt=2026-11-15" / "000000_0", b"")
    (partition,) = _list(tmp_path).partitions[DAY]
    assert partition.files == ()


def test_only_the_days_asked_for_are_opened(tmp_path, monkeypatch):
    for back in range(1000):
        (tmp_path / f"dt={DAY - datetime.timedelta(days=back)}").mkdir()
    _write(tmp_path / "dt=2026-11-15" / "000000_0")
    opened = []
    monkeypatch.setattr(
        table_files, "entries", lambda folder, real=table_files.entries: opened.append(folder) or real(folder)
    )
    _list(tmp_path)
    assert opened == [str(tmp_path / "dt=2026-11-15")]


def test_hives_escapes_are_decoded(tmp_path):
    _write(tmp_path / "dt=2026-11-15" / "place=a%3Ab%2Fc%3Dd e%25f ü" / "f")
    _write(tmp_path / "dt=2026-11-15" / "place=100%" / "f")
    found = _list(tmp_path, ("dt", "place")).partitions[DAY]
    assert [dict(partition.values)["place"] for partition in found] == ["100%", "a:b/c=d e%f ü"]


def test_escape_is_the_inverse():
    value = 'a:b/c=d e%f"#{}[]^\\?*\x01\x7fü'
    assert partition_names.unescape(partition_names.escape(value)) == value
    assert partition_names.escape("2026/11/15") == "2026%2F11%2F15"


def test_the_date_may_be_written_in_another_format(tmp_path):
    _write(tmp_path / "day=20261115" / "f")
    found = _list(tmp_path, ("day",), date_column="day", date_format="%Y%m%d").partitions[DAY]
    assert [partition.name for partition in found] == ["day=20261115"]


def test_another_writers_spelling_of_a_folder(tmp_path):
    """Spark keeps the letters of a partition column, and escapes fewer characters than Hive."""
    _write(tmp_path / "DT=2026-11-15 00:00" / "Place=x" / "f")
    (partition,) = _list(tmp_path, ("dt", "place"), date_format="%Y-%m-%d 00:00").partitions[DAY]
    assert partition.name == "DT=2026-11-15 00:00/Place=x"
    assert partition.values == (("dt", "2026-11-15 00:00"), ("place", "x"))


def test_a_day_in_two_folders_is_refused(tmp_path):
    for name in ("DT=2026-11-15", "dt=2026-11-15"):
        _write(tmp_path / name / "f")
    with pytest.raises(DataNotReadyError, match="holds the day 2026-11-15 twice, as DT=2026-11-15 and dt=2026-11-15"):
        _list(tmp_path)


def test_columns_in_another_order_than_the_path(tmp_path):
    _write(tmp_path / "dt=2026-11-15" / "hour=07" / "f")
    with pytest.raises(ConfigError, match=r"contains 'dt=2026-11-15' instead of folders `hour=...`") as raised:
        _list(tmp_path, ("hour", "dt"))
    assert "in path order" in raised.value.hint


def test_folders_of_a_transactional_table_are_refused(tmp_path):
    _write(tmp_path / "dt=2026-11-15" / "base_0000002" / "bucket_00000")
    with pytest.raises(ConfigError, match=r"transactional \(ACID\) table") as raised:
        _list(tmp_path)
    assert "HiveServer2" in raised.value.hint


def test_a_table_of_ten_years_is_listed_at_once(tmp_path):
    for back in range(3650):
        (tmp_path / f"dt={DAY - datetime.timedelta(days=back)}").mkdir()
    days = [DAY - datetime.timedelta(days=back) for back in range(29)]
    for day in days:
        for hour in range(24):
            _write(tmp_path / f"dt={day}" / f"hour={hour:02d}" / "000000_0")
    started = time.perf_counter()
    listing = _list(tmp_path, ("dt", "hour"), days)
    assert sum(len(found) for found in listing.partitions.values()) == 29 * 24
    assert time.perf_counter() - started < 5, "0.04 s on two cores of 2026"


def test_the_date_need_not_come_first(tmp_path):
    for country in ("de", "fr"):
        _write(tmp_path / f"country={country}" / "dt=2026-11-15" / "f")
    _write(tmp_path / "country=it" / "dt=2026-11-14" / "f")
    found = _list(tmp_path, ("country", "dt")).partitions[DAY]
    assert [partition.name for partition in found] == ["country=de/dt=2026-11-15", "country=fr/dt=2026-11-15"]


def test_the_default_partition_is_noted_for_dates_and_null_elsewhere(tmp_path):
    _write(tmp_path / "dt=__HIVE_DEFAULT_PARTITION__" / "hour=00" / "f")
    _write(tmp_path / "dt=2026-11-15" / "hour=__HIVE_DEFAULT_PARTITION__" / "f")
    listing = _list(tmp_path, ("dt", "hour"))
    assert listing.partitions[DAY][0].values == (("dt", "2026-11-15"), ("hour", None))
    assert listing.notes == (
        "dt=__HIVE_DEFAULT_PARTITION__ holds rows without a date; they belong to no window and are left out",
    )


@pytest.mark.parametrize(
    ("marker", "finished"),
    [
        ("dt=2026-11-15/hour=00/_SUCCESS", [True, False]),
        ("dt=2026-11-15/_SUCCESS", [True, True]),
        ("_SUCCESS", [False] * 2),
    ],
)
def test_a_marker_counts_for_what_lies_below_it_down_from_the_day(tmp_path, marker, finished):
    for hour in ("00", "01"):
        _write(tmp_path / "dt=2026-11-15" / f"hour={hour}" / "f")
    _write(tmp_path / marker)
    found = _list(tmp_path, ("dt", "hour"), success_file="_SUCCESS").partitions[DAY]
    assert [partition.has_success_file for partition in found] == finished


def test_a_marker_of_any_name_is_no_data(tmp_path):
    for name in ("hour=00/000000_0", "hour=00/DONE", "DONE"):
        _write(tmp_path / "dt=2026-11-15" / name)
    (partition,) = _list(tmp_path, ("dt", "hour"), success_file="DONE").partitions[DAY]
    assert [file.path for file in partition.files] == ["dt=2026-11-15/hour=00/000000_0"]
    assert partition.has_success_file


def test_more_folders_than_partition_columns(tmp_path):
    _write(tmp_path / "dt=2026-11-15" / "hour=07" / "f")
    with pytest.raises(ConfigError, match="holds the folder 'hour=07' where data files were expected") as raised:
        _list(tmp_path)
    assert "partition_columns" in raised.value.hint


def test_fewer_folders_than_partition_columns(tmp_path):
    _write(tmp_path / "dt=2026-11-15" / "000000_0")
    with pytest.raises(ConfigError, match=r"contains '000000_0' instead of folders `hour=...`"):
        _list(tmp_path, ("dt", "hour"))


def test_no_table(tmp_path):
    with pytest.raises(ConfigError, match=r"source.table: .*nowhere is no directory"):
        _list(tmp_path / "nowhere")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_without_permission(tmp_path):
    _write(tmp_path / "dt=2026-11-15" / "f")
    (tmp_path / "dt=2026-11-15").chmod(0)
    try:
        with pytest.raises(DataNotReadyError, match="dt=2026-11-15 cannot be read"):
            _list(tmp_path)
    finally:
        (tmp_path / "dt=2026-11-15").chmod(0o700)
