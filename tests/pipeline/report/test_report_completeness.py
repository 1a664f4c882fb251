"""What the page says of a window that was waited for or shrunk, and of rows that did not fit the table."""

from __future__ import annotations

from hivemill.pipeline.report.page import render
from tests.pipeline.report import run_folders


def _manifest(**changes):
    return {**run_folders.manifest_document(), **changes}


def test_a_small_day_stands_at_its_day_with_its_arithmetic(tmp_path):
    words = "dt=2026-11-12: 1.2 MiB < 50.0 % of the median 9.8 MiB of 4 Thursdays in the last 4 weeks (it has 12.2 %)"
    small = [{"partition": "dt=2026-11-12", "measure": "bytes", "words": words}]
    page = render(run_folders.green(tmp_path / "run", manifest=_manifest(small=small)))
    assert "! incomplete</span>\n1 small" in page
    assert "1.2 MiB &lt; 50.0 % of the median 9.8 MiB" in page
    assert "! 1 not read" in page


def test_a_wait_is_told(tmp_path):
    awaited = [{"partition": "dt=2026-11-15", "was": "late", "waited_seconds": 780}]
    lateness = {"policy": "wait", "since_utc": "2026-11-16T01:00:00+00:00", "waited_seconds": 840, "awaited": awaited}
    page = render(run_folders.green(tmp_path / "run", manifest=_manifest(lateness=lateness)))
    assert "The run waited 14 min 00 s for 1 partition that was not ready at first" in page


def test_rows_that_did_not_fit_are_counted_with_their_share(tmp_path):
    manifest = _manifest(
        rows_read={"train": 149_850, "validation": 30_048, "eval": 30_048},
        bad_rows={"train": {"value": 150, "encoding": 30}},
        row_notes={"eval": {"short_row": 7}},
    )
    page = render(run_folders.green(tmp_path / "run", manifest=manifest))
    assert "hivemill data quarantine --date 2026-11-15" in page
    assert '<td>left out</td><td>value</td><td class="n">150</td><td class="n">0.100 %</td>' in page
    assert '<td>read as Hive does</td><td>short_row</td><td class="n">7</td>' in page


def test_a_whole_window_says_nothing_of_it(tmp_path):
    page = render(run_folders.green(tmp_path / "run", manifest=_manifest(lateness=None)))
    assert "No partition is missing, late, empty or too small" in page
    assert "The run waited" not in page and "Rows that did not fit" not in page
