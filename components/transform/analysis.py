"""The analysis of the training split on one machine: one pass of tf.data in large batches, no Beam.

Beam hands TFT's analyzers at most 1,000 rows at a time and every token as a Python object; that was most of the
Transform node's time (docs/decisions/0080). Here TensorFlow parses and counts a batch, and Python meets each distinct
token of a batch once. Quantiles come from the sketch that `tft.quantiles` uses; moments are merged in float64 (Chan,
Golub and LeVeque, "Updating formulae", 1979).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from hivemill.components.features import FeatureSet, NumericFeature
from hivemill.components.transform import layout as layout_lib
from hivemill.components.transform.analyzers import FinishedAnalyzers, quantile_epsilon, vocabulary_rules
from hivemill.components.transform.preprocessing import numbers_to_summarise, tokens_to_count
from hivemill.components.transform.token_counts import TokenCounts
from hivemill.components.transform.vocabulary_file import ordered_tokens, stands_in_a_line, write_vocabulary

BATCH_ROWS = 16_384
_READ_BUFFER_BYTES = 1 << 20


def analyse(features: FeatureSet, raw_spec: Mapping[str, Any], files: Sequence[str], folder: Path) -> FinishedAnalyzers:
    """Reads the split once.

    Args:
        raw_spec: how its columns are parsed, by `tf.io.parse_example`.
        files: GZIP TFRecord files of serialised tf.Examples.
        folder: exists; takes the vocabulary files, and temporary ones.

    Raises ConfigError where a feature cannot read its column, OSError where `folder` cannot be written.
    """
    rules = vocabulary_rules(features)
    counts = {name: TokenCounts(folder, rule.file_name) for name, rule in rules.items()}
    numbers = {name: _Numbers.of(one) for name, one in features.features.items() if isinstance(one, NumericFeature)}
    for batch in _batches(features, needed_columns(features, raw_spec), files):
        for name, (tokens, occurrences) in batch["tokens"].items():
            counts[name].add(tokens.tolist(), occurrences.tolist())
        for name, values in batch["numbers"].items():
            numbers[name].add(values)
    paths = {name: str(folder / rule.file_name) for name, rule in rules.items()}
    for name, rule in rules.items():
        kept = ((n, token) for n, token in counts[name].entries() if n >= rule.min_count and stands_in_a_line(token))
        write_vocabulary(paths[name], ordered_tokens(kept, rule.max_size))
    return FinishedAnalyzers(
        vocabularies=paths,
        means={name: one.mean for name, one in numbers.items()},
        deviations={name: one.deviation for name, one in numbers.items()},
        quantiles={name: one.boundaries() for name, one in numbers.items()},
    )


def needed_columns(features: FeatureSet, raw_spec: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the spec that features, label and weight may read: what nobody reads need not be parsed."""
    wanted = {features.label, *filter(None, [features.weight])}
    wanted |= {column for name, one in features.features.items() for column in layout_lib.candidate_columns(name, one)}
    return {column: one for column, one in raw_spec.items() if column in wanted}


def read_records(files: Sequence[str], batch_rows: int) -> tf.data.Dataset:
    """Serialised examples [up to batch_rows] of GZIP TFRecord files, in their order."""
    return tf.data.TFRecordDataset(list(files), "GZIP", _READ_BUFFER_BYTES).batch(batch_rows)


def _batches(features: FeatureSet, spec: Mapping[str, Any], files: Sequence[str]) -> Iterable[dict[str, Any]]:
    @tf.autograph.experimental.do_not_convert
    def summarised(serialized: tf.Tensor) -> dict[str, Any]:
        inputs = tf.io.parse_example(serialized, spec)
        tokens = {name: tf.unique_with_counts(them) for name, them in tokens_to_count(features, inputs).items()}
        return {
            "tokens": {name: (found.y, found.count) for name, found in tokens.items()},
            "numbers": numbers_to_summarise(features, inputs),
            "rows": tf.size(serialized),
        }

    dataset = (
        read_records(files, BATCH_ROWS).map(summarised, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    )
    return dataset.as_numpy_iterator()


@dataclasses.dataclass
class _Numbers:
    """Moments of a numeric field's values, and their quantile sketch where its boundaries are asked for."""

    sketch: Any = None
    combiner: Any = None
    num_values: int = 0
    mean: float = 0.0
    _squares: float = 0.0  # sum of squared distances from the mean

    @classmethod
    def of(cls, feature: NumericFeature) -> _Numbers:
        if feature.transform != "quantile_buckets":
            return cls()
        combiner = tft.analyzers.QuantilesCombiner(feature.buckets, quantile_epsilon(feature), np.float32)
        return cls(combiner.create_accumulator(), combiner)

    def add(self, values: np.ndarray) -> None:
        if not len(values):
            return
        if self.combiner is not None:
            self.sketch = self.combiner.add_input(self.sketch, [values])
            return
        exact = values.astype(np.float64)
        mean, total = float(exact.mean()), self.num_values + len(exact)
        shift = mean - self.mean
        self._squares += float(((exact - mean) ** 2).sum()) + shift**2 * self.num_values * len(exact) / total
        self.mean += shift * len(exact) / total
        self.num_values = total

    @property
    def deviation(self) -> float:
        """Of the population, as `tft.var`; 0 where there is no value."""
        return float(np.sqrt(self._squares / self.num_values)) if self.num_values else 0.0

    def boundaries(self) -> list[float]:
        return [] if self.combiner is None else self.combiner.extract_output(self.sketch)[0].tolist()
