"""Charts small enough for a table cell: before as an outline, after as filled bars; one path each."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from hivemill.common.text import shortened
from hivemill.pipeline.documents.run_documents import Histogram
from hivemill.pipeline.report.charts import svg as charts
from hivemill.pipeline.report.sections import numbers
from hivemill.pipeline.report.sections.volume import DayVolume

WIDTH, DAY_WIDTH, HEIGHT = 168, 216, 44
_LABEL_HEIGHT, _LABELLED_HOURS = 14, 6  # 0, 6, 12, 18 h
MAX_BINS = 16


def pair_of_histograms(feature: str, before: Histogram | None, after: Histogram | None) -> Markup | None:
    """None unless both have the same bins. Its name, for screen readers, says the largest changes."""
    if before is None or after is None or before.bins != after.bins or not before.bins:
        return None
    bins = list(zip(before.bins, before.shares, after.shares, strict=False))[:MAX_BINS]
    top = max((max(old, new) for _, old, new in bins), default=0) or 1
    return _pairs(f"{feature}: {_words(bins)}", [(old / top, new / top) for _, old, new in bins])


def rows_by_hour(day: DayVolume, top: float) -> Markup | None:
    """A bar an hour, usual and now; `top` rows are full height. None where the hours are not known."""
    if not day.hours or top <= 0:
        return None
    odd = sorted(day.hours, key=lambda one: -one.surprise)[:3]
    title = f"{day.date}, rows by hour, the most unusual: {'; '.join(one.words for one in odd)}"
    labels = [str(int(one.hour)) if int(one.hour) % _LABELLED_HOURS == 0 else "" for one in day.hours]
    return _pairs(title, [(one.usual / top, one.now / top) for one in day.hours], DAY_WIDTH, labels)


def _pairs(title: str, shares: Sequence[tuple[float, float]], width: int = WIDTH, labels: Sequence[str] = ()) -> Markup:
    """`shares` of the full height: (before, after) of each bin. `labels` stand below the bins, empty ones nowhere."""
    svg = charts.plain_canvas(title, width, HEIGHT + (_LABEL_HEIGHT if labels else 0))
    step = width / len(shares)
    for index, label in enumerate(labels):
        if label:
            charts.text_at(svg, round((index + 0.5) * step, 1), HEIGHT + _LABEL_HEIGHT - 3, label, "hour")
    for style, heights in (("after", [new for _, new in shares]), ("before", [old for old, _ in shares])):
        bars = (_bar(index * step + 1, step - 2, (HEIGHT - 2) * height) for index, height in enumerate(heights))
        charts.element(svg, "path", {"class": style, "d": "".join(bars)})
    return charts.markup(svg)


def _bar(x: float, width: float, height: float) -> str:
    return f"M{x:.1f} {HEIGHT - 1}v{-height:.1f}h{width:.1f}v{height:.1f}z"


def _words(bins: list[tuple[str, float, float]]) -> str:
    moved = sorted(bins, key=lambda one: -abs(one[2] - one[1]))[:3]
    return "; ".join(
        f"{shortened(name, 30)} {numbers.percent(old, 1)} before, {numbers.percent(new, 1)} now"
        for name, old, new in moved
    )
