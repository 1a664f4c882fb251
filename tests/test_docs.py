"""What README and docs/ tell a reader to type or to open is there: commands, make targets, YAML, links."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from hivemill.components.evaluator.options import GateOptions
from hivemill.pipeline.cli import main
from hivemill.pipeline.config import loader

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
MINIMAL = {
    "name": "shop",
    "source": {"table": "log"},
    "label": {"column": "click"},
    "features": {"city": {"type": "categorical"}},
}


def blocks(page: Path, language: str) -> list[str]:
    found = FENCED.findall(page.read_text(encoding="utf-8"))
    return [
        "\n".join(line.removeprefix(indent) for line in text.splitlines())
        for indent, kind, text in found
        if kind == language
    ]


def params(found: list[tuple[Path, str]]) -> list:
    return [pytest.param(text, id=f"{page.name}: {text.strip().splitlines()[0][:50]}") for page, text in found]


def every(pattern: str) -> list[tuple[Path, str]]:
    return [(page, text) for page in PAGES for text in re.findall(pattern, page.read_text(encoding="utf-8"))]


def typed_commands() -> list[tuple[Path, str]]:
    """Lines of code blocks that call hivemill, without what comes before and after the call."""
    lines = [(page, line) for page in PAGES for block in blocks(page, "") for line in block.splitlines()]
    found = ((page, re.match(r"(?:.*&& )?(?:\S*/)?hivemill( [^#]*)", line)) for page, line in lines)
    return [(page, match[1]) for page, match in found if match]


@pytest.mark.parametrize("command", params(typed_commands()))
def test_commands_in_code_blocks_parse(command):
    assert callable(main._parse(shlex.split(command)).verb_function)


def verb_names() -> set[str]:
    return set(main.parser()._subparsers._group_actions[0].choices)


@pytest.mark.parametrize("command", params(every(r"`hivemill ([a-z][^`]*)`")))
def test_verbs_in_running_text_exist(command):
    assert command.split()[0] in verb_names()


@pytest.mark.parametrize("target", params(every(r"(?:`|^)make ([a-z-]+)")))
def test_make_targets_exist(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", params(every(r"make bench NAME=([a-z_]+)")))
def test_benchmarks_exist(name):
    assert (ROOT / "benchmarks" / f"{name}.py").is_file()


def test_benchmarks_are_listed_in_the_contract():
    listed = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8").partition("\nNames: ")[2].partition("\n\n")[0]
    there = {file.stem for file in (ROOT / "benchmarks").glob("[a-z]*.py")}
    assert set(re.findall(r"`([a-z_]+)`", listed)) == there


@pytest.mark.parametrize("text", params([(page, text) for page in PAGES for text in blocks(page, "yaml")]))
def test_yaml_is_part_of_a_config(text, tmp_path):
    document = dict(MINIMAL)
    for section, values in yaml.safe_load(text).items():
        adds = isinstance(values, dict) and section != "features" and not {"table", "query"} & set(values)
        document[section] = {**document.get(section, {}), **values} if adds else values
    path = tmp_path / "hivemill.yaml"
    path.write_text(yaml.safe_dump(document))
    loader.load(path, [], {})


@pytest.mark.parametrize(("metric", "bound"), GateOptions().metrics.items())
def test_default_gates_are_those_of_the_page(metric, bound):
    page = (ROOT / "docs" / "gates.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| `gates\.metrics\.{metric}` \| (.*) \|$", page, re.MULTILINE)
    values = {f"{value:g}" for value in bound.model_dump(exclude_none=True).values()}
    assert values <= set(re.findall(r"\d+(?:\.\d+)?", row))


def links_of(page: Path) -> list[str]:
    return [
        link for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")) if "://" not in link
    ]


def test_every_page_is_found_from_the_readme():
    found, new = set(), {ROOT / "README.md"}
    while new:
        page = new.pop()
        found.add(page)
        linked = {(page.parent / link).resolve() for link in links_of(page)}
        new |= {each for each in linked if each.suffix == ".md" and each.is_file()} - found
    assert [page.name for page in (ROOT / "docs").glob("*.md") if page not in found] == []


def test_links_lead_somewhere():
    links = [(page, link) for page in PAGES for link in links_of(page)]
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []
    assert len(links) > 10


def test_index_of_decisions_lists_each_once_in_order():
    folder = ROOT / "docs" / "decisions"
    pages = sorted(folder.glob("0*.md"))
    titles = [page.read_text(encoding="utf-8").partition("\n")[0] for page in pages]
    expected = [
        (f"{int(page.name[:4])}", title.removeprefix(f"# {int(page.name[:4])}. "), page.name)
        for page, title in zip(pages, titles, strict=True)
    ]
    index = (folder / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (\d+) \| \[(.*)\]\((\S+)\) \| ", index, re.MULTILINE) == expected
    assert len({number for number, _, _ in expected}) == len(expected)
