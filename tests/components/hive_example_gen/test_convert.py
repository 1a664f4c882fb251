"""One partition to shards in the cache: complete or absent, reused, made again when damaged."""

import errno
import gzip
import json
import os
import pickle
import struct
import time

import pyarrow as pa
import pyarrow.parquet
import pytest
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from hivemill.common.errors import ConfigError, DataCorruptError, DataNotReadyError, InfrastructureError
from hivemill.components.hive_example_gen import convert
from hivemill.components.hive_example_gen.cache import partition_record, tfrecord
from hivemill.components.hive_example_gen.cache.entries import store_at
from hivemill.components.hive_example_gen.options import SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning.window import plan_window

COLUMNS = {"id": "bigint", "tags": "array<string>"}
DATA = b"1\x01a\x02b\n2\x01\n\\N\x01\\N\n"
DAY = "2026-11-14"


class Case:
    """A table with one train and one eval day, and its cache."""

    def __init__(self, folder, data=DATA, **options):
        self.table = folder / "table"
        self.cache = folder / "partitions"
        self.write(data)
        (self.table / "dt=2026-11-15").mkdir()
        (self.table / "dt=2026-11-15" / "000000_0").write_bytes(DATA)
        self.options = {"columns": COLUMNS, "partition_columns": {"dt": "date"}, **options}

    def write(self, data, name="000000_0"):
        folder = self.table / f"dt={DAY}"
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(data, pa.Table):
            pa.parquet.write_table(data, folder / name)
        else:
            (folder / name).write_bytes(data)

    @property
    def source(self):
        return SourceOptions(table=str(self.table), **self.options)

    def partition(self):
        import datetime

        window = WindowOptions(train_days=1, validation_days=0)
        plan = plan_window(self.source, window, datetime.date(2026, 11, 15), str(self.cache))
        return plan.splits["train"][0]

    def convert(self, partition=None):
        partition = partition or self.partition()
        return convert.convert_partition(partition, str(self.table), self.source.bad_rows, str(self.cache))

    def examples(self, record):
        found = []
        for shard in record.shards:
            data = gzip.decompress((self.cache / record.fingerprint / shard.name).read_bytes())
            while data:
                (length,) = struct.unpack_from("<Q", data)
                found.append(data[12 : 12 + length])
                data = data[16 + length :]
        return ExamplesToRecordBatchDecoder().DecodeBatch(found).to_pylist()


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


def test_rows_become_examples_with_the_partitions_value(case):
    record = case.convert()
    dt = [b"2026-11-14"]
    assert case.examples(record) == [
        {"id": [1], "tags": [b"a", b"b"], "dt": dt},
        {"id": [2], "tags": [], "dt": dt},
        {"id": None, "tags": None, "dt": dt},
    ]
    assert record.rows == 3
    assert record.features == {"id": ("int64", False), "tags": ("bytes", True), "dt": ("bytes", False)}


@pytest.mark.parametrize(
    ("hive_type", "folder", "expected"),
    [
        ("string", "07", [b"07"]),
        ("int", "07", [7]),
        ("string", "__HIVE_DEFAULT_PARTITION__", None),
        ("double", "1.5", [1.5]),
    ],
)
def test_partition_values_are_typed(tmp_path, hive_type, folder, expected):
    case = Case(tmp_path, partition_columns={"dt": "string", "part": hive_type})
    for day in (DAY, "2026-11-15"):
        (case.table / f"dt={day}" / f"part={folder}").mkdir()
        os.rename(case.table / f"dt={day}" / "000000_0", case.table / f"dt={day}" / f"part={folder}" / "000000_0")
    assert [example.get("part") for example in case.examples(case.convert())] == [expected] * 3


def test_a_partition_value_of_another_type(tmp_path):
    case = Case(tmp_path, partition_columns={"dt": "int"})
    with pytest.raises(DataNotReadyError, match=r"partition dt=2026-11-14: dt='2026-11-14' is not a int"):
        case.convert()


def test_a_converted_partition_is_reused(case, monkeypatch):
    first = case.convert()
    assert case.partition().cached
    assert case.partition().num_rows == 3
    monkeypatch.setattr(convert._Conversion, "run", lambda self: pytest.fail("converted again"))
    assert case.convert() == first


@pytest.mark.parametrize("damage", ["shard gone", "shard cut", "record cut", "another version"])
def test_a_damaged_entry_is_converted_again(case, damage):
    record = case.convert()
    folder = case.cache / record.fingerprint
    shard = folder / record.shards[0].name
    if damage == "shard gone":
        shard.unlink()
    elif damage == "shard cut":
        shard.write_bytes(shard.read_bytes()[:-1])
    elif damage == "record cut":
        (folder / partition_record.RECORD_NAME).write_text("{")
    else:
        document = json.loads((folder / partition_record.RECORD_NAME).read_text()) | {"version": 0}
        (folder / partition_record.RECORD_NAME).write_text(json.dumps(document))
    assert not case.partition().cached
    again = case.convert()  # its bytes may differ: the encoder writes the features of an example in any order
    assert (again.rows, again.features) == (record.rows, record.features)
    assert len(case.examples(again)) == 3
    assert [path.name for path in case.cache.iterdir()] == [record.fingerprint]


def test_several_files_and_several_shards(case, monkeypatch):
    monkeypatch.setattr(convert, "SHARD_BYTES", 1)
    case.write(DATA, "000001_0")
    case.write(b"9\x01z\n", "000002_0")
    record = case.convert()
    assert [shard.rows for shard in record.shards] == [3, 3, 1]
    assert [example["id"] for example in case.examples(record)] == [[1], [2], None, [1], [2], None, [9]]


def test_null_elements_are_counted_in_the_record(tmp_path):
    record = Case(tmp_path, b"1\x01a\x02\\N\x02\\N\n").convert()
    assert record.dropped_nulls == {"tags": 2}


def test_a_file_that_changes_while_it_is_read(case, monkeypatch):
    partition = case.partition()
    real = convert.flatten

    def meddle(batch, dropped):
        case.write(DATA * 2)
        return real(batch, dropped)

    monkeypatch.setattr(convert, "flatten", meddle)
    with pytest.raises(DataNotReadyError, match="dt=2026-11-14/000000_0 changed after the window was planned"):
        case.convert(partition)
    assert list(case.cache.iterdir()) == []


def test_a_file_that_is_added_while_another_is_read_is_for_the_next_plan(case, monkeypatch):
    partition = case.partition()
    real = convert.flatten

    def meddle(batch, dropped):
        case.write(b"9\x01z\n", "000009_0")
        return real(batch, dropped)

    monkeypatch.setattr(convert, "flatten", meddle)
    record = case.convert(partition)
    assert record.rows == 3
    monkeypatch.undo()
    later = case.partition()
    assert later.fingerprint != partition.fingerprint and not later.cached
    assert case.convert(later).rows == 4


def test_a_file_that_changed_since_the_plan_though_its_size_did_not(case):
    partition = case.partition()
    os.utime(case.table / f"dt={DAY}" / "000000_0", ns=(5, 5))
    with pytest.raises(DataNotReadyError, match="changed after the window was planned"):
        case.convert(partition)


def test_a_file_that_is_gone(case):
    partition = case.partition()
    os.remove(case.table / f"dt={DAY}" / "000000_0")
    with pytest.raises(DataNotReadyError, match="is gone"):
        case.convert(partition)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_nothing_visible(case, monkeypatch, number):
    def full(self, records):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tfrecord.TFRecordWriter, "write", full)
    with pytest.raises(InfrastructureError, match="the disk is full") as raised:
        case.convert()
    assert raised.value.exit_code == 6
    assert list(case.cache.iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_real_full_device(case, monkeypatch):
    monkeypatch.setattr(convert, "TFRecordWriter", lambda path: tfrecord.TFRecordWriter("/dev/full"))
    with pytest.raises(InfrastructureError, match="the disk is full"):
        case.convert()
    assert list(case.cache.iterdir()) == []


def test_a_cache_that_cannot_be_written(case):
    case.cache.write_text("a file where the folder should be")
    with pytest.raises(InfrastructureError, match="cannot write") as raised:
        case.convert()
    assert raised.value.exit_code == 6


def test_a_column_that_changes_its_kind_between_files(tmp_path):
    case = Case(tmp_path, pa.table({"c": [1]}), columns=None)
    case.write(pa.table({"c": ["x"]}), "000001_0")
    with pytest.raises(DataNotReadyError, match=r"feature 'c' is bytes in .*000001_0 and int64 in .*000000_0"):
        case.convert()


def test_a_type_that_does_not_fit(tmp_path):
    case = Case(tmp_path, pa.table({"c": [[[1]]]}), columns=None)
    with pytest.raises(ConfigError, match="column 'c' is array<array<bigint>>"):
        case.convert()


def test_a_number_beyond_int64(tmp_path):
    case = Case(tmp_path, pa.table({"c": pa.array([2**64 - 1], pa.uint64())}), columns=None)
    with pytest.raises(DataCorruptError, match=r"dt=2026-11-14/000000_0 cannot be read as tf.Example: Integer value"):
        case.convert()


def test_another_worker_that_is_faster(case, monkeypatch):
    first = case.convert()
    partition = case.partition()
    os.rename(case.cache / first.fingerprint, case.cache / "aside")
    real = convert._Conversion.run

    def overtaken(self):
        os.rename(case.cache / "aside", case.cache / first.fingerprint)
        return real(self)

    monkeypatch.setattr(convert._Conversion, "run", overtaken)
    assert case.convert(partition) == first
    assert [path.name for path in case.cache.iterdir()] == [first.fingerprint]


def test_leftovers_of_killed_runs_are_removed_when_they_are_old(case):
    record = case.convert()
    for name, age in ((".old.tmp", 2 * 24 * 3600), (".young.tmp", 60)):
        (case.cache / name).mkdir()
        moment = time.time() - age
        os.utime(case.cache / name, (moment, moment))
    store_at(str(case.cache)).remove_leftovers()
    assert {path.name for path in case.cache.iterdir()} == {record.fingerprint, ".young.tmp"}


def test_a_planned_partition_travels(case):
    partition = case.partition()
    assert pickle.loads(pickle.dumps(partition)) == partition


def test_converting_imports_no_tensorflow():
    import subprocess
    import sys

    code = (
        "import sys; import hivemill.components.hive_example_gen.convert; "
        "print([name for name in sys.modules if name in ('tensorflow', 'tfx', 'apache_beam')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
