"""The proposal as a commented hivemill.yaml."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from hivemill.components.hive_example_gen.options import SourceOptions
from hivemill.pipeline.scaffold.proposal import LeftOut, Proposal, Proposed

_WIDTH = 118
_NO_USER = "  # user: a column that identifies the user; the metric gauc needs it"


def config_text(
    name: str,
    source: SourceOptions,
    window: Mapping[str, int],
    proposal: Proposal,
    days: Sequence[datetime.date],
    rows: int,
    notes: Iterable[str],
) -> str:
    """YAML that `pipeline.config.loader.load` takes; what was not understood stands in it as comments."""
    lines = [
        f"# Proposed from {rows:,} rows of {days[-1]}; the table has {len(days)} days, {days[0]} to {days[-1]}.",
        "# Read it through before the first run: docs/config.md lists every key with its rules and defaults.",
        f"#   hivemill plan --date {days[-1]}        what a run would read and do; starts nothing",
        f"#   hivemill run --date {days[-1]}         from the log to a pushed model and a report",
        "",
        f"name: {name}",
        "root: hivemill",
        "",
        "source:",
        *_section(source.model_dump(mode="json", exclude_unset=True, exclude_none=True)),
        *(f"# Note: {note}" for note in notes),
        "",
        "# Which days a run for date D reads: by time, never by hash.",
        "window:",
        *_section(window),
        "",
        "label:",
        f"  column: {_scalar(proposal.label)}",
        f"  user: {_scalar(proposal.user)}" if proposal.user else _NO_USER,
        "",
        "features:",
        *_features(proposal.features),
        *_left_out(proposal.left_out),
        "",
    ]
    return "\n".join(lines)


def _section(values: Mapping[str, Any]) -> list[str]:
    text = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=_WIDTH, default_flow_style=False)
    return [f"  {line}" for line in text.rstrip("\n").split("\n")]


def _features(features: Sequence[Proposed]) -> Iterable[str]:
    for feature in features:
        yield f"  # {feature.remark}"
        yield f"  {_scalar(feature.name)}: {_flow(feature.values)}"


def _left_out(columns: Sequence[LeftOut]) -> Iterable[str]:
    if columns:
        yield "  # Left out:"
    for column in columns:
        values = f": {_flow(column.values)}" if column.values else ""
        yield f"  # {_scalar(column.name)}{values}  # {column.why}".replace("\n", " ")


def _flow(values: Mapping[str, Any]) -> str:
    text = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=10_000, default_flow_style=True)
    return text.strip()


def _scalar(value: str) -> str:
    """`value` in YAML on one line, quoted where it must be."""
    return yaml.safe_dump(value, allow_unicode=True, width=10_000).split("\n")[0]
