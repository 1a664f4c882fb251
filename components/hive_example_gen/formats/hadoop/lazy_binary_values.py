"""Values of Hive's LazyBinary encoding, nested ones too: lists, maps and structs around lazy_primitives.

A value inside a row, list or struct tells its own width (`widths`); a cell of an RCFile column has its length
elsewhere and none inside (`inner` strips it from the others). Nested values are a 4-byte size, the number of items
(lists and maps), bits that say which are not NULL, and the values. No Python object per value.

Source: org.apache.hadoop.hive.serde2.lazybinary (LazyBinaryStruct, LazyBinaryArray, LazyBinaryMap).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hivemill.components.hive_example_gen.formats.hadoop import vints
from hivemill.components.hive_example_gen.formats.hadoop.lazy_binary_primitives import (
    OK,
    STRUCTURE,
    BinaryCells,
    clipped,
    decode_primitive,
    fixed,
    primitive_widths,
    problems,
)


def widths(cells: BinaryCells, data_type: pa.DataType) -> np.ndarray:
    """Bytes of each value that begins at `start`, its own length prefix included; more than are there if damaged."""
    if pa.types.is_nested(data_type):
        return 4 + clipped(fixed(cells.data, cells.start, ">i4").astype(np.int64))
    return primitive_widths(cells, data_type)


def inner(cells: BinaryCells, data_type: pa.DataType) -> BinaryCells:
    """The values without their length prefix, where their type has one; each is known to lie inside the buffer."""
    if pa.types.is_nested(data_type):
        return cells._replace(start=np.minimum(cells.start + 4, cells.end))
    if pa.types.is_string(data_type) or pa.types.is_binary(data_type):
        prefix = vints.WIDTHS[cells.data[cells.start]]
        return cells._replace(start=np.minimum(cells.start + prefix, cells.end))
    return cells


def decode(cells: BinaryCells, data_type: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    """The values of `cells` (without length prefix, none of them NULL), and a problem code for each.

    A value with a problem is NULL or arbitrary in the array: its row is left out.
    """
    if pa.types.is_struct(data_type):
        return _struct(cells, data_type)
    if pa.types.is_map(data_type):
        return _map(cells, data_type)
    if pa.types.is_list(data_type):
        return _list(cells, data_type)
    return decode_primitive(cells, data_type)


class Fields(NamedTuple):
    """Where the fields of structs lie.

    Attributes:
        found: for each field, the indices of the structs where it is not NULL and its cells there, without prefix.
        problem: a problem code for each struct.
        left_over: bytes of each struct after its last declared field.
        short: whether a struct ends before its last declared field.
    """

    found: list[tuple[np.ndarray, BinaryCells]]
    problem: np.ndarray
    left_over: np.ndarray
    short: np.ndarray


def fields(cells: BinaryCells, types: list[pa.DataType]) -> Fields:
    """The fields of structs (or of whole rows): a byte of null bits stands before each eight of them."""
    data, place, end = cells.data, cells.start.copy(), cells.end
    problem = cells.no_problem()
    found, null_bits, short = [], np.zeros(len(place), np.uint8), np.zeros(len(place), bool)
    for index, data_type in enumerate(types):
        if index % 8 == 0:  # a struct that ends here lacks the fields that were added later
            has_bits = place < end
            null_bits = np.where(has_bits, data[np.minimum(place, end)], 0).astype(np.uint8)
            place += has_bits
            short |= ~has_bits
        (present,) = np.nonzero(((null_bits >> (index % 8)) & 1).astype(bool) & (problem == OK))
        here = BinaryCells(data, place[present], end[present])
        width = widths(here, data_type)
        fits = width <= here.lengths
        problem[present[~fits]] = STRUCTURE
        present, here, width = present[fits], here.at(fits), width[fits]
        place[present] += width
        found.append((present, inner(here._replace(end=here.start + width), data_type)))
    return Fields(found, problem, np.where(problem == OK, end - place, 0), short)


def spread(array: pa.Array, present: np.ndarray, count: int) -> pa.Array:
    """`array` at the indices `present` of `count`, NULL elsewhere."""
    if len(array) == count:
        return array
    indices = np.zeros(count, np.int64)
    indices[present] = np.arange(len(array))
    missing = np.ones(count, bool)
    missing[present] = False
    return array.take(pa.array(indices, mask=missing))


def _struct(cells: BinaryCells, data_type: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    members = list(data_type)
    found, problem, _, _ = fields(cells, [member.type for member in members])
    children = []
    for member, (present, here) in zip(members, found, strict=True):
        array, own = decode(here, member.type)
        problem[present] = np.maximum(problem[present], own)
        children.append(spread(array, present, len(cells.start)))
    return pa.StructArray.from_arrays(children, fields=members), problem


class _Items(NamedTuple):
    """The items of lists or maps, flat: `counts` per list, `present` and `rows` per item, `place` of the first one."""

    counts: np.ndarray
    rows: np.ndarray
    present: np.ndarray
    place: np.ndarray
    problem: np.ndarray


def _items(cells: BinaryCells, per_entry: int) -> _Items:
    entries, width = vints.read(cells.data, cells.start)
    bits_place = cells.start + width
    room = cells.end - bits_place
    broken = (room < 0) | (entries < 0) | (entries > 8 * np.maximum(room, 0))
    counts = np.where(broken, 0, entries) * per_entry
    bit_bytes = (counts + 7) // 8
    broken |= bit_bytes > room
    counts = np.where(broken, 0, counts)
    rows = np.repeat(np.arange(len(counts)), counts)
    index = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    bits = cells.data[bits_place[rows] + index // 8] >> (index % 8).astype(np.uint8)
    return _Items(counts, rows, (bits & 1).astype(bool), bits_place + (counts + 7) // 8, problems(broken, STRUCTURE))


def _located(
    cells: BinaryCells, items: _Items, width_of: Callable[[np.ndarray, BinaryCells], np.ndarray]
) -> tuple[np.ndarray, BinaryCells, np.ndarray]:
    """The places of the present items, their cells (with length prefix) in order, and the problem of each list.

    The next item begins where the one before ends, so all first items are measured at once, then all second ones.
    """
    (chosen,) = np.nonzero(items.present)
    rows, place, problem = items.rows[chosen], items.place.copy(), items.problem.copy()
    start, end = np.zeros(len(chosen), np.int64), np.zeros(len(chosen), np.int64)
    per_row = np.bincount(rows, minlength=len(place))
    rank = np.arange(len(rows)) - np.repeat(np.cumsum(per_row) - per_row, per_row)
    order = np.argsort(rank, kind="stable")
    bounds = np.concatenate(([0], np.cumsum(np.bincount(rank)))) if len(rank) else np.zeros(1, np.int64)
    for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        now = order[low:high]
        row = rows[now]
        here = BinaryCells(cells.data, place[row], cells.end[row])
        width = width_of(chosen[now], here)
        fits = width <= here.lengths
        problem[row[~fits]] = STRUCTURE
        width = np.where(fits, width, 0)
        start[now], end[now] = here.start, here.start + width
        place[row] += width
    return chosen, BinaryCells(cells.data, start, end), problem


def _list(cells: BinaryCells, data_type: pa.ListType) -> tuple[pa.Array, np.ndarray]:
    items = _items(cells, 1)
    chosen, located, problem = _located(cells, items, lambda _, here: widths(here, data_type.value_type))
    values, own = decode(inner(located, data_type.value_type), data_type.value_type)
    worsen(problem, items.rows[chosen], own)
    values = spread(values, chosen, len(items.rows))
    return pa.ListArray.from_arrays(_offsets(items.counts), values, type=data_type), problem


def _map(cells: BinaryCells, data_type: pa.MapType) -> tuple[pa.Array, np.ndarray]:
    """Keys and values in turn; an entry whose key is NULL is left out, as in text: Arrow's maps have no NULL key."""
    items = _items(cells, 2)
    kinds = (data_type.key_type, data_type.item_type)

    def width_of(index: np.ndarray, here: BinaryCells) -> np.ndarray:
        is_value = index % 2 == 1  # an even number of items before each map: parity tells keys from values
        return np.where(is_value, widths(here, kinds[1]), widths(here, kinds[0]))

    chosen, located, problem = _located(cells, items, width_of)
    sides = []
    for side, kind in enumerate(kinds):
        (own_items,) = np.nonzero(chosen % 2 == side)
        array, own = decode(inner(located.at(own_items), kind), kind)
        worsen(problem, items.rows[chosen[own_items]], own)
        sides.append(spread(array, chosen[own_items] // 2, len(items.rows) // 2))
    keys, values = sides
    entries = items.counts // 2
    if keys.null_count:
        keep = np.asarray(keys.is_valid())
        entries = np.bincount(np.repeat(np.arange(len(entries)), entries)[keep], minlength=len(entries))
        keys, values = keys.filter(pa.array(keep)), values.filter(pa.array(keep))
    return pa.MapArray.from_arrays(_offsets(entries), keys, values, type=data_type), problem


def worsen(problem: np.ndarray, rows: np.ndarray, own: np.ndarray) -> None:
    if own.any():
        np.maximum.at(problem, rows, own)


def _offsets(lengths: np.ndarray) -> pa.Array:
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.array(offsets)
