"""`ab assign power report` as a user runs them: texts, documents, exit codes, mistakes; the page, in Chromium too."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from hivemill.pipeline.cli import main
from hivemill.serving.experiment.assignment import Split, bucket
from tests.pipeline.report.test_report_axe import axe_script, examine  # noqa: F401  (a fixture)
from tests.pipeline.report.test_report_browser import WIDTHS, chromium, probe  # noqa: F401  (a fixture)
from tests.serving.experiment.exposure_logs import exposures

CONFIG = "name: shop\nsource: {table: log}\nlabel: {column: click}\nfeatures:\n  city: {type: categorical}\n"


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def log(here) -> Path:
    exposures(users=6000, lift=0.4).to_parquet(here / "log.parquet")
    return here / "log.parquet"


def run(capsys, *argv: str) -> tuple[int, str, str]:
    code = main.main(list(argv))
    said = capsys.readouterr()
    return code, said.out, said.err


def run_json(capsys, *argv: str) -> tuple[int, dict]:
    code, out, _ = run(capsys, "--json", *argv)
    return code, json.loads(out)


def test_assign(here, capsys, monkeypatch):
    code, made = run_json(capsys, "ab", "assign", "--salt", "s", "--percent", "50", "alice", "42")
    assert code == 0 and made["percent"] == 50
    assert made["users"] == [
        {"user": user, "bucket": bucket("s", user), "variant": Split("s", 5000).variant(user)}
        for user in ("alice", "42")
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO("日本語\nalice\n"))
    code, out, _ = run(capsys, "ab", "assign", "--salt", "s", "--percent", "5", "-")
    assert code == 0 and out.splitlines()[1].split()[0] == "日本語"
    code, out, _ = run(capsys, "ab", "assign", "--salt", "s", "--percent", "5", "--sql", "uid")
    assert code == 0 and "cast(uid as string)" in out and "< 500" in out


def test_the_salt_is_the_models_name_unless_the_config_has_one(here, capsys):
    (here / "hivemill.yaml").write_text(CONFIG)
    assert run_json(capsys, "ab", "assign", "--percent", "1", "u")[1]["salt"] == "shop"
    argv = ("--set", "experiment.salt=week-7", "ab", "assign", "--percent", "1", "u")
    assert run_json(capsys, *argv)[1]["salt"] == "week-7"


def test_power_by_numbers_and_by_log(log, capsys):
    code, made = run_json(capsys, "ab", "power", "--ctr", "0.05", "--lift", "0.1")
    (size,) = made["sizes"]
    assert code == 0 and size["daily"]["users"] > size["once"]["users"] > 10_000 and size["once"]["days"] is None
    users = str(size["once"]["users"])
    _, back = run_json(capsys, "ab", "power", "--ctr", "0.05", "--users", users)
    assert back["smallest_lift"]["once"] == pytest.approx(0.1, rel=1e-3)
    code, made = run_json(capsys, "ab", "power", "--log", str(log))
    assert made["traffic"]["design_effect"] > 1.05 and [one["lift"] for one in made["sizes"]] == [
        0.01,
        0.02,
        0.05,
        0.1,
        0.2,
    ]
    assert made["sizes"][0]["once"]["days"] > made["sizes"][1]["once"]["days"] > 0
    assert "With daily looks, report with --lift-of-interest 0.1" in run(capsys, "ab", "power", "--ctr", ".1", "--lift",
                                                                        ".1")[1]  # fmt: skip


def test_report(log, capsys):
    code, out, err = run(capsys, "ab", "report", "log.parquet", "--slice", "device", "--covariate", "past_clicks",
                         "--bootstrap")  # fmt: skip
    assert code == 0 and err == ""
    assert out.splitlines()[0] == "canary is better than stable"
    for words in (
        "CUPED took",
        "Bootstrap over users",
        "Sample ratio: pass",
        "device=phone",
        "valid at every daily look",
    ):
        assert words in out
    code, made = run_json(
        capsys, "ab", "report", "log.parquet", "--since", "2026-11-02", "--until", "2026-11-03T00:00:00Z"
    )
    assert code == 0 and made["period"]["days"] == 1 and made["verdict"]["state"] == "better"


def test_report_by_config_and_overrides(log, here, capsys):
    (here / "hivemill.yaml").write_text(CONFIG + "experiment: {log: log.parquet, slices: [device], alpha: 0.01}\n")
    code, made = run_json(capsys, "ab", "report")
    assert code == 0 and made["method"]["alpha"] == 0.01 and made["slices"]["judged"] == 2
    code, made = run_json(capsys, "ab", "report", "--control", "canary", "--treatment", "stable")
    assert made["verdict"]["state"] == "worse" and made["method"]["control"] == "canary"


def test_history_before_the_test_takes_variance(here, capsys):
    """A week of stable for everybody, then the test: the same users, with the same rates of their own."""
    frame = exposures(users=3000, days=10, visits=3, seed=4)
    before = frame["request_time"] < "2026-11-08"
    frame.loc[before, ["variant", "propensity"]] = ["stable", 1.0]
    frame.to_parquet(here / "log.parquet")
    since = ("ab", "report", "log.parquet", "--since", "2026-11-08")
    _, plain = run_json(capsys, *since)
    code, made = run_json(capsys, *since, "--history-days", "7")
    assert code == 0 and made["period"] == plain["period"] and made["period"]["days"] == 3
    assert made["method"]["covariates"] == ["history_impressions", "history_clicks"]
    assert 0.03 < made["lift"]["cuped"]["variance_reduction"] < 0.6
    assert made["lift"]["cuped"]["without"]["lift"] == pytest.approx(plain["lift"]["lift"])
    assert made["lift"]["standard_error"] < plain["lift"]["standard_error"]


def test_history_with_a_canary_in_it_is_refused(log, capsys):
    code, _, err = run(capsys, "ab", "report", "log.parquet", "--since", "2026-11-02", "--history-days", "1")
    assert code == 3 and "rows of canary are before 2026-11-02" in err
    code, _, err = run(capsys, "ab", "report", "log.parquet", "--history-days", "1")
    assert code == 2 and "beginning of the test" in err
    code, _, err = run(capsys, "ab", "report", "log.parquet", "--since", "2026-11-01", "--history-days", "3")
    assert code == 3 and "no row with a known click before" in err


def test_data_that_may_not_be_compared_ends_with_4(here, capsys):
    frame = exposures(users=6000)
    frame[(frame["variant"] == "stable") | (frame["user_id"] % 5 > 0)].to_parquet(here / "log.parquet")
    code, made = run_json(capsys, "ab", "report", "log.parquet")
    assert code == 4 and made["verdict"]["state"] == "invalid"


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["report"], 2, "which exposure log"),
        (["report", "nowhere"], 3, "nowhere: there is no such file or folder"),
        (["report", "log.parquet", "--slice", "devise"], 2, "no column 'devise'"),
        (["report", "log.parquet", "--column", "uid"], 2, "--column must be NAME=THEIRS"),
        (["report", "log.parquet", "--column", "user=uid"], 2, "'user' is no column of an exposure log"),
        (["report", "log.parquet", "--treatment", "green"], 2, "no row has the variant 'green'"),
        (["report", "log.parquet", "--treatment-share", "2"], 2, "treatment_share: "),
        (["report", "log.parquet", "--planned-end", "soon"], 2, "--planned-end must be YYYY-MM-DD"),
        (["report", "log.parquet", "--since", "monday"], 2, "--since must be a time in ISO 8601"),
        (["report", "log.parquet", "--since", "2026-11-03", "--until", "2026-11-02"], 2, "--since must be before"),
        (["report", "log.parquet", "--since", "2027-01-01"], 3, "no row with a user in the time asked for"),
        (["power"], 2, "what is the click-through rate"),
        (["power", "--ctr", "5"], 2, "CTR must be above 0 and below 1"),
        (["power", "--ctr", "0.1", "--lift", "0.1", "--users", "9"], 2, "Leave one of the two out"),
        (["power", "--ctr", "0.1", "--log", "log.parquet"], 2, "--log says what --ctr says too"),
        (["power", "--ctr", "0.1", "--design-effect", "0"], 2, "design effect must be 1 or more"),
        (["power", "--ctr", "much"], 2, "must be a number"),
        (["assign", "--percent", "5", "u"], 2, "which salt?"),
        (["assign", "--percent", "101", "--salt", "s", "u"], 2, "0 to 100 in steps of 0.01"),
        (["assign", "--percent", "1", "--salt", "s"], 2, "which users?"),
        (["assign", "--percent", "1", "--salt", "s", "--sql", "a;b"], 2, "a column in SQL"),
    ],
)
def test_mistakes_are_named(log, capsys, argv, code, message):
    found, out, err = run(capsys, "ab", *argv)
    assert (found, out) == (code, "") and message in err and "Traceback" not in err


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """Every kind of verdict, with hostile values."""
    import os

    folder = tmp_path_factory.mktemp("pages")
    hostile = "<script>document.title='run'</script>" + "x" * 300
    good = exposures(users=6000, lift=0.4)
    good["device"] = good["device"].where(good.index % 3 > 0, hostile)
    lost = good[(good["variant"] == "stable") | (good["user_id"] % 5 > 0)]
    named = good.assign(variant=good["variant"].where(good["variant"] == "stable", hostile))
    made = {}
    before = os.getcwd()
    os.chdir(folder)
    try:
        for name, frame, options in (
            ("better", good, ["--slice", "device", "--covariate", "past_clicks", "--bootstrap"]),
            ("early", exposures(users=40), ["--slice", "device"]),
            ("invalid", lost, []),
            ("hostile", named, ["--treatment", hostile]),
        ):
            frame.to_parquet(folder / f"{name}.parquet")
            made[name] = folder / f"{name}.html"
            code = main.main(["ab", "report", f"{name}.parquet", "--page", str(made[name]), *options])
            assert code == (4 if name == "invalid" else 0)
    finally:
        os.chdir(before)
    return made


def test_the_page_is_whole_and_asks_nobody(pages):
    for path in pages.values():
        text = path.read_text(encoding="utf-8")
        assert text.endswith("</html>") and "default-src 'none'" in text
        assert not re.search(r'(src|href)="(?!data:|#)', text) and "<script" not in text
    better = pages["better"].read_text(encoding="utf-8")
    for words in ("canary is better than stable", "CUPED", "Bootstrap", "decides", 'id="lift-chart-title"', "Holm"):
        assert words in better
    assert "No conclusion: the sample ratio is wrong" in pages["invalid"].read_text(encoding="utf-8")
    assert "Too early to tell" in pages["early"].read_text(encoding="utf-8")


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_and_can_be_read(chromium, pages, tmp_path, width, scheme):  # noqa: F811
    seen = probe(chromium, pages["better"], tmp_path / "profile", scheme, width)
    assert (seen["width"], seen["overflow"], seen["wide"], seen["faint"]) == (width, 0, [], [])


@pytest.mark.browser
@pytest.mark.parametrize("name", ["early", "invalid", "hostile"])
def test_other_pages_fit_a_telephone_too(chromium, pages, tmp_path, name):  # noqa: F811
    seen = probe(chromium, pages[name], tmp_path / "profile", "light", 360)
    assert (seen["overflow"], seen["wide"], seen["faint"]) == (0, [], [])


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong_with_the_page(chromium, axe_script, pages, tmp_path, scheme):  # noqa: F811
    seen = examine(chromium, axe_script, pages["better"], tmp_path / "profile", scheme)
    assert seen.get("error") is None and seen["violations"] == [] and seen["passes"] > 15


def test_the_page_of_one_planned_look(log, capsys):
    code, out, _ = run(capsys, "ab", "report", "log.parquet", "--planned-end", "2026-11-03", "--page", "once.html")
    assert code == 0 and "valid for one look, after 2026-11-03" in out
    text = Path("once.html").read_text(encoding="utf-8")
    assert "judged by one look, after 2026-11-03" in text and "may be stopped on any day" not in text
