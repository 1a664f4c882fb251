"""What a report concludes, and from what: first whether the data may be compared, then guardrails, then the CTR."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any, Literal

from hivemill.serving.experiment.guardrails import VariantHealth, too_little
from hivemill.serving.experiment.options import ExperimentOptions
from hivemill.serving.experiment.sample_checks import Fault
from hivemill.serving.experiment.stats.sequential import Look, first_crossing

MIN_GUARDRAIL_ROWS = 1000
MIN_CALIBRATION_CLICKS = 400
MIN_EXPECTED_CLICKS = 50
"""Below these a guardrail is not judged: one slow or failed request would decide."""

State = Literal["invalid", "guardrail", "too_early", "better", "worse", "undecided"]
COLOURS = {
    "invalid": "red",
    "guardrail": "red",
    "worse": "red",
    "better": "green",
    "undecided": "amber",
    "too_early": "running",
}


@dataclasses.dataclass(frozen=True)
class TestConclusion:
    state: State
    title: str
    reason: str
    hint: str | None = None

    def document(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "colour": COLOURS[self.state]}


@dataclasses.dataclass(frozen=True)
class TestEvidence:
    """What is judged."""

    faults: Sequence[Fault]
    guardrails: Sequence[dict[str, Any]]
    looks: Sequence[Look]
    finished: bool


def conclude(evidence: TestEvidence, options: ExperimentOptions) -> TestConclusion:
    """The first that applies: invalid, guardrail, too early, better or worse, undecided."""
    return (
        _invalid(evidence)
        or _guardrail(evidence, options)
        or _too_early(evidence, options)
        or _significant(evidence, options)
        or _undecided(evidence, options)
    )


def judge_guardrails(
    control: VariantHealth, treatment: VariantHealth, options: ExperimentOptions
) -> list[dict[str, Any]]:
    """One entry for each: name, state (pass, fail, not judged), control, treatment, value, rule."""
    limits = options.guardrails
    rows = min(control.impressions, treatment.impressions)
    few = f"needs {MIN_GUARDRAIL_ROWS:,} impressions of each variant" if rows < MIN_GUARDRAIL_ROWS else None
    sound, failing = control.error_share, treatment.error_share
    increase = failing - sound if sound is not None and failing is not None else None
    absent = few or ("the log has no error column" if increase is None else None)
    made = [
        _guard(
            "errors", sound, failing, increase, increase is not None and increase <= limits.max_error_increase, absent
        )
        | {"rule": f"failed requests at most {limits.max_error_increase:g} more"}
    ]
    slow, slower = control.p99_latency_seconds, treatment.p99_latency_seconds
    ratio = slower / slow if slow and slower is not None else None
    absent = few or ("the log has no latency_seconds" if ratio is None else None)
    made.append(
        _guard("p99 latency", slow, slower, ratio, ratio is not None and ratio <= limits.max_p99_ratio, absent)
        | {"rule": f"at most {limits.max_p99_ratio:g} times that of {options.control}"}
    )
    made.append(_clicks_guard(control, treatment, options))
    value = treatment.calibration
    absent = "the log has no prediction with a click" if value is None else None
    if value is not None and treatment.clicks < MIN_CALIBRATION_CLICKS:
        absent = f"needs {MIN_CALIBRATION_CLICKS} clicks"
    inside = value is not None and limits.calibration_at_least <= value <= limits.calibration_at_most
    made.append(
        _guard("calibration", control.calibration, value, value, inside, absent)
        | {"rule": f"{limits.calibration_at_least:g} to {limits.calibration_at_most:g}"}
    )
    return made


def _clicks_guard(control: VariantHealth, treatment: VariantHealth, options: ExperimentOptions) -> dict[str, Any]:
    """A variant without any click, where the other's CTR would give it many, has lost its clicks or shows nothing."""
    pairs = ((options.treatment, treatment, control), (options.control, control, treatment))
    expected = {n: (other.ctr or 0) * own.impressions_with_click_known for n, own, other in pairs if not own.clicks}
    name, most = max(expected.items(), key=lambda pair: pair[1], default=("", 0.0))
    made = _guard("clicks", control.clicks, treatment.clicks, most, most < MIN_EXPECTED_CLICKS, None)
    rule = f"a variant without a click must expect fewer than {MIN_EXPECTED_CLICKS}"
    return made | {"rule": f"{rule}; {name} expects {most:,.0f}" if name else rule}


def _guard(
    name: str, control: float | None, treatment: float | None, value: float | None, passed: bool, absent: str | None
) -> dict[str, Any]:
    state = "not judged" if absent else "pass" if passed else "fail"
    return {"name": name, "state": state, "control": control, "treatment": treatment, "value": value, "why": absent}


def _invalid(evidence: TestEvidence) -> TestConclusion | None:
    if not evidence.faults:
        return None
    first, *others = evidence.faults
    more = "".join(f" Besides, {fault.title}: {fault.reason}" for fault in others)
    return TestConclusion("invalid", f"No conclusion: {first.title}", first.reason + more, first.hint)


def _guardrail(evidence: TestEvidence, options: ExperimentOptions) -> TestConclusion | None:
    failed = [guard for guard in evidence.guardrails if guard["state"] == "fail"]
    if not failed:
        return None
    words = "; ".join(
        f"{guard['name']}: {options.control} {_short(guard['control'])}, {options.treatment} "
        f"{_short(guard['treatment'])} ({guard['rule']})"
        for guard in failed
    )
    return TestConclusion(
        "guardrail", f"{options.treatment} breaks a guardrail", words, "Roll back and look at its log."
    )


def _too_early(evidence: TestEvidence, options: ExperimentOptions) -> TestConclusion | None:
    if not evidence.looks or not evidence.looks[-1].counts:
        return TestConclusion("too_early", "Too early to tell", f"{too_little(list(evidence.looks))}.")
    if options.planned_end and not evidence.finished:
        return TestConclusion(
            "too_early",
            "Too early to tell",
            f"The test is looked at once, after its planned end on {options.planned_end}.",
            "Leave planned_end empty, before a test starts, to be able to look every day.",
        )
    return None


def _significant(evidence: TestEvidence, options: ExperimentOptions) -> TestConclusion | None:
    crossed, when = _crossing(evidence, options)
    if crossed is None:
        return None
    better = crossed.comparison.difference > 0
    last = evidence.looks[-1].comparison
    faded = not options.planned_end and evidence.looks[-1].own_p_value > options.alpha
    return TestConclusion(
        "better" if better else "worse",
        f"{options.treatment} is {'better' if better else 'worse'} than {options.control}",
        f"{_ctrs(last, options)}; {when}.",
        "The interval over all days includes 0 again: the difference may fade. Look at the days." if faded else None,
    )


def _crossing(evidence: TestEvidence, options: ExperimentOptions) -> tuple[Look | None, str]:
    if options.planned_end:
        last = evidence.looks[-1]
        p_value = last.comparison.p_value
        significant = p_value is not None and p_value <= options.alpha
        return (last if significant else None), f"p {_short(p_value)} in the one look after the planned end"
    crossed = first_crossing(evidence.looks, options.alpha)
    day = crossed.date if crossed else None
    return crossed, f"significant since {day}, always-valid p {_short(evidence.looks[-1].p_value)}"


def _undecided(evidence: TestEvidence, options: ExperimentOptions) -> TestConclusion:
    last = evidence.looks[-1]
    hint = None if options.planned_end else "Go on, or stop without a winner; `hivemill ab power` says what it takes."
    p_value = last.comparison.p_value if options.planned_end else last.p_value
    kind = "p" if options.planned_end else "always-valid p"
    reason = f"{_ctrs(last.comparison, options)}; {kind} {_short(p_value)} is above {options.alpha:g}."
    return TestConclusion("undecided", "No difference shown", reason, hint)


def _ctrs(comparison: Any, options: ExperimentOptions) -> str:
    lift = f", lift {comparison.lift:+.2%}" if comparison.lift is not None else ""
    adjusted = " (CUPED)" if comparison.variance_reduction is not None else ""
    return (
        f"CTR {comparison.treatment.value:.4%} of {options.treatment}, {comparison.control.value:.4%} of "
        f"{options.control}{lift}{adjusted}"
    )


def _short(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def is_finished(planned_end: datetime.date | None, last_day: datetime.date, today: datetime.date) -> bool:
    """Whether the planned last day is over."""
    return planned_end is None or last_day > planned_end or today > planned_end
