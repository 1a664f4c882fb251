"""From facts to a proposal: which column is the label, which are features of what type, which are left out and why."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from hivemill.common.errors import ConfigError
from hivemill.pipeline.scaffold.columns import ColumnFacts, auc_alone

LABEL_NAMES = ("click", "clicked", "is_click", "is_clicked", "clk", "label", "is_conversion", "converted", "target")
USER_NAMES = ("user_id", "userid", "uid", "user", "member_id", "customer_id", "visitor_id", "account_id", "device_id")
SERVING_NOTES = ("model_version", "variant", "propensity", "prediction")
"""What `data collect` keeps of the exposure log (data/collection.py): a model that is asked does not have it."""
_NO_IDS = ("bid", "paid", "valid", "grid")  # end in "id" and are none
_FEW, _MANY = 50, 100_000
_LEAK_AUC = 0.98
_WIDE = 100  # a number whose highest value is so many times its median is seen by its logarithm


@dataclasses.dataclass(frozen=True)
class Proposed:
    """A feature of the config. `remark` says what in the sample speaks for it."""

    name: str
    values: dict[str, Any]
    remark: str


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A column that is no feature, and why. `values` is what it would be if the user wants it after all."""

    name: str
    why: str
    values: dict[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Proposal:
    label: str
    user: str | None
    features: tuple[Proposed, ...]
    left_out: tuple[LeftOut, ...]


def propose(
    sample: pa.Table, facts: Mapping[str, ColumnFacts], schema: pa.Schema, date_column: str, label: str | None
) -> Proposal:
    """The proposal for a sample.

    Args:
        sample: flattened rows. facts: of its columns. schema: the columns before flattening, for their Hive types.
        label: the label's column where the user names it.

    Raises ConfigError where no column can be the label, or every feature is left out.
    """
    chosen = _label(facts, label)
    user = next((name for name in USER_NAMES if name in facts and not facts[name].kind.multivalent), None)
    clicks = np.asarray(sample.column(chosen).combine_chunks().flatten()).astype(np.int64)
    whole = len(clicks) == sample.num_rows
    features: list[Proposed] = []
    left_out: list[LeftOut] = []
    for name, fact in facts.items():
        if name in (chosen, date_column) or name.endswith("_values"):
            continue
        why = _why_not(fact, schema, user)
        if why is None and whole and _leaks(sample, fact, clicks):
            why = "tells the click almost alone in the sample: is it known only afterwards?"
        values = _values(fact, facts, schema)
        if why or values is None:
            left_out.append(LeftOut(name, why or "a list of fractions: no feature type takes it", values))
        else:
            features.append(Proposed(name.removesuffix("_keys") if values.get("of") else name, values, _remark(fact)))
    if not features:
        raise ConfigError(
            "no column of the table can be a feature: " + "; ".join(f"{each.name} {each.why}" for each in left_out),
            hint="Is this the click log, and is its newest day whole?",
        )
    return Proposal(chosen, user, tuple(features), tuple(left_out))


def _label(facts: Mapping[str, ColumnFacts], given: str | None) -> str:
    if given is not None:
        if given not in facts:
            raise ConfigError(f"--label {given}: the table has no such column", hint=f"Columns: {', '.join(facts)}.")
        if not _is_label(facts[given]):
            fact = facts[given]
            raise ConfigError(
                f"--label {given} must hold 0 and 1; the sample has {fact.distinct} values, "
                f"{_number(fact.low)} to {_number(fact.high)}",
                hint="Derive a column of 0 and 1 in the table, or join the clicks (label.join).",
            )
        return given
    named = [name for name in LABEL_NAMES if name in facts and _is_label(facts[name])]
    others = [name for name, fact in facts.items() if "cli" in name.lower() and _is_label(fact)]
    if named or others:
        return (named or others)[0]
    binary = [name for name, fact in facts.items() if _is_label(fact)]
    raise ConfigError(
        "no column looks like the click: none is named " + ", ".join(LABEL_NAMES) + " and holds 0 and 1",
        hint=f"Name it with --label; columns of 0 and 1: {', '.join(binary)}." if binary else
        "Where the clicks lie in another table, write the config by hand with label.join (docs/config.md).",
    )  # fmt: skip


def _is_label(fact: ColumnFacts) -> bool:
    is_int = fact.kind.dtype == "int64" and not fact.kind.multivalent
    return is_int and fact.distinct == 2 and (fact.low, fact.high) == (0, 1)


def _why_not(fact: ColumnFacts, schema: pa.Schema, user: str | None) -> str | None:
    data_type = _type_of(fact, schema)
    if fact.name == user:
        return "the user's id: it invites a model to learn single users by heart"
    if fact.name in SERVING_NOTES:
        return "noted by serving when the model had answered: not known when it is asked"
    if fact.missing == 1.0:
        return "has no value in the sample"
    if fact.is_constant:
        return f"has one value only, {fact.example!r}"
    if data_type is not None and pa.types.is_timestamp(data_type):
        return "a moment in time; the hour or the weekday of it can be a feature, as a column of the table"
    if data_type is not None and pa.types.is_date(data_type):
        return "a date: every new day would be a value never seen"
    if data_type is not None and pa.types.is_binary(data_type):
        return "binary: no feature type takes it"
    if fact.is_unique_per_row and not (fact.is_number and fact.kind.dtype == "float"):
        return "differs in (almost) every row: an id of the impression?"
    return None


def _type_of(fact: ColumnFacts, schema: pa.Schema) -> pa.DataType | None:
    index = schema.get_field_index(fact.kind.column)
    return schema.field(index).type if index >= 0 else None


def _leaks(sample: pa.Table, fact: ColumnFacts, clicks: np.ndarray) -> bool:
    if fact.kind.multivalent:
        return False
    auc = auc_alone(sample.column(fact.name), clicks)
    return auc is not None and auc > _LEAK_AUC


def _values(fact: ColumnFacts, facts: Mapping[str, ColumnFacts], schema: pa.Schema) -> dict[str, Any] | None:
    if fact.kind.multivalent:
        return _multivalent(fact, facts, schema)
    if fact.kind.dtype == "bytes":
        return _categorical(fact)
    if fact.kind.dtype == "int64" and (_is_id(fact) or fact.distinct <= _FEW):
        return _categorical(fact)
    return _numeric(fact)


def _is_id(fact: ColumnFacts) -> bool:
    name = fact.name.lower()
    is_id = name.endswith(("id", "_code", "_key", "_no")) or name in ("item", "sku", "zip")
    return is_id and not name.endswith(_NO_IDS)


def _categorical(fact: ColumnFacts) -> dict[str, Any]:
    if fact.distinct > _MANY:
        return {"type": "categorical", "encoding": "hash", "hash_buckets": 1_000_000}
    return {"type": "categorical", "min_count": 10} if fact.distinct > 1000 else {"type": "categorical"}


def _multivalent(fact: ColumnFacts, facts: Mapping[str, ColumnFacts], schema: pa.Schema) -> dict[str, Any] | None:
    if fact.kind.dtype == "float":
        return None
    if fact.name.endswith("_keys") and pa.types.is_map(_type_of(fact, schema) or pa.null()):
        column = fact.kind.column
        weighted = facts[f"{column}_values"].is_number
        return {"type": "multivalent", "of": "keys", "weights": "values"} if weighted else {
            "type": "multivalent",
            "of": "items",
        }  # fmt: skip
    return {"type": "multivalent", "min_count": 10} if fact.distinct > 1000 else {"type": "multivalent"}


def _numeric(fact: ColumnFacts) -> dict[str, Any]:
    median, high = abs(fact.median or 0), fact.high or 0
    if (fact.low or 0) >= 0 and high > _WIDE * max(median, 1):
        return {"type": "numeric", "transform": "log"}
    return {"type": "numeric", "transform": "quantile_buckets", "buckets": 20}


def _remark(fact: ColumnFacts) -> str:
    parts = [f"{fact.distinct:,} values"]
    if fact.is_number and fact.low is not None:
        low, median, high = (_number(value) for value in (fact.low, fact.median, fact.high))
        parts.append(f"{low} to {high}, median {median}")
    elif fact.example:
        parts.append(f"e.g. {fact.example!r}")
    if fact.kind.multivalent:
        parts.append(f"{fact.length:.1f} per row")
    if fact.missing:
        parts.append(f"{fact.missing:.1%} missing")
    return ", ".join(parts).replace("\n", " ")


def _number(value: float | None) -> str:
    """Ids in full: 7401360 is not 7.40136e+06."""
    if value is None:
        return "none"
    return f"{value:.15g}" if 1e6 <= abs(value) < 1e15 else f"{value:g}"


def window_of(days: tuple[datetime.date, ...]) -> dict[str, int]:
    """At most four weeks to train on, of the days that are there; a table with fewer than three has to wait."""
    span = (days[-1] - days[0]).days + 1
    return {"train_days": max(2, min(28, span - 1)), "validation_days": 1, "eval_days": 1}
