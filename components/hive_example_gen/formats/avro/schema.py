"""Avro schemas: which Arrow type each part is read as, and the schema that fastavro is given.

fastavro gets a schema without logical types and with bytes for strings: numbers and bytes come as they are and are
turned into dates, decimals and text a column at a time. Types are those of Hive's AvroSerDe (SchemaToTypeInfo): a union
with null is the type itself, an enum a string, a fixed binary. Where the table declares a type that Avro does not have
or does not mark (tinyint, smallint; date and timestamp without logical type), the declared one is taken.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import fastavro
import pyarrow as pa

from hivemill.components.hive_example_gen.formats.hadoop.vints import Damaged

_PLAIN = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
    "fixed": pa.binary(),
    "enum": pa.string(),
}
_MICROS = pa.timestamp("us")
_TIMESTAMPS = ("timestamp-millis", "timestamp-micros", "local-timestamp-millis", "local-timestamp-micros")
_MAX_DEPTH = 64


class NotReadable(ValueError):
    """A schema that is sound and has no Hive type."""


@dataclass(frozen=True)
class Node:
    """One part of a schema.

    Attributes:
        kind: Avro's name of the type; of a union with null, that of the other side.
        data_type: what its values are read as.
        logical: the logical type, as far as it decides how values are read.
        children: of a record its fields, of an array "items", of a map "values".
    """

    kind: str
    data_type: pa.DataType
    logical: str | None = None
    children: tuple[tuple[str, Node], ...] = ()


@dataclass(frozen=True)
class AvroSchema:
    """A parsed schema whose top is a record."""

    parsed: dict[str, Any]
    names: Mapping[str, Any]

    @classmethod
    def parse(cls, document: Any) -> AvroSchema:
        """`document`: the JSON value. Raises Damaged."""
        parsed = _parsed(document)
        if not (isinstance(parsed, dict) and parsed.get("type") == "record"):
            raise Damaged("its schema is no record")
        schema = cls(parsed, parsed.get("__named_schemas", {}))
        try:
            schema._check(parsed, ())
        except (AttributeError, KeyError, TypeError) as error:  # fastavro does not look at everything
            raise Damaged(f"its schema cannot be parsed: {type(error).__name__} {error}") from error
        return schema

    @property
    def fields(self) -> list[dict[str, Any]]:
        return self.parsed["fields"]

    def readable(self, wanted: frozenset[str] | None = None) -> dict[str, Any]:
        """The schema for fastavro; of the top record only the fields `wanted`, where given."""
        seen: set[str] = set()
        fields = [field for field in self.fields if wanted is None or field["name"] in wanted]
        seen.add(self.parsed["name"])
        record = {"type": "record", "name": self.parsed["name"], "aliases": self.parsed.get("aliases", [])}
        return _parsed({**record, "fields": [self._field(field, seen) for field in fields]})

    def _field(self, field: dict[str, Any], seen: set[str]) -> dict[str, Any]:
        return {**field, "type": self._stripped(field["type"], seen)}

    def _stripped(self, schema: Any, seen: set[str]) -> Any:
        if isinstance(schema, list):
            return [self._stripped(branch, seen) for branch in schema]
        if isinstance(schema, str):
            if schema in self.names and schema not in seen:
                return self._stripped(self.names[schema], seen)
            return "bytes" if schema == "string" else schema
        kind = schema["type"]
        if "name" in schema:
            if schema["name"] in seen:
                return schema["name"]
            seen.add(schema["name"])
        if kind == "record":
            return {**_bare(schema), "fields": [self._field(field, seen) for field in schema["fields"]]}
        if kind == "array":
            return {"type": "array", "items": self._stripped(schema["items"], seen)}
        if kind == "map":
            return {"type": "map", "values": self._stripped(schema["values"], seen)}
        return _bare(schema) if kind in ("enum", "fixed") else self._stripped(kind, seen)

    def _check(self, schema: Any, path: tuple[str, ...]) -> bool:
        """Whether a value may take no byte at all. Raises Damaged for what would make reading endless."""
        if len(path) > _MAX_DEPTH:
            raise Damaged(f"its schema is nested more than {_MAX_DEPTH} deep")
        if isinstance(schema, list):
            for branch in schema:
                self._check(branch, (*path, ""))
            return False
        schema = self.resolved(schema)
        kind = schema["type"]
        if "name" in schema and schema["name"] in path:
            raise Damaged(f"its type {schema['name']} contains itself, which Hive has no type for")
        inner = (*path, schema.get("name", ""))
        if kind == "record":
            _check_names([field["name"] for field in schema["fields"]])
            return all([self._check(field["type"], inner) for field in schema["fields"]])
        if kind == "array" and self._check(schema["items"], inner):
            raise Damaged("its schema has an array whose items take no bytes")
        if kind == "map":
            self._check(schema["values"], inner)
        if kind == "fixed" and not 0 <= schema["size"] < 1 << 31:
            raise Damaged(f"its schema has a fixed type of {schema['size']} bytes")
        return kind == "null" or (kind == "fixed" and schema["size"] == 0)

    @property
    def is_empty(self) -> bool:
        """Whether a row takes no byte: then nothing bounds their number."""
        return self._check(self.parsed, ())

    def resolved(self, schema: Any) -> dict[str, Any]:
        if isinstance(schema, str):
            schema = self.names.get(schema, {"type": schema})
        if isinstance(schema["type"], (dict, list)):
            raise Damaged("its schema has a type inside a type")
        return schema

    def nodes(self, declared: Mapping[str, pa.DataType]) -> Iterator[tuple[str, Node | NotReadable]]:
        """The fields of the top record; `declared` are the table's types by lower-case name."""
        for field in self.fields:
            name = field["name"]
            try:
                yield name, self._node(field["type"], declared.get(name.lower()))
            except NotReadable as error:
                yield name, error

    def _node(self, schema: Any, declared: pa.DataType | None) -> Node:
        if isinstance(schema, list):
            branches = [branch for branch in schema if self._kind_of(branch) != "null"]
            if len(branches) > 1:
                raise NotReadable("a union of several types (Hive's uniontype)")
            return self._node(branches[0] if branches else "null", declared)
        schema = self.resolved(schema)
        kind = schema["type"]
        if kind == "array":
            inner = declared.value_type if declared is not None and pa.types.is_list(declared) else None
            items = self._node(schema["items"], inner)
            return Node(kind, pa.list_(items.data_type), None, (("items", items),))
        if kind == "map":
            inner = declared.item_type if declared is not None and pa.types.is_map(declared) else None
            values = self._node(schema["values"], inner)
            return Node(kind, pa.map_(pa.string(), values.data_type), None, (("values", values),))
        return self._record(schema, declared) if kind == "record" else _primitive(schema, declared)

    def _kind_of(self, branch: Any) -> str:
        return "union" if isinstance(branch, list) else self.resolved(branch)["type"]

    def _record(self, schema: dict[str, Any], declared: pa.DataType | None) -> Node:
        types = {}
        if declared is not None and pa.types.is_struct(declared):
            types = {field.name.lower(): field.type for field in declared}
        fields = tuple(
            (field["name"], self._node(field["type"], types.get(field["name"].lower()))) for field in schema["fields"]
        )
        return Node("record", pa.struct([(name, node.data_type) for name, node in fields]), None, fields)


def _parsed(document: Any) -> Any:
    try:
        return fastavro.parse_schema(copy.deepcopy(document))
    except Exception as error:  # fastavro raises KeyError, TypeError and others for nonsense
        raise Damaged(f"its schema cannot be parsed: {str(error)[:200] or type(error).__name__}") from error


def _check_names(names: list[Any]) -> None:
    for index, name in enumerate(names):
        if not isinstance(name, str) or name in names[:index]:
            raise Damaged(f"its schema has a field {str(name)[:50]!r} that is no name or there twice")


def _bare(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key not in ("logicalType", "precision", "scale")}


def _primitive(schema: dict[str, Any], declared: pa.DataType | None) -> Node:
    kind, logical = schema["type"], schema.get("logicalType")
    if kind not in _PLAIN:
        raise NotReadable(f"the type {str(kind)[:50]}")
    plain = _PLAIN[kind]
    if logical == "decimal" and kind in ("bytes", "fixed"):
        return _decimal(schema)
    if kind == "int":
        if declared in (pa.int8(), pa.int16()):  # Hive and Spark write both as int
            return Node(kind, declared)
        is_date = declared == pa.date32() or (logical == "date" and declared != plain)
        return Node(kind, pa.date32() if is_date else plain)
    if kind == "long" and declared != plain and (declared == _MICROS or logical in _TIMESTAMPS):
        return Node(kind, _MICROS, logical if logical in _TIMESTAMPS else _TIMESTAMPS[0])
    return Node(kind, plain)


def _decimal(schema: dict[str, Any]) -> Node:
    precision, scale = schema.get("precision"), schema.get("scale", 0)
    if not (isinstance(precision, int) and isinstance(scale, int) and 0 <= scale <= precision and 0 < precision < 39):
        raise NotReadable(f"decimal({str(precision)[:20]},{str(scale)[:20]})")
    return Node("decimal", pa.decimal128(precision, scale))
