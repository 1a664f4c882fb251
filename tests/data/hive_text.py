"""A plain reader of Hive text, apart from the writer under test: slow, and obviously right."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

PRIMITIVES = {
    "int": int,
    "bigint": int,
    "double": float,
    "string": str,
    "timestamp": lambda text: datetime.datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f"),
}


def read_rows(path: Path, columns: dict[str, str]) -> list[dict[str, Any]]:
    content = path.read_bytes().decode("utf-8")
    assert content == "" or content.endswith("\n")
    return [_row(line.split("\x01"), columns) for line in content.split("\n")[:-1]]


def _row(cells: list[str], columns: dict[str, str]) -> dict[str, Any]:
    assert len(cells) == len(columns), cells
    return {name: _value(cell, columns[name]) for name, cell in zip(columns, cells, strict=True)}


def _value(cell: str, hive_type: str) -> Any:
    if cell == "\\N":
        return None
    if hive_type.startswith("array<"):
        return [PRIMITIVES[hive_type[6:-1]](item) for item in cell.split("\x02")] if cell else []
    if hive_type.startswith("map<"):
        return dict(item.split("\x03") for item in cell.split("\x02")) if cell else {}
    return PRIMITIVES[hive_type](cell)
