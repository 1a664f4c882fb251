"""Columns of Python values, as fastavro gives them, to Arrow arrays by the nodes of their schema."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hivemill.components.hive_example_gen.formats.avro.schema import Node
from hivemill.components.hive_example_gen.formats.hadoop.lazy_binary_primitives import (
    DAY_SECONDS,
    FIRST_DAY,
    LAST_DAY,
    OK,
    VALUE,
    as_text,
)
from hivemill.components.hive_example_gen.formats.hadoop.lazy_binary_values import worsen

_DECIMAL_BYTES = 16


def column(values: list[Any], node: Node) -> tuple[pa.Array, np.ndarray]:
    """`values` as `node.data_type`, and a problem code for each (lazy_primitives)."""
    if node.kind == "record":
        return _record(values, node)
    if node.kind == "array":
        return _list(values, node)
    if node.kind == "map":
        return _map(values, node)
    if node.kind == "decimal":
        return _decimal(values, node)
    if node.kind == "string":
        return as_text(pa.array(values, pa.binary()))
    if node.kind in ("bytes", "fixed"):
        return pa.array(_as_bytes(values), pa.binary()), _no_problem(values)
    return _number(values, node)


def _as_bytes(values: list[Any]) -> list[Any]:
    """The defaults of a reader's schema are JSON strings, one character for each byte."""
    return [value.encode("latin-1") if isinstance(value, str) else value for value in values]


def _no_problem(values: list[Any]) -> np.ndarray:
    return np.zeros(len(values), np.uint8)


def _number(values: list[Any], node: Node) -> tuple[pa.Array, np.ndarray]:
    if node.data_type in (pa.int8(), pa.int16()):
        info = np.iinfo(node.data_type.to_pandas_dtype())
        numbers, problem = _in_range(pa.array(values, pa.int32()), int(info.min), int(info.max))
        return numbers.cast(node.data_type), problem
    if pa.types.is_date(node.data_type):
        days, problem = _in_range(pa.array(values, pa.int32()), FIRST_DAY, LAST_DAY)
        return days.cast(pa.date32()), problem
    if pa.types.is_timestamp(node.data_type):
        per_second = 1_000 if "millis" in (node.logical or "") else 1_000_000
        limits = (FIRST_DAY * DAY_SECONDS * per_second, (LAST_DAY + 1) * DAY_SECONDS * per_second - 1)
        instants, problem = _in_range(pa.array(values, pa.int64()), *limits)
        return pc.multiply(instants, 1_000_000 // per_second).cast(pa.timestamp("us")), problem
    return pa.array(values, node.data_type), _no_problem(values)


def _in_range(array: pa.Array, low: int, high: int) -> tuple[pa.Array, np.ndarray]:
    """What lies outside is NULL and a VALUE problem."""
    numbers = np.asarray(array.fill_null(low))
    beyond = (numbers < low) | (numbers > high)
    mask = beyond | np.asarray(array.is_null())
    return pa.array(numbers, array.type, mask=mask), np.where(beyond, VALUE, OK).astype(np.uint8)


def _decimal(values: list[Any], node: Node) -> tuple[pa.Array, np.ndarray]:
    """Big-endian two's complement to Arrow's 16 bytes of little-endian."""
    limit = 10**node.data_type.precision
    problem = _no_problem(values)
    packed, missing = [], np.zeros(len(values), bool)
    for index, value in enumerate(_as_bytes(values)):
        number = int.from_bytes(value, "big", signed=True) if value is not None else 0
        if not -limit < number < limit:
            problem[index], number = VALUE, 0
        missing[index] = value is None or problem[index]
        packed.append(number.to_bytes(_DECIMAL_BYTES, "little", signed=True))
    validity = pa.array(~missing).buffers()[1] if missing.any() else None
    return pa.Array.from_buffers(node.data_type, len(values), [validity, pa.py_buffer(b"".join(packed))]), problem


def _record(values: list[Any], node: Node) -> tuple[pa.Array, np.ndarray]:
    problem = _no_problem(values)
    children = []
    for name, child in node.children:
        array, own = column([None if value is None else value[name] for value in values], child)
        np.maximum(problem, own, out=problem)
        children.append(array)
    mask = pa.array([value is None for value in values], pa.bool_())
    if not children:
        return pa.array([None if value is None else {} for value in values], node.data_type), problem
    return pa.StructArray.from_arrays(children, fields=list(node.data_type), mask=mask), problem


def _list(values: list[Any], node: Node) -> tuple[pa.Array, np.ndarray]:
    problem = _no_problem(values)
    lengths = [len(value or ()) for value in values]
    array, own = column(list(itertools.chain.from_iterable(value or () for value in values)), node.children[0][1])
    worsen(problem, np.repeat(np.arange(len(values)), lengths), own)
    return pa.ListArray.from_arrays(_offsets(values, lengths), array, type=node.data_type), problem


def _map(values: list[Any], node: Node) -> tuple[pa.Array, np.ndarray]:
    problem = _no_problem(values)
    lengths = [len(value or ()) for value in values]
    keys = pa.array(list(itertools.chain.from_iterable(value or () for value in values)), pa.string())
    items = list(itertools.chain.from_iterable((value or {}).values() for value in values))
    array, own = column(items, node.children[0][1])
    worsen(problem, np.repeat(np.arange(len(values)), lengths), own)
    return pa.MapArray.from_arrays(_offsets(values, lengths), keys, array, type=node.data_type), problem


def _offsets(values: list[Any], lengths: list[int]) -> pa.Array:
    """A NULL offset stands for a NULL list."""
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.array(offsets, mask=np.array([*(value is None for value in values), False], bool))
