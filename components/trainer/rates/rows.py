"""What click rates need of the training split: ids, labels and weights by column, in the order of time.

Shapes: N rows that are counted, S single-valued columns, V values of a multivalent field.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from hivemill.components.trainer.input import InputSource
from hivemill.components.trainer.rates.counting import bounded_share
from hivemill.components.transform import layout as layout_lib
from hivemill.components.transform.layout import BLOCK_ROWS

NUM_BUCKETS = 20  # of a number that has no ids of its own
_QUANTILE_ROWS = 200_000


@dataclasses.dataclass(frozen=True)
class Bag:
    """The values of a multivalent field: those of row r are `ids[splits[r]:splits[r + 1]]`."""

    ids: np.ndarray  # int32 [V]
    splits: np.ndarray  # int64 [N + 1]


@dataclasses.dataclass(frozen=True)
class CountedRows:
    """The newest rows of the training split, oldest first."""

    columns: list[np.ndarray]  # int32 [N] each: id fields, then numeric fields by bucket
    num_ids: list[int]  # ids that each column can take
    boundaries: list[np.ndarray]  # float32, of each numeric field
    bags: dict[str, Bag]
    bag_num_ids: dict[str, int]
    clicks: np.ndarray  # float32 [N]: label times weight
    weights: np.ndarray  # float32 [N]
    num_older: int  # rows of the split before them

    @property
    def num_rows(self) -> int:
        return len(self.clicks)


def in_time_order(source: InputSource) -> tf.data.Dataset:
    """The serialised rows as they came from the partitions.

    Transform deals blocks of rows to the shards in turn (`write_transformed`); shards that Beam
    wrote hold bundles of neighbouring rows, which this order keeps together too.
    """
    files = tf.data.Dataset.from_tensor_slices(list(source.files))
    return files.interleave(
        lambda name: tf.data.TFRecordDataset(name, "GZIP", 1 << 20),
        cycle_length=len(source.files),
        block_length=BLOCK_ROWS,
    )


def places_in_time(rows_of_files: Sequence[int]) -> np.ndarray:
    """For each row in the order of time the number of its file, int32 [rows]."""
    blocks = []
    left = list(rows_of_files)
    while any(left):
        for number, rows in enumerate(left):
            taken = min(rows, BLOCK_ROWS)
            blocks.append(np.full(taken, number, np.int32))
            left[number] -= taken
    return np.concatenate(blocks) if blocks else np.zeros(0, np.int32)


def read_rows(
    source: InputSource, num_rows: int, num_ids: Sequence[int], bag_num_ids: dict[str, int], max_rows: int
) -> CountedRows:
    """Reads the split once.

    Args:
      num_rows: of the split.
      num_ids: of the id fields, in the order of the layout; `bag_num_ids` of the multivalent fields, by name.
      max_rows: how many of the newest rows to keep.
    """
    num_older = max(0, num_rows - max_rows)
    parts = list(_batches(source, num_older))
    ids = np.concatenate([part.ids for part in parts])
    values = np.concatenate([part.values for part in parts])
    boundaries = [_boundaries(column) for column in values.T]
    buckets = [
        np.searchsorted(edges, column, side="right").astype(np.int32)
        for edges, column in zip(boundaries, values.T, strict=True)
    ]
    weights = np.concatenate([part.weights for part in parts])
    return CountedRows(
        columns=[np.ascontiguousarray(column) for column in ids.T] + buckets,
        num_ids=[*num_ids, *(len(edges) + 1 for edges in boundaries)],
        boundaries=boundaries,
        bags={field: _joined([part.bags[field] for part in parts]) for field in source.layout.multivalent_fields},
        bag_num_ids=bag_num_ids,
        clicks=np.concatenate([part.labels for part in parts]) * weights,
        weights=weights,
        num_older=num_older,
    )


def click_rate(source: InputSource) -> float:
    """Weighted clicks by weights of a split, kept off 0 and 1 by half a click."""
    clicks = weights = 0.0
    for _, label, weight in in_time_order(source).batch(BLOCK_ROWS).map(source.parse).prefetch(2):
        clicks += float(tf.reduce_sum(label * weight))
        weights += float(tf.reduce_sum(weight))
    return float(bounded_share(np.asarray(clicks), np.asarray(weights)))


@dataclasses.dataclass(frozen=True)
class _Part:
    ids: np.ndarray
    values: np.ndarray
    bags: dict[str, Bag]
    labels: np.ndarray
    weights: np.ndarray


def _batches(source: InputSource, skip: int) -> Iterator[_Part]:
    layout = source.layout
    for inputs, label, weight in in_time_order(source).skip(skip).batch(BLOCK_ROWS).map(source.parse).prefetch(2):
        rows = int(label.shape[0])
        ids, values = inputs.get(layout_lib.FIELD_IDS_KEY), inputs.get(layout_lib.FIELD_VALUES_KEY)
        yield _Part(
            ids=np.zeros((rows, 0), np.int32) if ids is None else ids.numpy().astype(np.int32),
            values=np.zeros((rows, 0), np.float32) if values is None else values.numpy(),
            bags={field: _bag(inputs[layout_lib.ids_key(field)]) for field in layout.multivalent_fields},
            labels=label.numpy()[:, 0],
            weights=weight.numpy()[:, 0],
        )


def _bag(ragged: tf.RaggedTensor) -> Bag:
    return Bag(ragged.values.numpy().astype(np.int32), ragged.row_splits.numpy())


def _joined(bags: Sequence[Bag]) -> Bag:
    lengths = np.concatenate([np.diff(bag.splits) for bag in bags])
    return Bag(np.concatenate([bag.ids for bag in bags]), np.concatenate([[0], np.cumsum(lengths)]))


def _boundaries(values: np.ndarray) -> np.ndarray:
    """Distinct inner quantiles, float32 [at most NUM_BUCKETS - 1], of evenly spread rows."""
    sample = values[:: max(1, len(values) // _QUANTILE_ROWS)]
    sample = sample[np.isfinite(sample)]
    if not len(sample):
        return np.zeros(0, np.float32)
    return np.unique(np.quantile(sample, np.arange(1, NUM_BUCKETS) / NUM_BUCKETS, method="lower")).astype(np.float32)
