"""How columns lie in a row of a text file or in a value of a SequenceFile; one module per SerDe."""

from __future__ import annotations

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.formats.serde.base import RowSerde
from hivemill.components.hive_example_gen.formats.serde.json_rows import JsonRows
from hivemill.components.hive_example_gen.formats.serde.lazy_simple import LazySimpleRows
from hivemill.components.hive_example_gen.formats.serde.multi_delimit import MultiDelimitRows
from hivemill.components.hive_example_gen.formats.serde.open_csv import OpenCsvRows
from hivemill.components.hive_example_gen.formats.serde.regex_rows import RegexRows
from hivemill.components.hive_example_gen.table.serdes import Serde
from hivemill.components.hive_example_gen.table.spec import TableSpec

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
