"""What the rows of a table must be: Spark's, with the differences that are known; before and after flattening."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa

from tests.components.hive_example_gen.conformance.conformance_tables import Table
from tests.components.hive_example_gen.conformance.differences import DIFFERENCES, stripped

_EPOCH = datetime.datetime(1970, 1, 1)
_SHOWN = 40


def spark_rows(folder: Path, table: Table) -> list[dict]:
    """What Spark SQL read. Fails with Spark's own message where it could not write or read the table."""
    answer = json.loads((folder / f"{table.same_rows_as or table.name}.json").read_text(encoding="utf-8"))
    assert "rows" in answer, f"Spark on {table.name}: {answer['error']}"
    rows = [{name.lower(): value for name, value in row.items()} for row in answer["rows"]]
    columns = table.read_columns or table.columns
    return stripped(rows, {name for name, kind in columns.items() if kind.startswith("char")})


def hive_rows(folder: Path, table: Table) -> list[dict]:
    """What Hive reads."""
    rows = spark_rows(folder, table)
    for difference in DIFFERENCES.get(table.name, ()):
        rows = difference.hive(rows)
    return rows


def same(found: list[dict], expected: list[dict], *, in_order: bool = True) -> None:
    """Fails with the first values that differ; without `in_order` the rows may come in another order."""
    found, expected = ([_comparable(row) for row in rows] for rows in (found, expected))
    if not in_order:
        found, expected = sorted(found, key=repr), sorted(expected, key=repr)
    differences = [
        f"row {index}, {name}: found {_short(ours, name)}, expected {_short(theirs, name)}"
        for index, (ours, theirs) in enumerate(zip(found, expected, strict=False))
        for name in {**theirs, **ours}
        if (name in ours, ours.get(name)) != (name in theirs, theirs.get(name))
    ]
    assert not differences, "\n".join(differences[:_SHOWN])
    assert len(found) == len(expected)


def _comparable(value):
    """Maps in the order of their keys."""
    if isinstance(value, list):
        inner = [_comparable(item) for item in value]
        is_map = bool(inner) and all(isinstance(item, dict) and item.keys() == {"key", "value"} for item in inner)
        return sorted(inner, key=repr) if is_map else inner
    return {name: _comparable(inner) for name, inner in value.items()} if isinstance(value, dict) else value


def _short(row: dict, name: str) -> str:
    text = repr(row[name]) if name in row else "nothing"
    return text if len(text) < 200 else text[:200] + "..."


def flattened_as_said(row: dict, schema: pa.Schema) -> dict:
    """The features of a row, by the table in flatten.py; floats as text, so that NaN is NaN and -0.0 is not 0.0."""
    features: dict[str, list] = {}
    for field in schema:
        features |= _flattened(field.name, row[field.name], field.type)
    return features


def _flattened(name: str, value, kind: pa.DataType) -> dict:
    types = pa.types
    if value is None:
        return {}
    if types.is_list(kind):
        return {name: [_leaf(item, kind.value_type) for item in value if item is not None]}
    if types.is_map(kind):
        items = [(item["key"], item["value"]) for item in value if item["value"] is not None]
        return {
            f"{name}_keys": [_leaf(key, kind.key_type) for key, _ in items],
            f"{name}_values": [_leaf(item, kind.item_type) for _, item in items],
        }
    if types.is_struct(kind):
        features: dict[str, list] = {}
        for field in kind:
            features |= _flattened(f"{name}_{field.name}", value[field.name], field.type)
        return features
    return {name: [_leaf(value, kind)]}


def _leaf(value, kind: pa.DataType):
    types = pa.types
    if types.is_binary(kind):
        return bytes.fromhex(value)
    if types.is_timestamp(kind):
        return (datetime.datetime.fromisoformat(_six_digits(value)) - _EPOCH) // datetime.timedelta(microseconds=1)
    if types.is_floating(kind) or types.is_decimal(kind):
        number = float(value["float"]) if types.is_floating(kind) else float(Decimal(value))
        with np.errstate(over="ignore", under="ignore"):
            return repr(float(np.float32(number)))
    return value.encode() if isinstance(value, str) else int(value)


def _six_digits(text: str) -> str:
    """Python before 3.11 takes a fraction of three or six digits only."""
    seconds, _, fraction = text.partition(".")
    return f"{seconds}.{fraction:0<6}"
