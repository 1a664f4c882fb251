"""Charts of an A/B test: lift so far, CTR by day, lift by slice. Inline SVG like the others of the report."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from markupsafe import Markup

from hivemill.common import text
from hivemill.pipeline.report.charts import svg as charts

_HEIGHT = 180
_ROW = 24
_FORGOTTEN = 6
"""A band more than this many times wider than the last one is of the first looks; drawn, it would flatten the rest."""


@dataclass(frozen=True)
class LiftPoint:
    """A value in percent on a day, with its interval where there is one."""

    date: str
    value: float
    lower: float | None
    upper: float | None


@dataclass(frozen=True)
class SliceLift:
    """A row of the chart by slice, in percent. `style` is the CSS class of its mark: green, red or grey."""

    label: str
    value: float
    lower: float
    upper: float
    style: str


def lift_chart(name: str, points: Sequence[LiftPoint]) -> Markup | None:
    """Cumulative lift over days with its interval, 0 as a dashed line. None without a point with an interval."""
    shown = _without_the_widest([one for one in points if one.lower is not None and one.upper is not None])
    if not shown:
        return None
    levels = charts.ticks(min(0.0, *(one.lower for one in shown)), max(0.0, *(one.upper for one in shown)))
    days = [_ordinal(one.date) for one in shown]
    frame = _frame(days, levels)
    svg = charts.canvas(name, "Lift in percent, all days so far", _lift_words(shown), _canvas_height())
    charts.axis_y(svg, frame, levels, "lift in %")
    _dates(svg, frame, days)
    charts.line(svg, "limit", frame.x(frame.x0), frame.y(0), frame.x(frame.x1), frame.y(0))
    if len(shown) == 1:
        one = shown[0]
        charts.line(svg, "whisker", frame.x(days[0]), frame.y(one.lower), frame.x(days[0]), frame.y(one.upper))
    else:
        there = [(frame.x(day), frame.y(one.upper)) for day, one in zip(days, shown, strict=True)]
        back = [(frame.x(day), frame.y(one.lower)) for day, one in zip(days, shown, strict=True)]
        charts.element(svg, "polygon", {"class": "band", "points": _path([*there, *reversed(back)])})
    _curve(svg, "train", [(frame.x(day), frame.y(one.value)) for day, one in zip(days, shown, strict=True)], shown)
    return charts.markup(svg)


def ctr_chart(name: str, series: Mapping[str, Sequence[tuple[str, float]]]) -> Markup | None:
    """CTR in percent by day, one line for each variant (control first). None without any."""
    series = {variant: points for variant, points in series.items() if points}
    if not series:
        return None
    values = [value for points in series.values() for _, value in points]
    days = sorted({_ordinal(date) for points in series.values() for date, _ in points})
    levels = charts.ticks(min(values), max(values))
    frame = _frame(days, levels)
    words = "; ".join(
        f"{variant}: " + ", ".join(f"{date} {value:.3f} %" for date, value in points[-14:])
        for variant, points in series.items()
    )
    svg = charts.canvas(name, "CTR in percent by day", words, _canvas_height())
    charts.axis_y(svg, frame, levels)
    _dates(svg, frame, days)
    for index, (style, (variant, points)) in enumerate(zip(("validation", "train"), series.items(), strict=False)):
        named = [LiftPoint(date, value, None, None) for date, value in points]
        _curve(svg, style, [(frame.x(_ordinal(date)), frame.y(value)) for date, value in points], named)
        charts.line(svg, f"line {style}", frame.x(frame.x0) + 150 * index, 12, frame.x(frame.x0) + 26 + 150 * index, 12)
        label = text.shortened(variant, 14)
        charts.text_at(svg, frame.x(frame.x0) + 32 + 150 * index, 16, label, "legend")
    return charts.markup(svg)


def slice_chart(name: str, rows: Sequence[SliceLift]) -> Markup | None:
    """One interval under the other, 0 as a dashed line. None without a row."""
    if not rows:
        return None
    levels = charts.ticks(min(0.0, *(row.lower for row in rows)), max(0.0, *(row.upper for row in rows)), 4)
    height = 2 * _ROW * len(rows)
    frame = charts.Frame(levels[0], levels[-1], 0, height, height=height, top=8)
    words = "; ".join(f"{row.label}: {_words(row.value, row.lower, row.upper)}" for row in rows)
    svg = charts.canvas(name, "Lift in percent by slice", words, height + 8 + charts.BOTTOM)
    for level in levels:
        charts.line(svg, "grid", frame.x(level), 8, frame.x(level), 8 + height)
    charts.line(svg, "limit", frame.x(0), 8, frame.x(0), 8 + height)
    for index, row in enumerate(rows):
        y = 8 + 2 * _ROW * index + _ROW
        charts.text_at(svg, 4, y - 4, text.shortened(row.label, 44), "legend")
        charts.line(svg, "whisker", frame.x(row.lower), y + 9, frame.x(row.upper), y + 9)
        mark = charts.element(
            svg, "circle", {"class": f"mark {row.style}", "cx": frame.x(row.value), "cy": y + 9, "r": 5}
        )
        charts.element(mark, "title").text = f"{row.label}: {_words(row.value, row.lower, row.upper)}"
    charts.axis_x(svg, frame, [(level, f"{level:.10g}") for level in levels], "lift in %")
    return charts.markup(svg)


def _without_the_widest(points: Sequence[LiftPoint]) -> list[LiftPoint]:
    if not points:
        return []
    last = points[-1].upper - points[-1].lower
    return [one for one in points if one.upper - one.lower <= _FORGOTTEN * last]


def _curve(
    svg: ElementTree.Element, style: str, places: Sequence[tuple[float, float]], points: Sequence[LiftPoint]
) -> None:
    charts.element(svg, "polyline", {"class": f"line {style}", "points": _path(places)})
    for (x, y), one in zip(places, points, strict=True):
        dot = charts.element(svg, "circle", {"class": f"dot {style}", "cx": x, "cy": y, "r": 3})
        charts.element(dot, "title").text = f"{one.date}: {_words(one.value, one.lower, one.upper)}"


def _frame(days: Sequence[int], levels: Sequence[float]) -> charts.Frame:
    margin = 0.5 if days[0] == days[-1] else 0.0
    return charts.Frame(days[0] - margin, days[-1] + margin, levels[0], levels[-1], height=_HEIGHT)


def _dates(svg: ElementTree.Element, frame: charts.Frame, days: Sequence[int]) -> None:
    charts.axis_x(svg, frame, [], "day (UTC)")
    ends = [(days[0], "tick middle")] if days[0] == days[-1] else [(days[0], "tick"), (days[-1], "tick end")]
    for day, style in ends:
        label = datetime.date.fromordinal(day).isoformat()
        charts.text_at(svg, frame.x(day), frame.y(frame.y0) + 16, label, style)


def _canvas_height() -> float:
    return _HEIGHT + charts.TOP + charts.BOTTOM


def _ordinal(date: str) -> int:
    return datetime.date.fromisoformat(date).toordinal()


def _path(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in places)


def _words(value: float, lower: float | None, upper: float | None) -> str:
    interval = "" if lower is None or upper is None else f" ({lower:+.2f} to {upper:+.2f})"
    return f"{value:.3f} %{interval}"


def _lift_words(points: Sequence[LiftPoint]) -> str:
    shown = points if len(points) <= 10 else points[-10:]
    return "; ".join(f"{one.date}: {_words(one.value, one.lower, one.upper)}" for one in shown)
