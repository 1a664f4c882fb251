"""Small writers of SequenceFile, RCFile and LazyBinary for the tests, made from the formats' descriptions.

Independent of the readers: plain Python, value by value, one row after the other.
"""

import bz2
import datetime
import gzip
import struct
import zlib
from decimal import Decimal

import pyarrow as pa

SYNC = bytes(range(100, 116))
TEXT = "org.apache.hadoop.io.Text"
BYTES = "org.apache.hadoop.io.BytesWritable"
PACKAGE = "org.apache.hadoop.io.compress."
CODECS = {
    "DefaultCodec": zlib.compress,
    "GzipCodec": gzip.compress,
    "BZip2Codec": bz2.compress,
    "SnappyCodec": lambda data: _hadoop_block(data, pa.Codec("snappy").compress(data, asbytes=True)),
    "ZStandardCodec": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
}


def _hadoop_block(data, packed):
    return struct.pack(">ii", len(data), len(packed)) + packed if data else struct.pack(">i", 0)


def vint(number):
    """WritableUtils.writeVLong."""
    if -112 <= number <= 127:
        return struct.pack("b", number)
    first, magnitude = (-120, ~number) if number < 0 else (-112, number)
    size = (magnitude.bit_length() + 7) // 8
    return struct.pack("b", first - size) + magnitude.to_bytes(size, "big")


def string(text):
    data = text.encode() if isinstance(text, str) else text
    return vint(len(data)) + data


def metadata(entries):
    return struct.pack(">i", len(entries)) + b"".join(string(key) + string(value) for key, value in entries.items())


def writable(value, value_class):
    return string(value) if value_class == TEXT else struct.pack(">i", len(value)) + value


def sequence_file(
    values, *, version=6, mode="plain", codec="DefaultCodec", value_class=TEXT, sync_every=3, block_rows=5, key=b"key"
):
    """`values` are bytes, one per row; `mode` is plain, record or block (of `block_rows` rows)."""
    head = b"SEQ" + bytes([version]) + string(BYTES) + string(value_class)
    head += bytes([mode != "plain", mode == "block"])
    if mode != "plain" and version > 4:
        head += string(PACKAGE + codec)
    if version > 5:
        head += metadata({"written by": "a test"})
    packed = [writable(value, value_class) for value in values]
    if mode == "block":
        return head + SYNC + _blocks(packed, CODECS[codec], key, block_rows)
    body = b""
    for index, value in enumerate(packed):
        if index and index % sync_every == 0:
            body += b"\xff\xff\xff\xff" + SYNC
        value = CODECS[codec](value) if mode == "record" else value
        body += struct.pack(">ii", len(key) + len(value), len(key)) + key + value
    return head + SYNC + body


def _blocks(packed, compress, key, rows):
    body = b""
    for start in range(0, len(packed), rows):
        part = packed[start : start + rows]
        body += b"\xff\xff\xff\xff" + SYNC + vint(len(part))
        for buffer in (
            vint(len(key)) * len(part),
            key * len(part),
            b"".join(vint(len(value)) for value in part),
            b"".join(part),
        ):
            stored = compress(buffer)
            body += vint(len(stored)) + stored
    return body


def rcfile(columns, *, version=1, codec=None, group_rows=4, sync_every=2):
    """`columns` are lists of cells (bytes), all as long."""
    if version == 0:
        name = "org.apache.hadoop.hive.ql.io.RCFile$"
        head = b"SEQ\x06" + string(name + "KeyBuffer") + string(name + "ValueBuffer") + bytes([codec is not None, 0])
    else:
        head = b"RCF\x01" + bytes([codec is not None])
    if codec:
        head += string(PACKAGE + codec)
    head += metadata({"hive.io.rcfile.column.number": str(len(columns))}) + SYNC
    groups = [_group([c[at : at + group_rows] for c in columns], codec) for at in range(0, len(columns[0]), group_rows)]
    body = b""
    for index, group in enumerate(groups):
        if index and index % sync_every == 0:
            body += b"\xff\xff\xff\xff" + SYNC
        body += group
    return head + body


def _group(columns, codec):
    compress = CODECS[codec] if codec else bytes
    key, values = vint(len(columns[0])), b""
    for cells in columns:
        plain = b"".join(cells)
        stored = compress(plain)
        lengths = _run_lengths([len(cell) for cell in cells])
        key += vint(len(stored)) + vint(len(plain)) + vint(len(lengths)) + lengths
        values += stored
    stored_key = compress(key)
    return struct.pack(">iii", len(key) + len(values), len(key), len(stored_key)) + stored_key + values


def _run_lengths(lengths):
    packed, place = b"", 0
    while place < len(lengths):
        run = place
        while run < len(lengths) and lengths[run] == lengths[place]:
            run += 1
        packed += vint(lengths[place]) + (vint(~(run - place - 1)) if run - place > 1 else b"")
        place = run
    return packed


def lazy_row(types, values):
    """A row of LazyBinarySerDe: the types are Arrow's."""
    return _lazy_fields(types, values)


def _lazy_fields(types, values):
    packed = b""
    for start in range(0, len(types), 8):
        part = list(zip(types, values, strict=False))[start : start + 8]
        if not part:
            break
        packed += bytes([sum(1 << index for index, (_, value) in enumerate(part) if value is not None)])
        packed += b"".join(lazy_value(kind, value) for kind, value in part if value is not None)
    return packed


def lazy_value(kind, value, *, prefix=True):
    """One value that is not NULL; without `prefix` as a cell of LazyBinaryColumnarSerDe."""
    types = pa.types
    if types.is_string(kind) or types.is_binary(kind):
        data = value.encode() if isinstance(value, str) else value
        return string(data) if prefix else data
    if types.is_nested(kind):
        data = _lazy_nested(kind, value)
        return (struct.pack(">i", len(data)) if prefix else b"") + data
    if types.is_boolean(kind):
        return bytes([value])
    if types.is_floating(kind):
        return struct.pack(">f" if kind.bit_width == 32 else ">d", value)
    if types.is_int8(kind) or types.is_int16(kind):
        return value.to_bytes(kind.bit_width // 8, "big", signed=True)
    if types.is_integer(kind):
        return vint(value)
    if types.is_date(kind):
        return vint((value - datetime.date(1970, 1, 1)).days)
    return lazy_decimal(value) if types.is_decimal(kind) else lazy_timestamp(value)


def lazy_decimal(value: Decimal):
    sign, digits, exponent = value.as_tuple()
    number = int("".join(map(str, digits))) * (-1 if sign else 1)
    if exponent > 0:
        number, exponent = number * 10**exponent, 0
    size = (number + (number < 0)).bit_length() // 8 + 1
    return vint(-exponent) + vint(size) + number.to_bytes(size, "big", signed=True)


def lazy_timestamp(moment):
    delta = moment - datetime.datetime(1970, 1, 1)
    seconds, nanos = delta.days * 86400 + delta.seconds, delta.microseconds * 1000
    backwards = int(f"{nanos:09d}"[::-1])
    is_far = not 0 <= seconds < 1 << 31
    packed = struct.pack(">I", (seconds & 0x7FFFFFFF) | ((1 << 31) if is_far or nanos else 0))
    if is_far or nanos:
        packed += vint(-backwards - 1 if is_far else backwards)
    return packed + (vint(seconds >> 31) if is_far else b"")


def _lazy_nested(kind, value):
    if pa.types.is_struct(kind):
        return _lazy_fields([field.type for field in kind], [value[field.name] for field in kind])
    if pa.types.is_map(kind):
        items = [item for entry in value for item in entry]
        kinds = [kind.key_type, kind.item_type] * len(value)
    else:
        items, kinds = value, [kind.value_type] * len(value)
    bits = bytearray((len(items) + 7) // 8)
    for index, item in enumerate(items):
        bits[index // 8] |= (item is not None) << (index % 8)
    body = b"".join(lazy_value(k, item) for k, item in zip(kinds, items, strict=True) if item is not None)
    return vint(len(value)) + bytes(bits) + body
