"""Packed files and buffers, as Hadoop writes them."""

import bz2
import gzip
import struct
import zlib

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemill.common.errors import DataCorruptError
from hivemill.components.hive_example_gen.formats import compression
from tests.components.hive_example_gen.formats.text_reading import read_text

LINES = b"".join(b"%d\n" % number for number in range(3000))


def _framed(codec, data, block=10_000, chunk=3_000):
    """Hadoop's BlockCompressorStream: the size of a block, then each chunk behind its packed size."""
    written = b""
    for start in range(0, len(data), block):
        part = data[start : start + block]
        written += struct.pack(">i", len(part))
        for inner in range(0, len(part), chunk):
            packed = pa.Codec(codec).compress(part[inner : inner + chunk], asbytes=True)
            written += struct.pack(">i", len(packed)) + packed
    return written


PACKED = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": lambda data: pa.compress(data, "zstd", asbytes=True),
    ".deflate": zlib.compress,
    ".snappy": lambda data: _framed("snappy", data),
    ".lz4": lambda data: _framed("lz4_raw", data),
}
CLASSES = {
    "org.apache.hadoop.io.compress.DefaultCodec": ".deflate",
    "org.apache.hadoop.io.compress.DeflateCodec": ".deflate",
    "org.apache.hadoop.io.compress.GzipCodec": ".gz",
    "org.apache.hadoop.io.compress.BZip2Codec": ".bz2",
    "org.apache.hadoop.io.compress.SnappyCodec": ".snappy",
    "org.apache.hadoop.io.compress.ZStandardCodec": ".zst",
    "org.apache.hadoop.io.compress.Lz4Codec": ".lz4",
}


def _read(folder, data, name):
    return [row[0] for row in read_text(folder, data, {"i": "int"}, name=name)[0]]


@pytest.mark.parametrize("extension", PACKED)
def test_every_codec(tmp_path, extension):
    assert _read(tmp_path, PACKED[extension](LINES), f"000000_0{extension}") == list(range(3000))


@pytest.mark.parametrize("extension", [".gz", ".bz2", ".zst"])
def test_the_magic_is_enough(tmp_path, extension):
    assert _read(tmp_path, PACKED[extension](LINES), "000000_0") == list(range(3000))


@pytest.mark.parametrize("extension", [".gz", ".bz2", ".zst", ".deflate", ".snappy", ".lz4"])
def test_archives_of_several_members_are_read_whole(tmp_path, extension):
    packed = PACKED[extension](LINES[:7001]) + PACKED[extension](b"") + PACKED[extension](LINES[7001:])
    assert _read(tmp_path, packed, f"f{extension}") == list(range(3000))


@pytest.mark.parametrize("extension", [".gz", ".bz2", ".zst", ".deflate", ".snappy", ".lz4"])
@pytest.mark.parametrize("cut", [1, 4, 100])
def test_an_archive_that_ends_early_is_refused(tmp_path, extension, cut):
    with pytest.raises(DataCorruptError, match=rf"dt=x/f\{extension} cannot be read as text: .+") as raised:
        _read(tmp_path, PACKED[extension](LINES)[:-cut], f"f{extension}")
    assert raised.value.exit_code == 9


@pytest.mark.parametrize("extension", [".gz", ".bz2", ".zst", ".deflate", ".snappy", ".lz4"])
def test_a_second_member_that_is_damaged_is_refused(tmp_path, extension):
    with pytest.raises(DataCorruptError, match=rf"f\{extension} cannot be read"):
        _read(tmp_path, PACKED[extension](LINES) + b"rubbish behind it", f"f{extension}")


@pytest.mark.parametrize("extension", [".gz", ".bz2", ".deflate"])  # the others carry no checksum
def test_a_flipped_byte_is_refused(tmp_path, extension):
    packed = bytearray(PACKED[extension](LINES))
    packed[len(packed) // 2] ^= 0x55
    with pytest.raises(DataCorruptError, match="cannot be read"):
        _read(tmp_path, bytes(packed), f"f{extension}")


def test_zeros_behind_a_gzip_member_pad_it(tmp_path):
    assert _read(tmp_path, gzip.compress(LINES) + bytes(512), "f.gz") == list(range(3000))


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("f.lzo", b"rows\n", "f.lzo is packed with lzo, which is not supported"),
        ("f", b"\x89LZO\0\r\n\x1a\n", "is packed with lzop"),
        ("f", b"\xfd7zXZ\0rows", "is packed with xz"),
        ("f.lz4", b"\x04\x22\x4d\x18rows", "is packed with lz4 in the framing of its own command line"),
        ("f", b"\xff\x06\0\0sNaPpYrows", "is packed with snappy in the framing of its own command line"),
        ("f.gz", b"no gzip\n", "f.gz is named like gzip, but does not begin like it"),
        ("f.snappy", b"\x7f\xff\xff\xff\0\0\0\1x", "a block of 2,147,483,647 bytes"),
        ("f.snappy", b"\0\xff\xff\xff\0\0\0\5\xff\xff\xff\x07x", "claims 16,777,215 bytes"),
    ],
)
def test_what_is_not_supported_is_named(tmp_path, name, data, problem):
    with pytest.raises(DataCorruptError, match=problem) as raised:
        _read(tmp_path, data, name)
    assert raised.value.message.startswith(f"dt=x/{name}")


def test_text_that_begins_like_bzip2(tmp_path):
    assert read_text(tmp_path, b"BZh9 and more\n", {"s": "string"})[0] == [("BZh9 and more",)]


@pytest.mark.parametrize(("codec_class", "extension"), CLASSES.items())
def test_buffers_by_the_class_of_their_codec(codec_class, extension):
    for data in (LINES, b"", b"x" * 300_000):
        assert compression.decompress(codec_class, memoryview(PACKED[extension](data))) == data


def test_an_unknown_class_is_named():
    with pytest.raises(OSError, match=r"codec com.hadoop.compression.lzo.LzoCodec is not supported"):
        compression.decompress("com.hadoop.compression.lzo.LzoCodec", b"")


@given(data=st.binary(max_size=300), extension=st.sampled_from([".deflate", ".snappy", ".lz4", ".gz", ".bz2", ".zst"]))
def test_any_bytes_end_in_a_documented_error_or_in_bytes(data, extension):
    codec = next(name for name, known in CLASSES.items() if known == extension)
    try:
        unpacked = compression.decompress(codec, data)
    except (OSError, EOFError, zlib.error):
        return
    assert len(unpacked) <= 2000 * len(data)  # deflate reaches 1032


@given(data=st.binary(max_size=5000), chunk=st.integers(1, 700), block=st.integers(1, 3000))
def test_framed_codecs_round_trip(data, chunk, block):
    for codec, name in (("snappy", "SnappyCodec"), ("lz4_raw", "Lz4Codec")):
        assert compression.decompress(name, _framed(codec, data, block, chunk)) == data
