"""What a summary must answer: which values are counted, which numbers are summarised."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from hivemill.common.options import Options

_ENOUGH = 2
"""A sample of half the rows asked for is no reason for another pass."""


class CountedValues(Options):
    """Which values of a flattened column are counted.

    first: the first value of each row. all: every value of a list, or every key of a map. items: every item of a map,
    written `key=value`. `at_most` cuts lists to their first so many values.
    """

    column: str
    values: Literal["first", "all", "items"] = "all"
    at_most: PositiveInt | None = None


class SummarisedNumbers(Options):
    """The first number of each row of a column.

    `error` is the largest error of a quantile's rank, as a share of the rows; None where no quantiles are wanted.
    """

    column: str
    error: float | None = None


class SummaryRequest(Options):
    """Attributes:
    label: column whose sum is kept by value; a row without it adds 0.
    statistics: TensorFlow Data Validation's statistics of all columns.
    sample_rows: rows that are kept as they are, those with the smallest hashes; None for none. Of the whole window in
        the request to HiveLogExampleGen, which asks each partition for its part.
    """

    label: str | None = None
    counted: tuple[CountedValues, ...] = ()
    numbers: tuple[SummarisedNumbers, ...] = ()
    statistics: bool = False
    sample_rows: PositiveInt | None = None

    def is_met_by(self, kept: SummaryRequest) -> bool:
        """Whether a summary made for `kept` answers this too."""
        return (
            (not self.counted or self.label == kept.label)
            and set(self.counted) <= set(kept.counted)
            and set(self.numbers) <= set(kept.numbers)
            and (kept.statistics or not self.statistics)
            and (self.sample_rows is None or _ENOUGH * (kept.sample_rows or 0) >= self.sample_rows)
        )

    def with_all_of(self, kept: SummaryRequest) -> SummaryRequest:
        """What answers both, by this one's label: so two configs that share conversions do not take turns."""
        return SummaryRequest(
            label=self.label or kept.label,
            counted=tuple(dict.fromkeys((*kept.counted, *self.counted))),
            numbers=tuple(dict.fromkeys((*kept.numbers, *self.numbers))),
            statistics=self.statistics or kept.statistics,
            sample_rows=max(self.sample_rows or 0, kept.sample_rows or 0) or None,
        )

    def of_partition(self, num_partitions: int) -> SummaryRequest:
        """What each of so many partitions is asked for: twice its part of the sample, since days are not alike."""
        if self.sample_rows is None:
            return self
        part = -(-2 * self.sample_rows // num_partitions)
        return self.model_copy(update={"sample_rows": min(part, self.sample_rows)})
