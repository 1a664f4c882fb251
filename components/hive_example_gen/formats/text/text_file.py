"""Hive TEXTFILE: lines, packed or not, each a row of the table's SerDe (row_serdes).

A line ends in LF, CR LF or CR, whatever the SerDe (Hadoop's LineRecordReader); an escaped line feed ends it as well. A
byte order mark at the beginning is no text. `skip.header.line.count` and `skip.footer.line.count` hold for each file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.components.hive_example_gen.formats import compression
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile, translated
from hivemill.components.hive_example_gen.formats.serde import row_serde
from hivemill.components.hive_example_gen.formats.serde.base import Lines
from hivemill.components.hive_example_gen.table.spec import TableSpec

BLOCK_BYTES = 8 << 20
MAX_ROW_BYTES = 256 << 20
HEADER_LINES = "skip.header.line.count"
FOOTER_LINES = "skip.footer.line.count"
_BOM = b"\xef\xbb\xbf"


def read_batches(file: DataFile, spec: TableSpec, bad: BadRows) -> Iterator[pa.RecordBatch]:
    """The rows of `file`, at most BATCH_ROWS at a time, with the declared types; bad rows go to `bad`.

    Raises:
        ConfigError: no columns are declared, or a property cannot be honoured.
        DataNotReadyError: the file is packed with an unknown codec, damaged, or has a row without end.
    """
    if spec.columns is None:
        raise ConfigError(
            f"{file.name} is text, which does not say its columns", hint="Give source.ddl or source.columns."
        )
    serde = row_serde(file, spec, bad)
    header, footer = line_count(spec, HEADER_LINES), line_count(spec, FOOTER_LINES)
    with translated(file, "text"), compression.opened(file) as opened:
        blocks = _without_header(_blocks(opened, file), header)
        row = header  # a row's number is its line's
        for block in _without_footer(blocks, footer):
            lines = Lines.of(block, row)
            yield from serde.from_lines(lines)
            row += len(lines)


def line_count(spec: TableSpec, key: str) -> int:
    """How many lines a property says. Raises ConfigError."""
    text = spec.serde_properties.get(key, "0")
    if not (text.isascii() and text.isdecimal()):
        raise ConfigError(f"{key} must be a number of lines, found {text!r}")
    return int(text)


def _blocks(opened: BinaryIO, file: DataFile) -> Iterator[bytes]:
    """Blocks of whole lines, each ending in a line feed."""
    rest = b""
    first = True
    while read := opened.read(BLOCK_BYTES):
        block = rest + read
        if first and len(block) >= len(_BOM):
            block, first = block.removeprefix(_BOM), False
        end = _last_line_end(block)
        if not end and len(block) > MAX_ROW_BYTES:
            raise DataNotReadyError(
                f"{file.name}: a row is longer than {MAX_ROW_BYTES >> 20} MiB",
                hint="Is this a text file, and this format?",
            )
        if end:
            yield _with_line_feeds(block[:end])
        rest = block[end:]
    if rest:
        yield _with_line_feeds(rest if rest.endswith((b"\n", b"\r")) else rest + b"\n")


def _last_line_end(block: bytes) -> int:
    """Where the last whole line ends. A last CR may be half of a CR LF."""
    return block.rfind(b"\n") + 1 or block.rfind(b"\r", 0, -1) + 1


def _with_line_feeds(block: bytes) -> bytes:
    return block.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in block else block


def _without_header(blocks: Iterator[bytes], lines: int) -> Iterator[bytes]:
    for block in blocks:
        while lines and block:
            block = block[block.index(b"\n") + 1 :]
            lines -= 1
        if block:
            yield block


def _without_footer(blocks: Iterator[bytes], lines: int) -> Iterator[bytes]:
    """Holds back the last `lines` lines seen so far."""
    held = b""
    for block in blocks:
        block = held + block
        end = len(block)
        for _ in range(lines):
            end = block.rfind(b"\n", 0, end - 1) + 1 if end else 0
        held = block[end:]
        if end:
            yield block[:end]
