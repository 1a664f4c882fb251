"""Rows of Python values to tf.Examples, with the types of a table's columns as Hivemill flattens them.

| value | feature |
|---|---|
| text, bytes, date (`YYYY-MM-DD`) | bytes |
| whole number, boolean, datetime (microseconds since the epoch, UTC unless it has a zone) | int64 |
| float, Decimal | float |
| list of those | a list |
| mapping | `c_keys` and `c_values` of a map, or `c_<field>` of a struct |

Where the model's own types are known, a whole number in a float column is a float, and a whole float in an integer
column an integer. Loads no TensorFlow.
"""

from __future__ import annotations

import datetime
import decimal
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hivemill.common.errors import ConfigError
from hivemill.serving import protos

Scalar = str | bytes | int | float | bool | datetime.date | decimal.Decimal | np.generic
Value = Scalar | None | Sequence[Scalar] | np.ndarray | Mapping[str, Any]
BYTES, INTEGER, FLOAT = "bytes_list", "int64_list", "float_list"
ROW_LENGTHS_SUFFIX = "_row_lengths"
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_KINDS_OF_TYPES = {1: FLOAT, 2: FLOAT, 3: INTEGER, 7: BYTES, 9: INTEGER, 10: INTEGER}  # types.proto
_LOG = logging.getLogger(__name__)


class ColumnTypes:
    """What the model reads, by the inputs of its signature `predict`; columns that it does not know are warned about
    once and left out."""

    def __init__(self, version: int | None, inputs: Mapping[str, int]):
        """`inputs` are DataTypes (types.proto) by name."""
        self.version = version
        self.kinds = {
            name: _KINDS_OF_TYPES.get(dtype, BYTES)
            for name, dtype in inputs.items()
            if not name.endswith(ROW_LENGTHS_SUFFIX)
        }
        self._warned: set[str] = set()

    def warn_unknown(self, names: Iterable[str]) -> None:
        new = sorted(set(names) - self._warned)
        if new:
            self._warned.update(new)
            _LOG.warning("the model does not read the columns %s; it reads %s", new, sorted(self.kinds))


def serialised_example(row: Mapping[str, Value], types: ColumnTypes | None = None) -> bytes:
    """A tf.Example of one row.

    None is left out, and so is an empty list of unknown type. Raises ConfigError with the column and the value where no
    tf.Example can hold it, or where it does not fit the model's type.
    """
    example = protos.load("apis.input_pb2").ExampleList().examples.add()
    unknown = []
    for name, value in _flattened(row, types):
        if types is not None and name not in types.kinds:
            unknown.append(name)
            continue
        values = [_plain(one) for one in _listed(value)]
        kind = types.kinds[name] if types else _kind(name, values)
        if kind is not None:
            feature = example.features.feature[name]
            getattr(feature, kind).SetInParent()
            getattr(feature, kind).value.extend(_converted(name, one, kind) for one in values)
    if types is not None and unknown:
        types.warn_unknown(unknown)
    return example.SerializeToString()


def _flattened(row: Mapping[str, Value], types: ColumnTypes | None) -> Iterator[tuple[str, Any]]:
    """Columns without None; maps and structs as the features that they become."""
    for name, value in row.items():
        if value is None:
            continue
        if not isinstance(value, Mapping):
            yield name, value
        elif types is not None and f"{name}_keys" not in types.kinds and f"{name}_values" not in types.kinds:
            yield from _flattened({f"{name}_{field}": one for field, one in value.items()}, types)
        else:
            present = {key: one for key, one in value.items() if one is not None}
            yield f"{name}_keys", list(present)
            yield f"{name}_values", list(present.values())


def _listed(value: Any) -> list[Any]:
    if isinstance(value, np.ndarray):
        return list(value.ravel())
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _plain(value: Any) -> Any:
    """NumPy's, dates and decimals as str, bytes, int or float."""
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[D]" if np.datetime_data(value)[0] == "D" else "datetime64[us]").item()
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, datetime.datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=datetime.timezone.utc)
        return (aware - _EPOCH) // datetime.timedelta(microseconds=1)
    if isinstance(value, datetime.date):
        return value.isoformat()
    return float(value) if isinstance(value, decimal.Decimal) else value


def _kind(name: str, values: list[Any]) -> str | None:
    """Of values whose column's type is not known; None where there are none."""
    if not values:
        return None
    if all(isinstance(one, (str, bytes)) for one in values):
        return BYTES
    if all(isinstance(one, int) for one in values):
        return INTEGER
    return FLOAT


def _converted(name: str, value: Any, kind: str) -> Any:
    if kind == BYTES and isinstance(value, (str, bytes)):
        return value.encode() if isinstance(value, str) else value
    if kind == FLOAT and isinstance(value, (int, float)):
        return float(np.float32(value))
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if kind == INTEGER and is_whole and -(2**63) <= value < 2**63:
        return int(value)
    wanted = {BYTES: "text or bytes", FLOAT: "numbers", INTEGER: "whole numbers of 64 bits"}[kind]
    raise ConfigError(f"column {name!r} must be {wanted}; received {value!r:.100}")
