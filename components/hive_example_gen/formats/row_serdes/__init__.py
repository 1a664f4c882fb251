"""How columns lie in a row of a text file or in a value of a SequenceFile; one module per SerDe."""

from __future__ import annotations

from common.errors import ConfigError
from components.hive_example_gen.bad_rows import BadRows
from components.hive_example_gen.formats.opened import DataFile
from components.hive_example_gen.formats.row_serdes.base import RowSerde
from components.hive_example_gen.formats.row_serdes.json_rows import JsonRows
from components.hive_example_gen.formats.row_serdes.lazy_simple import LazySimpleRows
from components.hive_example_gen.formats.row_serdes.multi_delimit import MultiDelimitRows
from components.hive_example_gen.formats.row_serdes.open_csv import OpenCsvRows
from components.hive_example_gen.formats.row_serdes.regex_rows import RegexRows
from components.hive_example_gen.serdes import Serde
from components.hive_example_gen.table_spec import TableSpec

__all__ = ["RowSerde", "row_serde"]

_SERDES: dict[Serde, type[RowSerde]] = {
    "lazy_simple": LazySimpleRows,
    "open_csv": OpenCsvRows,
    "json": JsonRows,
    "regex": RegexRows,
    "multi_delimit": MultiDelimitRows,
}


def row_serde(file: DataFile, spec: TableSpec, bad: BadRows, container: str = "text") -> RowSerde:
    """The text SerDe that `spec` names for rows in a `container` ("text" or "sequence_file").

    Raises ConfigError: it is no SerDe of text rows, or its properties cannot be honoured.
    """
    name = spec.serde_for(container)
    if name not in _SERDES:
        raise ConfigError(
            f"{file.name}: source.serde {name} does not read {container} rows",
            hint=f"SerDes of text rows: {', '.join(_SERDES)}.",
        )
    return _SERDES[name](file, spec, bad)
