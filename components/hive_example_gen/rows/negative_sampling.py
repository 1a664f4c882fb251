"""Negatives kept by a stable hash of their key columns.

A row of label 0 is kept where the upper 53 bits of XXH64(salt, key columns...) are below the share of 2⁵³. In Spark
SQL, with integers, booleans and dates as BIGINT (hashing.py):

    shiftrightunsigned(xxhash64('', cast(user_id AS BIGINT), item_id), 11) < 0.1 * 9007199254740992

so that a query can repeat the sample. The same row is kept or left out on every day, machine and run.

A model trained on the sample says p; the probability in the whole log is q = p / (p + (1 - p) / negatives), which is
logit(q) = logit(p) + ln(negatives): components/trainer/model/sampling_correction.py.
Source: He et al., "Practical Lessons from
Predicting Clicks on Ads at Facebook", ADKDD 2014, section 6.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hivemill.components.hive_example_gen.options import SamplingOptions
from hivemill.components.hive_example_gen.rows import hashing

SAMPLED_SPLITS = ("train", "validation")
_BITS = 53  # what a double, and so SQL's arithmetic, holds exactly


@dataclass
class Sampler:
    """Leaves out negatives.

    Attributes:
        left_out: how many.
        without_key: negatives whose key columns are all NULL: all of them are kept, or all are left out.
    """

    options: SamplingOptions
    label_column: str
    left_out: int = 0
    without_key: int = 0

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Rows of label 1, of no label (the data verdict's matter), and the sample of the others."""
        label = batch.column(self.label_column)
        if not (pa.types.is_integer(label.type) or pa.types.is_floating(label.type) or pa.types.is_boolean(label.type)):
            return batch
        negative = np.asarray(pc.fill_null(pc.equal(label.cast(pa.float64()), 0.0), False))
        keep = ~negative | self._sampled(batch)
        self.left_out += int((~keep).sum())
        self.without_key += int((negative & ~self._has_key(batch)).sum())
        return batch.filter(pa.array(keep))

    def _has_key(self, batch: pa.RecordBatch) -> np.ndarray:
        return np.logical_or.reduce([np.asarray(batch.column(name).is_valid()) for name in self.options.key])

    def _sampled(self, batch: pa.RecordBatch) -> np.ndarray:
        salt = pa.repeat(pa.scalar(self.options.salt), batch.num_rows)
        hashed = hashing.hashes([salt, *(batch.column(name) for name in self.options.key)])
        return (hashed >> np.uint64(64 - _BITS)).astype(np.float64) < self.options.negatives * 2**_BITS
