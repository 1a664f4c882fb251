"""A metric over run dates with its confidence band and its limits, as inline SVG. True distances between dates."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from hivemill.pipeline.report.charts import svg as charts
from hivemill.pipeline.report.sections import numbers

_SHAPES = {"green": "circle", "amber": "diamond", "red": "square"}


@dataclass(frozen=True)
class Point:
    """One run. The limits are those that held then."""

    date: str
    value: float
    lower: float | None
    upper: float | None
    colour: str
    at_least: float | None
    at_most: float | None


def trend_chart(name: str, title: str, points: Sequence[Point]) -> Markup | None:
    """None without a point. A limit far from the values is named below the chart, not drawn: it would flatten it."""
    if not points:
        return None
    levels = _levels(points)
    days = [datetime.date.fromisoformat(point.date).toordinal() for point in points]
    margin = 0.5 if days[0] == days[-1] else 0.0
    frame = charts.Frame(days[0] - margin, days[-1] + margin, levels[0], levels[-1], height=180)
    svg = charts.canvas(name, title, _words(points), 180 + charts.TOP + charts.BOTTOM)
    charts.axis_y(svg, frame, levels)
    charts.axis_x(svg, frame, [], "run date")
    for day, date, style in _dates(days):
        charts.text_at(svg, frame.x(day), frame.y(levels[0]) + 16, date, style)
    _band(svg, frame, days, points)
    for side in ("at_least", "at_most"):
        _limit(svg, frame, days, [getattr(point, side) for point in points], levels)
    line = " ".join(f"{frame.x(day)},{frame.y(point.value)}" for day, point in zip(days, points, strict=True))
    charts.element(svg, "polyline", {"class": "line train", "points": line})
    for day, point in zip(days, points, strict=True):
        _mark(svg, frame.x(day), frame.y(point.value), point)
    return charts.markup(svg)


def _levels(points: Sequence[Point]) -> list[float]:
    seen = [v for p in points for v in (p.value, p.lower, p.upper) if v is not None]
    low, high = min(seen), max(seen)
    reach = max(high - low, 0.02 * abs(high))
    limits = [v for p in points for v in (p.at_least, p.at_most) if v is not None]
    near = [limit for limit in limits if low - 2 * reach <= limit <= high + 2 * reach]
    return charts.ticks(min([low, *near]), max([high, *near]))


def _band(svg: object, frame: charts.Frame, days: Sequence[int], points: Sequence[Point]) -> None:
    known = [(day, p) for day, p in zip(days, points, strict=True) if p.lower is not None and p.upper is not None]
    if len(known) < 2:
        for day, point in known:
            charts.line(svg, "whisker", frame.x(day), frame.y(point.lower), frame.x(day), frame.y(point.upper))
        return
    there = [f"{frame.x(day)},{frame.y(point.upper)}" for day, point in known]
    back = [f"{frame.x(day)},{frame.y(point.lower)}" for day, point in reversed(known)]
    charts.element(svg, "polygon", {"class": "band", "points": " ".join(there + back)})


def _limit(
    svg: object, frame: charts.Frame, days: Sequence[int], values: Sequence[float | None], levels: Sequence[float]
) -> None:
    inside = [(d, v) for d, v in zip(days, values, strict=True) if v is not None and levels[0] <= v <= levels[-1]]
    if len(inside) == 1:
        inside = [(frame.x0, inside[0][1]), (frame.x1, inside[0][1])]
    if inside:
        path = " ".join(f"{frame.x(day)},{frame.y(value)}" for day, value in inside)
        charts.element(svg, "polyline", {"class": "line limit", "points": path})


def _mark(svg: object, x: float, y: float, point: Point) -> None:
    """The verdict's colour has a shape too: circle green, diamond amber, square red."""
    shape = _SHAPES.get(point.colour, "circle")
    if shape == "circle":
        mark = charts.element(svg, "circle", {"class": f"mark {point.colour}", "cx": x, "cy": y, "r": 4})
    elif shape == "diamond":
        corners = f"{x},{y - 5.5} {x + 5.5},{y} {x},{y + 5.5} {x - 5.5},{y}"
        mark = charts.element(svg, "polygon", {"class": f"mark {point.colour}", "points": corners})
    else:
        box = {"class": f"mark {point.colour}", "x": x - 4.5, "y": y - 4.5, "width": 9, "height": 9}
        mark = charts.element(svg, "rect", box)
    charts.element(mark, "title").text = _point_words(point)


def _dates(days: Sequence[int]) -> list[tuple[float, str, str]]:
    """(place, date, style); the outer ones stay inside the picture."""
    first, last = days[0], days[-1]
    if first == last:
        return [(first, _date(first), "tick middle")]
    inner = [((first + last) // 2, "tick middle")] if last - first > 3 else []
    return [(day, _date(day), style) for day, style in [(first, "tick"), *inner, (last, "tick end")]]


def _date(day: int) -> str:
    return datetime.date.fromordinal(day).isoformat()


def _words(points: Sequence[Point]) -> str:
    shown = points if len(points) <= 12 else [*points[:2], *points[-10:]]
    between = "" if len(points) <= 12 else f"{len(points)} runs, the first two and the last ten: "
    return between + "; ".join(map(_point_words, shown))


def _point_words(point: Point) -> str:
    band = ""
    if point.lower is not None and point.upper is not None:
        band = f" ({numbers.decimal(point.lower)} to {numbers.decimal(point.upper)})"
    return f"{point.date}: {numbers.decimal(point.value)}{band}, {point.colour}"
