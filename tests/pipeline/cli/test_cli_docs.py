"""docs/cli.md is the contract: it has each verb and option of the parser, where a reader looks for them, no others."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivemill.pipeline.cli import main

PAGE = (Path(__file__).parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")
CONTRACT = PAGE.partition("## Planned")[0]
OPTION = re.compile(r"(?<![-\w])(?:--[a-z][a-z-]*|-[a-z]\b)")
# `init DIR --table URL` in the first cell of a row: the verb is its first words in small letters.
ROW = re.compile(r"^\| `(?P<verb>[a-z]+(?: [a-z]+)*)(?P<usage>[^`]*)` \| (?P<text>.*) \|$", re.MULTILINE)
SECTION = re.compile(r"^### Options of `(?P<verb>[a-z ]+)`\n(?P<text>.*?)(?=^##)", re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    return CONTRACT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def documented() -> dict[str, str]:
    """What the page says of each verb: the rows of its table, and a section of its options where there is one."""
    found: dict[str, str] = {}
    for part in [*ROW.finditer(section("Verbs").partition("\n### ")[0]), *SECTION.finditer(CONTRACT)]:
        found[part["verb"]] = found.get(part["verb"], "") + part[0] + "\n"
    return found


def verbs() -> dict[str, argparse.ArgumentParser]:
    def below(parser: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
        actions = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
        for word, sub in (pair for action in actions for pair in action.choices.items()):
            yield from below(sub, f"{name} {word}".strip())
        if not actions or parser.get_default("verb_function"):
            yield name, parser

    return dict(below(main.parser(), ""))


def shown_options(parser: argparse.ArgumentParser) -> set[str]:
    """The options that `--help` lists; those of every verb are hidden behind a verb."""
    shown = (action for action in parser._actions if action.help != argparse.SUPPRESS)
    return {option for action in shown for option in action.option_strings} - {"-h", "--help"}


VERBS = verbs()


def test_verbs_are_those_of_the_page():
    assert sorted(documented()) == sorted(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example_that_parses(verb):
    example = re.search(r"example:\n  (hivemill .+)", VERBS[verb].format_help())
    assert example and example[1].startswith(f"hivemill {verb}")
    assert callable(main._parse(shlex.split(example[1])[1:]).verb_function)


@pytest.mark.parametrize("verb", VERBS)
def test_page_has_the_options_of_the_verb_and_no_others(verb):
    said = set(OPTION.findall(documented().get(verb, "")))
    assert said - shown_options(main.parser()) == shown_options(VERBS[verb])


@pytest.mark.parametrize("verb", VERBS)
def test_page_has_what_the_verb_is_given_without_an_option(verb):
    usages = " ".join(row["usage"] for row in ROW.finditer(CONTRACT) if row["verb"] == verb)
    actions = VERBS[verb]._actions
    given = [one for one in actions if not one.option_strings and not isinstance(one, argparse._SubParsersAction)]
    assert [name for name in (action.metavar or action.dest for action in given) if name.upper() not in usages] == []


def test_options_of_every_verb_have_a_table_of_their_own():
    table = section("Options of every verb").partition("\n\n")[2].partition("\n\n")[0]
    assert set(OPTION.findall(re.sub(r"\| [^|]* \|$", "", table, flags=re.MULTILINE))) == {
        *shown_options(main.parser()),
        "--help",
    }
