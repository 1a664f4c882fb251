"""The tables that Spark writes for the conformance suite: formats, compressions, SerDes, types, evolved schemas.

Standard library only: Spark's interpreter and the tests' own both import this.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.components.hive_example_gen.conformance.nasty_rows import COLUMNS, VALUES, rows

DAY = "2026-11-15"
CODECS = {
    "gzip": "org.apache.hadoop.io.compress.GzipCodec",
    "deflate": "org.apache.hadoop.io.compress.DefaultCodec",
    "bzip2": "org.apache.hadoop.io.compress.BZip2Codec",
    "snappy": "org.apache.hadoop.io.compress.SnappyCodec",
    "lz4": "org.apache.hadoop.io.compress.Lz4Codec",
}
HIVE_WRITES = {"spark.sql.hive.convertMetastoreParquet": "false", "spark.sql.hive.convertMetastoreOrc": "false"}
_HIVE = "org.apache.hadoop.hive"
RC_COLUMNAR = f"ROW FORMAT SERDE '{_HIVE}.serde2.columnar.ColumnarSerDe' STORED AS RCFILE"
RC_BINARY = f"ROW FORMAT SERDE '{_HIVE}.serde2.columnar.LazyBinaryColumnarSerDe' STORED AS RCFILE"
SEQUENCE_BINARY = f"ROW FORMAT SERDE '{_HIVE}.serde2.lazybinary.LazyBinarySerDe' STORED AS SEQUENCEFILE"
OPEN_CSV = f"ROW FORMAT SERDE '{_HIVE}.serde2.OpenCSVSerde'"
REGEX = f"ROW FORMAT SERDE '{_HIVE}.serde2.RegexSerDe'"


@dataclass(frozen=True)
class Table:
    """A table with one folder of files, `<name>/dt=2026-11-15`.

    Attributes:
        columns: name to Hive type, as the rows are written.
        stored: the clauses after the columns.
        rows, query: what Spark inserts; None where `files` are laid into the folder instead.
        settings: of the Spark session while it writes.
        read_columns, stored_as_read: columns and clauses that both read by, where they are others than those written.
        partitioned_by: the last of the columns, below the day.
        zone: of the JVM that writes the table, and reads it for Spark.
        read_properties: source.serde_properties that Hivemill needs: what neither files nor DDL say.
        same_rows_as: the table whose rows are expected, where Spark cannot read its own.
    """

    name: str
    columns: dict[str, str]
    stored: str
    rows: list | None = None
    query: str | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    read_columns: dict[str, str] | None = None
    stored_as_read: str | None = None
    partitioned_by: tuple[str, ...] = ()
    zone: str = "UTC"
    read_properties: dict[str, str] = field(default_factory=dict)
    same_rows_as: str | None = None

    @property
    def read_stored(self) -> str:
        return self.stored_as_read or self.stored

    def ddl(self, location: str | None = None) -> str:
        """CREATE TABLE as it is read, and where `location` is given, as Spark creates it there."""
        return self._create(self.name, self.read_columns or self.columns, self.read_stored, location)

    def written_ddl(self, location: str) -> str:
        return self._create(self.written_name, self.columns, self.stored, location)

    @property
    def written_name(self) -> str:
        evolved = self.read_columns or self.stored_as_read
        return f"{self.name}_written" if evolved else self.name

    def _create(self, name: str, columns: dict[str, str], stored: str, location: str | None) -> str:
        listed = [f"`{column}` {kind}" for column, kind in columns.items() if column not in self.partitioned_by]
        below = [f"`{column}` {columns[column]}" for column in self.partitioned_by]
        kind, place = ("EXTERNAL TABLE", f" LOCATION '{location}'") if location else ("TABLE", "")
        partitioned = f" PARTITIONED BY (`dt` string, {', '.join(below)})" if below else ""
        before, properties, after = stored.partition("TBLPROPERTIES")
        return f"CREATE {kind} {name} ({', '.join(listed)}){partitioned} {before}{place} {properties}{after}"


def compressed(codec: str, kind: str = "BLOCK") -> dict[str, str]:
    return {
        "hive.exec.compress.output": "true",
        "mapreduce.output.fileoutputformat.compress": "true",
        "mapreduce.output.fileoutputformat.compress.codec": CODECS[codec],
        "mapreduce.output.fileoutputformat.compress.type": kind,
        "io.seqfile.compression.type": kind,
    }


def without(*names: str) -> dict[str, str]:
    return {name: hive_type for name, hive_type in COLUMNS.items() if name not in names}


def only(*names: str) -> dict[str, str]:
    return {name: COLUMNS[name] for name in ("id", *names)}


FEW = only("big", "dbl", "name", "at", "words", "query", "geo")
"""For what concerns the container and not the types: compressions."""

DELIMITED = (
    "ROW FORMAT DELIMITED FIELDS TERMINATED BY '\\t' COLLECTION ITEMS TERMINATED BY ',' MAP KEYS TERMINATED BY ':'"
)
ESCAPED = DELIMITED.replace("COLLECTION", "ESCAPED BY '\\\\' COLLECTION")
_ESCAPES = {"field.delim": "\\t", "colelction.delim": ",", "mapkey.delim": ":", "escape.delim": "\\\\"}


_LINE_ENDS = {"escape.delim": "\\\\", "serialization.escape.crlf": "true"}


def lazy_simple(properties: dict[str, str], stored: str = "TEXTFILE") -> str:
    """Spark takes NULL DEFINED AS and drops it, so that some properties have to be given like this."""
    quoted = {key: value.replace("'", "\\'") for key, value in properties.items()}
    given = ", ".join(f"'{key}'='{value}'" for key, value in quoted.items())
    return f"ROW FORMAT SERDE '{_HIVE}.serde2.lazy.LazySimpleSerDe' WITH SERDEPROPERTIES ({given}) STORED AS {stored}"


TORN = {
    "name": ["a\tb", "line\nfeed", "cr\rlf\r\n", "a,b:c", "\\N", "a\x01b", "\x02\x03\x04", "\\", "\\\\", "end\\", ""],
    "words": [["a,b", "c"], ["\\N"], ["x\ty"], ["l\nf"], ["\\"], [":"], ["\x02", "\x03"], [None, ""]],
    "query": [{"a:b": "c,d"}, {"\\N": "\\N"}, {"k": "v\n"}, {"t\tt": "\\"}, {"\x03": "\x02"}],
    "geo": [(1.0, "a,b", 1), (2.0, "\\N", 2), (3.0, "l\n", 3), (None, "\t", None)],
    "carts": [{"a,b": [(1, "x:y"), (2, "\t")]}, {":": [(None, "\x04\x05\x06")]}],
}
"""Delimiters, escapes and line ends inside of text: what is written without escapes is read back in pieces."""
TORN_COLUMNS = only("name", "words", "query", "geo", "carts", "whole")
TORN_ROWS = rows(TORN_COLUMNS, TORN, 40)
_DEEP = {"id": "int", "deep": "array<array<array<array<array<array<int>>>>>>"}
_DEEP_ROWS = [(0, None), (1, [[[[[[1, 2], [3]]]]]]), (2, [[[[[[None], []], None]]], []]), (3, []), (4, [[[[[[]]]]]])]


def _torn(name: str, stored: str) -> Table:
    return Table(name, TORN_COLUMNS, stored, TORN_ROWS)


def _text() -> list[Table]:
    without_tabs = {"name": [name for name in VALUES["name"] if "\t" not in name]}
    tables = [
        Table("text", COLUMNS, "STORED AS TEXTFILE", rows(COLUMNS)),
        Table("text_tab", COLUMNS, f"{DELIMITED} STORED AS TEXTFILE", rows(COLUMNS, without_tabs)),
        Table("text_escaped", COLUMNS, f"{ESCAPED} STORED AS TEXTFILE", rows(COLUMNS)),
        Table("text_null", COLUMNS, lazy_simple({"serialization.null.format": "NULL"}), rows(COLUMNS)),
        Table("text_null_empty", COLUMNS, lazy_simple({"serialization.null.format": ""}), rows(COLUMNS)),
        Table(
            "text_by_number", FEW, lazy_simple({"field.delim": "9", "colelction.delim": "44"}), rows(FEW, without_tabs)
        ),
        Table("text_by_format", FEW, lazy_simple({"serialization.format": "9"}), rows(FEW, without_tabs)),
        Table("text_beyond_ascii", FEW, lazy_simple({"field.delim": "-2"}), rows(FEW)),
        Table("text_deep", _DEEP, "STORED AS TEXTFILE", _DEEP_ROWS),
        _torn("text_line_ends", lazy_simple(_LINE_ENDS)),
        _torn("text_torn", "STORED AS TEXTFILE"),
        _torn("text_tab_torn", f"{DELIMITED} STORED AS TEXTFILE"),
        _torn("text_escaped_torn", f"{ESCAPED} STORED AS TEXTFILE"),
    ]
    for codec in CODECS:
        tables.append(Table(f"text_{codec}", FEW, "STORED AS TEXTFILE", rows(FEW), settings=compressed(codec)))
    return tables


def _sequence_files() -> list[Table]:
    tables = [
        Table("sequence", COLUMNS, "STORED AS SEQUENCEFILE", rows(COLUMNS)),
        Table("sequence_binary", COLUMNS, SEQUENCE_BINARY, rows(COLUMNS)),
        _torn("sequence_torn", "STORED AS SEQUENCEFILE"),
        _torn("sequence_escaped_torn", lazy_simple(_ESCAPES, "SEQUENCEFILE")),
        Table("sequence_binary_block", COLUMNS, SEQUENCE_BINARY, rows(COLUMNS), settings=compressed("deflate")),
    ]
    for kind in ("RECORD", "BLOCK"):
        for codec in CODECS:
            name = f"sequence_{kind.lower()}_{codec}"
            settings = compressed(codec, kind)
            tables.append(Table(name, FEW, "STORED AS SEQUENCEFILE", rows(FEW), settings=settings))
    return tables


def _rcfiles() -> list[Table]:
    not_empty = {"raw": [b"\x00", b"x", bytes(range(256))]}  # this SerDe refuses to write a binary without bytes
    tables = [
        Table("rcfile_columnar", COLUMNS, RC_COLUMNAR, rows(COLUMNS)),
        Table("rcfile_binary", COLUMNS, RC_BINARY, rows(COLUMNS, not_empty)),
        _torn("rcfile_torn", RC_COLUMNAR),
        _torn(
            "rcfile_escaped_torn", RC_COLUMNAR.replace("STORED", "WITH SERDEPROPERTIES ('escape.delim'='\\\\') STORED")
        ),
    ]
    for codec in CODECS:
        # Hive 2.3 logs an EOFException at the end of its own bzip2 and gives no row at all.
        same = "rcfile_gzip" if codec == "bzip2" else None
        table = Table(f"rcfile_{codec}", FEW, RC_BINARY, rows(FEW), settings=compressed(codec), same_rows_as=same)
        tables.append(table)
    return tables


def _parquet() -> list[Table]:
    micros = {"spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS"}
    tables = [
        Table("parquet", COLUMNS, "STORED AS PARQUET", rows(COLUMNS)),
        Table("parquet_micros", COLUMNS, "STORED AS PARQUET", rows(COLUMNS), settings=micros),
        Table("parquet_hive", COLUMNS, "STORED AS PARQUET", rows(COLUMNS), settings=HIVE_WRITES),
    ]
    for name, value in {"writeLegacyFormat": "true", "parquet.writer.version": "PARQUET_2_0"}.items():
        key = name if "." in name else f"spark.sql.parquet.{name}"
        label = name.rpartition(".")[2].lower()
        tables.append(Table(f"parquet_{label}", COLUMNS, "STORED AS PARQUET", rows(COLUMNS), settings={key: value}))
    for codec in ("none", "gzip", "zstd", "lz4_raw"):
        settings = {"spark.sql.parquet.compression.codec": codec}
        tables.append(Table(f"parquet_{codec}", FEW, "STORED AS PARQUET", rows(FEW), settings=settings))
    return tables


def _orc() -> list[Table]:
    tables = [
        Table("orc", COLUMNS, "STORED AS ORC", rows(COLUMNS)),
        Table("orc_hive", COLUMNS, "STORED AS ORC", rows(COLUMNS), settings=HIVE_WRITES),
    ]
    for codec in ("NONE", "ZLIB", "SNAPPY", "ZSTD", "LZ4"):
        stored = f"STORED AS ORC TBLPROPERTIES ('orc.compress'='{codec}')"
        tables.append(Table(f"orc_{codec.lower()}", FEW, stored, rows(FEW)))
    return tables


def _avro() -> list[Table]:
    columns = without("weights")  # Avro's maps have text keys only
    return [
        Table("avro", columns, "STORED AS AVRO", rows(columns)),
        Table("avro_deflate", FEW, "STORED AS AVRO", rows(FEW), settings={**compressed("deflate")}),
        Table(
            "avro_snappy",
            FEW,
            "STORED AS AVRO",
            rows(FEW),
            settings={**compressed("snappy"), "avro.output.codec": "snappy"},
        ),
    ]


WRITTEN: list[Table] = [*_text(), *_sequence_files(), *_rcfiles(), *_parquet(), *_orc(), *_avro()]
