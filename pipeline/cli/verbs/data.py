"""The verbs `data generate import collect quarantine`: click logs as partitioned Hive tables, and rows left out."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hivemill.common.clock import parse_day
from hivemill.pipeline.cli.output import DATE_HELP, Output, add_verb, count, say

FORMATS = ("text", "parquet", "orc")
DATA_SETS = ("movielens", "criteo", "open-bandit")


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    data = verbs.add_parser(
        "data", help="generate a click log, or import a public data set", description="Click logs as Hive tables."
    )
    actions = data.add_subparsers(metavar="ACTION", required=True)
    summary = "write a click log with a known true model as a partitioned Hive table"
    example = "hivemill data generate log/clicks --days 14 --format orc --drift price:2026-11-20:1.5"
    _add_generate_options(add_verb(actions, "generate", generate, summary, example, common))
    summary = "lay a public data set out as a partitioned Hive table, with a hivemill.yaml that reads it"
    example = "hivemill data import movielens ml-100k movies --pseudo-days 10"
    verb = add_verb(actions, "import", import_data_set, summary, example, common)
    verb.add_argument("data_set", choices=DATA_SETS, metavar="SET", help=", ".join(DATA_SETS))
    verb.add_argument("source", type=Path, metavar="SRC", help="the folder that the data set was unpacked into")
    verb.add_argument("folder", type=Path, metavar="DEST", help="gets hivemill.yaml and the table, in log/")
    verb.add_argument("--format", choices=FORMATS, default="parquet", help="as Hive writes it (default: parquet)")
    verb.add_argument("--pseudo-days", type=int, metavar="N", help="movielens, criteo: N equal parts in time order")
    verb.add_argument("--campaign", metavar="NAME", help="open-bandit: the campaign (default: men)")
    _add_collect(actions, common)
    summary = "show the rows of a window that could not be read: file, row, column and why"
    verb = add_verb(actions, "quarantine", quarantine, summary, "hivemill data quarantine --date 2026-11-15", common)
    verb.add_argument("--date", required=True, metavar="D", help=DATE_HELP)
    verb.add_argument(
        "--limit", type=count, default=20, metavar="N", help="the first N of each partition (default: 20)"
    )


def _add_collect(actions: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    summary = "join an exposure log to the features that were shown, as the next window's Hive partitions"
    example = "hivemill data collect exposures impressions log/clicks --from 2026-11-09 --to 2026-11-15"
    verb = add_verb(actions, "collect", collect, summary, example, common)
    verb.add_argument("exposures", type=Path, metavar="LOG", help="the exposure log (docs/experiments.md)")
    verb.add_argument("impressions", type=Path, metavar="FEATURES", help="Parquet: what was shown, with its request_id")
    verb.add_argument("table", type=Path, metavar="TABLE", help="folder of the Hive table; gets one partition a day")
    verb.add_argument("--from", dest="first", required=True, metavar="D", help="first day (UTC)")
    verb.add_argument("--to", dest="last", metavar="D", help="last day (default: that of --from)")
    verb.add_argument("--format", choices=("parquet", "orc"), default="parquet", help="default: parquet")
    verb.add_argument("--date-column", default="dt", metavar="NAME", help="the table's partition column (default: dt)")
    verb.add_argument("--label", default="click", metavar="NAME", help="name of the label's column (default: click)")
    verb.add_argument(
        "--unknown-clicks",
        choices=("fail", "negative", "drop"),
        default="fail",
        help="what a click that is not known yet is: exit code 3, a 0, or a row left out (default: fail)",
    )
    verb.add_argument(
        "--max-lost-share",
        type=_share,
        default=0.001,
        metavar="P",
        help="largest share of a day's exposures without features (default: 0.001)",
    )
    verb.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="NAME=THEIRS",
        help="the log's name of a column; repeatable",
    )
    verb.add_argument("--overwrite", action="store_true", help="replace partitions that have other content")


def _add_generate_options(verb: argparse.ArgumentParser) -> None:
    """One option for each field of data.click_log.generator.ClickLogOptions, which has the defaults and the rules."""
    verb.add_argument("folder", type=Path, metavar="DIR", help="folder of the table; more days extend it")
    verb.add_argument("--start-date", metavar="D", help="first day (default: 2026-11-09)")
    verb.add_argument("--days", metavar="N", help="number of days (default: 7)")
    verb.add_argument("--rows-per-day", metavar="N", help="mean over a week (default: 30000)")
    verb.add_argument("--seed", metavar="N", help="another seed, another shop (default: 1)")
    verb.add_argument("--format", choices=FORMATS, help="as Hive writes it (default: parquet)")
    verb.add_argument("--no-hours", dest="hours", action="store_const", const=False, help="daily partitions only")
    verb.add_argument("--num-users", metavar="N", help="known users (default: 20000)")
    verb.add_argument("--num-items", metavar="N", help="known items (default: 2000)")
    verb.add_argument("--click-rate", metavar="P", help="mean click rate (default: 0.08)")
    verb.add_argument("--signal", metavar="X", help="multiplies all effects on the click; 0: luck only (default: 1)")
    verb.add_argument("--drift", action="append", metavar="FEATURE:DAY:AMOUNT", help="repeatable")
    verb.add_argument("--faults", action="append", metavar="KIND:COLUMN:DAY:AMOUNT", help="repeatable; docs/verdict.md")
    verb.add_argument("--missing-hours", action="append", metavar="DAY/HOUR", help="left out; repeatable")
    verb.add_argument("--late-partitions", action="append", metavar="DAY/HOUR", help="unfinished; repeatable")
    verb.add_argument("--corrupt-share", metavar="P", help="share of unreadable rows, text only (default: 0)")
    verb.add_argument("--schema-changes", action="append", metavar="KIND:COLUMN:TO:DAY", help="repeatable")
    verb.add_argument("--overwrite", action="store_true", help="replace partitions that have other content")


def generate(arguments: argparse.Namespace, output: Output) -> int:
    from hivemill.data.click_log import generator

    names = generator.ClickLogOptions.model_fields
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    options = generator.click_log_options(**given)
    with shown_progress("click log"):
        truth = generator.generate(options, arguments.folder, overwrite=arguments.overwrite)
    output.show({"table": str(arguments.folder), **truth}, _truth_text(truth, arguments.folder))
    return 0


def import_data_set(arguments: argparse.Namespace, output: Output) -> int:
    from hivemill.pipeline.scaffold import project

    given = {"pseudo_days": arguments.pseudo_days, "campaign": arguments.campaign}
    with shown_progress("import"):
        document = project.write_import(
            arguments.data_set,
            arguments.source,
            arguments.folder,
            arguments.format,
            **{name: value for name, value in given.items() if value is not None},
        )
    output.show(document, _import_text(document, arguments.folder))
    return 0


def collect(arguments: argparse.Namespace, output: Output) -> int:
    import datetime

    from hivemill.pipeline import exposure_join
    from hivemill.pipeline.cli.verbs import experiment

    options = experiment.config_options(arguments)
    wanted = exposure_join.Collection(
        exposures=arguments.exposures,
        impressions=arguments.impressions,
        table=arguments.table,
        first=parse_day(arguments.first, "--from"),
        last=parse_day(arguments.last or arguments.first, "--to"),
        file_format=arguments.format,
        date_column=arguments.date_column,
        label=arguments.label,
        unknown_clicks=arguments.unknown_clicks,
        max_lost_share=arguments.max_lost_share,
        max_bad_share=options.max_bad_share,
        columns={**options.columns, **experiment.renamed(arguments.column)},
        overwrite=arguments.overwrite,
    )
    document = exposure_join.collect(wanted, datetime.datetime.now(datetime.timezone.utc))
    output.show(document, _collection_text(document))
    return 0


def quarantine(arguments: argparse.Namespace, output: Output) -> int:
    from hivemill.pipeline.config import loader
    from hivemill.pipeline.runs import quarantined_rows
    from hivemill.pipeline.scheduling import dates

    loaded = loader.load(arguments.config, arguments.set)
    document = quarantined_rows.find(loaded, dates.resolve(arguments.date, loaded, say), arguments.limit)
    output.show(document, quarantined_rows.render(document))
    return 0


@contextlib.contextmanager
def shown_progress(name: str) -> Iterator[None]:
    """Live progress of one long step on standard error, where that is a terminal."""
    import sys

    from hivemill.common import progress
    from hivemill.pipeline.cli.console import Console

    if not sys.stderr.isatty():
        yield
        return
    console = Console()
    console.node_starts(name)
    try:
        yield
        console.line(f"{name:<20}done")
    finally:
        progress.listen(None)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be a share, 0 to below 1; received {text!r}")
    return value


def _collection_text(document: dict[str, Any]) -> str:
    from hivemill.pipeline.cli.output import table

    names = ("exposures", "rows", "clicks", "without_features", "without_request_id", "other_user", "unknown_clicks")
    rows = [(day, facts["state"], *(facts[name] for name in names)) for day, facts in document["days"].items()]
    header = ("DAY", "PARTITION", *(name.replace("_", " ").upper() for name in names))
    return f"{document['table']}\n" + table(header, rows)


def _truth_text(truth: dict[str, Any], folder: Path) -> str:
    from hivemill.pipeline.cli.output import table

    days = {**truth["days"], "all": truth["all"]}
    rows = [
        (day, facts["rows"], facts["clicks"], facts["best_auc"], facts["best_logloss"]) for day, facts in days.items()
    ]
    return f"{folder}\n" + table(("DAY", "ROWS", "CLICKS", "BEST AUC", "BEST LOGLOSS"), rows)


def _import_text(document: dict[str, Any], folder: Path) -> str:
    lines = [
        f"Wrote {document['rows']:,} rows in {document['days']} days to {document['table']}",
        f"Wrote {document['config']}",
        "",
        "Next:",
        f"  cd {folder}",
        f"  hivemill plan --date {document['last_date']}",
    ]
    return "\n".join(lines)
