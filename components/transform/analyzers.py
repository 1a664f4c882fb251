"""What the transform graph has to know of the whole training split: vocabularies, moments, quantiles.

`preprocessing_fn` asks an `Analyzers` for them. `BeamAnalyzers` are TFT's, deferred until Beam has seen the data.
`FinishedAnalyzers` are constants and files of an analysis that is done (`analysis.py`), so that the graph is traced
without a pass over the data. Both give the same ids and numbers (tests/components/transform/test_one_machine.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import tensorflow as tf
import tensorflow_transform as tft

from hivemill.components.features import FeatureSet, NumericFeature
from hivemill.components.transform import layout as layout_lib
from hivemill.components.transform.vocabulary_file import VocabularyRule


def vocabulary_rules(features: FeatureSet) -> dict[str, VocabularyRule]:
    """The rule of every field that has a vocabulary, in the order of the declaration."""
    fields = features.features.items()
    return {name: VocabularyRule.of(name, one) for name, one in fields if layout_lib.uses_vocabulary(one)}


def quantile_epsilon(feature: NumericFeature) -> float:
    """The largest error of a boundary's rank, as a share of the rows: a tenth of a bucket, at most 1 %."""
    return min(0.01, 1 / feature.buckets / 10)


class Analyzers(Protocol):
    def vocabulary_files(self, rules: Mapping[str, VocabularyRule], tokens: Sequence[tf.Tensor]) -> Mapping[str, Any]:
        """A vocabulary file per field, as `tft.apply_vocabulary` takes it; `tokens` [n] in the order of the rules."""

    def escapes(self, name: str) -> bool:
        """Whether tokens must be escaped before they are looked up in the field's file (vocabulary_file)."""

    def moments(self, name: str, seen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and standard deviation, float32 scalars, of the field's values that are there, float32 [n]."""

    def boundaries(self, name: str, seen: tf.Tensor, feature: NumericFeature) -> tf.Tensor:
        """Quantile boundaries, float32 [1, buckets - 1], of the same."""


class BeamAnalyzers:
    """TFT's analyzers, and one of our own for all vocabularies (docs/decisions/0020)."""

    def vocabulary_files(self, rules: Mapping[str, VocabularyRule], tokens: Sequence[tf.Tensor]) -> Mapping[str, Any]:
        # Beam is needed here only: the graph of a finished analysis is traced without it.
        from hivemill.components.transform.vocabularies import packed_vocabularies

        return dict(zip(rules, packed_vocabularies(tokens, list(rules.values())), strict=True))

    def escapes(self, name: str) -> bool:
        return True  # what the file will hold is not known while the graph is traced

    def moments(self, name: str, seen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # float64: the variance of large numbers (timestamps, ids) is lost in float32.
        exact = tf.cast(seen, tf.float64)
        return tf.cast(tft.mean(exact), tf.float32), tf.cast(tf.sqrt(tft.var(exact)), tf.float32)

    def boundaries(self, name: str, seen: tf.Tensor, feature: NumericFeature) -> tf.Tensor:
        return tft.quantiles(seen, num_buckets=feature.buckets, epsilon=quantile_epsilon(feature))


@dataclasses.dataclass(frozen=True)
class FinishedAnalyzers:
    """Attributes:
    vocabularies: path of the finished vocabulary file by field.
    escaped: the fields of which a token stands escaped in its file.
    means, deviations: by field, float64.
    quantiles: boundaries by field, `buckets - 1` float32 values, ascending.
    """

    vocabularies: Mapping[str, str]
    escaped: frozenset[str]
    means: Mapping[str, float]
    deviations: Mapping[str, float]
    quantiles: Mapping[str, Sequence[float]]

    def vocabulary_files(self, rules: Mapping[str, VocabularyRule], tokens: Sequence[tf.Tensor]) -> Mapping[str, Any]:
        return self.vocabularies

    def escapes(self, name: str) -> bool:
        return name in self.escaped

    def moments(self, name: str, seen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.constant(self.means[name], tf.float32), tf.constant(self.deviations[name], tf.float32)

    def boundaries(self, name: str, seen: tf.Tensor, feature: NumericFeature) -> tf.Tensor:
        return tf.constant([list(self.quantiles[name])], tf.float32)
