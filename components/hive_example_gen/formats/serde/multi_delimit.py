"""MultiDelimitSerDe: LazySimpleSerDe's rows with a delimiter of several characters between columns.

The delimiter becomes a byte that the block does not hold; then rows are LazySimpleSerDe's. It cannot be escaped. Within
columns delimiters are single bytes, `collection.delim` and `mapkey.delim`.
Source: org.apache.hadoop.hive.serde2.MultiDelimitSerDe (until Hive 3 in contrib.serde2), LazyStruct.parseMultiDelimit.
"""

from __future__ import annotations

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.formats.serde.base import Lines
from hivemill.components.hive_example_gen.formats.serde.lazy_simple import LazySimpleRows
from hivemill.components.hive_example_gen.table.spec import TableSpec

DELIMITER = "field.delim"


class MultiDelimitRows(LazySimpleRows):
    def __init__(self, file: DataFile, spec: TableSpec, bad: BadRows):
        super().__init__(file, spec, bad)
        text = spec.serde_properties.get(DELIMITER, "")
        if not text or "\n" in text or "\r" in text:
            raise ConfigError(
                f"source.serde is multi_delimit, and its property {DELIMITER} is {text!r}",
                hint=f"Give the table's as source.serde_properties: {{{DELIMITER}: '||'}}; it holds no line end.",
            )
        if self.typed.rules.escape is not None or self.typed.rules.takes_rest:
            raise ConfigError(
                "MultiDelimitSerDe with ESCAPED BY or serialization.last.column.takes.rest is not supported",
                hint="Hive itself escapes no delimiter of this SerDe, and cuts long rows.",
            )
        self.delimiter = text.encode()
        self._stand_in = b""

    def _with_usual_delimiter(self, lines: Lines) -> tuple[Lines, bytes]:
        replaced, self._stand_in = self._with_stand_in(lines, self.delimiter)
        return replaced, self._stand_in

    def _as_in_file(self, line: bytes) -> bytes:
        return super()._as_in_file(line).replace(self._stand_in, self.delimiter)
