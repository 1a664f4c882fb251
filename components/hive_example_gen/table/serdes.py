"""Hive's storage formats and SerDes under the names of hivemill.yaml, found by the Java classes of a table descriptor.

A storage format says how rows lie in a file, a SerDe how columns lie in a row; Parquet, ORC and Avro are both at once.
"""

from __future__ import annotations

from typing import Literal, get_args

Format = Literal["text", "sequence_file", "rcfile", "parquet", "orc", "avro"]
Serde = Literal[
    "lazy_simple", "multi_delimit", "open_csv", "json", "regex", "lazy_binary", "columnar", "lazy_binary_columnar"
]
FORMATS: tuple[str, ...] = get_args(Format)

COLUMN_SERDES = ("columnar", "lazy_binary_columnar")

DEFAULT_SERDES: dict[str, Serde] = {
    "text": "lazy_simple",
    "sequence_file": "lazy_simple",
    "rcfile": "lazy_binary_columnar",  # Hive's hive.default.rcfile.serde since 0.12
}

# STORED AS …; JSONFILE is Hive 4's.
FORMATS_BY_KEYWORD: dict[str, tuple[Format, Serde | None]] = {
    "textfile": ("text", None),
    "jsonfile": ("text", "json"),
    "sequencefile": ("sequence_file", None),
    "rcfile": ("rcfile", None),
    "parquet": ("parquet", None),
    "parquetfile": ("parquet", None),
    "orc": ("orc", None),
    "orcfile": ("orc", None),
    "avro": ("avro", None),
}
# By simple class name: Hive, HCatalog and Spark keep them in several packages.
FORMATS_BY_INPUT_CLASS: dict[str, Format] = {
    "TextInputFormat": "text",
    "SequenceFileInputFormat": "sequence_file",
    "RCFileInputFormat": "rcfile",
    "MapredParquetInputFormat": "parquet",
    "OrcInputFormat": "orc",
    "AvroContainerInputFormat": "avro",
}
SERDES_BY_CLASS: dict[str, tuple[Format | None, Serde | None]] = {
    "LazySimpleSerDe": (None, "lazy_simple"),
    "MultiDelimitSerDe": (None, "multi_delimit"),
    "OpenCSVSerde": (None, "open_csv"),
    "JsonSerDe": (None, "json"),
    "RegexSerDe": (None, "regex"),
    "LazyBinarySerDe": (None, "lazy_binary"),
    "ColumnarSerDe": ("rcfile", "columnar"),
    "LazyBinaryColumnarSerDe": ("rcfile", "lazy_binary_columnar"),
    "ParquetHiveSerDe": ("parquet", None),
    "OrcSerde": ("orc", None),
    "AvroSerDe": ("avro", None),
}


def simple_name(java_class: str) -> str:
    return java_class.rpartition(".")[2]
