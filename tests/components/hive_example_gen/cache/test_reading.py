"""Files over which pyarrow ends the process: the next conversion of the partition refuses them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.orc
import pytest

from hivemill.common.errors import DataCorruptError
from hivemill.components.hive_example_gen.cache import crash_guard
from hivemill.components.hive_example_gen.cache.entries import store_at
from hivemill.components.hive_example_gen.convert import convert_partition
from hivemill.components.hive_example_gen.options import BadRowOptions
from tests.components.hive_example_gen.cache.test_quarantine import Case

ROOT = Path(__file__).parents[4]
GONE = "another-machine:1:0"


def _orc(path, *, damaged=False):
    table = pa.table({"id": range(5000), "name": [f"name {number * 7919 % 5003}" for number in range(5000)]})
    pa.orc.write_table(table, str(path), compression="zlib")
    if damaged:
        data = bytearray(path.read_bytes())
        data[2000:2064] = b"\xff" * 64
        path.write_bytes(data)


@pytest.fixture
def case(tmp_path):
    case = Case(tmp_path, format="orc")
    _orc(case.table / "dt=2026-11-13/000000_0")
    _orc(case.table / "dt=2026-11-13/000001_0", damaged=True)
    return case


def _train(case):
    (partition,) = case.plan().splits["train"]
    return partition, Path(case.kept) / f".{partition.fingerprint}.reading"


def test_a_file_that_ended_an_earlier_process_is_refused(case):
    partition, folder = _train(case)
    folder.mkdir(parents=True)
    (folder / GONE).touch()
    with pytest.raises(DataCorruptError, match=r"dt=2026-11-13/000001_0 is damaged: .* \(SIG[A-Z]+\): ") as raised:
        convert_partition(partition, str(case.table), BadRowOptions(), case.kept)
    assert raised.value.exit_code == 9
    assert (folder / GONE).exists()  # for the next run: nothing has changed


@pytest.mark.slow
def test_the_second_process_names_the_file_that_ended_the_first(case):
    code = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]
from pathlib import Path
from tests.components.hive_example_gen.cache.test_quarantine import Case, DEFAULTS, convert_partition
case = Case.__new__(Case)
case.table, case.kept, case.options = Path({str(case.table)!r}), {case.kept!r}, {case.options!r}
(partition,) = case.plan().splits["train"]
convert_partition(partition, str(case.table), DEFAULTS, case.kept)
"""
    died = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert died.returncode < 0, f"pyarrow ends no process here any more: {died.stderr[-500:]}"
    partition, folder = _train(case)
    assert len(list(folder.iterdir())) == 1
    with pytest.raises(DataCorruptError, match="dt=2026-11-13/000001_0 is damaged: "):
        convert_partition(partition, str(case.table), BadRowOptions(), case.kept)


def test_after_a_kill_whole_files_are_read(case):
    _orc(case.table / "dt=2026-11-13/000001_0")
    partition, folder = _train(case)
    folder.mkdir(parents=True)
    (folder / GONE).touch()
    assert convert_partition(partition, str(case.table), BadRowOptions(), case.kept).rows == 10_000
    assert not folder.exists()


def test_nothing_is_left_and_nothing_tried_otherwise(case, monkeypatch):
    monkeypatch.setattr(crash_guard, "_try_in_child", None)
    partition, folder = _train(case)
    with (
        crash_guard.noted(partition, str(case.table), case.kept),
        crash_guard.noted(partition, str(case.table), case.kept),
    ):
        assert len(list(folder.iterdir())) == 2  # another thread's, alive
    assert not folder.exists()
    with pytest.raises(ValueError), crash_guard.noted(partition, str(case.table), case.kept):
        raise ValueError
    assert not folder.exists()


@pytest.mark.parametrize(("days", "stays"), [(2, True), (91, False)])
def test_notes_stay_for_the_next_weekly_run(tmp_path, days, stays):
    folder = tmp_path / ".fingerprint.reading"
    folder.mkdir()
    (folder / GONE).touch()
    then = time.time() - days * 86_400
    os.utime(folder, (then, then))
    store_at(str(tmp_path)).remove_leftovers()
    assert folder.exists() is stays


@pytest.mark.slow
def test_damage_that_has_words_is_left_to_the_reader(case):
    file = case.table / "dt=2026-11-13/000001_0"
    os.truncate(file, 1000)
    partition, folder = _train(case)
    folder.mkdir(parents=True)
    (folder / GONE).touch()
    with pytest.raises(DataCorruptError, match="000001_0 cannot be read as ORC: "):
        convert_partition(partition, str(case.table), BadRowOptions(), case.kept)
