"""Histograms small enough for a table cell: before as an outline, after as filled bars; one path each."""

from __future__ import annotations

from markupsafe import Markup

from pipeline.report import charts, numbers
from pipeline.report.documents import Histogram

WIDTH, HEIGHT = 168, 44
MAX_BINS = 16


def pair_of_histograms(feature: str, before: Histogram | None, after: Histogram | None) -> Markup | None:
    """None unless both have the same bins. Its name, for screen readers, says the largest changes."""
    if before is None or after is None or before.bins != after.bins or not before.bins:
        return None
    bins = list(zip(before.bins, before.shares, after.shares, strict=False))[:MAX_BINS]
    top = max((max(old, new) for _, old, new in bins), default=0) or 1
    svg = charts.plain_canvas(f"{feature}: {_words(bins)}", WIDTH, HEIGHT)
    step = WIDTH / len(bins)
    heights = [((HEIGHT - 2) * old / top, (HEIGHT - 2) * new / top) for _, old, new in bins]
    filled = "".join(_bar(index * step + 1, step - 2, new) for index, (_, new) in enumerate(heights))
    outline = "".join(_bar(index * step + 1, step - 2, old) for index, (old, _) in enumerate(heights))
    charts.element(svg, "path", {"class": "after", "d": filled})
    charts.element(svg, "path", {"class": "before", "d": outline})
    return charts.markup(svg)


def _bar(x: float, width: float, height: float) -> str:
    return f"M{x:.1f} {HEIGHT - 1}v{-height:.1f}h{width:.1f}v{height:.1f}z"


def _words(bins: list[tuple[str, float, float]]) -> str:
    moved = sorted(bins, key=lambda one: -abs(one[2] - one[1]))[:3]
    return "; ".join(
        f"{numbers.shortened(name, 30)} {numbers.percent(old, 1)} before, {numbers.percent(new, 1)} now"
        for name, old, new in moved
    )
