"""Charts as inline SVG, drawn here so that the page needs no script. Colours come from the page's style sheet by class;
series differ in dash and marker too, never in colour alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from markupsafe import Markup

from hivemill.pipeline.documents.run_documents import CalibrationBinEntry
from hivemill.pipeline.report.sections import numbers

_WIDTH = 400
_LEFT, _RIGHT, TOP, BOTTOM = 52, 14, 30, 44

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """A line of a chart. `style` is the CSS class: `train` or `validation`."""

    name: str
    style: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Frame:
    """Maps data to pixels: x in [x0, x1] to the plot's width, y in [y0, y1] to its height, upwards."""

    x0: float
    x1: float
    y0: float
    y1: float
    height: float
    top: float = TOP

    def x(self, value: float) -> float:
        return round(_LEFT + (value - self.x0) / ((self.x1 - self.x0) or 1) * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        return round(self.top + self.height - (value - self.y0) / ((self.y1 - self.y0) or 1) * self.height, 1)


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) that cover [low, high]; first <= low and last >= high."""
    if high <= low:
        high = low + (abs(low) or 1.0) * 0.1
    raw = (high - low) / wanted
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def line_chart(name: str, title: str, series: Sequence[Series], *, best_epoch: float | None = None) -> Markup | None:
    """A curve per series over epochs. None where no series has a point. `name` makes the ids unique in the page."""
    series = [one for one in series if one.points]
    if not series:
        return None
    values = [y for one in series for _, y in one.points]
    epochs = sorted({x for one in series for x, _ in one.points})
    levels = ticks(min(values), max(values))
    margin = 0.5 if len(epochs) == 1 else 0.0
    frame = Frame(epochs[0] - margin, epochs[-1] + margin, levels[0], levels[-1], height=180)
    svg = canvas(name, title, _describe_lines(series), 180 + TOP + BOTTOM)
    axis_y(svg, frame, levels)
    axis_x(svg, frame, _whole_ticks(epochs), "epoch")
    if best_epoch is not None and epochs[0] <= best_epoch <= epochs[-1]:
        line(svg, "best", frame.x(best_epoch), frame.y(levels[0]), frame.x(best_epoch), frame.y(levels[-1]))
    for index, one in enumerate(series):
        _draw_series(svg, frame, one)
        _legend(svg, one, _LEFT + 120 * index)
    return markup(svg)


def reliability_chart(name: str, bins: Sequence[CalibrationBinEntry]) -> Markup | None:
    """Click rate over mean prediction, one point per bin, with the number of impressions as bars below (log scale)."""
    bins = [one for one in bins if one.examples > 0 and _known(one.mean_prediction) and _known(one.click_rate)]
    if not bins:
        return None
    levels = ticks(0, max(max(one.mean_prediction, one.click_rate) for one in bins))
    top, frame = levels[-1], Frame(0, levels[-1], 0, levels[-1], height=230)
    svg = canvas(name, "Calibration: click rate by predicted probability", _describe_bins(bins), 380)
    axis_y(svg, frame, levels, "click rate")
    line(svg, "diagonal", frame.x(0), frame.y(0), frame.x(top), frame.y(top))
    text_at(svg, frame.x(top) - 2, frame.y(top * 0.84) + 4, "perfect", "tick end")
    bars = Frame(0, top, 0, math.log10(max(one.examples for one in bins) + 1), height=52, top=280)
    for one in bins:
        _bar(svg, bars, one, top)
    points = [(frame.x(one.mean_prediction), frame.y(one.click_rate)) for one in bins]
    element(svg, "polyline", {"class": "line train", "points": " ".join(f"{x},{y}" for x, y in points)})
    for (x, y), one in zip(points, bins, strict=True):
        dot = element(svg, "circle", {"class": "dot train", "cx": x, "cy": y, "r": 4.5})
        element(dot, "title").text = _bin_words(one)
    text_at(svg, _LEFT, 275, "impressions (log scale)", "tick")
    axis_x(svg, bars, [(level, _short(level)) for level in levels], "mean predicted click probability")
    return markup(svg)


def _bar(svg: ElementTree.Element, frame: Frame, one: CalibrationBinEntry, top: float) -> None:
    left, right = frame.x(min(one.lower, top)), frame.x(min(one.upper, top))
    y = frame.y(math.log10(one.examples + 1))
    box = {"class": "count", "x": left + 1, "y": y, "width": max(right - left - 2, 2), "height": frame.y(0) - y}
    element(element(svg, "rect", box), "title").text = _bin_words(one)


def _draw_series(svg: ElementTree.Element, frame: Frame, one: Series) -> None:
    points = [(frame.x(x), frame.y(y)) for x, y in one.points]
    element(svg, "polyline", {"class": f"line {one.style}", "points": " ".join(f"{x},{y}" for x, y in points)})
    if len(points) > 60:
        return
    for (x, y), (epoch, value) in zip(points, one.points, strict=True):
        dot = element(svg, "circle", {"class": f"dot {one.style}", "cx": x, "cy": y, "r": 3})
        element(dot, "title").text = f"{one.name}, epoch {epoch:g}: {value:.4f}"


def _legend(svg: ElementTree.Element, one: Series, x: float) -> None:
    line(svg, f"line {one.style}", x, 12, x + 26, 12)
    element(svg, "circle", {"class": f"dot {one.style}", "cx": x + 13, "cy": 12, "r": 3})
    text_at(svg, x + 32, 16, one.name, "legend")


def axis_y(svg: ElementTree.Element, frame: Frame, levels: Sequence[float], label: str | None = None) -> None:
    for level in levels:
        line(svg, "grid", _LEFT, frame.y(level), _WIDTH - _RIGHT, frame.y(level))
        text_at(svg, _LEFT - 6, frame.y(level) + 4, _short(level), "tick end")
    if label:
        text_at(svg, _LEFT, 16, label, "tick")


def axis_x(svg: ElementTree.Element, frame: Frame, labels: Sequence[tuple[float, str]], title: str) -> None:
    base = frame.y(frame.y0)
    line(svg, "axis", _LEFT, base, _WIDTH - _RIGHT, base)
    for value, label in labels:
        text_at(svg, frame.x(value), base + 16, label, "tick middle")
    text_at(svg, (_LEFT + _WIDTH - _RIGHT) / 2, base + 34, title, "tick middle")


def _whole_ticks(epochs: Sequence[float]) -> list[tuple[float, str]]:
    step = max(1, math.ceil(len(epochs) / 10))
    return [(epoch, f"{epoch:g}") for epoch in epochs[::step]]


def _describe_lines(series: Sequence[Series]) -> str:
    return "; ".join(
        f"{one.name}: from {one.points[0][1]:.4f} in epoch {one.points[0][0]:g} "
        f"to {one.points[-1][1]:.4f} in epoch {one.points[-1][0]:g}"
        for one in series
    )


def _describe_bins(bins: Sequence[CalibrationBinEntry]) -> str:
    return "On the diagonal the model is right on average. " + "; ".join(_bin_words(one) for one in bins)


def _bin_words(one: CalibrationBinEntry) -> str:
    return (
        f"predicted {numbers.percent(one.mean_prediction)}, clicked {numbers.percent(one.click_rate)} "
        f"of {numbers.count(one.examples)} impressions"
    )


def _known(value: float | None) -> bool:
    return numbers.is_known(value)


def _short(level: float) -> str:
    return f"{level:.10g}"


def canvas(name: str, title: str, description: str, height: float) -> ElementTree.Element:
    labels = f"{name}-title {name}-desc"
    svg = ElementTree.Element("svg", {"viewBox": f"0 0 {_WIDTH} {height:g}", "role": "img", "class": "chart"})
    svg.set("aria-labelledby", labels)
    element(svg, "title", {"id": f"{name}-title"}).text = title
    element(svg, "desc", {"id": f"{name}-desc"}).text = description
    return svg


def plain_canvas(title: str, width: float, height: float) -> ElementTree.Element:
    """A chart without axes, named by its title alone."""
    svg = ElementTree.Element("svg", {"viewBox": f"0 0 {width:g} {height:g}", "role": "img", "class": "spark"})
    svg.set("width", f"{width:g}")
    svg.set("height", f"{height:g}")
    svg.set("aria-label", title)
    return svg


def line(svg: ElementTree.Element, style: str, x1: float, y1: float, x2: float, y2: float) -> None:
    element(svg, "line", {"class": style, "x1": x1, "y1": y1, "x2": x2, "y2": y2})


def text_at(svg: ElementTree.Element, x: float, y: float, text: str, style: str) -> None:
    element(svg, "text", {"class": style, "x": x, "y": y}).text = text


def element(parent: ElementTree.Element, tag: str, attributes: dict[str, object] | None = None) -> ElementTree.Element:
    return ElementTree.SubElement(parent, tag, {key: str(value) for key, value in (attributes or {}).items()})


def markup(svg: ElementTree.Element) -> Markup:
    return Markup(ElementTree.tostring(svg, encoding="unicode", short_empty_elements=False))
