"""Avro container files, block by block through fastavro, then column by column.

The rows are resolved against `avro.schema.literal` or `avro.schema.url` of the table where it has one (defaults,
aliases, promotions), else read by the file's own schema and matched by name, without regard to case. A block is given
to fastavro as one Avro array, which it reads in one call. Blocks may be packed with deflate, snappy, zstandard, bzip2
or xz. Timestamps of Hive are instants: they become the wall clock of `writer.time.zone` (calendars.py), else of UTC.

Source: Apache Avro specification 1.11, "Object Container Files"; Hive's AvroDeserializer.
"""

from __future__ import annotations

import bz2
import functools
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.components.hive_example_gen.catalog import table_files
from hivemill.components.hive_example_gen.formats.assembly import Assembly
from hivemill.components.hive_example_gen.formats.avro.schema import AvroSchema, Node, NotReadable
from hivemill.components.hive_example_gen.formats.avro.values import column
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.columnar import BATCH_ROWS
from hivemill.components.hive_example_gen.formats.compression import read_at_most
from hivemill.components.hive_example_gen.formats.data_file import DataFile, translated
from hivemill.components.hive_example_gen.formats.hadoop.input import MAX_BLOCK_BYTES, SYNC_BYTES, HadoopInput
from hivemill.components.hive_example_gen.formats.hadoop.vints import Damaged
from hivemill.components.hive_example_gen.formats.time.calendars import Writer
from hivemill.components.hive_example_gen.table.hive_types import parse_type
from hivemill.components.hive_example_gen.table.spec import TableSpec

MAGIC = b"Obj\x01"
LITERAL_KEY, URL_KEY = "avro.schema.literal", "avro.schema.url"
_ROWS = 4096
_LONG_BYTES = 10


def read_schema(file: DataFile, spec: TableSpec) -> pa.Schema:
    """The columns that reading `file` gives before they are matched with the table's. Raises DataNotReadyError."""
    with translated(file, "Avro"), file.open() as opened:
        source = HadoopInput(opened, file, "Avro")
        try:
            return _Rows(file, spec, BadRows(), _Header.read(source)).assembly.layout
        except Damaged as error:
            raise source.damage(error) from error


def read_batches(file: DataFile, spec: TableSpec, bad: BadRows) -> Iterator[pa.RecordBatch]:
    """The rows of `file`; memory: one block and 4,096 rows. Raises DataNotReadyError, ConfigError."""
    with translated(file, "Avro"), file.open() as opened:
        source = HadoopInput(opened, file, "Avro")
        try:
            header = _Header.read(source)
            yield from _Rows(file, spec, bad, header).batches(source)
        except Damaged as error:
            raise source.damage(error) from error


@dataclass(frozen=True)
class _Header:
    metadata: dict[str, bytes]
    sync: bytes

    @classmethod
    def read(cls, source: HadoopInput) -> _Header:
        if source.take(4) != MAGIC:
            raise Damaged("it does not begin like Avro")
        metadata = {}
        while count := _long(source):
            if count < 0:  # then the size in bytes follows, for readers that skip
                count = -count
                _long(source)
            if count > source.left // 2:
                raise Damaged(f"{count:,} entries of metadata are announced where {source.left:,} bytes are left")
            for _ in range(count):
                key = source.take(_long(source)).decode("utf-8", "replace")
                metadata[key] = source.take(_long(source))
        return cls(metadata, source.take(SYNC_BYTES))

    @property
    def codec(self) -> str:
        return self.metadata.get("avro.codec", b"null").decode("utf-8", "replace")

    @property
    def schema(self) -> AvroSchema:
        try:
            document = json.loads(self.metadata["avro.schema"])
        except KeyError as error:
            raise Damaged("it has no schema") from error
        except (ValueError, RecursionError) as error:
            raise Damaged(f"its schema is no JSON: {str(error)[:100]}") from error
        schema = AvroSchema.parse(document)
        if schema.is_empty:
            raise Damaged("a row of its schema takes no bytes")
        return schema

    def writer(self, spec: TableSpec) -> Writer:
        texts = {key: value.decode("utf-8", "replace") for key, value in self.metadata.items()}
        return Writer.of_metadata(texts).completed_by(Writer.declared(spec.serde_properties))


class _Rows:
    """The rows of one file: blocks to lists of dicts, lists of dicts to batches."""

    def __init__(self, file: DataFile, spec: TableSpec, bad: BadRows, header: _Header):
        self.header = header
        self.written = header.schema
        self.asked = _declared_schema(spec)
        nodes = _readable_nodes(self.asked or self.written, spec, file)
        layout = pa.schema([(name, node.data_type) for name, node in nodes.items()])
        self.assembly = Assembly(file, spec, bad, layout, header.writer(spec))
        self.nodes = {name: node for name, node in nodes.items() if name in self.assembly.wanted}

    def batches(self, source: HadoopInput) -> Iterator[pa.RecordBatch]:
        decode, first = self._decoder(), 0
        rows: list[dict[str, Any]] = []
        for block in _blocks(source, self.header):
            rows += decode(*block)
            if len(rows) >= _ROWS:
                yield from self._batches(rows, first)
                first, rows = first + len(rows), []
        yield from self._batches(rows, first)

    def _batches(self, rows: list[dict[str, Any]], first_row: int) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(rows), BATCH_ROWS):
            part = rows[start : start + BATCH_ROWS]
            columns = {name: column([row[name] for row in part], node) for name, node in self.nodes.items()}
            no_problem = np.zeros(len(part), np.uint8)
            yield from self.assembly.batches(columns, no_problem, first_row + start, functools.partial(_excerpt, part))

    def _decoder(self) -> Callable[[int, bytes], list[dict[str, Any]]]:
        """Resolution costs time: without a schema of the table's and without columns left out there is none."""
        written = self.written.readable()
        wanted = frozenset(self.nodes)
        asked = None
        if self.asked is not None or wanted < {field["name"] for field in self.written.fields}:
            asked = fastavro.parse_schema(_array_of((self.asked or self.written).readable(wanted)))
        return functools.partial(_decoded, fastavro.parse_schema(_array_of(written)), asked)


def _readable_nodes(schema: AvroSchema, spec: TableSpec, file: DataFile) -> dict[str, Node]:
    """The columns that have a Hive type. Raises DataNotReadyError where one that is wanted has none."""
    texts = {name.lower(): text for name, text in (spec.columns or {}).items()}
    declared = {name: parse_type(text) for name, text in texts.items()}
    nodes = {}
    for name, node in schema.nodes(declared):
        if isinstance(node, NotReadable):
            if not spec.excludes(name) and (spec.columns is None or name.lower() in declared):
                raise DataNotReadyError(
                    f"{file.name}: column {name!r} is {node}, which is not supported",
                    hint=f"Exclude it: source.exclude_columns: [{name}].",
                )
        elif not pa.types.is_null(node.data_type):
            nodes[name] = node
    return nodes


def _declared_schema(spec: TableSpec) -> AvroSchema | None:
    """The table's own schema, by its properties. Raises ConfigError."""
    literal, url = spec.serde_properties.get(LITERAL_KEY), spec.serde_properties.get(URL_KEY)
    if literal and literal != "none":
        return _parsed_literal(literal, LITERAL_KEY)
    if url and url != "none":
        return _parsed_literal(_content_of(url), URL_KEY)
    return None


@functools.lru_cache(maxsize=16)
def _content_of(url: str) -> str:
    try:
        with table_files.open_file(url) as opened:
            return opened.read().decode()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"source.serde_properties.{URL_KEY}: {url} cannot be read: {error}",
            hint=f"Give the schema itself as {LITERAL_KEY}.",
        ) from error


def _parsed_literal(text: str, key: str) -> AvroSchema:
    try:
        return AvroSchema.parse(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"source.serde_properties.{key} is no Avro schema of a record: {error}") from error


def _array_of(record: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": {key: value for key, value in record.items() if not key.startswith("__")}}


def _decoded(written: Any, asked: Any, count: int, data: bytes) -> list[dict[str, Any]]:
    """The rows of a block, which is what an Avro array of them would be without its count and its end."""
    opened = io.BytesIO(_zigzag(count) + data + b"\0" if count else b"\0")
    try:
        rows = fastavro.schemaless_reader(opened, written, asked)
    except Exception as error:  # fastavro raises EOFError, IndexError, struct.error and others for damaged bytes
        raise Damaged(f"a block of {count:,} rows: {str(error)[:200] or type(error).__name__}") from error
    if len(rows) != count or opened.read(1) or (not count and data):
        raise Damaged(f"a block of {count:,} rows has bytes beyond them")
    return rows


def _blocks(source: HadoopInput, header: _Header) -> Iterator[tuple[int, bytes]]:
    unpack = _UNPACK.get(header.codec)
    if unpack is None:
        raise Damaged(f"codec {header.codec[:50]!r} is not supported (those of Avro are: {', '.join(_UNPACK)})")
    while source.left:
        count, size = _long(source), _long(source)
        try:
            data = unpack(source.take(size))
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
            raise Damaged(f"a block cannot be unpacked: {error}") from error
        if not 0 <= count <= len(data):  # each row takes a byte at least
            raise Damaged(f"a block of {len(data):,} bytes says that it holds {count:,} rows")
        source.expect_sync(header.sync)
        yield count, data


def _long(source: HadoopInput) -> int:
    """A zigzag number of variable length."""
    number = 0
    for place in range(_LONG_BYTES):
        byte = source.take(1)[0]
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1)
    raise Damaged("a number of more than ten bytes")


def _zigzag(count: int) -> bytes:
    packed, rest = bytearray(), count << 1
    while rest > 0x7F:
        packed.append((rest & 0x7F) | 0x80)
        rest >>= 7
    return bytes([*packed, rest])


def _inflated(data: bytes) -> bytes:
    inner = zlib.decompressobj(-zlib.MAX_WBITS)
    unpacked = inner.decompress(data, MAX_BLOCK_BYTES)
    if not inner.eof:
        raise Damaged("a deflated block is cut off")
    return unpacked


def _unsnapped(data: bytes) -> bytes:
    """Snappy, and the checksum of what it holds."""
    source, checksum = io.BytesIO(data[:-4]), data[-4:]
    size, place = 0, 0
    while (byte := source.read(1)) and place < 35:
        size |= (byte[0] & 0x7F) << place
        place += 7
        if byte[0] < 0x80:
            break
    if size > 64 * len(data):  # snappy reaches a ratio of 21
        raise Damaged(f"a snappy block of {len(data):,} bytes claims {size:,}")
    unpacked = pa.Codec("snappy").decompress(data[:-4], size, asbytes=True)
    if zlib.crc32(unpacked).to_bytes(4, "big") != checksum:
        raise Damaged("the checksum of a snappy block is wrong")
    return unpacked


_UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "null": bytes,
    "deflate": _inflated,
    "snappy": _unsnapped,
    "zstandard": lambda data: read_at_most(pa.CompressedInputStream(pa.BufferReader(data), "zstd"), MAX_BLOCK_BYTES),
    "bzip2": lambda data: read_at_most(bz2.open(io.BytesIO(data)), MAX_BLOCK_BYTES),  # noqa: SIM115
    "xz": lambda data: read_at_most(lzma.open(io.BytesIO(data)), MAX_BLOCK_BYTES),  # noqa: SIM115
}


def _excerpt(rows: list[dict[str, Any]], row: int) -> bytes:
    return repr(rows[row]).encode()
