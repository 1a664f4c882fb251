"""Compressed files and buffers as Hadoop's codecs write them: gzip, bzip2, zstd, snappy, lz4, deflate.

Hadoop chooses a codec by the file's extension only. Here the magic bytes decide where a codec has them, so that a file
without extension is read as well; snappy, lz4 and deflate have none and are known by `.snappy`, `.lz4`, `.deflate`.
Archives of several members are read whole, as Hadoop does; one that ends early or is damaged is an error at its place,
never the rows so far. Source: Hadoop's CompressionCodecFactory, BlockCompressorStream (the framing of snappy and lz4).
"""

from __future__ import annotations

import abc
import bz2
import contextlib
import io
import os
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Protocol, cast

import pyarrow as pa

from hivemill.common.errors import DataCorruptError
from hivemill.components.hive_example_gen.formats.data_file import DataFile, translated

CHUNK_BYTES = 1 << 20
PIECE_BYTES = 64 << 10
# Hadoop's buffer (io.compression.codec.*.buffersize) is 256 KiB; nobody sets it near this.
MAX_FRAME_BYTES = 256 << 20
MAX_BUFFER_BYTES = 1 << 30
# More than any of the codecs can reach: lz4 stays below 255, snappy below 22.
_MAX_RATIO = 256

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_BZIP2 = (b"1AY&SY", b"\x17rE8P\x90")  # after `BZh` and a digit: a block, or the end of an empty archive
_EXTENSIONS = {
    ".gz": "gzip",
    ".bz2": "bzip2",
    ".zst": "zstd",
    ".snappy": "snappy",
    ".lz4": "lz4",
    ".deflate": "deflate",
}
_UNSUPPORTED_MAGIC = {
    b"\x89LZO": "lzop",
    b"\xfd7zXZ\x00": "xz",
    b"PK\x03\x04": "zip",
    b"\x1f\x9d": "compress (.Z)",
    b"\xff\x06\x00\x00sNaPpY": "snappy in the framing of its own command line, not Hadoop's",
    b"\x04\x22\x4d\x18": "lz4 in the framing of its own command line, not Hadoop's",
}
_UNSUPPORTED_EXTENSIONS = {
    ".lzo": "lzo",
    ".lzo_deflate": "lzo",
    ".xz": "xz",
    ".zip": "zip",
    ".br": "brotli",
    ".7z": "7z",
}
_CLASSES = {
    "DefaultCodec": "deflate",
    "DeflateCodec": "deflate",
    "GzipCodec": "gzip",
    "BZip2Codec": "bzip2",
    "SnappyCodec": "snappy",
    "ZStandardCodec": "zstd",
    "Lz4Codec": "lz4",
}


@contextlib.contextmanager
def opened(file: DataFile) -> Iterator[BinaryIO]:
    """The content of `file`, unpacked if it is packed; only `read` may be used on it.

    Raises DataCorruptError naming the file: it cannot be opened, or has a compression that is not supported. Reading
    raises OSError, EOFError or zlib.error for a damaged archive; `translated` turns them into one.
    """
    with translated(file, "a data file"):
        raw = file.open()
    with raw:
        with translated(file, "a data file"):
            head = raw.read(16)
            raw.seek(0)
        codec = codec_of(file, head)
        yield _unpacked(codec, raw) if codec else raw


def codec_of(file: DataFile, head: bytes) -> str | None:
    """The codec of a file that begins with `head` (16 bytes); None for one that is not packed.

    Raises DataCorruptError: a compression that is not supported, or another one than the file's name says.
    """
    extension = os.path.splitext(file.name)[1].lower()
    found = _by_magic(head)
    named = _EXTENSIONS.get(extension)
    unsupported = next((name for magic, name in _UNSUPPORTED_MAGIC.items() if head.startswith(magic)), None)
    unsupported = unsupported or _UNSUPPORTED_EXTENSIONS.get(extension)
    if unsupported and not found:
        raise DataCorruptError(
            f"{file.name} is packed with {unsupported}, which is not supported",
            hint=f"Write it again, plain or with one of {', '.join(_EXTENSIONS.values())}.",
        )
    if head and named in (*_MAGIC.values(), "bzip2") and found != named:
        raise DataCorruptError(
            f"{file.name} is named like {named}, but does not begin like it",
            hint="Hive cannot read it either. Rename it, or write it again.",
        )
    return found or (named if head else None)


def _by_magic(head: bytes) -> str | None:
    if head[:3] == b"BZh" and head[4:10] in _BZIP2:  # a text may well begin with BZh
        return "bzip2"
    return next((codec for magic, codec in _MAGIC.items() if head.startswith(magic)), None)


def decompress(codec_class: str, data: bytes | memoryview, at_most: int = MAX_BUFFER_BYTES) -> bytes:
    """A buffer of a SequenceFile or RCFile, packed by the Hadoop codec of that Java class (package or not).

    Raises OSError, EOFError or zlib.error: the codec is not supported, the data is damaged, or longer than `at_most`.
    """
    return read_at_most(_unpacked(codec_named(codec_class), io.BytesIO(data)), at_most)


def read_at_most(opened: BinaryIO | pa.NativeFile, at_most: int) -> bytes:
    """All of `opened`, piece by piece: `read` would allocate at once what it is asked for. Raises OSError for more."""
    pieces, left = [], at_most + 1
    while left and (piece := opened.read(min(left, PIECE_BYTES))):
        pieces.append(piece)
        left -= len(piece)
    if not left:
        raise OSError(f"a packed buffer holds more than the {at_most:,} bytes that it may")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def codec_named(codec_class: str) -> str:
    """The codec of a Hadoop codec class. Raises OSError for one that is not supported."""
    codec = _CLASSES.get(codec_class.rpartition(".")[2])
    if codec is None:
        raise OSError(f"codec {codec_class} is not supported (those of Hadoop are: {', '.join(_CLASSES)})")
    return codec


def _unpacked(codec: str, raw: BinaryIO) -> BinaryIO:
    if codec == "zstd":
        return cast(BinaryIO, io.BufferedReader(_Zstd(raw), CHUNK_BYTES))
    if codec in ("snappy", "lz4"):
        return cast(BinaryIO, io.BufferedReader(_Frames(raw, codec), CHUNK_BYTES))
    member: Callable[[], _Decompressor] = {
        "gzip": lambda: _Zlib(wbits=31),
        "deflate": lambda: _Zlib(wbits=15),
        "bzip2": bz2.BZ2Decompressor,
    }[codec]
    return cast(BinaryIO, io.BufferedReader(_Members(raw, member), CHUNK_BYTES))


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Zlib:
    """zlib's decompressor with the interface of bz2's."""

    def __init__(self, wbits: int):
        self.inner = zlib.decompressobj(wbits=wbits)

    @property
    def eof(self) -> bool:
        return self.inner.eof

    @property
    def needs_input(self) -> bool:
        return not self.inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self.inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self.inner.decompress(self.inner.unconsumed_tail + data, max(max_length, 0))


class _Unpacking(io.RawIOBase):
    """What io.BufferedReader needs, over `chunk`."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.chunk(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    @abc.abstractmethod
    def chunk(self, limit: int) -> bytes:
        """The next unpacked bytes, at most `limit`; none at the end."""


class _Members(_Unpacking):
    """Members one after the other, as `cat a.gz b.gz` makes them; each must be whole."""

    def __init__(self, raw: BinaryIO, member: Callable[[], _Decompressor]):
        self.raw = raw
        self.member = member
        self.current: _Decompressor | None = None
        self.packed = b""

    def chunk(self, limit: int) -> bytes:
        while True:
            if (self.current is None or self.current.eof) and not self._next_member():
                return b""
            assert self.current is not None
            if self.current.needs_input and not self.packed:
                self.packed = self.raw.read(CHUNK_BYTES)
                if not self.packed:
                    raise EOFError("the archive ends too early")
            data = self.current.decompress(self.packed, limit)
            self.packed = self.current.unused_data if self.current.eof else b""
            if data:
                return data

    def _next_member(self) -> bool:
        """Zero bytes behind a member pad it (gzip allows that); anything else begins the next one."""
        first = self.current is None
        while not self.packed or not self.packed.strip(b"\0"):
            if self.packed and first:
                break  # damaged, and said so by the decompressor
            self.packed = self.raw.read(CHUNK_BYTES)
            if not self.packed:
                return False
        if not first:
            self.packed = self.packed.lstrip(b"\0")
        self.current = self.member()
        return True


class _Zstd(_Unpacking):
    def __init__(self, raw: BinaryIO):
        self.inner = pa.CompressedInputStream(raw, "zstd")

    def chunk(self, limit: int) -> bytes:
        return self.inner.read(limit)


class _Frames(_Unpacking):
    """Hadoop's block framing: the unpacked size of a block, then its chunks, each behind its packed size."""

    def __init__(self, raw: BinaryIO, codec: str):
        self.raw = raw
        self.codec = codec
        self.left = 0  # of the current block, unpacked
        self.ready = memoryview(b"")

    def chunk(self, limit: int) -> bytes:
        while not self.ready:
            if not self.left:
                size = self._size(may_end=True)
                if size is None:
                    return b""
                self.left = size
                continue
            self.ready = memoryview(self._unpacked_chunk())
            self.left -= len(self.ready)
        data, self.ready = self.ready[:limit], self.ready[limit:]
        return bytes(data)

    def _unpacked_chunk(self) -> bytes:
        packed = self._exactly(cast(int, self._size()))
        if self.codec == "snappy":
            size = _snappy_size(packed)
            if size > self.left or size > _MAX_RATIO * len(packed):
                raise OSError(f"a snappy chunk claims {size:,} bytes, more than its block has")
            data = pa.Codec("snappy").decompress(packed, size, asbytes=True)
        else:
            size = lz4_size(packed)
            if size > self.left:
                raise OSError(f"an lz4 chunk of {size:,} bytes, more than its block has")
            data = pa.Codec("lz4_raw").decompress(packed, size, asbytes=True)
        if not data:
            raise OSError("an empty chunk inside a block")
        return data

    def _size(self, may_end: bool = False) -> int | None:
        head = self.raw.read(4)
        if may_end and not head:
            return None
        if len(head) < 4:
            raise EOFError("the archive ends too early")
        size = int.from_bytes(head, "big")
        if size > MAX_FRAME_BYTES:
            raise OSError(f"a block of {size:,} bytes: is this Hadoop's {self.codec}?")
        return size

    def _exactly(self, size: int) -> bytes:
        data = self.raw.read(size)
        if len(data) < size:
            raise EOFError("the archive ends too early")
        return data


def _snappy_size(packed: bytes) -> int:
    """The varint at the beginning of snappy data: its unpacked size."""
    size = 0
    for index, byte in enumerate(packed[:5]):
        size |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return size
    raise OSError("a snappy chunk without a size")


def lz4_size(packed: bytes) -> int:
    """The unpacked size of a raw lz4 block, which does not say it: the sum over its sequences (lz4 block format)."""
    place = size = 0
    while place < len(packed):
        token = packed[place]
        literals, place = _lz4_length(packed, place + 1, token >> 4)
        size += literals
        place += literals
        if place >= len(packed):  # the last sequence has literals only
            break
        matched, place = _lz4_length(packed, place + 2, token & 15)
        size += matched + 4
    if place != len(packed):
        raise OSError("a damaged lz4 chunk")
    return size


def _lz4_length(packed: bytes, place: int, length: int) -> tuple[int, int]:
    """A length whose first four bits are 15 goes on in the next bytes, up to one that is not 255."""
    if length == 15:
        while True:
            if place >= len(packed):
                raise OSError("a damaged lz4 chunk")
            length += packed[place]
            place += 1
            if packed[place - 1] != 255:
                break
    return length, place
