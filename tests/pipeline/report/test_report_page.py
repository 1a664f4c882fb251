"""The page of every ending of a run: well-formed, complete, self-contained, safe against hostile values."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hivemill.pipeline.report.page import render, write_report
from hivemill.pipeline.report.sections import metrics
from tests.pipeline.report import run_folders

VOID = {"meta", "link", "br", "hr", "img", "input"}
MAX_BYTES = 500 * 1024


class Page(HTMLParser):
    """Checks that tags nest and close, and collects what the tests ask for."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"attribute twice in {self.get_starttag_text()}"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(params=run_folders.ENDINGS, name="ending")
def _ending(request, tmp_path) -> tuple[str, str]:
    return request.param, render(run_folders.ENDINGS[request.param](tmp_path / "2026-11-15-3fa9c1d2"))


def text_of(folder: Path) -> str:
    return Page(render(folder)).text


def test_every_page_is_well_formed_and_accessible(ending):
    _, html = ending
    page = Page(html)
    assert html.startswith("<!DOCTYPE html>") and page.all("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels)), levels
    assert {"header", "nav", "main", "footer"} <= {tag for tag, _ in page.tags}
    assert all(attributes.get("scope") in ("col", "row") for attributes in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    regions = [one for one in page.all("div") if one.get("class") == "scroll"]
    assert len(regions) == len(page.all("table"))
    assert all(one["tabindex"] == "0" and one["aria-label"] for one in regions)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [one["href"][1:] for one in page.all("a") if one["href"].startswith("#")]
    assert targets and set(targets) <= set(ids)
    for svg in page.all("svg"):
        assert svg["role"] == "img" and set(svg["aria-labelledby"].split()) <= set(ids)


def test_every_page_is_self_contained_and_small(ending):
    _, html = ending
    page = Page(html)
    assert len(html.encode()) < MAX_BYTES
    assert not re.search(r"https?:|//[a-z]|url\(|@import", html), "the page names another place"
    assert page.all("script") == [] and page.all("img") == []
    assert [one["href"] for one in page.all("link")] == ["data:,"]
    assert "default-src 'none'" in page.all("meta")[2]["content"]


@pytest.mark.parametrize(
    ("ending_name", "headline"),
    [
        ("green", "Green: Model pushed"),
        ("red_data", "Red: Stopped: the data verdict is red"),
        ("not_blessed", "Red: Not pushed: a gate refused the model"),
        ("failed_node", "Red: Failed: serving check or infrastructure"),
        ("data_not_ready", "Red: Stopped: the data is not ready"),
        ("running", "Running: Not finished"),
        ("killed", "Red: Killed before it finished"),
    ],
)
def test_the_verdict_comes_first_in_words_and_in_the_title(ending_name, headline, tmp_path):
    html = render(run_folders.ENDINGS[ending_name](tmp_path / "r"))
    text = Page(html).text
    assert headline in text and text.index(headline) < text.index("Metrics and their bounds")
    assert f"<title>{headline} · run 2026-11-15-3fa9c1d2</title>" in html


def test_a_green_page_has_every_fact(tmp_path):
    text = text_of(run_folders.green(tmp_path / "r"))
    wanted = ["1763262180", "1762657380", "version 1763262180 is pushed", "3 min 08 s", "2026-11-16 03:00 UTC"]
    wanted += ["0.7346", "0.7311", "+0.0035 better", "auc >= 0.7211 (stable 0.7311 - 0.01)", "✓ pass", "0.7421"]
    wanted += ["−0.0075", "calibration <= 1.25", "device = android", "17,202", "not judged", "4.00 %", "24,310"]
    wanted += [
        "150,240",
        "184,301 parameters",
        "epoch 4",
        "No finding on the data or the model",
        "✓ complete",
        "12.0 MiB",
    ]
    wanted += ["HiveLogExampleGen", "210,345", "1 min 15 s", "668 MiB", "cached", "c0ffee" * 8, "facade" * 8, "local"]
    assert [fact for fact in wanted if fact not in text] == []


@pytest.mark.parametrize(
    ("metric", "value", "baseline", "word"),
    [
        ("auc", 0.7312, 0.73, "better"),
        ("auc", 0.7296, 0.73, "same"),
        ("auc", 0.729, 0.73, "worse"),
        ("logloss", 0.30, 0.31, "better"),
        ("calibration", 1.02, 0.9, "better"),
        ("calibration", 0.8, 1.1, "worse"),
        ("clicks", 5, 3, ""),
        ("auc", float("nan"), 0.7, ""),
    ],
)
def test_better_and_worse_follow_the_metric_and_leave_noise_alone(metric, value, baseline, word):
    assert metrics.tendency(value, baseline, metrics.METRICS[metric]) == word


def test_an_amber_page_leads_to_its_findings(tmp_path):
    finding = {"severity": "amber", "kind": "schema", "feature": "dt", "split": "eval", "message": "new value"}
    verdict = run_folders.verdict_document(colour="amber", data={"colour": "amber", "findings": [finding]})
    text = text_of(run_folders.green(tmp_path / "r", verdict=verdict))
    assert "Amber: Model pushed, with warnings version 1763262180 is pushed 1 finding" in text


def test_sections_come_in_the_order_that_a_reader_needs(tmp_path):
    page = Page(render(run_folders.green(tmp_path / "r")))
    order = ["why", "metrics", "references", "importance", "drift", "volume", "slices", "calibration"]
    order += ["training", "best", "serving", "window", "rows", "nodes", "lineage"]
    assert [one["id"] for one in page.all("section")] == order


def test_a_refused_model_names_bound_and_slice_and_puts_that_slice_first(tmp_path):
    text = text_of(run_folders.not_blessed(tmp_path / "r"))
    assert "✕ 1 of 3 failed" in text and "✕ fail calibration <= 1.01" in text
    slices = text[text.index("Metrics by slice") :]
    assert slices.index("device = ios") < slices.index("device = android")
    assert "✕ fail auc >= 0.73" in slices and "−0.0030 worse" in slices
    assert "none pushed" in text and "What to do: Nothing was pushed; what serves now stays." in text


def test_red_data_shows_red_findings_first_and_says_why_there_is_no_model(tmp_path):
    text = text_of(run_folders.red_data(tmp_path / "r"))
    findings = text[text.index("2 findings") :]
    assert findings.index("✕ red price") < findings.index("! amber")
    assert "12.4 % of the rows of eval lack it" in findings
    assert text.count("The run stopped at DataVerdict, before this was written.") == 7


def test_absent_sections_say_why(tmp_path):
    assert "The run stopped at Transform" in text_of(run_folders.failed_node(tmp_path / "a"))
    assert "The run stopped before this was written" in text_of(run_folders.data_not_ready(tmp_path / "b"))
    assert "The run has not come to this point yet" in text_of(run_folders.running(tmp_path / "c"))
    assert "The run was killed before this point" in text_of(run_folders.killed(tmp_path / "d"))
    assert "only a generated log comes with the best" in text_of(run_folders.no_truth(tmp_path / "e"))
    assert "no run.json says why" in text_of(run_folders.write(tmp_path / "f"))


def test_a_killed_run_shows_the_nodes_that_had_finished(tmp_path):
    folder = run_folders.killed(tmp_path / "r")
    node = {"node_id": "Transform", "state": "succeeded", "seconds": 38.9, "rows": 210_345, "peak_memory_bytes": None}
    run_folders.write(folder / "nodes", Transform=node, Trainer="{")
    text = text_of(folder)
    assert "Transform succeeded 39 s 210,345" in text and "Trainer.json" in text


def test_another_host_is_not_called_killed(tmp_path):
    folder = run_folders.killed(tmp_path / "r")
    record = json.loads((folder / "run.json").read_text())
    run_folders.write(folder, run={**record, "host": "elsewhere"})
    assert "Running: Not finished" in text_of(folder)


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"colour": []}', "null", "\x00", '"\\ud800"', "[" * 100_000])
@pytest.mark.parametrize("name", ["run", "manifest", "verdict", "history", "_truth"])
def test_a_broken_file_is_named_and_the_rest_is_shown(tmp_path, name, broken):
    text = text_of(run_folders.green(tmp_path / "r", **{name: broken}))
    if broken != '{"colour": []}' or name in ("run", "verdict"):
        assert f"{name}.json" in text and "Files that could not be used" in text
    assert "Nodes: time, rows, memory" in text


def test_missing_late_and_empty_partitions_stand_at_their_day(tmp_path):
    manifest = run_folders.manifest_document()
    manifest.update(
        missing=["dt=2026-11-10/hour=05", "dt=2026-11-12"], late=["dt=2026-11-15/hour=23"], notes=["a note"]
    )
    text = text_of(run_folders.green(tmp_path / "r", manifest=manifest))
    assert "! incomplete 2 missing, 1 late (days or partitions)" in text
    assert "2026-11-10 train 30,048 rows ! 1 not read" in text
    assert "dt=2026-11-15/hour=23" in text and "a note" in text


def test_truth_of_several_eval_days_is_the_mean_by_rows(tmp_path):
    manifest, truth = run_folders.manifest_document(), run_folders.truth_document()
    manifest["window"]["eval"] = ["2026-11-14", "2026-11-15"]
    truth["days"]["2026-11-14"].update(rows=100, best_auc=0.7)
    truth["days"]["2026-11-15"].update(rows=300, best_auc=0.8)
    text = text_of(run_folders.green(tmp_path / "r", manifest=manifest, _truth=truth))
    assert "AUC: this model has 0.7346, the best reachable is 0.7750; the gap is −0.0404." in text


def test_truth_beside_the_table_of_the_config_is_found(tmp_path):
    table = run_folders.write(tmp_path / "click_log", _truth=run_folders.truth_document())
    folder = run_folders.no_truth(tmp_path / "r")
    (folder / "config.yaml").write_text(f"source:\n  table: {table}\n")
    assert "the best reachable is 0.7421" in text_of(folder)


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}]]>-->\u202eevil\u0000 \U0001f41d ñ"


def test_hostile_values_are_text_and_nothing_else(tmp_path):
    """Every string of every document, keys of slices too, is replaced; the page must have the tags it always has."""
    before = Page(render(run_folders.not_blessed(tmp_path / "r" / "a")))
    folder = run_folders.not_blessed(tmp_path / "r" / HOSTILE.replace("/", "").replace("\0", ""))
    for name in ("run", "manifest", "verdict", "history"):
        document = json.loads((folder / f"{name}.json").read_text())
        run_folders.write(folder, **{name: _poisoned(document)})
    html = render(folder)
    page = Page(html)
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in before.tags}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "<script" not in html and "&lt;script&gt;" in html and "{{ 7*7 }}" in html
    assert "\U0001f41d ñ" in page.text


def _poisoned(value, key=""):
    keep = ("metric", "state", "colour", "started_utc", "finished_utc")
    if isinstance(value, dict):
        poison = key == "slice" and value
        return {HOSTILE if poison else name: _poisoned(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [_poisoned(one, key) for one in value]
    return HOSTILE + value if isinstance(value, str) and key not in keep else value


def test_lone_surrogates_can_be_written(tmp_path):
    run = run_folders.run_document(runner="a\ud800b")
    path = write_report(run_folders.green(tmp_path / "r", run=run))
    assert "a?b" in path.read_text(encoding="utf-8")


def test_unknown_numbers_are_dashes_not_nan(tmp_path):
    model = run_folders.model_section()
    model["slices"][0]["metrics"].update(auc=float("nan"), logloss=None)
    model["bounds"][2]["value"] = float("nan")
    text = text_of(run_folders.green(tmp_path / "r", verdict=run_folders.verdict_document(model=model)))
    assert "nan" not in text.lower().replace("finance", "")


def test_a_thousand_slices_findings_and_days_stay_below_the_limit(tmp_path):
    model = run_folders.model_section()
    one = {"metrics": run_folders.metrics(0.7), "baseline_metrics": run_folders.metrics(0.69)}
    model["slices"] += [{"slice": {"city": f"{rank}-" + "x" * 5000}, **one} for rank in range(1000)]
    finding = {"severity": "red", "kind": "schema", "feature": "f", "split": "eval", "message": "m" * 5000}
    data = {"colour": "red", "findings": [finding] * 1000}
    verdict = run_folders.verdict_document(model=model, data=data)
    html = render(run_folders.green(tmp_path / "r", verdict=verdict))
    assert len(html.encode()) < MAX_BYTES
    assert "853 more slices are in verdict.json" in html and "the first 60 are shown" in html


def test_it_is_written_into_the_run_folder_and_fast(tmp_path):
    folder = run_folders.green(tmp_path / "r")
    write_report(folder)
    started = time.process_time()
    path = write_report(folder)
    assert time.process_time() - started < 0.5
    assert path == folder / "report.html" and path.read_text(encoding="utf-8") == render(folder)


def test_importing_it_imports_no_tensorflow():
    heavy = "('tensorflow', 'tfx', 'apache_beam')"
    code = f"import sys, hivemill.pipeline.report.page; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
