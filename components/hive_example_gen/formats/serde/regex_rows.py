"""RegexSerDe: each group of a regular expression that matches the whole row is a column.

A row that does not match is NULL in every column in Hive; here it is a bad row, unless `source.bad_rows.values` is
null. Source: org.apache.hadoop.hive.serde2.RegexSerDe.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.formats.serde.base import SplitRows
from hivemill.components.hive_example_gen.formats.serde.java_regex import python_pattern
from hivemill.components.hive_example_gen.table.spec import TableSpec

REGEX = "input.regex"
CASE_INSENSITIVE = "input.regex.case.insensitive"


class RegexRows(SplitRows):
    def __init__(self, file: DataFile, spec: TableSpec, bad: BadRows):
        super().__init__(file, spec, bad)
        regex = spec.serde_properties.get(REGEX)
        if regex is None:
            raise ConfigError(
                f"source.serde is regex, and there is no property {REGEX}",
                hint=f"Give the table's as source.serde_properties: {{{REGEX}: '...'}}.",
            )
        ignore_case = spec.serde_properties.get(CASE_INSENSITIVE, "").lower() == "true"
        self.pattern = python_pattern(regex, ignore_case=ignore_case)
        if self.pattern.groups != len(self.columns):
            raise ConfigError(
                f"{REGEX} has {self.pattern.groups} groups, the table {len(self.columns)} columns",
                hint="Hive reads no such table. Write (?:...) for a group that is no column.",
            )

    def batch(self, rows: list[bytes], numbers: np.ndarray) -> pa.RecordBatch:
        found: list[tuple[str | None, ...]] = []
        good = np.ones(len(rows), bool)
        for place, row in enumerate(rows):
            groups = self._groups(row, int(numbers[place]))
            if groups is None:
                good[place] = False
            else:
                found.append(groups)
        columns = list(zip(*found, strict=True)) if found else [()] * len(self.columns)
        kept = [row for row, keep in zip(rows, good.tolist(), strict=True) if keep]
        raw = {
            name: pa.array(column, pa.string()).cast(pa.binary())
            for name, column in zip(self.columns, columns, strict=True)
            if name in self.typed.columns
        }
        return self.typed.marked_batch(raw, numbers[good], kept.__getitem__)

    def _groups(self, row: bytes, number: int) -> tuple[str | None, ...] | None:
        try:
            match = self.pattern.fullmatch(row.decode())
        except UnicodeDecodeError:
            self.reject(number, "encoding", "not valid UTF-8", row)
            return None
        if match is not None:
            return match.groups()
        if self.bad.options.values == "null":
            self.bad.note("row_as_null")
            return (None,) * len(self.columns)
        self.reject(number, "structure", f"the row does not match {REGEX}", row)
        return None
