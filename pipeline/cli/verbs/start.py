"""The verbs `init doctor config`: a new user's start."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hivemill.common.errors import ConfigError
from hivemill.pipeline.cli.output import Output, add_verb, table

FORMATS = ("text", "parquet", "orc")


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    summary = "write a commented hivemill.yaml into a folder: for your own table, or with a small generated click log"
    example = "hivemill init shop --table hive://metastore:9083/shop.clicks"
    verb = add_verb(verbs, "init", init, summary, example, common)
    verb.add_argument("folder", type=Path, metavar="DIR", help="made if it is absent; its hivemill.yaml must not exist")
    verb.add_argument("--table", metavar="URL", help="propose a config for this table: a folder or URL, or hive://…")
    verb.add_argument("--ddl", metavar="FILE", help="with --table: its CREATE TABLE, where the files do not say it")
    verb.add_argument("--label", metavar="COLUMN", help="with --table: the column of clicks, 0 or 1 (default: by name)")
    verb.add_argument("--days", type=int, metavar="N", help="days of the log, at least 3 (default: 8)")
    verb.add_argument("--rows-per-day", type=int, metavar="N", help="impressions a day (default: 30000)")
    verb.add_argument("--format", choices=FORMATS, default="text", help="as Hive writes it (default: text)")
    verb.add_argument("--no-data", action="store_true", help="write the config only")
    summary = "check Python, libraries, disk, config and source; each failure names its fix"
    add_verb(verbs, "doctor", doctor, summary, "hivemill doctor", common)
    config = verbs.add_parser("config", help="show the resolved configuration", description="Config of the pipeline.")
    actions = config.add_subparsers(metavar="ACTION", required=True)
    summary = "show every value and where it is from: default, file, environment or --set"
    add_verb(actions, "show", show, summary, "hivemill config show --set training.epochs=5", common)


def init(arguments: argparse.Namespace, output: Output) -> int:
    if arguments.table is not None:
        return _propose(arguments, output)
    for option in ("ddl", "label"):
        if getattr(arguments, option) is not None:
            raise ConfigError(f"--{option} describes a table of yours; --table names it")
    from hivemill.pipeline.cli.verbs.data import shown_progress
    from hivemill.pipeline.scaffold import project

    size = project.DemoSize(
        days=project.DEMO_DAYS if arguments.days is None else arguments.days,
        rows_per_day=project.DEMO_ROWS_PER_DAY if arguments.rows_per_day is None else arguments.rows_per_day,
    )
    with shown_progress("click log"):
        document = project.write_demo(arguments.folder, size, arguments.format, with_data=not arguments.no_data)
    output.show(document, _init_text(document, arguments.folder))
    return 0


def _propose(arguments: argparse.Namespace, output: Output) -> int:
    given = [name for name in ("days", "rows_per_day", "no_data") if getattr(arguments, name)]
    if given:
        rule = f"--{given[0].replace('_', '-')} is for the generated log"
        raise ConfigError(f"{rule}; --table reads one that is there", hint="Leave one of the two out.")
    from hivemill.pipeline.scaffold import project
    from hivemill.pipeline.scaffold.table import write_proposal

    config = project.new_config(arguments.folder)
    name = project.name_of(arguments.folder)
    document = write_proposal(config, name, arguments.table, arguments.ddl, arguments.label)
    output.show(document, _proposal_text(document))
    return 0


def _proposal_text(document: dict[str, Any]) -> str:
    lines = [
        f"Wrote {document['config']}",
        f"{document['table']}: {document['first_date']} to {document['last_date']}, {document['rows']:,} rows read",
        f"label {document['label']}, user {document['user'] or 'not found'}, {len(document['features'])} features",
        *(f"left out: {name}: {why}" for name, why in document["left_out"].items()),
        *(f"note: {note}" for note in document["notes"]),
        "",
        "Read it through, then:",
        f"  hivemill --config {document['config']} plan --date {document['last_date']}",
    ]
    return "\n".join(lines)


def doctor(arguments: argparse.Namespace, output: Output) -> int:
    from hivemill.pipeline.doctor import checks

    found = checks.examine(arguments.config, arguments.set)
    lines = [f"{check.state:<8}{check.name}: {check.message}" for check in found]
    fixes = [f"{'':<8}  {check.fix}" if check.fix else None for check in found]
    text = "\n".join(line for pair in zip(lines, fixes, strict=True) for line in pair if line)
    output.show({"checks": [check.document() for check in found]}, text)
    return checks.exit_code(found)


def show(arguments: argparse.Namespace, output: Output) -> int:
    from hivemill.pipeline.config import loader as config

    loaded = config.load(arguments.config, arguments.set)
    values = flattened(loaded.config.model_dump(mode="json"), loaded.origins)
    document = {key: {"value": value, "origin": loaded.origins[key]} for key, value in values.items()}
    output.show(document, _values_text(document))
    return 0


def flattened(value: Any, keys: Any) -> dict[str, Any]:
    """The values at dotted `keys` of nested mappings, in the order of the config."""

    def leaves(here: Any, path: str) -> dict[str, Any]:
        if path in keys:
            return {path: here}
        children = ((f"{path}.{key}" if path else key, child) for key, child in here.items())
        return {name: leaf for below, child in children for name, leaf in leaves(child, below).items()}

    return leaves(value, "")


def _values_text(document: dict[str, Any]) -> str:
    from hivemill.pipeline.config.yaml_source import shown

    rows = [(key, shown(each["value"]), each["origin"]) for key, each in document.items()]
    return table(("KEY", "VALUE", "FROM"), rows)


def _init_text(document: dict[str, Any], folder: Path) -> str:
    lines = [f"Wrote {document['config']}"]
    if document["table"]:
        lines.append(f"Wrote {document['rows']:,} impressions to {document['table']}")
        lines += ["", "Next:", f"  cd {folder}", f"  hivemill run --date {document['last_date']}"]
    return "\n".join(lines)
