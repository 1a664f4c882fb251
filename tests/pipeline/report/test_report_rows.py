"""The section of the report page on what became of the rows between table and examples."""

from __future__ import annotations

from tests.pipeline.report import run_folders, verdict2
from tests.pipeline.report.run_folders import click_day, stepped_manifest
from tests.pipeline.report.test_report_page import text_of


def section(folder) -> str:
    text = text_of(folder)
    start = text.index("From rows to examples", text.index("Window and completeness"))
    return text[start : text.index("Nodes: time, rows, memory", start)]


def test_each_split_from_the_table_to_the_examples(tmp_path):
    text = section(run_folders.green(tmp_path / "r", manifest=stepped_manifest()))
    assert "Split Rows in the table Not readable Duplicates Negatives left out Examples With a click" in text
    # 2,000 rows: 10 bad, 90 duplicates, 700 negatives; 190 clicks of the 1,900 rows before the sample.
    assert "train 2,000 10 0.50 % 90 4.50 % 700 35.00 % 1,200 190 10.00 %" in text
    assert "validation 400 0 0 150 37.50 % 250 40 10.00 %" in text
    assert "eval 400 0 8 2.00 % 0 392 49 12.50 %" in text


def test_the_rules_behind_the_counts(tmp_path):
    text = section(run_folders.green(tmp_path / "r", manifest=stepped_manifest()))
    assert "one with the same request_id follows within 2h. A click belongs to the last impression" in text
    assert "50 % of the impressions without a click are kept in train and validation" in text
    assert "by a hash of user_id and item_id" in text
    assert "3 of them have no value in any of these columns" in text


def test_rows_that_no_click_can_be_joined_to_have_a_column_of_their_own(tmp_path):
    steps = {"train": {"labelled": 190, "without_key": 15, "without_time": 5}}
    text = section(run_folders.green(tmp_path / "r", manifest=stepped_manifest(row_steps=steps, sampling=None)))
    assert "Not readable Examples With a click No key or time train 2,000 10 0.50 % 1,200 190 9.55 % 20 1.00 %" in text
    assert "Negatives" not in text and "Duplicates" not in text


def test_clicks_without_impression_and_those_that_could_not_be_used(tmp_path):
    clicks = [
        click_day("2026-11-14", None),
        click_day("2026-11-15", 25, without_key=2, outside_day=1, bad_rows={"value": 4}),
    ]
    join = {"keys": ["request_id"], "within": "2h", "take": "every", "clicks": clicks}
    text = section(run_folders.green(tmp_path / "r", manifest=stepped_manifest(label_join=join)))
    assert "2,100 rows in 2 days of the table of clicks, 2,000 of them different clicks" in text
    assert "25 of 1,000 (2.50 %) have no impression." in text
    assert "2026-11-14 1,050 1,000 – –" in text
    assert "2026-11-15 1,050 1,000 25 2 without key, 1 of another day, 4 unreadable (value)" in text
    assert "every impression of its key" in text


def test_clicks_of_which_no_day_can_be_judged(tmp_path):
    join = {"keys": ["a"], "within": "2h", "take": "last", "clicks": [click_day("2026-11-15", None)]}
    text = section(run_folders.green(tmp_path / "r", manifest=stepped_manifest(label_join=join)))
    assert "Not judged: no day of clicks has all its impressions in the window." in text


def test_a_run_without_any_step_says_so(tmp_path):
    text = section(run_folders.green(tmp_path / "r"))
    assert "Every row that could be read is an example" in text


def test_a_run_that_read_nothing_says_why(tmp_path):
    assert "Every row" not in section(run_folders.data_not_ready(tmp_path / "r"))


def test_volume_says_which_splits_are_a_sample(tmp_path):
    text = text_of(run_folders.green(tmp_path / "r", manifest=stepped_manifest(), verdict=verdict2.verdict()))
    plain = text_of(run_folders.green(tmp_path / "s", verdict=verdict2.verdict()))
    sentence = "In train and validation rows and click rate are those of the sample"
    assert sentence in text and sentence not in plain
