"""Which format a file has, by its magic bytes, and whether that is the one that the table declares."""

from __future__ import annotations

from typing import Literal

from hivemill.common.errors import DataCorruptError, DataNotReadyError
from hivemill.components.hive_example_gen.formats.data_file import DataFile, size_of, translated
from hivemill.components.hive_example_gen.formats.hadoop.rcfile import is_old_rcfile
from hivemill.components.hive_example_gen.table.serdes import FORMATS, Format

_HEAD_BYTES = 512
_PARQUET, _ORC, _AVRO, _SEQUENCE_FILE, _RCFILE = b"PAR1", b"ORC", b"Obj\x01", b"SEQ", b"RCF"
_RCFILE_METADATA = b"hive.io.rcfile."
_ENCRYPTED = b"PARE"
_NAMES = {
    "text": "text",
    "parquet": "Parquet",
    "orc": "ORC",
    "avro": "Avro",
    "sequence_file": "a SequenceFile",
    "rcfile": "an RCFile",
}


def format_of(file: DataFile, declared: Format | Literal["auto"]) -> Format:
    """The format to read `file` as; packed text (gzip, zstd, ...) is text.

    Raises DataNotReadyError: the file has another format than `declared`, or one that is not supported.
    """
    with translated(file, "a data file"), file.open() as opened:
        head = opened.read(_HEAD_BYTES)
        opened.seek(max(0, size_of(opened) - 4))
        tail = opened.read(4)
    if head.startswith(_ENCRYPTED) and tail == _ENCRYPTED:
        raise DataCorruptError(f"{file.name} is encrypted Parquet, which is not supported", hint="Write it in plain.")
    found = _found(head, tail, declared)
    if declared not in ("auto", found):
        raise DataNotReadyError(
            f"{file.name} is {_NAMES[found]}, but source.format (or the DDL's STORED AS) says {declared}",
            hint="Correct source.format, or remove the file if it does not belong to the table.",
        )
    assert found in FORMATS
    return found


def _found(head: bytes, tail: bytes, declared: str) -> Format:
    """A text row may begin with PAR1, ORC, SEQ, RCF^A or Obj^A: where text is declared, more must agree."""
    may_be_text = declared == "text"
    if head.startswith(_PARQUET) and (tail == _PARQUET or not may_be_text):
        return "parquet"
    if head.startswith(_ORC) and (tail[:3] == _ORC or not may_be_text):
        return "orc"
    if head.startswith(_AVRO) and (b"avro." in head or not may_be_text):
        return "avro"
    if head.startswith(_RCFILE) and (_RCFILE_METADATA in head or not may_be_text):
        return "rcfile"
    if head.startswith(_SEQUENCE_FILE) and ((b"\0" < head[3:4] < b"\t" and b"org.apache." in head) or not may_be_text):
        return "rcfile" if is_old_rcfile(head) else "sequence_file"
    return "text"
