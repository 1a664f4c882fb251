"""The nasty rows as JSON. Spark's wheel has no JsonSerDe, so the rows that are written are what must be read.

Dates and timestamps are Hive's text, binary is base64 (since Hive 3). NaN and infinite are no JSON; they are text here.
"""

from __future__ import annotations

import base64
import json
import math
from decimal import Context, Decimal

import pyarrow as pa
import pytest

from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.options import SourceOptions
from hivemill.components.hive_example_gen.table.hive_types import parse_type
from tests.components.hive_example_gen.conformance.conformance_expected import same
from tests.components.hive_example_gen.conformance.conformance_read import AS_HIVE, found_rows
from tests.components.hive_example_gen.conformance.conformance_tables import DAY
from tests.components.hive_example_gen.conformance.nasty_rows import COLUMNS, rows

_WIDE = Context(prec=60)
CLASSES = ("org.apache.hive.hcatalog.data.JsonSerDe", "org.apache.hadoop.hive.serde2.JsonSerDe")


@pytest.mark.parametrize("java_class", CLASSES)
def test_nasty_rows_as_json(tmp_path, java_class):
    folder = tmp_path / "tables" / "json" / f"dt={DAY}"
    folder.mkdir(parents=True)
    written = [dict(zip(COLUMNS, row, strict=True)) for row in rows(COLUMNS)]
    lines = [json.dumps({name: _json(value, _type(name)) for name, value in row.items()}) for row in written]
    (folder / "000000_0").write_text("\n".join(lines) + "\n", encoding="utf-8")
    ddl = tmp_path / "json.hql"
    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    ddl.write_text(f"CREATE TABLE json ({columns}) ROW FORMAT SERDE '{java_class}' STORED AS TEXTFILE")
    source = SourceOptions(table=str(tmp_path / "tables" / "json"), ddl=str(ddl), bad_rows=AS_HIVE)
    bad = BadRows(AS_HIVE)
    found = found_rows(tmp_path, source, bad)
    same(found, [{name: _plain(value, _type(name)) for name, value in row.items()} for row in written])
    assert not bad.total and not bad.notes


def _type(name: str) -> pa.DataType:
    return parse_type(COLUMNS[name])


def _json(value, kind: pa.DataType):
    types = pa.types
    if value is None:
        return None
    if types.is_list(kind):
        return [_json(item, kind.value_type) for item in value]
    if types.is_map(kind):
        return {str(key): _json(item, kind.item_type) for key, item in value.items()}
    if types.is_struct(kind):
        return {field.name: _json(item, field.type) for field, item in zip(kind, value, strict=True)}
    if types.is_binary(kind):
        return base64.b64encode(value).decode()
    if types.is_floating(kind):
        return value if math.isfinite(value) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    return value


def _plain(value, kind: pa.DataType):
    types = pa.types
    if value is None:
        return None
    if types.is_list(kind):
        return [_plain(item, kind.value_type) for item in value]
    if types.is_map(kind):
        return [
            {"key": _plain(key, kind.key_type), "value": _plain(item, kind.item_type)} for key, item in value.items()
        ]
    if types.is_struct(kind):
        return {field.name: _plain(item, field.type) for field, item in zip(kind, value, strict=True)}
    if types.is_binary(kind):
        return value.hex()
    if types.is_floating(kind):
        return {"float": repr(pa.scalar(value, kind).as_py())}
    if types.is_decimal(kind):
        return str(Decimal(value).quantize(Decimal(1).scaleb(-kind.scale), context=_WIDE))
    return value
