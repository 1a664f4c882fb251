"""axe-core over report and index: no violation, light and dark. axe.min.js comes with the package axe-core-python."""

from __future__ import annotations

import html
import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest

from hivemill.pipeline.report.page import write_index, write_report
from tests.pipeline.report import run_folders, verdict2
from tests.pipeline.report.test_report_browser import browse, chromium  # noqa: F401  (a fixture)

pytestmark = pytest.mark.browser

_RUN = """<script src="axe.min.js"></script><script>
axe.run(document, {resultTypes: ['violations', 'incomplete']}).then(found => {
  const short = list => list.map(one => [one.id, one.nodes.map(node => node.html.slice(0, 120)).slice(0, 3)]);
  document.documentElement.dataset.axe = JSON.stringify(
    {violations: short(found.violations), incomplete: short(found.incomplete), passes: found.passes.length});
}).catch(error => { document.documentElement.dataset.axe = JSON.stringify({error: String(error)}); });
</script></body>"""


@pytest.fixture(scope="session")
def axe_script() -> Path:
    found = importlib.util.find_spec("axe_core_python")
    if found is None:
        pytest.skip("the package axe-core-python is not installed")
    return Path(next(iter(found.submodule_search_locations))) / "axe.min.js"


def examine(chromium: str, axe_script: Path, page: Path, profile: Path, scheme: str) -> dict:  # noqa: F811
    """What axe-core finds in a copy of the page without its content policy."""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    text = text.replace("<details>", "<details open>")
    copy = page.with_name("axe.html")
    copy.write_text(text.replace("</body>", _RUN), encoding="utf-8")
    shutil.copyfile(axe_script, page.with_name("axe.min.js"))
    options = ("--window-size=1280,900", "--virtual-time-budget=60000", "--dump-dom")
    dom = browse(chromium, profile, scheme, *options, copy.as_uri())
    found = re.search(r'data-axe="([^"]*)"', dom)
    assert found, dom[-300:]
    return json.loads(html.unescape(found[1]))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_full_report_has_no_violation(chromium, axe_script, tmp_path, scheme):  # noqa: F811
    page = write_report(verdict2.amber(tmp_path / "r", features=12, slices=6))
    seen = examine(chromium, axe_script, page, tmp_path / "profile", scheme)
    assert seen.get("error") is None and seen["violations"] == []
    assert seen["passes"] > 20


@pytest.mark.parametrize("ending", ["not_blessed", "red_data", "killed"])
def test_reports_of_other_endings_have_no_violation(chromium, axe_script, tmp_path, ending):  # noqa: F811
    page = write_report(run_folders.ENDINGS[ending](tmp_path / "r"))
    assert examine(chromium, axe_script, page, tmp_path / "profile", "light")["violations"] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_index_has_no_violation(chromium, axe_script, tmp_path, scheme):  # noqa: F811
    page = write_index(verdict2.many_runs(tmp_path / "root"))
    assert examine(chromium, axe_script, page, tmp_path / "profile", scheme)["violations"] == []


def test_axe_does_find_what_is_wrong(chromium, axe_script, tmp_path):  # noqa: F811
    """Otherwise an axe that never ran would pass the tests above."""
    page = tmp_path / "bad.html"
    page.write_text("<html><body><img src='data:,'><p style='color:#aaa'>faint</p></body></html>", encoding="utf-8")
    seen = examine(chromium, axe_script, page, tmp_path / "profile", "light")
    assert {"image-alt", "html-has-lang"} <= {rule for rule, _ in seen["violations"]}
