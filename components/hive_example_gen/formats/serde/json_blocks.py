"""JSON rows through Arrow's parser, where that reads them as JsonSerDe does.

Arrow refuses a block for anything that is odd (a number as text, a key twice, a value of another kind); the rest of
what the two differ in is looked for here: keys in other case, lines without or with more than one object, NaN.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.json

from hivemill.components.hive_example_gen.formats.text.values import Problems, TextColumn

_ODD = re.compile(rb"\}[ \t]*\{|^[ \t]*$|NaN|Inf", re.MULTILINE)
_POSITIONAL = re.compile(r"_col\d+")


class JsonBlocks:
    """Reads blocks of rows at once; `eligible` where every column has a type that Arrow parses."""

    def __init__(self, columns: Mapping[str, TextColumn]):
        self.columns = columns
        self.eligible = bool(columns) and all(_is_eligible(column) for column in columns.values())
        self.keys: dict[str, str] | None = None  # column -> key as the first row writes it

    def read(self, rows: list[bytes]) -> dict[str, tuple[pa.Array, Problems]] | None:
        """The columns of `rows`; None where they must be read one by one."""
        block = b"\n".join(rows) + b"\n"
        if not self.eligible or _ODD.search(block, 0, len(block) - 1):
            return None
        try:
            self.keys = self.keys or self._keys_of(rows[0])
            table = self._parsed(block)
            if table.num_rows != len(rows) or self._has_other_keys(table.schema):
                return None
            read = {name: self._column(table.column(self.keys[name]), self.columns[name]) for name in self.columns}
        except (ValueError, RecursionError, pa.ArrowNotImplementedError):
            # Bad JSON (ArrowInvalid is a ValueError) or a value that Arrow cannot cast: row by row tells which.
            return None
        found = (problems for _, problems in read.values())
        return None if any(problems.values or problems.encoding for problems in found) else read

    def _keys_of(self, row: bytes) -> dict[str, str]:
        first = json.loads(row.decode())
        written = {key.lower(): key for key in first} if isinstance(first, dict) else {}
        return {name: written.get(name.lower(), name) for name in self.columns}

    def _parsed(self, block: bytes) -> pa.Table:
        assert self.keys is not None
        asked = pa.schema([(self.keys[name], _asked_type(column)) for name, column in self.columns.items()])
        return pyarrow.json.read_json(
            pa.BufferReader(block),
            pyarrow.json.ReadOptions(use_threads=False, block_size=len(block) + 1),
            pyarrow.json.ParseOptions(explicit_schema=asked, unexpected_field_behavior="infer"),
        )

    def _has_other_keys(self, found: pa.Schema) -> bool:
        """Keys that Hive takes for one of the columns and Arrow does not."""
        assert self.keys is not None
        lower = {name.lower() for name in self.columns}
        others = [name for name in found.names if name not in self.keys.values()]
        if any(name.lower() in lower or _POSITIONAL.fullmatch(name) for name in others):
            return True
        asked = ((self.keys[name], _asked_type(column)) for name, column in self.columns.items())
        return any(found.field(key).type != data_type for key, data_type in asked)  # more keys inside a struct

    @staticmethod
    def _column(chunks: pa.ChunkedArray, column: TextColumn) -> tuple[pa.Array, Problems]:
        array = pa.concat_arrays(chunks.chunks)
        if pa.types.is_string(array.type):
            return column.read(array.view(pa.binary()))
        array.validate(full=True)  # UTF-8 inside of lists and structs
        return array, Problems()


def _asked_type(column: TextColumn) -> pa.DataType:
    """Dates and the like as the text that they are written as."""
    types, data_type = pa.types, column.data_type
    as_it_is = types.is_nested(data_type) or types.is_integer(data_type) or types.is_boolean(data_type)
    return data_type if as_it_is or types.is_floating(data_type) else pa.string()


def _is_eligible(column: TextColumn) -> bool:
    """A nested type must be Arrow's down to its leaves; a leaf that is not goes through its text."""
    return not pa.types.is_nested(column.data_type) or (column.bounds is None and _is_plain(column.data_type))


def _is_plain(data_type: pa.DataType) -> bool:
    types = pa.types
    if types.is_list(data_type):
        return _is_plain(data_type.value_type)
    if types.is_struct(data_type):
        return all(_is_plain(field.type) for field in data_type)
    return any(test(data_type) for test in (types.is_string, types.is_integer, types.is_floating, types.is_boolean))
