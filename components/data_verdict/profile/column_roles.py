"""What each column of the log is to the verdict: a number, a value of a vocabulary, a list, a time, the label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from hivemill.common.options import Options
from hivemill.components.features import (
    CategoricalFeature,
    CrossFeature,
    FeatureSet,
    MultivalentFeature,
    NumericFeature,
)

Kind = Literal["number", "value", "list", "time"]
_FIRST_TIME, _LAST_TIME = 946_684_800_000_000, 4_102_444_800_000_000  # the years 2000 to 2100 in microseconds
_FEW_VALUES = 50


class ColumnRoles(Options):
    """What the config says about the columns.

    `kinds` are those of the columns that features read, under their flattened names; a column that no feature reads
    cannot harm the model, so a finding on it is amber at most. `thinned_splits` have only a sample of their negatives:
    their days compare with days of such splits only.
    """

    label: str
    user: str | None = None
    date: str = "dt"
    date_format: str = "%Y-%m-%d"
    hour: str | None = None
    kinds: dict[str, Kind] = Field({})
    thinned_splits: tuple[str, ...] = ()

    def is_used(self, column: str) -> bool:
        return column in self.kinds

    def is_partition(self, column: str) -> bool:
        """Partition columns tell the time: their distribution is the volume, which has checks of its own."""
        return column in (self.date, self.hour)


def kinds_of(features: FeatureSet) -> dict[str, Kind]:
    """The kind of every column that a feature reads; maps under `_keys` and `_values` too, as examples have them."""
    kinds: dict[str, Kind] = {}
    for name, feature in features.features.items():
        if isinstance(feature, CrossFeature):
            kinds |= {column: "value" for column in feature.columns if column not in kinds}
        elif isinstance(feature, NumericFeature):
            kinds.setdefault(feature.column or name, "number")
        elif isinstance(feature, CategoricalFeature):
            kinds[feature.column or name] = "value"
        elif isinstance(feature, MultivalentFeature):
            column = feature.column or name
            kinds |= {column: "list", f"{column}_keys": "list", f"{column}_values": "list"}
    return kinds


def guessed_kind(is_list: bool, values: np.ndarray | None, num_distinct: int) -> Kind:
    """The kind of a column that no feature reads. `values` are its numbers, None where it holds text."""
    if is_list:
        return "list"
    if values is None or not len(values):
        return "value"
    if values.dtype.kind == "f":
        return "number"
    if np.mean((values >= _FIRST_TIME) & (values < _LAST_TIME)) > 0.99:
        return "time"
    # Integers with few values are codes; those that hardly repeat, or are many, are ids.
    if num_distinct <= _FEW_VALUES or num_distinct > 1000 or num_distinct > len(values) / 5:
        return "value"
    return "number"


def used(roles: ColumnRoles, columns: Mapping[str, object]) -> list[str]:
    return [column for column in columns if roles.is_used(column)]
