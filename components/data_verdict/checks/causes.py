"""The probable cause of what happened to a column, by its symptoms: none is named that its own test does not show."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from hivemill.components.data_verdict.checks.evidence import DriftEvidence, WindowEvidence
from hivemill.components.data_verdict.comparison.columns import compare
from hivemill.components.data_verdict.profile.window_profile import GROWTH, Distribution, shifted

_EXPLAINED = 0.25  # a cause explains a change when what is left of the divergence is at most this share of it
_UNITS = (
    (10.0, "ten"), (100.0, "a hundred: hundredths, such as cents"), (1000.0, "a thousand: milli or kilo"),
    (1e4, "10,000"), (1e6, "a million: micro"), (1e9, "a billion: nano"), (60.0, "60: minutes and seconds"),
    (3600.0, "3,600: hours and seconds"), (24.0, "24: days and hours"), (1440.0, "1,440: days and minutes"),
    (86400.0, "86,400: days and seconds"), (1024.0, "1,024: KiB"), (1048576.0, "1,048,576: MiB"), (12.0, "twelve"),
    (2.54, "2.54: inches and centimetres"), (1.609344, "1.609: miles and kilometres"), (2.20462, "2.205: kg and lb"),
    (57.29578, "57.3: degrees and radians"),
)  # fmt: skip
_UNIT_TOLERANCE, _LARGE_UNIT, _LARGE_UNIT_TOLERANCE = 0.03, 20.0, 0.15
_CUT_MARGIN, _CUT_RANGE = 0.9, 1.5


@dataclasses.dataclass(frozen=True)
class Cause:
    """A word of findings.CAUSES and the sentence that shows why."""

    name: str
    because: str


def cause_of(evidence: WindowEvidence, column: str, drift: Mapping[str, DriftEvidence]) -> Cause | None:
    """The most specific cause that fits; None where only the change itself can be said. `drift` is of all columns."""
    row = drift.get(column)
    if row is None or not row.is_beyond:
        return None
    return swapped(row, drift) or scaled(row) or dead(row) or vocabulary_cause(row)


def swapped(row: DriftEvidence, drift: Mapping[str, DriftEvidence]) -> Cause | None:
    """Another column that changed too holds now what this one held, and the other way round."""
    best: tuple[float, str] | None = None
    for other in drift.values():
        if other.column == row.column or other.kind != row.kind or not other.is_beyond:
            continue
        here, there = _rest(row, other.before, row.after), _rest(other, row.before, other.after)
        if max(here, there) <= _EXPLAINED and (best is None or here + there < best[0]):
            best = (here + there, other.column)
    if best is None:
        return None
    return Cause("swapped_columns", f"its values are distributed as those of `{best[1]}` were, and the other way round")


def _rest(row: DriftEvidence, before: Distribution, after: Distribution) -> float:
    return compare(row.kind, before, after).value / row.comparison.value if row.comparison.value else math.inf


def scaled(row: DriftEvidence) -> Cause | None:
    """One factor takes the old numbers to the new ones; a unit change where the factor is one of a unit."""
    if row.kind != "number":
        return None
    start = round(np.log(_median(row.after) / _median(row.before)) / math.log(GROWTH)) if _positive(row) else 0
    steps = min(
        range(start - 3, start + 4), key=lambda step: compare("number", shifted(row.before, step), row.after).value
    )
    if not steps or _rest(row, shifted(row.before, steps), row.after) > _EXPLAINED:
        return None
    factor = _mean(row.after) / _mean(row.before)
    for unit, name in _UNITS:
        tolerance = _LARGE_UNIT_TOLERANCE if unit > _LARGE_UNIT else _UNIT_TOLERANCE  # days differ by themselves too
        if min(abs(math.log(factor / unit)), abs(math.log(factor * unit))) < tolerance:
            direction = "times" if factor > 1 else "divided by"
            return Cause("unit_change", f"all values are {direction} {name}")
    return Cause("scaled_values", f"all values are times {factor:.3g}")


def _positive(row: DriftEvidence) -> bool:
    return _median(row.before) > 0 and _median(row.after) > 0


def _median(distribution: Distribution) -> float:
    known = sorted(distribution.counts)
    cumulative = np.cumsum([distribution.counts[bucket] for bucket in known])
    return _value(known[int(np.searchsorted(cumulative, cumulative[-1] / 2))])


def _mean(distribution: Distribution) -> float:
    """Geometric mean of the positive numbers."""
    buckets = {bucket: count for bucket, count in distribution.counts.items() if bucket > 0}
    total = sum(buckets.values())
    exponent = sum(bucket * count for bucket, count in buckets.items()) / max(total, 1)
    return math.exp((exponent - 601) * math.log(GROWTH))


def _value(bucket: int) -> float:
    return math.copysign(GROWTH ** (abs(bucket) - 601), bucket) if bucket else 0.0


def dead(row: DriftEvidence) -> Cause | None:
    """One value in all rows of a column that had several."""
    if len(row.after.counts) != 1 or row.after.other or (row.before.is_whole and len(row.before.counts) < 2):
        return None
    value = next(iter(row.after.counts))
    shown = f"{_value(value):.3g}" if row.kind == "number" else repr(value)
    return Cause("dead_feature", f"every row that has a value has {shown}")


def vocabulary_cause(row: DriftEvidence) -> Cause | None:
    """What new and lost values say, for columns whose values are all counted by name."""
    if row.kind not in ("value", "list") or not (row.before.is_whole and row.after.is_whole):
        return None
    new, lost = new_values(row.before, row.after), lost_values(row.before, row.after)
    new_share, lost_share = share_of(row.after, new), share_of(row.before, lost)
    prefixes = [value for value in new if any(str(old).startswith(str(value)) for old in lost)]
    if lost and new and share_of(row.after, prefixes) > new_share / 2:
        longest = max(len(str(value)) for value in prefixes)
        return Cause("truncated_vocabulary", f"new values are the first characters of lost ones, at most {longest}")
    if new_share > 2 * lost_share and new_share > row.comparison.l_infinity / 2:
        return Cause("category_flood", f"{len(new):,} new values make {new_share:.1%} of all")
    if lost_share > 2 * new_share and _is_tail(row.before, row.after, lost):
        return Cause(
            "truncated_vocabulary", f"{len(lost):,} of {len(row.before.counts):,} values are gone, the rare ones"
        )
    if lost_share > 2 * new_share and lost_share > row.comparison.l_infinity / 2:
        return Cause("lost_values", f"{_listed(lost)} no longer occur")
    if new_share > 0.2 and lost_share > 0.2:
        return Cause("recoded_values", f"{_listed(lost)} are gone, {_listed(new)} are new")
    return None


def new_values(before: Distribution, after: Distribution) -> list:
    return [value for value in after.counts if value not in before.counts]


def lost_values(before: Distribution, after: Distribution, min_expected: float = 10.0) -> list:
    """Values of before that should have occurred some ten times now, and did not once."""
    scale = after.present / before.present if before.present else 0.0
    return [
        value for value, count in before.counts.items() if value not in after.counts and count * scale >= min_expected
    ]


def share_of(distribution: Distribution, values: list) -> float:
    present = distribution.present
    return sum(distribution.counts.get(value, 0) for value in values) / present if present else 0.0


def _is_tail(before: Distribution, after: Distribution, lost: list) -> bool:
    """Several values, all rarer than those that stayed, in a vocabulary that has frequent and rare ones."""
    if len(lost) < 2:
        return False
    kept = [count for value, count in before.counts.items() if value in after.counts]
    lost_counts = [before.counts[value] for value in lost]
    return bool(kept) and min(kept) > _CUT_MARGIN * max(lost_counts) and max(kept) > _CUT_RANGE * min(lost_counts)


def _listed(values: list) -> str:
    shown = ", ".join(repr(value) for value in values[:3])
    return shown + (f" and {len(values) - 3:,} more" if len(values) > 3 else "")
