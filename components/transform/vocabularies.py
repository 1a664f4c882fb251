"""All vocabularies of the model in one pass: one Beam analyzer, where `tft.vocabulary` would add one per field.

`tft.vocabulary` sends every single token through Beam as an element of its own, and adds stages for every field. Here
tokens are counted in a dictionary before they leave the worker, and one keyed sum serves all fields. Like TFT's, the
counting is spread over the workers; only the final order of one field's kept tokens is the work of one. Measured in
docs/decisions/0020-one-analyzer-for-all-vocabularies.md.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform.beam import experimental as tft_beam_experimental

from hivemill.components.transform.vocabulary_file import (
    VocabularyRule,
    ordered_tokens,
    write_vocabulary,
)

_MAX_TOKENS_IN_MEMORY = 1_000_000  # per bundle, before the counts are handed on; about 150 MB

Key = tuple[int, bytes]


def packed_vocabularies(tokens: Sequence[tf.Tensor], rules: Sequence[VocabularyRule]) -> list[tf.Tensor]:
    """One deferred vocabulary file per token tensor (string, [n]); for `tft.apply_vocabulary`."""
    if not tokens:
        return []
    return tft.experimental.ptransform_analyzer(
        inputs=list(tokens),
        ptransform=_PackedVocabularies(tuple(rules)),
        output_dtypes=[tf.string] * len(rules),
        output_shapes=[[]] * len(rules),
        output_asset_default_values=[b"_"] * len(rules),
        name="vocabularies",
    )


class _PackedVocabularies(tft_beam_experimental.PTransformAnalyzer):
    def __init__(self, rules: tuple[VocabularyRule, ...]):
        super().__init__()
        self._rules = rules

    def expand(self, batches: beam.PCollection) -> tuple[beam.PCollection, ...]:
        """Batches of one string array per field -> one single-element collection with a file path per field."""
        fields = [str(i) for i in range(len(self._rules))]
        counts = (
            batches
            | "CountInBundle" >> beam.ParDo(_CountTokens())
            | "SumCounts" >> beam.CombinePerKey(sum)
            | "DropRare" >> beam.Filter(_is_frequent, [rule.min_count for rule in self._rules])
            | "KeyByField" >> beam.Map(lambda entry: (entry[0][0], (entry[1], entry[0][1])))
        )
        # A field without any frequent token must get its file as well.
        every_field = batches.pipeline | "EveryField" >> beam.Create([(i, None) for i in range(len(fields))])
        files = (
            (counts, every_field)
            | beam.Flatten()
            | "GroupByField" >> beam.GroupByKey()
            | "WriteFile" >> beam.ParDo(_WriteVocabulary(self._rules, self.base_temp_dir)).with_outputs(*fields)
        )
        return tuple(files[field] for field in fields)


class _CountTokens(beam.DoFn):
    """Arrays of tokens -> ((field, token), count), summed within the bundle."""

    def start_bundle(self) -> None:
        self._counts: dict[int, collections.Counter] = collections.defaultdict(collections.Counter)

    def process(self, batch: Sequence[np.ndarray]) -> Iterator[tuple[Key, int]]:
        for field, tokens in enumerate(batch):
            self._counts[field].update(tokens.tolist())
        if sum(map(len, self._counts.values())) > _MAX_TOKENS_IN_MEMORY:
            yield from self._flush()

    def finish_bundle(self) -> Iterator[beam.transforms.window.WindowedValue]:
        for entry in self._flush():
            yield beam.utils.windowed_value.WindowedValue(
                entry, beam.utils.timestamp.MIN_TIMESTAMP, [beam.transforms.window.GlobalWindow()]
            )

    def _flush(self) -> Iterator[tuple[Key, int]]:
        for field, counts in self._counts.items():
            for token, count in counts.items():
                yield (field, token), count
        self._counts.clear()


def _is_frequent(entry: tuple[Key, int], min_counts: Sequence[int]) -> bool:
    (field, _), count = entry
    return count >= min_counts[field]


class _WriteVocabulary(beam.DoFn):
    """(field, [(count, token)]) -> the path of the field's file, tagged with the field."""

    def __init__(self, rules: tuple[VocabularyRule, ...], folder: str):
        self._rules, self._folder = rules, folder

    def process(self, element: tuple[int, Iterable[tuple[int, bytes] | None]]) -> Iterator[beam.pvalue.TaggedOutput]:
        field, entries = element
        path = os.path.join(self._folder, self._rules[field].file_name)
        kept = ordered_tokens((entry for entry in entries if entry is not None), self._rules[field].max_size)
        write_vocabulary(path, kept)  # a retried bundle writes the same bytes again
        yield beam.pvalue.TaggedOutput(str(field), path)
