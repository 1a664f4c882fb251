"""Days that are spread over a path, or written with the hour: which partitions a day has, and what is refused."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.components.hive_example_gen.catalog import directory
from hivemill.components.hive_example_gen.options import SourceOptions
from hivemill.pipeline.scaffold.partitions import find_partitioning

DAYS = [datetime.date(2026, 11, 4), datetime.date(2026, 11, 5), datetime.date(2026, 12, 5)]


def _table(folder: Path, *paths: str) -> str:
    for path in paths:
        (folder / path).mkdir(parents=True)
        (folder / path / "part-0").write_bytes(b"x")
    return str(folder)


def _listed(table: str, path_format: str, days=DAYS):
    source = SourceOptions(table=table, path_format=path_format)
    listing = directory.list_days(source, tuple(source.partition_columns), days)
    return {day.isoformat(): [(p.name, dict(p.values)) for p in found] for day, found in listing.partitions.items()}


@pytest.mark.parametrize(
    ("path_format", "path", "hour"),
    [
        ("year=%Y/month=%m/day=%d", "year=2026/month=11/day=5", None),
        ("year=%Y/month=%m/day=%d/hour=%H", "year=2026/month=11/day=05/hour=7", "07"),
        ("%Y/%m/%d/%H", "2026/11/05/07", "07"),
        ("dt=%Y%m%d%H", "dt=2026110507", "07"),
        ("dt=%Y-%m-%d-%H-%M", "dt=2026-11-05-07-00", "07"),
        ("logs/%Y%m%d", "logs/20261105", None),
    ],
)
def test_a_day_has_the_partitions_of_its_path(tmp_path, path_format, path, hour):
    other = datetime.datetime(2026, 12, 5, 7).strftime(path_format)
    found = _listed(_table(tmp_path, path, other), path_format)
    values = {"dt": "2026-11-05", **({"hour": hour} if hour else {})}
    assert found["2026-11-05"] == [(path, values)]
    assert [name for name, _ in found["2026-12-05"]] == [other] and found["2026-11-04"] == []


def test_the_rows_get_a_date_and_an_hour_column():
    source = SourceOptions(table="t", path_format="%Y/%m/%d/%H")
    assert (source.partition_columns, source.hour_column) == ({"dt": "string", "hour": "int"}, "hour")
    assert SourceOptions(**source.model_dump()) == source


def test_a_day_that_is_there_twice_is_refused(tmp_path):
    table = _table(tmp_path, "2026/11/05", "2026/11/5")
    with pytest.raises(DataNotReadyError, match=r"holds 2026-11-05 twice, as 2026/11/05 and 2026/11/5"):
        _listed(table, "%Y/%m/%d")


def test_a_folder_that_does_not_fit_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"holds 'backup', which does not fit source\.path_format"):
        _listed(_table(tmp_path, "2026/11/05", "backup"), "%Y/%m/%d")


@pytest.mark.parametrize(
    ("path_format", "message"),
    [
        ("year=%Y/month=%m", "lacks %d"),
        ("%Y/%Y/%m/%d", "has %Y twice"),
        ("%Y/%W", "holds %W"),
        ("%Y//%m/%d", "empty folder name"),
    ],
)
def test_a_path_that_names_no_day_is_refused(path_format, message):
    with pytest.raises(ValidationError, match=message):
        SourceOptions(table="t", path_format=path_format)


@pytest.mark.parametrize(
    ("date_format", "message"),
    [
        ("%Y-%m", "does not name a day"),
        ("%d", "does not name a day"),
        ("%Y-%W", "does not name a day"),
        ("%Y-%m-%d-%H-%M", "holds more than a day"),
        ("day", "does not name a day"),
    ],
)
def test_a_date_format_is_a_whole_day_and_nothing_finer(date_format, message):
    with pytest.raises(ValidationError, match=rf"{message}.*path_format"):
        SourceOptions(table="t", date_format=date_format)


def test_a_date_format_beside_a_path_format_is_refused():
    with pytest.raises(ValidationError, match=r"`path_format` and `date_format` exclude each other; remove '%Y%m%d'"):
        SourceOptions(table="t", path_format="%Y/%m/%d", date_format="%Y%m%d")


@pytest.mark.parametrize("date_format", ["%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%d-%m-%Y", "%Y_%m_%d", "%y%j"])
def test_formats_of_a_day_are_taken(date_format):
    assert SourceOptions(table="t", date_format=date_format).date_format == date_format


@pytest.mark.parametrize(
    "place", [{"table": "hive://h:9083/db.t"}, {"query": "{start_date}", "server": "hiveserver2://h"}]
)
def test_a_path_format_is_for_folders(place):
    with pytest.raises(ValidationError, match="is for a `table` that is a folder"):
        SourceOptions(**place, path_format="%Y/%m/%d")


@pytest.mark.parametrize(
    ("paths", "path_format", "num_days"),
    [
        (["year=2026/month=9/day=30", "year=2026/month=11/day=5"], "year=%Y/month=%m/day=%d", 2),
        (["yyyy=2026/mm=11/dd=05/hh=07"], "yyyy=%Y/mm=%m/dd=%d/hh=%H", 1),
        (["2026/11/05/07", "2026/11/06/07"], "%Y/%m/%d/%H", 2),
        (["dt=2026110507", "dt=2026110508"], "dt=%Y%m%d%H", 1),
        (["ts=2026-11-05-07-00"], "ts=%Y-%m-%d-%H-%M", 1),
        (["20261105", "20261106"], "%Y%m%d", 2),
    ],
)
def test_init_proposes_the_path_format(tmp_path, paths, path_format, num_days):
    found = find_partitioning(SourceOptions(table=_table(tmp_path, *paths)))
    assert (found.path_format, len(found.days)) == (path_format, num_days)
    assert found.source(SourceOptions(table=str(tmp_path))).path_format == path_format


@pytest.mark.parametrize("path", ["month=2026-11", "week=2026-45", "country=de", "year=2026/month=11"])
def test_init_refuses_what_names_no_day(tmp_path, path):
    with pytest.raises(ConfigError, match="name no day"):
        find_partitioning(SourceOptions(table=_table(tmp_path, path)))
