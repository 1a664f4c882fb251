"""What SequenceFile and RCFile share: a file read in order and never beyond its size, strings, metadata, sync markers.

Source: org.apache.hadoop.io.Text (readString), SequenceFile.Metadata, SequenceFile.Reader.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from hivemill.common.errors import DataCorruptError
from hivemill.components.hive_example_gen.formats.data_file import DataFile, size_of
from hivemill.components.hive_example_gen.formats.hadoop import vints
from hivemill.components.hive_example_gen.formats.hadoop.vints import Damaged

SYNC_BYTES = 16
SYNC_ESCAPE = -1
MAX_BLOCK_BYTES = 1 << 30
"""No length in a file may ask for more, compressed or not: Hadoop writes blocks of 1 to 64 MiB."""


@dataclass
class HadoopInput:
    """Bytes of `opened` in order. A length is compared with what the file still has before anything is allocated."""

    opened: BinaryIO
    file: DataFile
    what: str
    size: int = 0
    place: int = 0

    def __post_init__(self) -> None:
        self.size = size_of(self.opened)
        self.opened.seek(0)

    @property
    def left(self) -> int:
        return self.size - self.place

    def take(self, count: int) -> bytes:
        """The next `count` bytes. Raises Damaged: the length is negative, or the file ends before."""
        if not 0 <= count <= self.left:
            raise Damaged(f"{count:,} bytes are announced where {self.left:,} are left")
        taken = self.opened.read(count)
        self.place += count
        if len(taken) < count:
            raise Damaged(f"{len(taken):,} bytes came where {count:,} were there when it was opened")
        return taken

    def int32(self) -> int:
        return int.from_bytes(self.take(4), "big", signed=True)

    def flag(self) -> bool:
        return self.take(1) != b"\0"

    def vint(self) -> int:
        first = self.take(1)
        more = int(vints.WIDTHS[first[0]]) - 1
        return vints.read_one(first + self.take(more), 0)[0]

    def block(self) -> bytes:
        """A length as VInt, and so many bytes."""
        return self.take(self.vint())

    def string(self) -> str:
        return self.block().decode("utf-8", "replace")

    def metadata(self) -> dict[str, str]:
        entries = self.int32()
        if not 0 <= entries <= self.left // 2:
            raise Damaged(f"{entries:,} entries of metadata are announced where {self.left:,} bytes are left")
        return {self.string(): self.string() for _ in range(entries)}

    def expect_sync(self, sync: bytes) -> None:
        if self.take(SYNC_BYTES) != sync:
            raise Damaged("a sync marker is not that of the header")

    def damage(self, error: Exception) -> DataCorruptError:
        return DataCorruptError(
            f"{self.file.name} cannot be read as {self.what}: before byte {self.place:,} of {self.size:,}: {error}",
            hint="Write the file again, or exclude its day from the window.",
        )
