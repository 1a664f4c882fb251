"""Metrics of a rollout from the exposure log: what `hivemill ab report` compares, since the rollout began."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pandas as pd

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.serving.experiment.assignment import CANARY, STABLE
from hivemill.serving.experiment.exposures.log import ExposureLog, read_log
from hivemill.serving.experiment.exposures.split import last_split
from hivemill.serving.experiment.guardrails import VariantHealth, health
from hivemill.serving.experiment.options import ExperimentOptions
from hivemill.serving.experiment.sample_checks import check_sample, faults
from hivemill.serving.rollout.metrics import Lift, RolloutMetrics, SampleValidity, VariantMetrics, Variants
from hivemill.serving.rollout.state import Rollout


def metrics_of_log(rollout: Rollout, options: ExperimentOptions) -> RolloutMetrics:
    """Of `options.log`. Raises DataNotReadyError where the log has no row of a variant since the rollout began."""
    since = datetime.datetime.fromisoformat(rollout.started_utc)
    if options.log is None:
        raise ConfigError(
            "experiment.log is not set, and the rollout's metrics come from it",
            hint="Set it to the exposure log, or name a metrics document in rollout.metrics.",
        )
    log = read_log(options.log, columns=options.columns, since=since, max_bad_share=options.max_bad_share)
    log = _of_versions(log, {STABLE: rollout.stable, CANARY: rollout.canary})
    found = health(log, alpha=options.alpha, lift_of_interest=options.lift_of_interest)
    missing = [name for name in (STABLE, CANARY) if name not in found.variants]
    if missing:
        raise DataNotReadyError(
            f"{options.log}: no row of {' and '.join(missing)} since the rollout began ({rollout.started_utc})",
            hint="Are exposures logged with their variant and version? docs/experiments.md has the columns.",
        )
    last = log.frame["request_time"].max().to_pydatetime().replace(tzinfo=datetime.timezone.utc)
    interval = found.lift_interval
    sample = options.model_copy(update={"control": STABLE, "treatment": CANARY})
    split = last_split(log.frame[log.frame["variant"].isin([STABLE, CANARY]).to_numpy()], CANARY)
    share = options.treatment_share if split.treatment_share is None else split.treatment_share
    reasons = tuple(
        f"{fault.title}: {fault.reason}" for fault in faults(check_sample(split.frame, share, sample), sample)
    )
    return RolloutMetrics(
        version=1,
        since_utc=since,
        until_utc=last,
        variants=Variants(
            stable=_variant(found.variants[STABLE], rollout.stable),
            canary=_variant(found.variants[CANARY], rollout.canary),
        ),
        lift=Lift(low=interval.low, high=interval.high) if interval else None,
        sample=SampleValidity(valid=not reasons, reasons=reasons),
    )


def _of_versions(log: ExposureLog, versions: dict[str, int]) -> ExposureLog:
    """Without the rows that another version answered, where the log says which. Failed requests stay: where a client
    fell back to stable, the failure is still canary's."""
    frame = log.frame
    if "model_version" not in frame:
        return log
    answered = pd.to_numeric(frame["model_version"].astype(object), errors="coerce").to_numpy(float)
    wanted = frame["variant"].astype(object).map(versions).to_numpy(float)
    failed = frame["error"].to_numpy(bool) if "error" in frame else False
    return dataclasses.replace(log, frame=frame[(answered == wanted) | failed])


def _variant(found: VariantHealth, version: int) -> VariantMetrics:
    counts: dict[str, Any] = {
        name: getattr(found, name)
        for name in ("impressions", "impressions_with_click_known", "clicks", "errors", "p99_latency_seconds")
    }
    return VariantMetrics(model_version=version, mean_prediction=found.mean_prediction, **counts)
