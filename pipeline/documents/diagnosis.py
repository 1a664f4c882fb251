"""Why a model is poor: causes read off its training, its calibration and the data, each with the config line to change.

Says nothing of a model without a finding: a training that ends at its last check is no fault where the model is good.
Pure; imports no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hivemill.pipeline.documents.verdict_summary import whole_eval
from hivemill.pipeline.runs.records import HISTORY_JSON, read_json

# The causes in the order in which to mend them: a training that was cut short says little of the network's size.
CAUSES = ("undertrained", "overfit", "too_few_clicks", "unseen_ids", "constant_offset", "network_too_large")
MIN_RISE = 0.02  # of the validation logloss over its lowest, as a share: below it a plateau wavers
MIN_CLICKS = 4_000  # docs/gates.md says what this was measured on
MIN_UNSEEN = 0.2  # share of a column's eval values
MIN_OFFSET = 0.05  # of mean prediction / click rate from 1
_MOST_DAYS = 4  # times the days that the window has now
_NAMED_COLUMNS = 3
Json = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class ModelCause:
    """One of CAUSES with its evidence in words, and the key of hivemill.yaml to change.

    `kind` is the metric that `value` is of; `change` the key's new value, None where the run's config is not known.
    """

    name: str
    kind: str
    value: float | None
    message: str
    key: str
    change: Any


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What a run left. Any part may be empty: a run folder of another version, or a node that has not finished.

    `config` is the run's config.yaml with all defaults, `history` its history.json.
    """

    config: Json = dataclasses.field(default_factory=dict)
    history: Json = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> Evidence:
        history = read_json(folder / HISTORY_JSON)
        try:
            config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            config = None
        return cls(config if isinstance(config, dict) else {}, history if isinstance(history, dict) else {})

    def setting(self, key: str) -> Any:
        """The value of a dotted key; None where the run's config does not have it."""
        value: Any = self.config
        for name in key.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def checks(self) -> list[Json]:
        """The looks at the validation split, oldest first, of those that have a finite loss."""
        return [one for one in self.history.get("checks", ()) if isinstance(one.get("val_loss"), int | float)]


def findings(model: Json, data: Json | None, evidence: Evidence, first_rank: int) -> list[dict[str, Any]]:
    """Amber findings of the `model` section, the likeliest cause first; none for a model without findings."""
    if not model.get("findings"):
        return []
    found = [
        *_training(evidence),
        *_too_few_clicks(model, data, evidence),
        *_unseen_ids(data, evidence),
        *_constant_offset(model, data, evidence),
    ]
    found += [] if found else list(_network_too_large(model, evidence))
    return [_advised(cause, found[:place], evidence, first_rank + place) for place, cause in enumerate(found)]


def first_cause(found: Sequence[Json]) -> Json | None:
    """The first of `findings` among all findings on a model."""
    return next((one for one in found if one.get("cause") in CAUSES), None)


def _advised(cause: ModelCause, before: Sequence[ModelCause], evidence: Evidence, rank: int) -> dict[str, Any]:
    """The finding. A cause named `before` keeps its key: two lines for one key would contradict each other."""
    advice, config = "", None
    if cause.key not in {one.key for one in before}:
        now = evidence.setting(cause.key)
        line = cause.key if cause.change is None else f"{cause.key}: {json.dumps(cause.change)}"
        advice = f". Try `{line}`" + (f" (now {json.dumps(now)})" if now is not None else "")
        config = None if cause.change is None else {cause.key: cause.change}
    return {
        "severity": "amber",
        "kind": cause.kind,
        "slice": {},
        "value": cause.value,
        "message": cause.message + advice,
        "cause": cause.name,
        "config": config,
        "rank": rank,
    }


def _training(evidence: Evidence) -> Iterator[ModelCause]:
    checks = evidence.checks()
    if not checks:
        return
    losses = [one["val_loss"] for one in checks]
    best = losses.index(min(losses))
    if best == len(checks) - 1:
        yield from _undertrained(checks, evidence)
    else:
        yield from _overfit(checks, best, evidence)


def _undertrained(checks: Sequence[Json], evidence: Evidence) -> Iterator[ModelCause]:
    last, epochs = checks[-1], evidence.setting("training.epochs")
    if epochs is not None and last["epoch"] < epochs:
        return  # it ended on a plateau: its last gains were too small to go on
    seen = f"was {last['val_loss']:.4f} at its only check"
    if len(checks) > 1:
        before = min(one["val_loss"] for one in checks[:-1])
        seen = f"still fell at the last of {len(checks)} checks, from {before:.4f} to {last['val_loss']:.4f}"
    message = f"the training ended too early: the validation logloss {seen}"
    yield ModelCause("undertrained", "logloss", last["val_loss"], message, "training.epochs", _times(epochs, 2))


def _overfit(checks: Sequence[Json], best: int, evidence: Evidence) -> Iterator[ModelCause]:
    lowest = checks[best]
    highest = max(checks[best + 1 :], key=lambda one: one["val_loss"])
    rise = highest["val_loss"] - lowest["val_loss"]
    losses = lowest.get("loss"), highest.get("loss")
    if rise < MIN_RISE * lowest["val_loss"] or None in losses or losses[1] >= losses[0]:
        return
    message = (
        f"the network learns its training rows by heart: since {_place(lowest)} the validation logloss rose from "
        f"{lowest['val_loss']:.4f} to {highest['val_loss']:.4f}, while that of the training fell from {losses[0]:.4f} "
        f"to {losses[1]:.4f}"
    )
    yield ModelCause("overfit", "logloss", highest["val_loss"], message, *_against_overfitting(evidence))


def _against_overfitting(evidence: Evidence) -> tuple[str, Any]:
    training = evidence.setting("training")
    if isinstance(training, dict) and training.get("plateau", {}) is None:  # the last weights were exported
        return "training.plateau", {}
    if evidence.setting("model.dropout") == 0:
        return "model.dropout", 0.2
    return "model.embedding_l2", _times(evidence.setting("model.embedding_l2"), 3) or 1e-3


def _place(check: Json) -> str:
    return f"step {check['step']:,}" if isinstance(check.get("step"), int) else f"epoch {check.get('epoch')}"


def _too_few_clicks(model: Json, data: Json | None, evidence: Evidence) -> Iterator[ModelCause]:
    clicks, parameters = _training_clicks(data), evidence.history.get("num_parameters")
    if clicks is None or clicks >= MIN_CLICKS or _difference_to_regression(model) == "gain":
        return
    message = f"too few clicks for this network: {clicks:,.0f} in the training days"
    message += f", {parameters:,} parameters" if isinstance(parameters, int) else ""
    factor = min(_MOST_DAYS, math.ceil(MIN_CLICKS / max(clicks, 1)))
    days = _times(evidence.setting("window.train_days"), factor)
    yield ModelCause("too_few_clicks", "clicks", clicks, message, "window.train_days", days)


def _training_clicks(data: Json | None) -> float | None:
    """Of the training days, by the rows that the data verdict read."""
    days = [one for one in _days(data) if one.get("split") == "train"]
    known = [one["rows"] * one["click_rate"] for one in days if one.get("click_rate") is not None]
    return sum(known) if known else None


def _click_rate(data: Json | None, split: str) -> float | None:
    days = [one for one in _days(data) if one.get("split") == split and one.get("click_rate") is not None]
    rows = sum(one["rows"] for one in days)
    return sum(one["rows"] * one["click_rate"] for one in days) / rows if rows else None


def _days(data: Json | None) -> list[Json]:
    return list((((data or {}).get("volume") or {}).get("days") or {}).values())


def _unseen_ids(data: Json | None, evidence: Evidence) -> Iterator[ModelCause]:
    """Of the columns that a categorical or multivalent feature reads."""
    read = {
        feature.get("column") or name
        for name, feature in (evidence.config.get("features") or {}).items()
        if feature.get("type") in ("categorical", "multivalent")
    }
    unseen = {
        one["feature"]: one["unseen_share"]
        for one in (data or {}).get("columns", ())
        if one["feature"] in read and (one.get("unseen_share") or 0) >= MIN_UNSEEN
    }
    if not unseen:
        return
    most = sorted(unseen, key=lambda name: -unseen[name])
    named = ", ".join(f"{100 * unseen[name]:.0f} % of {name}" for name in most[:_NAMED_COLUMNS])
    others = f" and {len(most) - _NAMED_COLUMNS} more columns" if len(most) > _NAMED_COLUMNS else ""
    message = f"the training days lack values of the eval days, of which the model knows nothing: {named}{others}"
    days = _times(evidence.setting("window.train_days"), 2)
    yield ModelCause("unseen_ids", "unseen_share", unseen[most[0]], message, "window.train_days", days)


def _constant_offset(model: Json, data: Json | None, evidence: Evidence) -> Iterator[ModelCause]:
    """Predictions that one number, added to every logit, would mend."""
    whole = whole_eval({"model": model})
    calibration = ((whole or {}).get("metrics") or {}).get("calibration")
    seen = ((whole or {}).get("intervals") or {}).get("calibration") or {}
    if calibration is None or abs(calibration - 1) < MIN_OFFSET or seen.get("lower", 0) <= 1 <= seen.get("upper", 2):
        return
    bins = [one for one in model.get("calibration_curve", ()) if one["examples"] and one["mean_prediction"] is not None]
    offset = _offset(bins)
    if offset is None or _miscounted(bins, offset) > 0.5 * _miscounted(bins, 0.0):
        return
    message = (
        f"the predictions are {calibration:.2f} times the clicks at every level: {offset:+.2f} added to each logit "
        "would mend it"
    )
    before, after = _click_rate(data, "train"), _click_rate(data, "eval")
    if before and after and abs(math.log(before / after) + offset) < abs(offset) / 2:
        message += f". The click rate moved from {100 * before:.2g} % in the training days to {100 * after:.2g} %"
    days = _half(evidence.setting("window.train_days"))
    yield ModelCause("constant_offset", "calibration", calibration, message, "window.train_days", days)


def _offset(bins: Sequence[Json]) -> float | None:
    """The number that makes the predictions of all bins together equal their clicks, by bisection."""
    low, high = -8.0, 8.0
    clicks = sum(one["examples"] * one["click_rate"] for one in bins)
    if not 0 < clicks < sum(one["examples"] for one in bins):
        return None
    for _ in range(60):
        middle = (low + high) / 2
        predicted = sum(one["examples"] * _shifted(one["mean_prediction"], middle) for one in bins)
        low, high = (low, middle) if predicted > clicks else (middle, high)
    return (low + high) / 2


def _miscounted(bins: Sequence[Json], offset: float) -> float:
    return sum(one["examples"] * abs(_shifted(one["mean_prediction"], offset) - one["click_rate"]) for one in bins)


def _shifted(probability: float, offset: float) -> float:
    probability = min(max(probability, 1e-7), 1 - 1e-7)
    return 1 / (1 + math.exp(math.log1p(-probability) - math.log(probability) - offset))


def _network_too_large(model: Json, evidence: Evidence) -> Iterator[ModelCause]:
    if _difference_to_regression(model) != "loss":
        return
    units = evidence.setting("model.hidden_units")
    message = (
        "a logistic regression on the same features does better, and the training was neither too short nor too long: "
        "the network is too large for these rows"
    )
    smaller = [max(8, unit // 4) for unit in units] if isinstance(units, list) and units else None
    yield ModelCause("network_too_large", "normalized_entropy", None, message, "model.hidden_units", smaller)


def _difference_to_regression(model: Json) -> str | None:
    """gain, loss or noise: the model's normalised entropy less that of the logistic regression."""
    models = (model.get("references") or {}).get("models", ())
    one = next((each for each in models if each["name"] == "logistic_regression"), None)
    return one["difference"].get("normalized_entropy", {}).get("meaning") if one else None


def _times(value: Any, factor: int) -> Any:
    if isinstance(value, float):
        return float(f"{value * factor:.3g}")
    return value * factor if isinstance(value, int) else None


def _half(value: Any) -> Any:
    return max(1, value // 2) if isinstance(value, int) else None
