"""Avro: types against fastavro's writer, codecs, evolved schemas, what Hive and Spark say about time, damage."""

import datetime
import io
import json
import zlib
from decimal import Decimal

import fastavro
import pyarrow as pa
import pytest

from hivemill.common.errors import ConfigError, DataCorruptError, DataNotReadyError
from hivemill.components.hive_example_gen.formats import reader
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.table.spec import TableSpec

UTC = datetime.timezone.utc
FIELDS = [
    ("i", "int", 1),
    ("l", ["null", "long"], -(2**63)),
    ("f", ["float", "null"], 0.5),
    ("d", ["null", "double"], 1e300),
    ("b", ["null", "boolean"], False),
    ("s", ["null", "string"], "ü"),
    ("raw", ["null", "bytes"], b"\xff\x00"),
    ("e", ["null", {"type": "enum", "name": "E", "symbols": ["A", "B"]}], "B"),
    ("again", ["null", "E"], "A"),
    ("x", ["null", {"type": "fixed", "name": "X", "size": 2}], b"ab"),
    ("n", ["null", {"type": "bytes", "logicalType": "decimal", "precision": 8, "scale": 2}], Decimal("-1.50")),
    ("day", ["null", {"type": "int", "logicalType": "date"}], datetime.date(2026, 2, 28)),
    (
        "ms",
        ["null", {"type": "long", "logicalType": "timestamp-millis"}],
        datetime.datetime(2026, 1, 2, 3, 4, 5, 6000, UTC),
    ),
    (
        "us",
        ["null", {"type": "long", "logicalType": "timestamp-micros"}],
        datetime.datetime(2026, 1, 2, 3, 4, 5, 6, UTC),
    ),
    ("a", ["null", {"type": "array", "items": ["null", "string"]}], ["x", None, ""]),
    ("m", ["null", {"type": "map", "values": ["null", "long"]}], {"k": 1, "z": None}),
    (
        "r",
        [
            "null",
            {
                "type": "record",
                "name": "R",
                "fields": [
                    {"name": "p", "type": "int"},
                    {"name": "q", "type": ["null", {"type": "array", "items": "E"}]},
                ],
            },
        ],
        {"p": 7, "q": ["A"]},
    ),
]
SCHEMA = {"type": "record", "name": "row", "fields": [{"name": name, "type": kind} for name, kind, _ in FIELDS]}
FULL = {name: value for name, _, value in FIELDS}
NULLS = {name: 1 if name == "i" else None for name in FULL}
READ = {**FULL, "ms": FULL["ms"].replace(tzinfo=None), "us": FULL["us"].replace(tzinfo=None)}
READ["m"] = list(FULL["m"].items())


def _written(schema, rows, **options):
    out = io.BytesIO()
    fastavro.writer(out, schema, rows, **options)
    return out.getvalue()


def _spec(columns=None, **options):
    return TableSpec(format="avro", columns=columns, partition_columns={}, **options)


def _file(tmp_path, data):
    (tmp_path / "000000_0").write_bytes(data)
    return DataFile(str(tmp_path / "000000_0"), "dt=x/000000_0")


def _read(tmp_path, data, columns=None, bad=None, **options):
    batches = reader.read_batches(
        _file(tmp_path, data), _spec(columns, **options), bad if bad is not None else BadRows()
    )
    return [row for batch in batches for row in batch.to_pylist()]


def _record(*fields):
    return {"type": "record", "name": "row", "fields": [{"name": name, "type": kind} for name, kind in fields]}


def test_every_type_by_the_files_own_schema(tmp_path):
    assert _read(tmp_path, _written(SCHEMA, [FULL, NULLS, FULL])) == [READ, NULLS, READ]


def test_declared_columns_in_another_order_and_case(tmp_path):
    columns = {"S": "string", "i": "bigint", "added": "array<int>", "r": "struct<q:array<string>,new:int,p:bigint>"}
    assert _read(tmp_path, _written(SCHEMA, [FULL, NULLS]), columns) == [
        {"S": "ü", "i": 1, "added": None, "r": {"q": ["A"], "new": None, "p": 7}},
        {"S": None, "i": 1, "added": None, "r": None},
    ]
    schema, present = reader.columns_of(DataFile(str(tmp_path / "000000_0"), "f"), _spec(columns))
    assert (schema.names, present) == (list(columns), {"S", "i", "r"})


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz"])
def test_codecs(tmp_path, codec):
    rows = [{**FULL, "i": number} for number in range(500)]
    found = _read(tmp_path, _written(SCHEMA, rows, codec=codec, sync_interval=1000))
    assert found == [{**READ, "i": number} for number in range(500)]


def _container(schema, codec, blocks):
    """By hand: fastavro needs further packages for some codecs."""
    metadata = {"avro.codec": codec, "avro.schema": json.dumps(schema)}
    head = b"".join(_long(len(text)) + text.encode() for pair in metadata.items() for text in pair)
    body = b"".join(_long(count) + _long(len(data)) + data + b"s" * 16 for count, data in blocks)
    return b"Obj\x01\x04" + head + b"\0" + b"s" * 16 + body


def test_codecs_by_hand(tmp_path):
    schema, plain = _record(("a", "int"), ("s", "string")), b"\x02\x02x" * 50
    snappy = pa.Codec("snappy").compress(plain, asbytes=True) + zlib.crc32(plain).to_bytes(4, "big")
    zstd = pa.Codec("zstd").compress(plain, asbytes=True)
    for codec, data in (("snappy", snappy), ("zstandard", zstd)):
        assert _read(tmp_path, _container(schema, codec, [(50, data)] * 2)) == [{"a": 1, "s": "x"}] * 100
    with pytest.raises(DataCorruptError, match="the checksum of a snappy block is wrong"):
        _read(tmp_path, _container(schema, "snappy", [(50, snappy[:-1] + b"?")]))
    with pytest.raises(DataCorruptError, match="codec 'lzo' is not supported"):
        _read(tmp_path, _container(schema, "lzo", [(50, plain)]))
    with pytest.raises(DataCorruptError, match=r"a block cannot be unpacked|cut off"):
        _read(tmp_path, _container(schema, "zstandard", [(50, zstd[:-3])]))


def test_batches_over_many_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("hivemill.components.hive_example_gen.formats.avro.avro_file._ROWS", 100)
    rows = [{"a": number, "s": "x" * (number % 7)} for number in range(1000)]
    data = _written(_record(("a", "long"), ("s", "string")), rows, sync_interval=200)
    assert _read(tmp_path, data) == rows
    assert _read(tmp_path, data, exclude_columns=("a",)) == [{"s": row["s"]} for row in rows]
    assert _read(tmp_path, _written(_record(("a", "long")), [])) == []


def test_the_tables_schema_brings_defaults_aliases_and_promotions(tmp_path):
    literal = {
        "type": "record",
        "name": "row",
        "fields": [
            {"name": "renamed", "aliases": ["a"], "type": "double"},
            {"name": "added", "type": "string", "default": "none"},
            {"name": "later", "type": ["null", "bytes"], "default": None},
        ],
    }
    data = _written(_record(("a", "int"), ("dropped", "string")), [{"a": 1, "dropped": "x"}])
    expected = [{"renamed": 1.0, "added": "none", "later": None}]
    properties = {"avro.schema.literal": json.dumps(literal)}
    assert _read(tmp_path, data, serde_properties=properties) == expected
    columns = {"renamed": "double", "added": "string", "later": "binary"}
    assert _read(tmp_path, data, columns, serde_properties=properties) == expected
    (tmp_path / "schema.avsc").write_text(json.dumps(literal))
    assert _read(tmp_path, data, serde_properties={"avro.schema.url": f"file://{tmp_path}/schema.avsc"}) == expected


def test_a_schema_of_the_table_that_cannot_be_read(tmp_path):
    data = _written(_record(("a", "int")), [{"a": 1}])
    with pytest.raises(ConfigError, match=r"source.serde_properties.avro.schema.literal is no Avro schema"):
        _read(tmp_path, data, serde_properties={"avro.schema.literal": "{"})
    with pytest.raises(ConfigError, match=r"avro.schema.url: .*/gone cannot be read"):
        _read(tmp_path, data, serde_properties={"avro.schema.url": f"{tmp_path}/gone"})
    needed = json.dumps(_record(("a", "int"), ("b", "int")))
    with pytest.raises(DataCorruptError, match=r"cannot be read as Avro: .*default"):
        _read(tmp_path, data, serde_properties={"avro.schema.literal": needed})


def test_types_that_avro_does_not_have(tmp_path):
    data = _written(_record(("t", "int"), ("d", "int"), ("at", "long")), [{"t": 5, "d": 365, "at": 1500}])
    columns = {"t": "tinyint", "d": "date", "at": "timestamp"}
    moment = datetime.datetime(1970, 1, 1, 0, 0, 1, 500_000)
    assert _read(tmp_path, data, columns) == [{"t": 5, "d": datetime.date(1971, 1, 1), "at": moment}]
    bad = BadRows()
    wide = _written(_record(("t", "int")), [{"t": 128}, {"t": -128}])
    assert _read(tmp_path, wide, {"t": "tinyint"}, bad) == [{"t": -128}]
    assert str(bad.kept[0]) == "dt=x/000000_0: row 1, column 't': the value does not fit in tinyint"


def test_raw_numbers_where_the_table_says_so(tmp_path):
    schema = _record(("at", {"type": "long", "logicalType": "timestamp-micros"}))
    assert _read(tmp_path, _written(schema, [{"at": 5}]), {"at": "bigint"}) == [{"at": 5}]


def test_instants_become_the_writers_wall_clock(tmp_path):
    schema = _record(("at", {"type": "long", "logicalType": "timestamp-millis"}))
    noon = [{"at": datetime.datetime(2026, 7, 1, 12, tzinfo=UTC)}]
    plain = _written(schema, noon)
    zoned = _written(schema, noon, metadata={"writer.time.zone": "Asia/Tokyo"})
    assert _read(tmp_path, plain) == [{"at": datetime.datetime(2026, 7, 1, 12)}]
    assert _read(tmp_path, zoned) == [{"at": datetime.datetime(2026, 7, 1, 21)}]
    berlin = {"writer.time.zone": "Europe/Berlin"}
    assert _read(tmp_path, plain, serde_properties=berlin) == [{"at": datetime.datetime(2026, 7, 1, 14)}]
    assert _read(tmp_path, zoned, serde_properties=berlin) == [{"at": datetime.datetime(2026, 7, 1, 21)}]
    with pytest.raises(ConfigError, match="no time zone is called 'Mars/Base'"):
        _read(tmp_path, plain, serde_properties={"writer.time.zone": "Mars/Base"})


@pytest.mark.parametrize(
    ("metadata", "proleptic"),
    [
        ({"writer.proleptic": "true"}, True),
        ({"writer.proleptic": "false"}, False),
        ({"org.apache.spark.version": "4.0.1"}, True),
        ({"org.apache.spark.version": "3.5.0", "org.apache.spark.legacyDateTime": ""}, False),
        ({"org.apache.spark.version": "2.4.8"}, False),
        ({}, None),
    ],
)
def test_old_days_by_the_writers_calendar(tmp_path, metadata, proleptic):
    day = {"type": "int", "logicalType": "date"}
    rows = [{"d": -719_162}, {"d": -141_428}, {"d": -141_427}]
    data = _written(_record(("d", day)), rows, metadata=metadata)
    if proleptic is None:
        with pytest.raises(DataNotReadyError, match="column 'd' holds a day before 1582-10-15"):
            _read(tmp_path, data)
        assert _read(tmp_path, _written(_record(("d", day)), rows[2:])) == [{"d": datetime.date(1582, 10, 15)}]
        return
    found = [row["d"] for row in _read(tmp_path, data)]
    if proleptic:
        assert found == [datetime.date(1, 1, 1), datetime.date(1582, 10, 14), datetime.date(1582, 10, 15)]
    else:  # day -719162 is 0001-01-03 and -141428 is 1582-10-04 in the Julian calendar
        assert found == [datetime.date(1, 1, 3), datetime.date(1582, 10, 4), datetime.date(1582, 10, 15)]


def test_unions_of_several_types_are_refused_unless_excluded(tmp_path):
    data = _written(_record(("a", "int"), ("u", ["int", "string"])), [{"a": 1, "u": "x"}, {"a": 2, "u": 3}])
    with pytest.raises(DataNotReadyError, match="column 'u' is a union of several types"):
        _read(tmp_path, data)
    assert _read(tmp_path, data, exclude_columns=("u",)) == [{"a": 1}, {"a": 2}]
    assert _read(tmp_path, data, {"a": "int"}) == [{"a": 1}, {"a": 2}]


def test_another_type_than_declared(tmp_path):
    data = _written(_record(("a", "long")), [{"a": 1}])
    with pytest.raises(DataNotReadyError, match="column 'a' is bigint in the file, declared int"):
        _read(tmp_path, data, {"a": "int"})


def test_text_that_is_not_utf8_is_a_bad_row(tmp_path):
    data = _written(
        _record(("s", "string"), ("a", {"type": "array", "items": "string"})), [{"s": "ok", "a": ["__"]}] * 3
    )
    place = data.rindex(b"__", 0, data.rindex(b"__"))
    bad = BadRows()
    assert len(_read(tmp_path, data[:place] + b"\xff_" + data[place + 2 :], bad=bad)) == 2
    assert str(bad.kept[0]) == "dt=x/000000_0: row 2, column 'a': not valid UTF-8"


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_every_truncation_is_noticed_or_ends_between_blocks(tmp_path, codec):
    whole = _written(SCHEMA, [FULL] * 3, codec=codec)
    header_end = len(_written(SCHEMA, [], codec=codec))
    for size in range(4, len(whole), 3):
        if size != header_end:
            with pytest.raises(DataCorruptError, match="dt=x/000000_0 cannot be read as Avro: "):
                _read(tmp_path, whole[:size])


def _with_block(schema, block, count_bytes):
    head = _written(schema, [])
    return head + count_bytes + bytes([len(block) << 1]) + block + head[-16:]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (_with_block(_record(("a", "int")), b"\x02", b"\x04"), "a block of 1 bytes says that it holds 2 rows"),
        (_with_block(_record(("a", "int")), b"\x02\x02", b"\x02"), "a block of 1 rows"),
        (_with_block(_record(("a", "int")), b"\x02", b"\xff" * 9 + b"\x01"), "says that it holds"),
        (_with_block(_record(("a", "string")), b"\xfe\xff\xff\xff\x0f", b"\x02"), "a block of 1 rows"),
        (_with_block(_record(("a", ["null", "int"])), b"\x08", b"\x02"), "a block of 1 rows"),
        (_with_block(_record(("a", {"type": "array", "items": "null"})), b"\xfe\x0f\0", b"\x02"), "take no bytes"),
        (_with_block(_record(("a", "null")), b"", b"\xfe\xff\xff\xff\x0f"), "a row of its schema takes no bytes"),
        (_written(_record(("a", "int")), [{"a": 1}])[:-1] + b"?", "a sync marker is not that of the header"),
        (b"Obj\x01" + b"\xff" * 11, "a number of more than ten bytes"),
        (b"Obj\x01\x00" + bytes(16), "it has no schema"),
    ],
)
def test_damage_is_named(tmp_path, data, problem):
    with pytest.raises(DataCorruptError, match=problem) as raised:
        _read(tmp_path, data)
    assert raised.value.message.startswith("dt=x/000000_0 cannot be read as Avro: ")


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ("[]", "its schema is no record"),
        ("{", "its schema is no JSON"),
        ("[" * 100_000, "its schema is no JSON"),
        ('{"type":"record","name":"r","fields":[{"name":null,"type":"int"}]}', "no name or there twice"),
        ('{"type":"record","name":"r","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}', "there twice"),
        ('{"type":"record","name":"r","fields":[{"name":"a","type":"nothing"}]}', "its schema cannot be parsed"),
        ('{"type":"record","name":"r","fields":7}', "its schema cannot be parsed"),
        (
            '{"type":"record","name":"r","fields":[{"name":"a","type":{"type":"fixed","name":"f","size":"x"}}]}',
            "schema",
        ),
    ],
)
def test_schemas_that_are_none(tmp_path, schema, problem):
    size = _long(len(schema))
    data = b"Obj\x01\x02\x16avro.schema" + size + schema.encode() + b"\0" + bytes(16)
    with pytest.raises(DataCorruptError, match=problem):
        _read(tmp_path, data)


def _long(number):
    packed, number = bytearray(), number << 1
    while number > 127:
        packed.append(number & 127 | 128)
        number >>= 7
    return bytes([*packed, number])


def test_a_type_that_contains_itself(tmp_path):
    schema = _record(("a", "int"), ("next", ["null", "row"]))
    with pytest.raises(DataCorruptError, match="its type row contains itself"):
        _read(tmp_path, _written(schema, [{"a": 1, "next": None}]))
