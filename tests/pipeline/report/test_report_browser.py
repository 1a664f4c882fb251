"""The page in a real browser: light and dark, from a telephone's width to a wide screen, without sideways scrolling."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from hivemill.pipeline.report.page import write_index, write_report
from tests.pipeline.report import run_folders, verdict2

pytestmark = pytest.mark.browser
WIDTHS = (360, 1280, 2560)
_BLINK_SCHEME = {"dark": 0, "light": 1}

# Runs in a copy of the page without its content policy. Every table may scroll inside its own box, the page may not.
_PROBE = """<script>
const wide = [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll *, svg *, .skip'))
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + '.' + e.className);
const tone = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(v => v / 255)
  .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
  if (!/^rgba.*, 0\\)$/.test(c)) return c; } return 'rgb(255, 255, 255)'; };
const faint = [...document.querySelectorAll('body *')].filter(e => e.getClientRects().length && [...e.childNodes]
  .some(n => n.nodeType === 3 && n.textContent.trim())).map(e => { const style = getComputedStyle(e);
    const [a, b] = [tone(e.closest('svg') ? style.fill : style.color), tone(behind(e))].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), e.tagName + '.' + (e.getAttribute('class') || '')]; }).filter(([r]) => r < 4.5);
document.documentElement.dataset.probe = JSON.stringify({width: innerWidth, faint, wide,
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  paper: getComputedStyle(document.body).backgroundColor});
</script></body>"""


_WRAPPER = """<!DOCTYPE html><meta charset="utf-8"><style>:root {{ color-scheme: light dark }}</style>
<iframe style="width: {width}px; height: 900px; border: 0" srcdoc="{page}"
 onload="document.documentElement.dataset.probe = this.contentDocument.documentElement.dataset.probe"></iframe>"""


@pytest.fixture(scope="session")
def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        message = "no Chromium on PATH: the page cannot be looked at"
        if os.environ.get("HIVEMILL_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return found


def browse(chromium: str, profile: Path, scheme: str, *arguments: str) -> str:
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"]
    command += [f"--blink-settings=preferredColorScheme={_BLINK_SCHEME[scheme]}", f"--user-data-dir={profile}"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=True, timeout=120).stdout


def probe(chromium: str, page: Path, profile: Path, scheme: str, width: int) -> dict:
    """What `_PROBE` sees in the page; in a frame, since Chromium's own window is never narrower than 500 px."""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    framed = html.escape(text.replace("</body>", _PROBE))
    wrapper = page.with_name("wrapper.html")
    wrapper.write_text(_WRAPPER.format(width=width, page=framed), encoding="utf-8")
    dom = browse(chromium, profile, scheme, "--window-size=2600,900", "--dump-dom", wrapper.as_uri())
    found = re.search(r'data-probe="([^"]*)"', dom)
    assert found, dom[-500:]
    return json.loads(html.unescape(found[1]))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("ending", ["green", "not_blessed"])
def test_no_sideways_scroll_and_enough_contrast(chromium, tmp_path, ending, width, scheme):
    page = write_report(run_folders.ENDINGS[ending](tmp_path / "r"))
    seen = probe(chromium, page, tmp_path / "profile", scheme, width)
    assert seen["width"] == width
    assert seen["overflow"] == 0 and seen["wide"] == []
    assert seen["faint"] == [], "contrast below 4.5 (WCAG AA)"
    assert max(map(int, re.findall(r"\d+", seen["paper"]))) < 60 if scheme == "dark" else "24" in seen["paper"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_full_page_and_the_index_fit_too(chromium, tmp_path, width, scheme):
    """Drift, importance, intervals, rows by step, lineage; the trend of all runs."""
    full = verdict2.amber(tmp_path / "r", manifest=run_folders.stepped_manifest())
    pages = [write_report(full), write_index(verdict2.many_runs(tmp_path / "root"))]
    for page in pages:
        seen = probe(chromium, page, tmp_path / "profile", scheme, width)
        assert (seen["width"], seen["overflow"], seen["wide"], seen["faint"]) == (width, 0, [], []), page.name


@pytest.mark.parametrize("ending", ["red_data", "failed_node", "data_not_ready", "killed"])
def test_pages_of_broken_runs_fit_a_telephone_too(chromium, tmp_path, ending):
    page = write_report(run_folders.ENDINGS[ending](tmp_path / "r"))
    seen = probe(chromium, page, tmp_path / "profile", "light", 360)
    assert (seen["overflow"], seen["wide"], seen["faint"]) == (0, [], [])


def test_long_and_hostile_values_do_not_widen_the_page_or_run(chromium, tmp_path):
    long = "x" * 3000 + "<script>document.title='run'</script>"
    model = run_folders.model_section()
    model["slices"].append({"slice": {long: long}, "metrics": run_folders.metrics(0.7)})
    error = {"message": long, "hint": long}
    run = run_folders.run_document(run_id=long, host=long, error=error, config_fingerprint=long)
    verdict = run_folders.verdict_document(reason=long, model=model)
    page = write_report(run_folders.green(tmp_path / "r", run=run, verdict=verdict))
    seen = probe(chromium, page, tmp_path / "profile", "light", 360)
    assert (seen["overflow"], seen["wide"]) == (0, [])
    assert "<title>run</title>" not in browse(chromium, tmp_path / "profile", "light", "--dump-dom", page.as_uri())


def test_a_screenshot_shows_the_verdicts_colour(chromium, tmp_path):
    """The picture itself: the red banner of a refused model is red paper, the green one's is green."""
    seen = {}
    for ending in ("green", "not_blessed"):
        page = write_report(run_folders.ENDINGS[ending](tmp_path / ending))
        shot = tmp_path / f"{ending}.png"
        options = ("--window-size=500,300", f"--screenshot={shot}")
        browse(chromium, tmp_path / "profile", "light", *options, page.as_uri())
        seen[ending] = _share_of_colours(shot)
    green_paper, red_paper = (226, 243, 230), (252, 230, 230)
    assert seen["green"].get(green_paper, 0) > 0.1 and red_paper not in seen["green"]
    assert seen["not_blessed"].get(red_paper, 0) > 0.1 and green_paper not in seen["not_blessed"]


def _share_of_colours(shot: Path) -> dict[tuple[int, ...], float]:
    with Image.open(shot) as picture:
        assert picture.size == (500, 300)
        pixels = picture.convert("RGB").getcolors(maxcolors=picture.width * picture.height)
    return {colour: count / (500 * 300) for count, colour in pixels}
