"""How verbs speak: text for people or one JSON document on standard output; errors and progress on standard error."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

DATE_HELP = "run date, like 2026-11-15, or `scheduled`, `yesterday`, `last-complete` (docs/schedules.md)"
VerbFunction = Callable[[argparse.Namespace, "Output"], int]


@dataclasses.dataclass(frozen=True)
class Output:
    """`json` is the choice of the user for the whole command."""

    json: bool

    def show(self, document: Any, text: str) -> None:
        """The one result of a verb: `document` with --json, else `text`."""
        print(as_json(document) if self.json else text)

    def error(self, message: str, hint: str | None) -> None:
        print(f"error: {message}", file=sys.stderr)
        if hint:
            print(f"  {hint}", file=sys.stderr)


def say(line: str) -> None:
    """A line for people, beside the result."""
    print(line, file=sys.stderr, flush=True)


def as_json(document: Any) -> str:
    """Readable where the terminal has Unicode, else with escapes: valid JSON either way."""
    is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    return json.dumps(document, indent=2, ensure_ascii=not is_unicode)


def add_verb(
    verbs: argparse._SubParsersAction,
    name: str,
    function: VerbFunction,
    summary: str,
    example: str,
    common: argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    """Declares a verb; its --help shows the summary and the example."""
    verb = verbs.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common],
        allow_abbrev=False,
    )
    verb.set_defaults(verb_function=function)
    return verb


def count(text: str) -> int:
    """Of an option that takes a number of things."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1; received {text!r}")
    return int(text)


def minutes(text: str) -> float:
    """Of an option that takes a time; fractions and 0 too."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of minutes, at least 0; received {text!r}")
    return value


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Aligned columns: numbers to the right, `None` as a dash."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(row[index]) for row in [list(header), *cells]) for index in range(len(header))]
    right = [any(isinstance(row[index], (int, float)) for row in rows) for index in range(len(header))]
    lines = [
        "  ".join(text.rjust(width) if is_right else text.ljust(width) for text, width, is_right in columns).rstrip()
        for columns in (zip(line, widths, right, strict=True) for line in [list(header), *cells])
    ]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
