"""What the transform graph has to know of the training split, on one machine: taken from its summary, without Beam.

The summary (components/hive_example_gen/summary) was made in the pass that converted the rows. Quantiles come from the
sketch that `tft.quantiles` uses; moments are merged in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
import tensorflow_transform as tft

from hivemill.components.features import (
    CategoricalFeature,
    Feature,
    FeatureSet,
    MultivalentFeature,
    NumericFeature,
)
from hivemill.components.hive_example_gen.summary.numbers import Numbers
from hivemill.components.hive_example_gen.summary.request import CountedValues, SummarisedNumbers, SummaryRequest
from hivemill.components.hive_example_gen.summary.split_summary import SplitSummary
from hivemill.components.transform import layout as layout_lib
from hivemill.components.transform.analyzers import FinishedAnalyzers, quantile_epsilon, vocabulary_rules
from hivemill.components.transform.vocabulary_file import (
    VocabularyRule,
    is_escaped,
    ordered_tokens,
    write_vocabulary,
)

_READ_BUFFER_BYTES = 1 << 20


def request_of(features: FeatureSet) -> SummaryRequest:
    """What a summary must answer for these features."""
    counted = [_counted(name, features.features[name]) for name in vocabulary_rules(features)]
    numbers = [_summarised(name, one) for name, one in _numeric(features).items()]
    return SummaryRequest(
        label=features.label, counted=tuple(dict.fromkeys(counted)), numbers=tuple(dict.fromkeys(numbers))
    )


def analyse(features: FeatureSet, summary: SplitSummary, folder: Path) -> FinishedAnalyzers:
    """Args:
        summary: of the split that the graph is fitted on; it answers `request_of(features)`.
        folder: exists; takes the vocabulary files.

    Raises OSError where `folder` cannot be written.
    """
    rules = vocabulary_rules(features)
    paths = {name: str(folder / rule.file_name) for name, rule in rules.items()}
    escaped = set()
    for name, rule in rules.items():
        kept = _kept(features.features[name], _counted(name, features.features[name]), rule, summary)
        lines = ordered_tokens(kept, rule.max_size)
        write_vocabulary(paths[name], lines)
        if any(map(is_escaped, lines)):
            escaped.add(name)
    numeric = _numeric(features)
    numbers = {name: summary.numbers(_summarised(name, one)) for name, one in numeric.items()}
    return FinishedAnalyzers(
        vocabularies=paths,
        escaped=frozenset(escaped),
        means={name: one.mean for name, one in numbers.items()},
        deviations={name: one.deviation for name, one in numbers.items()},
        quantiles={name: _boundaries(numeric[name], one) for name, one in numbers.items()},
    )


def needed_columns(features: FeatureSet, raw_spec: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the spec that features, label and weight may read: what nobody reads need not be parsed."""
    wanted = {features.label, *filter(None, [features.weight])}
    wanted |= {column for name, one in features.features.items() for column in layout_lib.candidate_columns(name, one)}
    return {column: one for column, one in raw_spec.items() if column in wanted}


def read_records(files: Sequence[str], batch_rows: int) -> tf.data.Dataset:
    """Serialised examples [up to batch_rows] of GZIP TFRecord files, in their order."""
    return tf.data.TFRecordDataset(list(files), "GZIP", _READ_BUFFER_BYTES).batch(batch_rows)


def _counted(name: str, feature: Feature) -> CountedValues:
    column = getattr(feature, "column", None) or name
    if isinstance(feature, MultivalentFeature):
        values = "items" if feature.of == "items" else "all"
        return CountedValues(column=column, values=values, at_most=feature.max_length)
    return CountedValues(column=column, values="first")


def _numeric(features: FeatureSet) -> dict[str, NumericFeature]:
    """The numeric fields that are scaled or cut by the values of the whole split."""
    return {
        name: one
        for name, one in features.features.items()
        if isinstance(one, NumericFeature) and one.transform in ("z_score", "quantile_buckets")
    }


def _summarised(name: str, feature: NumericFeature) -> SummarisedNumbers:
    error = quantile_epsilon(feature) if feature.transform == "quantile_buckets" else None
    return SummarisedNumbers(column=feature.column or name, error=error)


def _kept(
    feature: Feature, counted: CountedValues, rule: VocabularyRule, summary: SplitSummary
) -> Iterator[tuple[int, bytes]]:
    """(count, token) of what may stand in the vocabulary: what is there often enough."""
    default = str(feature.default).encode() if isinstance(feature, CategoricalFeature) else None
    of_default = summary.rows_without(counted) if default is not None else 0
    for batch in summary.counts(counted):
        tokens, counts = _tokens(batch.column(0)), np.asarray(batch.column(1))
        if default is not None:
            is_default = np.asarray(pc.equal(tokens, pa.scalar(default, pa.binary())))
            of_default += int(counts[is_default].sum())
            counts = np.where(is_default, 0, counts)
        frequent = pa.array(counts >= rule.min_count)
        tokens = tokens.filter(frequent)
        yield from zip(pa.array(counts).filter(frequent).to_pylist(), tokens.to_pylist(), strict=True)
    if of_default >= rule.min_count and default is not None:
        yield of_default, default


def _tokens(values: pa.Array) -> pa.Array:
    """Numbers in decimal: an integer column and its text give the same token."""
    return values if pa.types.is_binary(values.type) else values.cast(pa.string()).cast(pa.binary())


def _boundaries(feature: NumericFeature, numbers: Numbers) -> list[float]:
    """`buckets - 1` values, ascending, as `tft.quantiles` gives them."""
    if feature.transform != "quantile_buckets":
        return []
    combiner = tft.analyzers.QuantilesCombiner(feature.buckets, quantile_epsilon(feature), np.float32)
    return combiner.extract_output(numbers.sketch)[0].tolist()
