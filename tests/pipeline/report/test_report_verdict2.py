"""What version 2 of the verdict adds to the page: why, intervals, references, importance, drift, lineage, index."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from hivemill.pipeline.documents.run_documents import Histogram
from hivemill.pipeline.report.charts import sparks
from hivemill.pipeline.report.charts.trend_chart import Point, trend_chart
from hivemill.pipeline.report.page import render, write_index
from hivemill.pipeline.report.sections import volume
from tests.pipeline.report import run_folders, verdict2
from tests.pipeline.report.test_report_page import Page, text_of

MAX_BYTES = 2 * 2**20
SCHEMA = json.loads((Path(__file__).parents[3] / "schema" / "verdict.schema.json").read_text(encoding="utf-8"))


def test_the_documents_of_these_tests_keep_the_schema():
    jsonschema.Draft202012Validator(SCHEMA).validate(verdict2.verdict())


def test_an_amber_page_says_everything(tmp_path):
    text = text_of(verdict2.amber(tmp_path / "r"))
    wanted = [
        "3 findings, likely cause: unit change",
        "price: JS 0.31 > 0.20; bins 50-100",
        "likely cause: unit change",
    ]
    wanted += ["95 % interval (bootstrap over users)", "0.7306 to 0.7386", "noise: −0.0005 to +0.0075", "off trend"]
    wanted += ["On a sample of 20,000 rows", "Logistic regression on the same features", "this model −0.0907 gain"]
    wanted += ["LightGBM on the same features 60,000 could not be computed: OSError: libgomp.so.1 <missing>"]
    wanted += ["recent_items_keys + recent_items_values", "+0.02000", "✕ drifted", "! more than usual", "✓ as before"]
    wanted += [
        "run 2026-11-08-00c0ffee",
        "trained version 1762657380",
        "Calibration by slice (4)",
        "examples: Examples 7",
    ]
    wanted += ["abababababab", "Shares before and now"]
    assert [fact for fact in wanted if fact not in text] == []
    assert text.index("Why") < text.index("Metrics and their bounds")


def test_the_first_finding_is_the_red_one_and_then_the_likeliest(tmp_path):
    made = verdict2.verdict()
    made["data"]["findings"] = [verdict2.finding("b", "amber", rank=2), verdict2.finding("a", "red", rank=1)]
    text = text_of(run_folders.green(tmp_path / "r", verdict=made))
    assert text.index("a: JS 0.31") < text.index("b: JS 0.31") < text.index("outside the trend")


def test_a_difference_inside_its_interval_is_noise_and_no_gain(tmp_path):
    made = verdict2.verdict()
    text = text_of(run_folders.green(tmp_path / "r", verdict=made))
    auc = text[text.index("AUC how well clicks rank") :][:200]
    assert "+0.0035" in auc and "noise" in auc and "better" not in auc


def test_forty_features_and_twenty_slices_stay_below_two_mebibytes(tmp_path):
    html = render(verdict2.amber(tmp_path / "r", features=40, slices=20))
    assert html.count('class="spark"') == 40 + 2  # the features, and the rows by hour of the judged days
    assert len(html.encode()) < MAX_BYTES
    Page(html)


def test_a_spark_needs_the_same_bins_and_names_what_moved():
    before = Histogram(bins=("a", "b<"), shares=(0.9, 0.1))
    chart = sparks.pair_of_histograms("f", before, Histogram(bins=("a", "b<"), shares=(0.2, 0.8)))
    assert "b&lt; 10.0 % before, 80.0 % now" in chart
    assert sparks.pair_of_histograms("f", before, Histogram(bins=("a",), shares=(1.0,))) is None
    assert sparks.pair_of_histograms("f", None, before) is None
    zero = Histogram(bins=("a", "b<"), shares=(0.0, 0.0))
    assert sparks.pair_of_histograms("f", zero, zero) is not None


def test_rows_by_hour_against_the_usual_ones(tmp_path):
    html = render(verdict2.amber(tmp_path / "r"))
    text = Page(html).text
    assert "20 h: 0, usual 320" in text and "the last good window" in text
    assert "2026-11-15, rows by hour, the most unusual: 20 h: 0, usual 320; " in html
    days = re.findall(r'<span class="nowrap">(2026-11-\d\d)</span>', html)
    assert days == ["2026-11-14", "2026-11-15"]  # those that were judged
    assert "5,008" in text and "5,220" in text and "8.31 %" in text


def test_rows_by_day_where_there_are_no_hours(tmp_path):
    made = verdict2.verdict()
    made["data"]["volume"] |= {"hours": {}, "usual_hours": {}}
    html = render(run_folders.green(tmp_path / "r", verdict=made))
    assert "The table has no hours" in html and html.count('<span class="nowrap">2026-11-') == 8
    made["data"]["volume"] = {}
    assert "This run did not count rows by day." in text_of(run_folders.green(tmp_path / "s", verdict=made))


def test_an_hour_bar_is_as_high_as_its_rows():
    day = volume.day_volumes(volume.Volume(**verdict2.volume()))[-1]
    after, before = re.findall(r' d="([^"]*)"', str(sparks.rows_by_hour(day, top=640)))
    heights = [[-float(one) for one in re.findall(r"v(-[\d.]+)h", path)] for path in (after, before)]
    assert len(heights[0]) == len(heights[1]) == 24
    assert heights[0][20] == 0 and heights[1][20] == pytest.approx(42 * 320 / 640)
    assert sparks.rows_by_hour(day, top=0) is None


def test_index_of_all_runs(tmp_path):
    root = verdict2.many_runs(tmp_path / "root")
    html = write_index(root).read_text(encoding="utf-8")
    page = Page(html)
    assert "Green: Model pushed" in page.text and "10 green, 1 amber, 1 red" in page.text
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</th>", html)
    assert len(rows) == 12 and "2026-11-22" in rows[0] and "2026-09-06" in rows[-1]
    assert len(page.all("svg")) == 4
    assert not re.search(r"https?:|//[a-z]|url\(|@import", html) and page.all("script") == []
    assert "2026-10-25: 0.70" in html and "red" in html


def test_index_of_nothing_and_of_a_broken_run(tmp_path):
    assert "There are no runs yet" in write_index(tmp_path).read_text(encoding="utf-8")
    run_folders.write(tmp_path / "runs" / "a", run="{half", verdict="[]")
    run_folders.killed(tmp_path / "runs" / "b")
    text = Page(write_index(tmp_path).read_text(encoding="utf-8")).text
    assert "Unknown" in text and "Killed before it finished" in text


@pytest.mark.parametrize("count", [1, 2, 60])
def test_trend_chart_with_few_and_many_points(count):
    points = [
        Point(f"2026-{1 + i // 28:02}-{1 + i % 28:02}", 0.7, 0.69, 0.71, "green", 0.5, None) for i in range(count)
    ]
    chart = trend_chart("t", "AUC", points)
    assert chart.count("<circle") == count and "limit" not in chart  # 0.5 is far away: it would flatten the line
    near = [Point(p.date, p.value, None, None, "red", 0.69, None) for p in points]
    assert "limit" in trend_chart("t", "AUC", near)
    assert trend_chart("t", "AUC", []) is None


def test_hostile_values_stay_text(tmp_path):
    made = verdict2.verdict()
    evil = "</svg><script>alert(1)</script>"
    made["data"]["drift"][0]["feature"] = evil
    made["data"]["drift"][0]["before"]["bins"][0] = made["data"]["drift"][0]["after"]["bins"][0] = evil
    made["data"]["findings"][0] |= {"message": evil, "feature": evil, "cause": evil}
    made["model"]["importance"]["columns"][0]["columns"] = [evil]
    page = Page(render(run_folders.green(tmp_path / "r", verdict=made)))
    assert page.all("script") == []
