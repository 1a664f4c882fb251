"""The wire format of protocol buffers, as far as ORC's footer needs it: fields by number, read and put back.

Source: Protocol Buffers documentation, "Encoding". Groups (deprecated) are refused.
"""

from __future__ import annotations

from hivemill.components.hive_example_gen.formats.hadoop.vints import Damaged

Message = dict[int, list[int | bytes]]
"""The values of each field in their order: numbers of wire type 0 as int, everything else as its bytes."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}


def parsed(data: bytes) -> Message:
    """Raises Damaged."""
    message: Message = {}
    place = 0
    while place < len(data):
        key, place = varint(data, place)
        number, kind = key >> 3, key & 7
        value: int | bytes
        if kind == _VARINT:
            value, place = varint(data, place)
        else:
            if kind == _BYTES:
                size, place = varint(data, place)
            elif kind in _FIXED:
                size = _FIXED[kind]
            else:
                raise Damaged(f"a field of wire type {kind}")
            if size > len(data) - place:
                raise Damaged("a field is cut off")
            value, place = data[place : place + size], place + size
        message.setdefault(number, []).append(value)
    return message


def varint(data: bytes, place: int) -> tuple[int, int]:
    """The number at `place` and where the next thing begins. Raises Damaged."""
    number = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            break
        byte = data[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
    raise Damaged("a number is cut off")


def zigzag(number: int) -> int:
    return (number >> 1) ^ -(number & 1)


def number(message: Message, field: int, default: int = 0) -> int:
    """The last value of a numeric field. Raises Damaged."""
    value = message.get(field, [default])[-1]
    if not isinstance(value, int):
        raise Damaged(f"field {field} is no number")
    return value


def parts(message: Message, field: int) -> list[bytes]:
    """The values of a field of bytes, strings or messages. Raises Damaged."""
    values = message.get(field, [])
    if not all(isinstance(value, bytes) for value in values):
        raise Damaged(f"field {field} is no message")
    return values  # type: ignore[return-value]


def with_number(data: bytes, field: int, value: int) -> bytes:
    """`data` with another value of a numeric field: the last one counts."""
    return data + packed_varint(field << 3 | _VARINT) + packed_varint(value)


def with_parts(data: bytes, field: int, values: list[bytes]) -> bytes:
    """`data` with all values of a repeated field of messages replaced; the other fields stay as they are."""
    kept, place = bytearray(), 0
    while place < len(data):
        start = place
        key, place = varint(data, place)
        kind = key & 7
        if kind == _VARINT:
            place = varint(data, place)[1]
        elif kind == _BYTES:
            size, place = varint(data, place)
            place += size
        else:
            place += _FIXED[kind]
        if key >> 3 != field:
            kept += data[start:place]
    for value in values:
        kept += packed_varint(field << 3 | _BYTES) + packed_varint(len(value)) + value
    return bytes(kept)


def packed_varint(value: int) -> bytes:
    packed = bytearray()
    while value > 0x7F:
        packed.append((value & 0x7F) | 0x80)
        value >>= 7
    return bytes([*packed, value])
