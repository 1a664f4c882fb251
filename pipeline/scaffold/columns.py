"""What a sample of rows says of each feature: how many values it has, how many are missing, what they are like."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hivemill.common.text import shortened
from hivemill.components.hive_example_gen.rows.flatten import FeatureKind

_LEAK_BINS = 100
_MAX_GROUPS = 10_000
_MANY_NUMBERS = 1000


@dataclasses.dataclass(frozen=True)
class ColumnFacts:
    """Of one flattened feature of the sample.

    Attributes:
        distinct: different values. missing: share of rows without a value.
        low, median, high: of numbers, None for text. length: mean number of values of a row that has the feature.
        example: one value, as text.
    """

    name: str
    kind: FeatureKind
    rows: int
    distinct: int
    missing: float
    low: float | None
    median: float | None
    high: float | None
    length: float
    example: str

    @property
    def is_number(self) -> bool:
        return self.kind.dtype != "bytes"

    @property
    def is_constant(self) -> bool:
        return self.distinct <= 1 and self.missing in (0.0, 1.0)

    @property
    def is_unique_per_row(self) -> bool:
        return not self.kind.multivalent and self.rows >= 100 and self.distinct > 0.95 * self.rows * (1 - self.missing)


def facts_of(sample: pa.Table, kinds: Mapping[str, FeatureKind]) -> dict[str, ColumnFacts]:
    """Facts of every feature of a flattened sample (columns are lists, NULL where a row lacks the feature)."""
    return {name: _facts(name, sample.column(name).combine_chunks(), kinds[name]) for name in sample.column_names}


def _facts(name: str, lists: pa.Array, kind: FeatureKind) -> ColumnFacts:
    lists = pa.concat_arrays(lists.chunks) if isinstance(lists, pa.ChunkedArray) else lists
    values = lists.flatten()
    present = len(lists) - lists.null_count
    low = median = high = None
    if kind.dtype != "bytes" and len(values):
        numbers = np.asarray(values).astype(np.float64)
        finite = numbers[np.isfinite(numbers)]
        if len(finite):
            low, median, high = (float(f) for f in np.percentile(finite, (0, 50, 100)))
    return ColumnFacts(
        name=name,
        kind=kind,
        rows=len(lists),
        distinct=pc.count_distinct(values).as_py(),
        missing=lists.null_count / len(lists) if len(lists) else 0.0,
        low=low,
        median=median,
        high=high,
        length=len(values) / present if present else 0.0,
        example=_shown(values[0].as_py()) if len(values) else "",
    )


def _shown(value: object) -> str:
    return shortened(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value), 30)


def auc_alone(lists: pa.ChunkedArray, clicks: np.ndarray) -> float | None:
    """AUC of the click rate of each value (of each percentile, for many numbers) as the only feature.

    Optimistic, since rates and AUC are of the same rows: values seen once are left out. None where it says nothing.
    """
    values = pc.list_element(lists.combine_chunks(), 0) if not lists.null_count else _first_values(lists)
    codes = _codes(values)
    counts = np.bincount(codes)
    repeated = counts[codes] >= 5
    if len(counts) > _MAX_GROUPS or repeated.mean() < 0.5 or len(np.unique(clicks[repeated])) < 2:
        return None
    codes, clicks = codes[repeated], clicks[repeated]
    rates = np.bincount(codes, clicks) / np.maximum(np.bincount(codes), 1)
    return _auc(rates[codes], clicks)


def _first_values(lists: pa.ChunkedArray) -> pa.Array:
    array = pa.concat_arrays(lists.chunks) if lists.num_chunks != 1 else lists.chunk(0)
    lengths = np.asarray(pc.fill_null(pc.list_value_length(array), 0)).astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    return array.flatten().take(pa.array(starts, mask=lengths == 0))


def _codes(values: pa.Array) -> np.ndarray:
    values = pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) else values
    is_integer = pa.types.is_integer(values.type)
    if pa.types.is_floating(values.type) or (is_integer and pc.count_distinct(values).as_py() > _MANY_NUMBERS):
        numbers = np.asarray(pc.fill_null(values.cast(pa.float64()), np.nan))
        edges = np.unique(np.nanpercentile(numbers, np.linspace(0, 100, _LEAK_BINS + 1)[1:-1]))
        return np.where(np.isnan(numbers), 0, np.searchsorted(edges, numbers) + 1)
    encoded = values.dictionary_encode().indices
    return np.asarray(pc.add(pc.fill_null(encoded, -1), 1)).astype(np.int64)


def _auc(scores: np.ndarray, clicks: np.ndarray) -> float:
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    clicked = clicks.sum()
    return float((ranks[clicks == 1].sum() - clicked * (clicked + 1) / 2) / (clicked * (len(clicks) - clicked)))
