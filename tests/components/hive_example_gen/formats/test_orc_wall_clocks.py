"""Timestamps of ORC files that Spark wrote in other zones than UTC (fixtures/make_fixtures.py, WALL_CLOCKS).

pyarrow alone is one second early or late around 1970, an hour off before a clock change, and minutes off around 1900.
"""

import datetime
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.orc
import pytest

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.formats.orc import orc_file
from hivemill.components.hive_example_gen.formats.orc.tail import OrcTail
from hivemill.components.hive_example_gen.table.spec import TableSpec

FOLDER = Path(__file__).with_name("fixtures")
COLUMNS = {"written": "string", "at": "timestamp", "l": "array<timestamp>"}
FILES = {"wall_clocks_west": "1969-12-31 18:59:59", "wall_clocks_east": "1970-01-01 05:29:59"}
"""And the second before 1970 in UTC: with a fraction it lies in the file as the one after it does (ORC-763)."""
ZONE = b"\x1a\x10America/New_York"


def _read(path, columns=COLUMNS, **properties):
    spec = TableSpec(format="orc", columns=columns, partition_columns={}, serde_properties=properties)
    batches = orc_file.read_batches(DataFile(str(path), "dt=x/f"), spec, BadRows())
    return [row for batch in batches for row in batch.to_pylist()]


def _expected(text, ambiguous):
    moment = datetime.datetime.fromisoformat(text if "." not in text else text.ljust(26, "0"))
    is_later = text.startswith(ambiguous) and moment.microsecond > 999
    return moment + datetime.timedelta(seconds=is_later)  # as Hive and Spark read it


@pytest.mark.parametrize(("name", "ambiguous"), FILES.items())
def test_as_written(name, ambiguous):
    rows = _read(FOLDER / name)
    assert len(rows) == 90
    expected = [_expected(row["written"], ambiguous) for row in rows]
    assert [row["at"] for row in rows] == expected
    assert [row["l"] for row in rows] == [[moment] for moment in expected]


def test_pyarrow_alone_is_wrong():
    """If this fails, a newer pyarrow may do without the correction."""
    file = FOLDER / "wall_clocks_west"
    plain = pa.orc.ORCFile(file).read()["at"].cast(pa.timestamp("us"), safe=False).to_pylist()
    wrong = sum(left != row["at"] for left, row in zip(plain, _read(file), strict=True))
    assert wrong > 5


def test_files_of_old_hive_name_no_zone(tmp_path):
    """Field 3 of the stripe's footer called 15, which nobody knows."""
    data = (FOLDER / "wall_clocks_west").read_bytes()
    assert data.count(ZONE) == 1
    (tmp_path / "f").write_bytes(data.replace(ZONE, b"\x7a" + ZONE[1:]))
    zoned = _read(tmp_path / "f", **{"writer.time.zone": "America/New_York"})
    assert zoned == _read(FOLDER / "wall_clocks_west")
    summer = [row["at"] for row in _read(tmp_path / "f") if row["written"] == "2026-07-01 12:00:00"]
    assert summer == [datetime.datetime(2026, 7, 1, 11)]  # counted from January, as if it were UTC
    with pytest.raises(ConfigError, match="no time zone is called 'Mars/Base'"):
        _read(tmp_path / "f", **{"writer.time.zone": "Mars/Base"})


def test_an_unknown_zone_is_refused(tmp_path):
    data = (FOLDER / "wall_clocks_west").read_bytes()
    (tmp_path / "f").write_bytes(data.replace(ZONE, b"\x1a\x10America/New_Yolk"))
    with pytest.raises(
        DataNotReadyError, match=r"dt=x/f: .* time zone 'America/New_Yolk', which this machine does not"
    ):
        _read(tmp_path / "f")
    assert _read(tmp_path / "f", {"written": "string"})[0] == {"written": "0001-01-01 00:00:00"}


def test_a_machine_without_time_zones(tmp_path):
    """pyarrow alone ends the process there. The package tzdata, which pandas brings, is taken instead."""
    code = """
import sys
from hivemill.components.hive_example_gen.formats.orc import orc_file
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.table.spec import TableSpec
spec = TableSpec(format="orc", columns={"at": "timestamp"}, partition_columns={})
print(sum(batch.num_rows for batch in orc_file.read_batches(DataFile(sys.argv[1], "f"), spec, None)))
"""
    environment = {**os.environ, "TZDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[4])}
    command = [sys.executable, "-c", code, str(FOLDER / "wall_clocks_west")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "90\n", done.stderr


def test_a_zone_that_only_pyarrow_lacks(tmp_path, monkeypatch):
    (tmp_path / "GMT").write_bytes(b"")
    monkeypatch.setenv("TZDIR", str(tmp_path))
    with pytest.raises(DataNotReadyError, match="time zone 'America/New_York', which this machine does not know"):
        _read(FOLDER / "wall_clocks_west")


@pytest.mark.parametrize(
    ("moments", "precedes", "leaves"),
    [
        ([datetime.datetime(2026, 1, 1)], False, False),
        ([datetime.datetime(2026, 1, 1), datetime.datetime(1970, 1, 2)], True, False),
        ([datetime.datetime(1600, 1, 1)], True, True),
        ([datetime.datetime(2300, 1, 1)], False, True),
        ([None], False, False),
    ],
)
def test_what_the_statistics_rule_out(tmp_path, moments, precedes, leaves):
    times = pa.array(moments, pa.timestamp("us"))
    table = pa.table({"t": times, "l": pa.ListArray.from_arrays(range(len(times) + 1), times)})
    pa.orc.write_table(table, str(tmp_path / "f"))
    with open(tmp_path / "f", "rb") as opened:
        tail = OrcTail.read(opened)
        assert (tail.may_precede_epoch, tail.may_leave_nanoseconds) == (precedes, leaves)
        assert tail.zones(opened) == ["GMT"]


def test_files_without_old_timestamps_are_read_once(tmp_path, monkeypatch):
    monkeypatch.setattr("hivemill.components.hive_example_gen.formats.orc.orc_file.SecondsFile", None)
    monkeypatch.setattr(OrcTail, "zones", lambda *_: ["America/New_York"])
    moment = datetime.datetime(2026, 7, 1, 12, 0, 0, 5)
    pa.orc.write_table(pa.table({"t": pa.array([moment], pa.timestamp("us"))}), str(tmp_path / "f"))
    assert _read(tmp_path / "f", {"t": "timestamp"}) == [{"t": moment}]
