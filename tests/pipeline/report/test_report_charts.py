from xml.etree import ElementTree

import pytest

from hivemill.pipeline.documents.run_documents import CalibrationBinEntry
from hivemill.pipeline.report.charts import svg as charts


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.2931, 0.3391, [0.29, 0.3, 0.31, 0.32, 0.33, 0.34]),
        (0, 0.043, [0, 0.01, 0.02, 0.03, 0.04, 0.05]),
    ],
)
def test_ticks_are_round_and_cover_the_range(low, high, expected):
    assert charts.ticks(low, high) == expected


@pytest.mark.parametrize("value", [0.0, 0.5, -3.0, 1e-9, 1e9])
def test_ticks_of_a_single_value_still_span_something(value):
    levels = charts.ticks(value, value)
    assert levels[0] <= value <= levels[-1] and levels[0] < levels[-1]


def _svg(text) -> ElementTree.Element:
    return ElementTree.fromstring(str(text))


def test_a_line_chart_puts_its_points_where_the_axes_say():
    series = [charts.Series("train", "train", ((1, 0.0), (2, 1.0)))]
    svg = _svg(charts.line_chart("c", "Loss", series))
    first, last = (tuple(map(float, point.split(","))) for point in svg.find("polyline").get("points").split())
    epochs = {text.text: float(text.get("x")) for text in svg.iter("text") if text.get("class") == "tick middle"}
    assert first[0] == epochs["1"] and last[0] == epochs["2"]
    levels = {text.text: float(text.get("y")) - 4 for text in svg.iter("text") if text.get("class") == "tick end"}
    assert first[1] == levels["0"] and last[1] == levels["1"]


def test_a_chart_has_a_title_and_says_its_numbers_in_words():
    series = [charts.Series("validation", "validation", ((1, 0.5), (3, 0.25)))]
    svg = _svg(charts.line_chart("c", "Loss by epoch", series))
    assert svg.get("role") == "img"
    assert svg.get("aria-labelledby").split() == [svg.find("title").get("id"), svg.find("desc").get("id")]
    assert svg.find("desc").text == "validation: from 0.5000 in epoch 1 to 0.2500 in epoch 3"


def test_nothing_to_draw_is_no_chart():
    assert charts.line_chart("c", "Loss", [charts.Series("train", "train", ())]) is None
    assert charts.reliability_chart("r", []) is None
    assert charts.reliability_chart("r", [CalibrationBinEntry(lower=0, upper=1, examples=0)]) is None


def test_one_epoch_is_a_point_inside_the_plot():
    svg = _svg(charts.line_chart("c", "Loss", [charts.Series("train", "train", ((1, 0.3),))], best_epoch=1))
    dot = next(one for one in svg.iter("circle") if one.find("title") is not None)
    assert 52 < float(dot.get("cx")) < 386


def test_the_reliability_chart_shows_each_bin_with_its_count():
    bins = [
        CalibrationBinEntry(lower=0, upper=0.1, examples=1000, mean_prediction=0.05, click_rate=0.04),
        CalibrationBinEntry(lower=0.1, upper=0.2, examples=10, mean_prediction=0.12, click_rate=0.2),
        CalibrationBinEntry(lower=0.2, upper=0.3, examples=0, mean_prediction=None, click_rate=None),
    ]
    svg = _svg(charts.reliability_chart("r", bins))
    assert len(svg.findall("circle")) == len(svg.findall("rect")) == 2
    big, small = (float(rect.get("height")) for rect in svg.findall("rect"))
    assert big > small > 0
    assert "predicted 5.00 %, clicked 4.00 % of 1,000 impressions" in svg.find("desc").text


def test_the_diagonal_is_where_prediction_equals_click_rate():
    bins = [CalibrationBinEntry(lower=0, upper=1, examples=5, mean_prediction=0.5, click_rate=0.5)]
    svg = _svg(charts.reliability_chart("r", bins))
    line = next(one for one in svg.iter("line") if one.get("class") == "diagonal")
    dot = svg.find("circle")
    x1, y1, x2, y2 = (float(line.get(key)) for key in ("x1", "y1", "x2", "y2"))
    share = (float(dot.get("cx")) - x1) / (x2 - x1)
    assert float(dot.get("cy")) == pytest.approx(y1 + share * (y2 - y1), abs=0.2)
