"""Whether canary may take its next step: every guardrail says green, wait or red, in a sentence with its numbers.

Rollouts are looked at often, so a guardrail is red only where chance is no explanation: so many errors (binomial) or so
few clicks (Poisson, on the log scale) come about in one of 1,000 cases; the interval of the CTR is always valid by
itself. Where the value is beyond its bound but chance could be why, the guardrail waits.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Sequence
from typing import Any

from hivemill.serving.rollout.metrics import RolloutMetrics, SampleValidity, VariantMetrics
from hivemill.serving.rollout.options import GuardrailOptions, RolloutOptions
from hivemill.serving.rollout.state import Rollout

GREEN, WAIT, RED = "green", "wait", "red"
_CHANCE = 0.001
_MANY_CLICKS = 50  # of which not one is no chance, however much users differ
_Z = 3.2905  # the normal distribution's, for this chance on both sides together


@dataclasses.dataclass(frozen=True)
class GuardrailFinding:
    """One guardrail's word."""

    name: str
    colour: str
    message: str


@dataclasses.dataclass(frozen=True)
class Judgement:
    """All guardrails' words; `colour` is the worst of them."""

    findings: Sequence[GuardrailFinding]

    @property
    def colour(self) -> str:
        colours = {finding.colour for finding in self.findings}
        return next((colour for colour in (RED, WAIT) if colour in colours), GREEN)

    def to_document(self) -> dict[str, Any]:
        return {"colour": self.colour, "findings": [dataclasses.asdict(finding) for finding in self.findings]}

    def messages(self, colour: str) -> list[str]:
        return [finding.message for finding in self.findings if finding.colour == colour]


def judge(rollout: Rollout, metrics: RolloutMetrics, options: RolloutOptions, now: datetime.datetime) -> Judgement:
    """Of a running rollout. `metrics` must be of its versions and its time: `refusal` tells."""
    stable, canary = metrics.variants.stable, metrics.variants.canary
    bounds = options.guardrails
    is_last = next_percent(rollout, options) == 100
    return Judgement(
        (
            _time(rollout, options, now),
            _sample(rollout, canary, options),
            _validity(metrics.sample, options),
            _errors(stable, canary, bounds),
            _latency(stable, canary, bounds, options.min_impressions),
            _calibration(stable, canary, bounds),
            _ctr(metrics, bounds, is_last),
        )
    )


def refusal(rollout: Rollout, metrics: RolloutMetrics, options: RolloutOptions, now: datetime.datetime) -> str | None:
    """Why these metrics say nothing about this rollout; None where they do."""
    for name, version in (("stable", rollout.stable), ("canary", rollout.canary)):
        received = getattr(metrics.variants, name).model_version
        if received != version:
            return f"metrics must be of the rollout's versions: {name} is {version}; received {received}"
    if metrics.since_utc < datetime.datetime.fromisoformat(rollout.started_utc):
        return f"metrics must not begin before the rollout ({rollout.started_utc}); received {metrics.since_utc}"
    age, limit = metrics.age_hours(now), options.max_metrics_age_hours
    if age > limit:
        return f"metrics must end less than {limit:g} hours ago; received {metrics.until_utc} ({age:.1f} hours ago)"
    if age < -limit:  # of a wrong clock or time zone: they would never become old
        return f"metrics must not end in the future; received {metrics.until_utc} ({-age:.1f} hours ahead)"
    return None


def next_percent(rollout: Rollout, options: RolloutOptions) -> int:
    """The first step of the config above where the rollout stands."""
    return next((percent for percent in options.percentages if percent > rollout.percent), 100)


def _time(rollout: Rollout, options: RolloutOptions, now: datetime.datetime) -> GuardrailFinding:
    hours = (now - datetime.datetime.fromisoformat(rollout.step_since_utc)).total_seconds() / 3600
    message = f"{hours:.1f} of at least {options.min_hours:g} hours at {rollout.percent} %"
    return GuardrailFinding("time", GREEN if hours >= options.min_hours else WAIT, message)


def _sample(rollout: Rollout, canary: VariantMetrics, options: RolloutOptions) -> GuardrailFinding:
    num = new_impressions(rollout, canary)
    message = f"{num} of at least {options.min_impressions} impressions of canary at {rollout.percent} %"
    return GuardrailFinding("sample", GREEN if num >= options.min_impressions else WAIT, message)


def new_impressions(rollout: Rollout, canary: VariantMetrics) -> int:
    """Of this step: counts go on from step to step, and a source that began anew has fewer than were counted."""
    before = rollout.step_impressions if canary.impressions >= rollout.step_impressions else 0
    return canary.impressions - before


def _validity(sample: SampleValidity | None, options: RolloutOptions) -> GuardrailFinding:
    """A sample that may not be compared says nothing of clicks, errors or latency."""
    if sample is None:
        return GuardrailFinding("validity", GREEN, "not judged: the metrics do not say whether the sample is valid")
    if sample.valid:
        return GuardrailFinding("validity", GREEN, "the users of both variants may be compared")
    colour = RED if options.on_invalid_sample == "abort" else WAIT
    return GuardrailFinding(
        "validity", colour, f"the sample is invalid: {'; '.join(sample.reasons) or 'no reason given'}"
    )


def _errors(stable: VariantMetrics, canary: VariantMetrics, bounds: GuardrailOptions) -> GuardrailFinding:
    if not canary.impressions or not stable.impressions:
        return GuardrailFinding("errors", WAIT, "no impressions to count errors in yet")
    if canary.errors is None or stable.errors is None:
        return GuardrailFinding("errors", WAIT, "not judged: errors are not known (log the column `error`)")
    share, reference = canary.errors / canary.impressions, stable.errors / stable.impressions
    bound = reference + bounds.max_error_increase
    message = f"errors {share:.3%} of canary, {reference:.3%} of stable; at most {bound:.3%}"
    if share <= bound:
        return GuardrailFinding("errors", GREEN, message)
    by_chance = binomial_tail(canary.errors, canary.impressions, bound)
    return GuardrailFinding("errors", RED if by_chance < _CHANCE else WAIT, message)


def _latency(stable: VariantMetrics, canary: VariantMetrics, bounds: GuardrailOptions, enough: int) -> GuardrailFinding:
    if canary.p99_latency_seconds is None:
        return GuardrailFinding("latency", WAIT, "canary's p99_latency_seconds is not known")
    bound = bounds.max_p99_seconds
    if stable.p99_latency_seconds is not None:
        bound = min(bound, bounds.max_p99_ratio * stable.p99_latency_seconds)
    message = f"p99 {canary.p99_latency_seconds * 1e3:.1f} ms of canary; at most {bound * 1e3:.1f} ms"
    if canary.p99_latency_seconds <= bound:
        return GuardrailFinding("latency", GREEN, message)
    return GuardrailFinding("latency", RED if canary.impressions >= enough else WAIT, message)


def _calibration(stable: VariantMetrics, canary: VariantMetrics, bounds: GuardrailOptions) -> GuardrailFinding:
    if canary.mean_prediction is None:
        return GuardrailFinding("calibration", WAIT, "canary's mean_prediction is not known")
    expected = canary.mean_prediction * canary.num_judged()
    if not canary.clicks:
        colour = RED if math.exp(-expected) < _CHANCE else WAIT
        return GuardrailFinding("calibration", colour, f"no click of canary yet; {expected:.1f} were predicted")
    ratio = expected / canary.clicks
    limit = max(1 + bounds.max_calibration_error, _miscalibration(stable))
    message = f"mean prediction / click rate {ratio:.3f} of canary; {1 / limit:.3f} to {limit:.3f}"
    beyond = abs(math.log(ratio)) - math.log(limit) if ratio > 0 else math.inf
    if beyond <= 0:
        return GuardrailFinding("calibration", GREEN, message)
    return GuardrailFinding("calibration", RED if beyond > _Z / math.sqrt(canary.clicks) else WAIT, message)


def _miscalibration(variant: VariantMetrics) -> float:
    """As a factor, 1 or more. Where stable is off (clicks that come late), canary may be as far off."""
    expected = (variant.mean_prediction or 0) * variant.num_judged()
    if not variant.clicks or not expected:
        return 1.0
    return max(expected / variant.clicks, variant.clicks / expected)


def _ctr(metrics: RolloutMetrics, bounds: GuardrailOptions, is_last: bool) -> GuardrailFinding:
    lift = metrics.lift
    stable, canary = metrics.variants.stable, metrics.variants.canary
    expected = stable.clicks / stable.num_judged() * canary.num_judged() if stable.num_judged() else 0.0
    if not canary.clicks and expected >= _MANY_CLICKS:
        return GuardrailFinding("ctr", RED, f"no click of canary, where stable's rate gives {expected:,.0f}")
    if lift is None:
        return GuardrailFinding("ctr", WAIT, "the interval of the lift in CTR is not known (hivemill ab report)")
    message = f"lift in CTR {lift.low:+.2%} to {lift.high:+.2%}"
    if lift.high < -bounds.max_ctr_loss:
        return GuardrailFinding("ctr", RED, f"{message}; all of it below {-bounds.max_ctr_loss:+.2%}")
    lowest = -bounds.max_ctr_loss_at_end
    if is_last and lift.low < lowest:
        return GuardrailFinding("ctr", WAIT, f"{message}; canary gets all once it begins above {lowest:+.2%}")
    return GuardrailFinding("ctr", GREEN, message)


def binomial_tail(count: int, total: int, share: float) -> float:
    """Probability of `count` or more of `total`, each with probability `share` (exact; one sum of `count` terms)."""
    if count <= 0 or share >= 1:
        return 1.0
    if share <= 0:
        return 0.0
    log_share, log_rest, log_all = math.log(share), math.log1p(-share), math.lgamma(total + 1)
    below = math.fsum(
        math.exp(log_all - math.lgamma(i + 1) - math.lgamma(total - i + 1) + i * log_share + (total - i) * log_rest)
        for i in range(count)
    )
    return max(0.0, 1.0 - below)
