"""Which format a file has, by its magic bytes, and whether that is the one that the table declares."""

from __future__ import annotations

import os
from typing import Literal

from common.errors import DataNotReadyError
from components.hive_example_gen.formats.opened import DataFile, translated

Format = Literal["text", "parquet", "orc"]
_PARQUET, _ORC = b"PAR1", b"ORC"
# Formats that Hive has and that are not read here: as text they would give garbage rows.
_UNSUPPORTED = {
    b"SEQ": "SequenceFile",
    b"Obj\x01": "Avro",
    b"RCF": "RCFile",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PARE": "encrypted Parquet",
}
_GZIP = b"\x1f\x8b"


def format_of(file: DataFile, declared: Format | Literal["auto"]) -> Format:
    """The format to read `file` as.

    Raises DataNotReadyError: the file has another format than `declared`, or one that is not supported.
    """
    with translated(file, "a data file"), file.open() as opened:
        head = opened.read(4)
        opened.seek(max(0, opened.seek(0, os.SEEK_END) - 4))
        tail = opened.read(4)
    found = _by_magic(head, tail, declared)
    if found in ("text", "parquet", "orc") and declared in ("auto", found):
        return found  # type: ignore[return-value]
    if declared == "auto":
        raise DataNotReadyError(f"{file.name} is {found}, which is not supported", hint="Formats: text, Parquet, ORC.")
    raise DataNotReadyError(
        f"{file.name} is {found}, but source.format (or the DDL's STORED AS) says {declared}",
        hint="Correct source.format, or remove the file if it does not belong to the table.",
    )


def _by_magic(head: bytes, tail: bytes, declared: str) -> str:
    if head == _PARQUET and declared != "text":
        return "parquet"
    if head.startswith(_ORC) and declared != "text":
        return "orc"
    # A text row may begin with "PAR1" or "ORC": where text is declared, only a file that also ends like one is refused.
    if head == _PARQUET and tail == _PARQUET:
        return "parquet"
    if head.startswith(_ORC) and tail[:3] == _ORC:
        return "orc"
    if head.startswith(_GZIP):
        return "text"
    binary = (name for magic, name in _UNSUPPORTED.items() if head.startswith(magic) and not magic.isalpha())
    letters = (name for magic, name in _UNSUPPORTED.items() if head.startswith(magic) and declared != "text")
    return next(binary, None) or next(letters, None) or "text"
