"""What a summary must answer: which values are counted, which numbers are summarised."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from hivemill.common.options import Options


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
    """

    label: str | None = None
    counted: tuple[CountedValues, ...] = ()
    numbers: tuple[SummarisedNumbers, ...] = ()
    statistics: bool = False

    def is_met_by(self, kept: SummaryRequest) -> bool:
        """Whether a summary made for `kept` answers this too."""
        return (
            (not self.counted or self.label == kept.label)
            and set(self.counted) <= set(kept.counted)
            and set(self.numbers) <= set(kept.numbers)
            and (kept.statistics or not self.statistics)
        )

    def with_all_of(self, kept: SummaryRequest) -> SummaryRequest:
        """What answers both, by this one's label: so two configs that share conversions do not take turns."""
        return SummaryRequest(
            label=self.label or kept.label,
            counted=tuple(dict.fromkeys((*kept.counted, *self.counted))),
            numbers=tuple(dict.fromkeys((*kept.numbers, *self.numbers))),
            statistics=self.statistics or kept.statistics,
        )
