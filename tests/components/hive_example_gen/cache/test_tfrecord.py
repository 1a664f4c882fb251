"""TFRecord framing, byte by byte. That TensorFlow and Beam read the files is tested with the component."""

import gzip
import struct

from hivemill.components.hive_example_gen.cache.tfrecord import TFRecordWriter, masked_crcs


def _records(data):
    """A reader of the format as `record_writer.h` describes it, checksums included."""
    records, place = [], 0
    while place < len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        assert data[place + 8 : place + 12] == masked_crcs([data[place : place + 8]])
        record = data[place + 12 : place + 12 + length]
        assert data[place + 12 + length : place + 16 + length] == masked_crcs([record])
        records.append(record)
        place += 16 + length
    return records


def test_checksums_are_crc32c_masked():
    # CRC32C of "123456789" is 0xe3069283 (RFC 3720's polynomial); rotated right by 15, plus 0xa282ead8.
    assert masked_crcs([b"123456789"]) == struct.pack(
        "<I", ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 2**32 - 1
    )


def test_batches_of_all_lengths(tmp_path):
    batches = [[b"", b"a" * 300, b"\xff" * 70_000], [], [b"x"]]
    with TFRecordWriter(tmp_path / "f.gz") as writer:
        for batch in batches:
            writer.write(batch)
    data = gzip.decompress((tmp_path / "f.gz").read_bytes())
    assert _records(data) == [record for batch in batches for record in batch]
    assert (writer.num_records, writer.num_bytes) == (4, len(data))


def test_the_same_records_give_the_same_file(tmp_path):
    for name in ("a", "b"):
        with TFRecordWriter(tmp_path / name) as writer:
            writer.write([b"one", b"two"])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
