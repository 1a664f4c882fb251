"""SequenceFiles of every version, compression and value class; damage; hostile lengths."""

import struct
import tracemalloc

import pyarrow as pa
import pytest

from hivemill.common.errors import DataCorruptError, DataNotReadyError
from hivemill.components.hive_example_gen.formats import reader
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.table.spec import TableSpec
from tests.components.hive_example_gen.formats.hadoop_writers import (
    BYTES,
    CODECS,
    SYNC,
    TEXT,
    lazy_row,
    sequence_file,
    string,
)

COLUMNS = {"id": "int", "name": "string"}
VALUES = [b"%d\x01name %d\xc3\xbc" % (number, number) for number in range(23)]
ROWS = [{"id": number, "name": f"name {number}ü"} for number in range(23)]


def _spec(columns=None, **options):
    return TableSpec(format="sequence_file", columns=columns or COLUMNS, partition_columns={}, **options)


def _read(tmp_path, data, spec=None, bad=None):
    (tmp_path / "000000_0").write_bytes(data)
    file = DataFile(str(tmp_path / "000000_0"), "dt=x/000000_0")
    batches = reader.read_batches(file, spec or _spec(), bad if bad is not None else BadRows())
    return [row for batch in batches for row in batch.to_pylist()]


@pytest.mark.parametrize("value_class", [TEXT, BYTES])
@pytest.mark.parametrize("version", [4, 5, 6])
@pytest.mark.parametrize("mode", ["plain", "record", "block"])
def test_every_version_and_mode(tmp_path, mode, version, value_class):
    assert _read(tmp_path, sequence_file(VALUES, mode=mode, version=version, value_class=value_class)) == ROWS


@pytest.mark.parametrize("mode", ["record", "block"])
@pytest.mark.parametrize("codec", CODECS)
def test_every_codec(tmp_path, codec, mode):
    assert _read(tmp_path, sequence_file(VALUES, mode=mode, codec=codec)) == ROWS


def test_keys_and_sync_markers_in_odd_places(tmp_path):
    for key in (b"", b"k" * 300):
        for every in (1, 7):
            assert _read(tmp_path, sequence_file(VALUES, key=key, sync_every=every)) == ROWS
    assert _read(tmp_path, sequence_file(VALUES) + b"\xff\xff\xff\xff" + SYNC) == ROWS
    assert _read(tmp_path, sequence_file([])) == []
    assert _read(tmp_path, sequence_file([], mode="block")) == []


def test_lazy_binary_rows(tmp_path):
    spec = _spec({"id": "int", "tags": "array<string>"}, serde="lazy_binary")
    types = [pa.int32(), pa.list_(pa.string())]
    values = [lazy_row(types, [number, ["a", None]]) for number in range(9)]
    for mode in ("plain", "block"):
        rows = _read(tmp_path, sequence_file(values, mode=mode, value_class=BYTES), spec)
        assert rows == [{"id": number, "tags": ["a", None]} for number in range(9)]


def test_a_value_may_hold_line_feeds(tmp_path):
    rows = _read(tmp_path, sequence_file([b"1\x01a\nb", b"2\x01"]))
    assert rows == [{"id": 1, "name": "a\nb"}, {"id": 2, "name": ""}]


def test_records_larger_than_a_piece(tmp_path, monkeypatch):
    monkeypatch.setattr("hivemill.components.hive_example_gen.formats.hadoop.sequence_file._PIECE_BYTES", 16)
    values = [b"1\x01" + b"x" * size for size in (0, 1, 15, 16, 17, 1000, 3)]
    rows = _read(tmp_path, sequence_file(values))
    assert [len(row["name"]) for row in rows] == [0, 1, 15, 16, 17, 1000, 3]


def test_bad_rows_have_their_place_in_the_file(tmp_path):
    bad = BadRows()
    values = [*VALUES[:7], b"seven\x01x", *VALUES[8:]]
    for mode in ("plain", "block"):
        assert _read(tmp_path, sequence_file(values, mode=mode), bad=bad) == ROWS[:7] + ROWS[8:]
    assert [(row.row, row.column, row.cause) for row in bad.kept] == [(8, "id", "value")] * 2


@pytest.mark.parametrize("mode", ["plain", "record", "block"])
def test_every_truncation_is_noticed_or_ends_between_records(tmp_path, mode):
    whole = sequence_file(VALUES[:6], mode=mode)
    for size in range(4, len(whole), 3):
        try:
            rows = _read(tmp_path, whole[:size])
        except DataCorruptError as error:
            assert error.message.startswith("dt=x/000000_0 cannot be read as SequenceFile: ")
            assert error.exit_code == 9
        else:  # a file may well end here: nothing tells
            assert rows == ROWS[: len(rows)]
            assert len(rows) < 6


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (sequence_file(VALUES).replace(SYNC, b"x" * 16, 2).replace(b"x" * 16, SYNC, 1), "a sync marker is not that"),
        (sequence_file([]) + struct.pack(">ii", 2**31 - 1, 4), "bytes with a key of|are missing where"),
        (sequence_file([]) + struct.pack(">ii", 2**30, 4), "are missing where 0 are left"),
        (sequence_file([]) + struct.pack(">ii", -7, 4), "a record of -7 bytes"),
        (sequence_file([]) + struct.pack(">ii", 3, 4) + b"abc", "a record of 3 bytes with a key of 4"),
        (sequence_file([]) + struct.pack(">ii", 3, 0) + b"\x05ab", "a value is shorter"),
        (b"SEQ\x03" + string(TEXT) * 2 + b"\0\0" + SYNC, "versions 4 to 6 are read"),
        (b"SEQ\x06" + b"\x8c\x7f\xff\xff\xff", "bytes are announced where"),
        (b"SEQ\x06" + string(TEXT) * 2 + b"\0\0" + b"\x7f\xff\xff\xff", "entries of metadata are announced"),
        (sequence_file([], mode="block") + b"\0\0\0\0", "no sync marker before a block"),
        (sequence_file([], mode="block") + b"\xff\xff\xff\xff" + SYNC + b"\x8c\x7f\xff\xff\xff" * 3, "announced where"),
    ],
)
def test_damage_is_named(tmp_path, data, problem):
    with pytest.raises(DataCorruptError, match=problem) as raised:
        _read(tmp_path, data)
    assert raised.value.message.startswith("dt=x/000000_0 cannot be read as SequenceFile: ")


def test_lengths_are_compared_before_anything_is_allocated(tmp_path):
    data = sequence_file([]) + struct.pack(">ii", 2**30, 4) + b"x" * 100
    _read(tmp_path, sequence_file(VALUES))
    tracemalloc.start()
    with pytest.raises(DataCorruptError):
        _read(tmp_path, data)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def test_other_value_classes_and_codecs_are_refused(tmp_path):
    data = sequence_file(VALUES).replace(string(TEXT), string("org.apache.hadoop.io.LongWritable"))
    with pytest.raises(DataNotReadyError, match=r"whose values are .*LongWritable"):
        _read(tmp_path, data)
    data = sequence_file(VALUES, mode="block").replace(b"DefaultCodec", b"SecretsCodec")
    with pytest.raises(DataCorruptError, match="SecretsCodec is not supported"):
        _read(tmp_path, data)
