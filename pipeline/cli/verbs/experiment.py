"""The verbs `ab assign power report`: A/B tests between the versions that serve."""

from __future__ import annotations

import argparse
import datetime
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hivemill.common.clock import parse_day
from hivemill.common.errors import ConfigError
from hivemill.pipeline.cli.output import Output, add_verb, count, table

if TYPE_CHECKING:
    from hivemill.serving.experiment.options import ExperimentOptions
    from hivemill.serving.experiment.stats.power import ExpectedTraffic, Test

NO_CONCLUSION = 4
"""Exit code of a report whose data may not be compared, as of a red data verdict."""
_PLANNED_LIFTS = (0.01, 0.02, 0.05, 0.1, 0.2)


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    ab = verbs.add_parser("ab", help="A/B tests: who sees what, how many users it takes, what came out")
    actions = ab.add_subparsers(metavar="ACTION", required=True)
    summary = "show the bucket and the variant of users"
    verb = add_verb(actions, "assign", assign, summary, "hivemill ab assign --percent 5 alice 4711", common)
    verb.add_argument("users", nargs="*", metavar="USER", help="user ids; `-` reads one a line from standard input")
    verb.add_argument("--percent", required=True, metavar="P", help="share of users that see canary, 0 to 100")
    verb.add_argument("--salt", metavar="TEXT", help="default: experiment.salt, or the model's name")
    verb.add_argument("--sql", metavar="COLUMN", help="print the variant of COLUMN as Hive and Spark SQL instead")
    summary = "say how many users a test needs, or the smallest lift that it can find"
    example = "hivemill ab power --ctr 0.05 --impressions-per-user 8 --design-effect 1.6 --lift 0.02"
    _add_power_options(add_verb(actions, "power", power, summary, example, common))
    summary = "compare the click-through rates of two variants from an exposure log"
    example = "hivemill ab report exposures/ --slice device --page ab.html"
    _add_report_options(add_verb(actions, "report", report, summary, example, common))


def _add_power_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--log", type=Path, metavar="PATH", help="take CTR, impressions and variance from this log")
    verb.add_argument("--ctr", type=_number, metavar="P", help="click-through rate of control, where there is no log")
    verb.add_argument("--impressions-per-user", type=_number, metavar="N", help="over the whole test (default: 1)")
    verb.add_argument("--design-effect", type=_number, metavar="X", help="variance over that of independent ones (1)")
    verb.add_argument("--lift", type=_number, metavar="X", help="relative lift to find: 0.02 is 2 %%; gives the users")
    verb.add_argument("--users", type=count, metavar="N", help="users of both variants; gives the smallest lift")
    verb.add_argument("--alpha", type=_number, default=0.05, metavar="P", help="accepted false alarms (default: 0.05)")
    verb.add_argument("--power", type=_number, default=0.8, metavar="P", help="chance to find it (default: 0.8)")
    verb.add_argument("--share", type=_number, default=0.5, metavar="P", help="treatment's share (default: 0.5)")


def _add_report_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("log", nargs="?", metavar="LOG", help="file or folder (default: experiment.log)")
    verb.add_argument("--since", metavar="TIME", help="rows from this UTC time or day on")
    verb.add_argument("--until", metavar="TIME", help="rows before this UTC time or day")
    verb.add_argument("--control", metavar="VARIANT", help="what is compared with (default: stable)")
    verb.add_argument("--treatment", metavar="VARIANT", help="what is judged (default: canary)")
    verb.add_argument("--treatment-share", type=_number, metavar="P", help="where the log has no propensity")
    verb.add_argument("--column", action="append", default=[], metavar="NAME=THEIRS", help="repeatable")
    verb.add_argument("--slice", action="append", default=[], metavar="COLUMN", help="repeatable")
    verb.add_argument("--covariate", action="append", default=[], metavar="COLUMN", help="CUPED; repeatable")
    verb.add_argument("--history-days", type=count, metavar="N", help="CUPED by the log's N days before --since")
    verb.add_argument("--lift-of-interest", type=_number, metavar="X", help="found soonest (default: 0.1)")
    verb.add_argument("--planned-end", metavar="D", help="look once, after this day, instead of every day")
    verb.add_argument("--bootstrap", action="store_true", help="intervals by a bootstrap over users too")
    verb.add_argument("--page", type=Path, metavar="FILE", help="write the report as an HTML page")


def assign(arguments: argparse.Namespace, output: Output) -> int:
    from hivemill.serving.experiment import assignment

    salt = _salt_of_config(arguments) if arguments.salt is None else arguments.salt
    split = assignment.Split.at_percent(salt, arguments.percent)
    if arguments.sql:
        sql = assignment.variant_sql(split, arguments.sql)
        output.show({"salt": salt, "percent": split.canary_buckets / 100, "sql": sql}, sql)
        return 0
    users = _users(arguments.users)
    rows = [{"user": user, "bucket": assignment.bucket(salt, user), "variant": split.variant(user)} for user in users]
    document = {"salt": salt, "percent": split.canary_buckets / 100, "users": rows}
    output.show(document, table(("USER", "BUCKET", "VARIANT"), [tuple(row.values()) for row in rows]))
    return 0


def power(arguments: argparse.Namespace, output: Output) -> int:
    from hivemill.serving.experiment.stats import power as sizes

    if arguments.lift is not None and arguments.users is not None:
        raise ConfigError("--lift asks for the users, --users for the lift", hint="Leave one of the two out.")
    traffic, impressions_per_day = _traffic(arguments)
    tests = {
        name: sizes.Test(arguments.alpha, arguments.power, arguments.share, sequential=name == "daily")
        for name in ("daily", "once")
    }
    document: dict[str, Any] = {
        "version": 1,
        "traffic": {**vars(traffic), "impressions_per_day": impressions_per_day},
        "alpha": arguments.alpha,
        "power": arguments.power,
        "treatment_share": arguments.share,
    }
    if arguments.users is not None:
        lifts = {name: sizes.detectable_lift(traffic, arguments.users, test) for name, test in tests.items()}
        document |= {"users": arguments.users, "smallest_lift": lifts}
        output.show(document, _lift_text(document))
        return 0
    lifts = _PLANNED_LIFTS if arguments.lift is None else (arguments.lift,)
    asked = [lift for lift in lifts if arguments.lift is not None or traffic.ctr * (1 + lift) < 1]
    document["sizes"] = [_size(traffic, lift, tests, impressions_per_day) for lift in asked]
    output.show(document, _size_text(document))
    return 0


def report(arguments: argparse.Namespace, output: Output) -> int:
    from hivemill.serving.experiment.analysis import analyse
    from hivemill.serving.experiment.exposures import covariates
    from hivemill.serving.experiment.exposures.log import read_log

    options = _report_options(arguments)
    if options.log is None:
        raise ConfigError("which exposure log?", hint="Name it: `hivemill ab report LOG`, or set experiment.log.")
    since, until = _moment(arguments.since, "--since"), _moment(arguments.until, "--until")
    if since is not None and until is not None and since >= until:
        raise ConfigError(f"--since must be before --until; received {arguments.since} and {arguments.until}")
    log = read_log(
        options.log,
        columns=options.columns,
        slices=options.slices,
        covariates=options.covariates,
        since=covariates.first_moment(since, options.history_days),
        until=until,
        max_bad_share=options.max_bad_share,
    )
    if options.history_days is not None:
        log = covariates.with_history(log, since, options.treatment)
        options = options.model_copy(update={"covariates": (*options.covariates, *covariates.HISTORY_COLUMNS)})
    document = analyse(log, options, with_bootstrap=arguments.bootstrap)
    if arguments.page is not None:
        from hivemill.pipeline.report.experiment_page import write_experiment_page

        document["page"] = str(write_experiment_page(document, arguments.page))
    from hivemill.pipeline.cli import ab_text

    output.show(document, ab_text.text(document))
    return NO_CONCLUSION if document["verdict"]["state"] == "invalid" else 0


def _report_options(arguments: argparse.Namespace) -> ExperimentOptions:
    """Those of the config, where there is one, with the command line's over them."""
    from pydantic import ValidationError

    from hivemill.serving.experiment.options import ExperimentOptions

    base, end = config_options(arguments), arguments.planned_end
    given: dict[str, Any] = {
        "log": arguments.log,
        "control": arguments.control,
        "treatment": arguments.treatment,
        "treatment_share": arguments.treatment_share,
        "lift_of_interest": arguments.lift_of_interest,
        "planned_end": None if end is None else parse_day(end, "--planned-end"),
        "history_days": arguments.history_days,
        "slices": tuple(arguments.slice) or None,
        "covariates": tuple(arguments.covariate) or None,
        "columns": {**base.columns, **renamed(arguments.column)} if arguments.column else None,
    }
    values = base.model_dump() | {name: value for name, value in given.items() if value is not None}
    try:
        return ExperimentOptions(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "experiment"
        raise ConfigError(f"{name}: {first['msg']}; received {str(first['input'])[:100]}") from None


def config_options(arguments: argparse.Namespace) -> ExperimentOptions:
    """Defaults where no config is named and none lies here: a report needs a log only."""
    from hivemill.serving.experiment.options import ExperimentOptions

    if not arguments.config.exists() and arguments.config == Path("hivemill.yaml") and not arguments.set:
        return ExperimentOptions()
    from hivemill.pipeline.config import loader

    return loader.load(arguments.config, arguments.set).config.experiment


def _salt_of_config(arguments: argparse.Namespace) -> str:
    if not arguments.config.exists():
        raise ConfigError("which salt?", hint="Give --salt, or --config with the pipeline whose model is tested.")
    from hivemill.pipeline.config import loader

    loaded = loader.load(arguments.config, arguments.set).config
    return loaded.experiment.salt or loaded.model_name()


def _users(words: list[str]) -> list[str]:
    users = [line.rstrip("\r\n") for line in sys.stdin] if words == ["-"] else words
    if not users:
        raise ConfigError(
            "which users?", hint="`hivemill ab assign --percent 5 alice 4711`, or `-` for standard input."
        )
    return users


def _traffic(arguments: argparse.Namespace) -> tuple[ExpectedTraffic, float | None]:
    from hivemill.serving.experiment.stats import power as sizes

    stated = [
        f"--{name.replace('_', '-')}"
        for name in ("ctr", "impressions_per_user", "design_effect")
        if getattr(arguments, name) is not None
    ]
    if arguments.log is not None:
        if stated:
            raise ConfigError(f"--log says what {stated[0]} says too", hint="Leave one of the two out.")
        from hivemill.serving.experiment.exposures.log import read_log

        options = config_options(arguments)
        log = read_log(arguments.log, columns=options.columns, max_bad_share=options.max_bad_share)
        traffic, impressions_per_day, _ = sizes.traffic_of(log)
        return traffic, impressions_per_day
    if arguments.ctr is None:
        raise ConfigError("what is the click-through rate?", hint="Give --ctr 0.05, or --log with an exposure log.")
    per_user = 1.0 if arguments.impressions_per_user is None else arguments.impressions_per_user
    effect = 1.0 if arguments.design_effect is None else arguments.design_effect
    return sizes.ExpectedTraffic(arguments.ctr, per_user, effect), None


def _size(
    traffic: ExpectedTraffic, lift: float, tests: dict[str, Test], impressions_per_day: float | None
) -> dict[str, Any]:
    from hivemill.serving.experiment.stats import power as sizes

    made: dict[str, Any] = {"lift": lift}
    for name, test in tests.items():
        users = sizes.users_needed(traffic, lift, test)
        impressions = users * traffic.impressions_per_user
        days = impressions / impressions_per_day if impressions_per_day else None
        made[name] = {"users": users, "impressions": round(impressions), "days": days}
    return made


def _size_text(document: dict[str, Any]) -> str:
    rows = [
        (
            f"{one['lift']:+.2%}",
            f"{one['daily']['users']:,}",
            f"{one['daily']['impressions']:,}",
            _days(one["daily"]["days"]),
            f"{one['once']['users']:,}",
            _days(one["once"]["days"]),
        )
        for one in document["sizes"]
    ]
    header = ("LIFT", "USERS, DAILY LOOKS", "IMPRESSIONS", "DAYS", "USERS, ONE LOOK", "DAYS")
    lines = [_traffic_text(document), "", table(header, rows), "", _power_note(document)]
    if len(rows) == 1:
        lines.append(f"With daily looks, report with --lift-of-interest {abs(document['sizes'][0]['lift']):g}.")
    return "\n".join(lines)


def _lift_text(document: dict[str, Any]) -> str:
    lifts = document["smallest_lift"]
    words = {name: "none at all" if lift is None else f"{lift:+.2%}" for name, lift in lifts.items()}
    return "\n".join(
        [
            _traffic_text(document),
            f"{document['users']:,} users find a lift of {words['daily']} with daily looks, "
            f"{words['once']} with one look.",
            _power_note(document),
        ]
    )


def _traffic_text(document: dict[str, Any]) -> str:
    traffic = document["traffic"]
    return (
        f"CTR {traffic['ctr']:.4%}, {traffic['impressions_per_user']:.2f} impressions per user, "
        f"design effect {traffic['design_effect']:.2f}"
    )


def _power_note(document: dict[str, Any]) -> str:
    return (
        f"Users of both variants together, {document['treatment_share']:.0%} of them in treatment: found with "
        f"probability {document['power']:.0%}, false alarms {document['alpha']:.0%}."
    )


def _days(days: float | None) -> str | None:
    return None if days is None else f"{days:,.1f}"


def renamed(words: list[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    for word, (name, sign, theirs) in zip(words, pairs, strict=True):
        if not (name and sign and theirs):
            raise ConfigError(f"--column must be NAME=THEIRS, like user_id=uid; received {word!r}")
    return {name: theirs for name, _, theirs in pairs}


def _moment(text: str | None, option: str) -> datetime.datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        hint = "Write a day or a time, like 2026-11-15 or 2026-11-15T08:00:00 (UTC)."
        raise ConfigError(f"{option} must be a time in ISO 8601; received {text!r}", hint=hint) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number; received {text!r}") from None
