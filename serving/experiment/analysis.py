"""The report of an A/B test as one JSON document, from an exposure log. docs/experiments.md describes the document."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.serving.experiment import decision
from hivemill.serving.experiment.exposures.log import ExposureLog
from hivemill.serving.experiment.exposures.split import last_split, last_version
from hivemill.serving.experiment.exposures.users import UserDays, UserSample
from hivemill.serving.experiment.guardrails import VariantHealth, click_cells, too_little, variant_health
from hivemill.serving.experiment.options import ExperimentOptions
from hivemill.serving.experiment.sample_checks import SampleChecks, check_sample, faults
from hivemill.serving.experiment.stats import sample_ratio, sequential
from hivemill.serving.experiment.stats.ratio import Interval, Rate, VariantComparison, bootstrap, compare, rate
from hivemill.serving.experiment.stats.sequential import Look

DOCUMENT_VERSION = 1
MAX_SLICE_VALUES = 50


def analyse(
    log: ExposureLog, options: ExperimentOptions, *, with_bootstrap: bool = False, today: datetime.date | None = None
) -> dict[str, Any]:
    """The whole report. `today` (UTC, now if None) decides whether a planned end is over.

    Raises ConfigError for a variant that the log does not have, DataNotReadyError for a log with one variant only.
    """
    _check_variants(log, options)
    frame, split = _of_the_last_test(_up_to_the_planned_end(log, options), options)
    arms = _arms(log, frame, options)
    health = {name: variant_health(rows) for name, rows in arms.items()}
    cells = _cells(frame, options)
    looks = _looks(cells, options)
    today = today or datetime.datetime.now(datetime.timezone.utc).date()
    checks = check_sample(frame, split["treatment_share"], options)
    evidence = decision.TestEvidence(
        faults=faults(checks, options),
        guardrails=decision.judge_guardrails(health[options.control], health[options.treatment], options),
        looks=looks,
        finished=decision.is_finished(options.planned_end, _last_day(log.frame), today),
    )
    return {
        "version": DOCUMENT_VERSION,
        "verdict": decision.conclude(evidence, options).document(),
        "method": _method(options),
        "log": _log_section(log),
        "period": _period(frame),
        "split": split,
        "ratio_check": _ratio_section(checks),
        "mixed_users": {
            "users": checks.mixed_users,
            "share": checks.mixed_share,
            "of": checks.smaller,
            "limit": options.max_mixed_user_share,
        },
        "heavy_users": [vars(user) for user in checks.heavy_users],
        "variants": {name: _variant_section(name, arms[name], health[name], looks, options) for name in arms},
        "lift": _lift_section(cells, looks, options, with_bootstrap),
        "looks": [_look_section(look) for look in looks],
        "days": _days(cells, options),
        "guardrails": list(evidence.guardrails),
        "slices": _slices(frame, options),
    }


def _check_variants(log: ExposureLog, options: ExperimentOptions) -> None:
    found = log.variants()
    if len(found) < 2:
        raise DataNotReadyError(
            f"{log.places[0]}: the log has one variant only: {found[0]!r}",
            hint="An A/B test compares two. Is the exposure of the other one logged, and is its share above 0?",
        )
    for key in ("control", "treatment"):
        name = getattr(options, key)
        if name not in found:
            shown = ", ".join(map(repr, found[:20]))
            hint = f"Set experiment.{key}, or --{key}, to one of them."
            raise ConfigError(f"{log.places[0]}: no row has the variant {name!r} ({key}); there are {shown}", hint=hint)


def _up_to_the_planned_end(log: ExposureLog, options: ExperimentOptions) -> pd.DataFrame:
    frame = log.frame[log.frame["variant"].isin([options.control, options.treatment]).to_numpy()]
    if options.planned_end is None:
        return frame
    end = np.datetime64(options.planned_end) + np.timedelta64(1, "D")
    frame = frame[frame["request_time"].to_numpy() < end]
    if frame.empty:
        raise DataNotReadyError(f"{log.places[0]}: no row up to the planned end {options.planned_end}")
    return frame


def _of_the_last_test(frame: pd.DataFrame, options: ExperimentOptions) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rows of treatment's last version under its last split, and the section `split`."""
    frame, earlier = last_version(frame, options.treatment)
    found = last_split(frame, options.treatment)
    share = options.treatment_share if found.treatment_share is None else found.treatment_share
    origin = "propensity" if found.treatment_share is not None else "config" if share is not None else "unknown"
    section = {
        "treatment_share": share,
        "rows_under_other_splits": found.rows_under_other_splits,
        "rows_of_other_versions": earlier,
        "from": origin,
    }
    return found.frame, section


def _arms(log: ExposureLog, frame: pd.DataFrame, options: ExperimentOptions) -> dict[str, pd.DataFrame]:
    """The rows of each variant, control first."""
    arms = {name: frame[(frame["variant"] == name).to_numpy()] for name in (options.control, options.treatment)}
    for name, rows in arms.items():
        if rows.empty:
            raise DataNotReadyError(f"{log.places[0]}: no row of {name} is under the split that is analysed")
    return arms


def _cells(frame: pd.DataFrame, options: ExperimentOptions, covariates: tuple[str, ...] | None = None) -> UserDays:
    of_users = options.covariates if covariates is None else covariates
    return click_cells(frame, options.control, options.treatment, of_users, options.max_impressions_per_user)


def _looks(cells: UserDays, options: ExperimentOptions) -> list[Look]:
    if not len(cells.users):
        return []
    return sequential.looks(cells, alpha=options.alpha, lift_of_interest=options.lift_of_interest)


def _method(options: ExperimentOptions) -> dict[str, Any]:
    return {
        "unit": "user",
        "looks": "once" if options.planned_end else "daily",
        "planned_end": options.planned_end.isoformat() if options.planned_end else None,
        "alpha": options.alpha,
        "lift_of_interest": options.lift_of_interest,
        "covariates": list(options.covariates),
        "control": options.control,
        "treatment": options.treatment,
    }


def _log_section(log: ExposureLog) -> dict[str, Any]:
    return {
        "files": len(log.places),
        "first_file": log.places[0],
        **vars(log.counts),
        "bad_row_examples": [str(row) for row in log.bad_rows],
    }


def _period(frame: pd.DataFrame) -> dict[str, Any]:
    moments = frame["request_time"].to_numpy()
    days = np.unique(moments.astype("datetime64[D]"))
    return {"first_utc": f"{moments.min()}Z", "last_utc": f"{moments.max()}Z", "days": len(days)}


def _last_day(frame: pd.DataFrame) -> datetime.date:
    return frame["request_time"].to_numpy().max().astype("datetime64[D]").item()


def _ratio_section(checks: SampleChecks) -> dict[str, Any]:
    found, unmixed = checks.mismatch, checks.unmixed
    if found is None:
        unknown = "the split is not known: log propensity or set experiment.treatment_share"
        why = unknown if checks.expected_share is None else "few users"
        return {"state": "not judged", "why": why, "p_value": None, "threshold": sample_ratio.THRESHOLD}
    is_red = found.is_red or (unmixed is not None and unmixed.is_red)
    return {
        "state": "fail" if is_red else "pass",
        "why": None,
        "p_value": found.p_value,
        "p_value_without_mixed_users": unmixed.p_value if unmixed else None,
        "threshold": sample_ratio.THRESHOLD,
        "users": found.users,
        "treatment_users": found.treatment_users,
        "expected_treatment_users": found.expected_treatment_users,
    }


def _variant_section(
    name: str, rows: pd.DataFrame, health: VariantHealth, looks: list[Look], options: ExperimentOptions
) -> dict[str, Any]:
    versions = rows["model_version"].value_counts().head(5) if "model_version" in rows else {}
    section: dict[str, Any] = {**vars(health), "model_versions": {str(k): int(v) for k, v in versions.items()}}
    if looks:
        last = looks[-1].comparison
        section["judged"] = _rate_section(last.control if name == options.control else last.treatment)
    return section


def _rate_section(one: Rate) -> dict[str, Any]:
    return {
        "users": one.users,
        "impressions": int(one.impressions),
        "clicks": int(one.clicks),
        "ctr": _finite(one.value),
        "standard_error": _finite(one.variance**0.5) if one.variance >= 0 else None,
        "design_effect": _finite(one.design_effect),
    }


def _lift_section(
    cells: UserDays, looks: list[Look], options: ExperimentOptions, with_bootstrap: bool
) -> dict[str, Any]:
    if not looks or not looks[-1].counts:
        return {"state": "unknown", "why": too_little(looks)}
    last = looks[-1]
    section = {"state": "known", "why": None, **_comparison_section(last.comparison, options.alpha)}
    section["always_valid"] = {
        "p_value": last.p_value,
        "difference_interval": last.interval,
        "lift_interval": last.lift_interval,
    }
    control, treatment = cells.samples()
    if options.covariates and cells.covariates is not None:
        plain = compare(_plain(control), _plain(treatment))
        reduction = last.comparison.variance_reduction
        section["cuped"] = {
            "covariates": list(options.covariates),
            "users_with_history": int(np.isfinite(cells.covariates).all(axis=1).sum()),
            "variance_reduction": reduction,
            "without": _comparison_section(plain, options.alpha),
        }
    if with_bootstrap:
        difference, lift = bootstrap(control, treatment, alpha=options.alpha)
        section["bootstrap"] = {"difference_interval": difference, "lift_interval": lift, "one_look": True}
    return section


def _plain(sample: UserSample) -> UserSample:
    return UserSample(sample.clicks, sample.impressions)


def _comparison_section(comparison: VariantComparison, alpha: float) -> dict[str, Any]:
    """With the intervals and the p-value of ONE look."""
    reach = float(stats.norm.isf(alpha / 2))
    return {
        "difference": comparison.difference,
        "standard_error": comparison.standard_error,
        "lift": comparison.lift,
        "one_look": {
            "p_value": comparison.p_value,
            "difference_interval": comparison.interval(reach),
            "lift_interval": comparison.lift_interval(reach),
        },
    }


def _look_section(look: Look) -> dict[str, Any]:
    return {
        "date": look.date.isoformat(),
        "counts": look.counts,
        "lift": look.comparison.lift,
        "difference": _finite(look.comparison.difference),
        "p_value": look.p_value,
        "difference_interval": look.interval,
        "lift_interval": look.lift_interval,
    }


def _days(cells: UserDays, options: ExperimentOptions) -> list[dict[str, Any]]:
    """Each day by itself, users as the unit."""
    made = []
    for day, date in enumerate(cells.dates):
        part = cells.days == day
        treated = cells.is_treatment[cells.users]
        rates = {
            name: rate(UserSample(cells.clicks[part & chosen], cells.impressions[part & chosen]))
            for name, chosen in ((options.control, ~treated), (options.treatment, treated))
        }
        made.append({"date": date.isoformat(), **{name: _rate_section(one) for name, one in rates.items()}})
    return made


def _slices(frame: pd.DataFrame, options: ExperimentOptions) -> dict[str, Any]:
    """Every value of the slices' columns, largest first; p-values by Holm, intervals by Bonferroni, over all judged."""
    rows, left_out = [], 0
    for column in options.slices:
        values = frame[column].value_counts()
        left_out += max(0, len(values) - MAX_SLICE_VALUES)
        for value in values.index[:MAX_SLICE_VALUES]:
            part = frame[(frame[column] == value).to_numpy()]
            rows.append((column, str(value), _looks(_cells(part, options, covariates=()), options)))
    judged = [looks[-1] for _, _, looks in rows if looks and looks[-1].counts]
    raw = [_p_value(look, options) for look in judged]
    corrected = iter(holm(raw))
    reach_alpha = options.alpha / max(len(judged), 1)
    return {
        "correction": "Holm",
        "judged": len(judged),
        "values_left_out": left_out,
        "rows": [_slice_section(*row, corrected, reach_alpha, options) for row in rows],
    }


def _slice_section(
    column: str, value: str, looks: list[Look], corrected: Any, alpha: float, options: ExperimentOptions
) -> dict[str, Any]:
    section: dict[str, Any] = {"column": column, "value": value, "judged": False}
    if not looks:
        return section
    last = looks[-1]
    section |= {
        "control": _rate_section(last.comparison.control),
        "treatment": _rate_section(last.comparison.treatment),
        "lift": last.comparison.lift,
    }
    if not last.counts:
        return section
    p_value = next(corrected)
    return section | {
        "judged": True,
        "lift_interval": _slice_interval(last.comparison, alpha, options),
        "p_value": _p_value(last, options),
        "corrected_p_value": p_value,
        "significant": p_value <= options.alpha,
    }


def _slice_interval(comparison: VariantComparison, alpha: float, options: ExperimentOptions) -> Interval | None:
    if options.planned_end:
        return comparison.lift_interval(float(stats.norm.isf(alpha / 2)))
    scale = sequential.comparison_scale(comparison, options.lift_of_interest, options.alpha)
    return comparison.lift_interval(sequential.multiplier(comparison.standard_error, scale, alpha))


def _p_value(look: Look, options: ExperimentOptions) -> float:
    """Of the last look alone, so that it agrees with the slice's interval."""
    if not options.planned_end:
        return look.own_p_value
    return look.comparison.p_value if look.comparison.p_value is not None else 1.0


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction (1979): the probability of any false alarm stays alpha, under any dependence."""
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(p_values))
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected.tolist()


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
