"""Training against serving, and against the eval split: one model, two sets of rows that should be alike."""

from __future__ import annotations

from collections.abc import Iterator

from hivemill.components.data_verdict.checks.columns import SIGMAS, missing_sigmas, pair, percent
from hivemill.components.data_verdict.checks.evidence import Learnt, WindowEvidence, learnt
from hivemill.components.data_verdict.comparison.columns import compare
from hivemill.components.data_verdict.findings import DataFinding
from hivemill.components.data_verdict.profile.window_profile import Distribution


def eval_is_like_train(evidence: WindowEvidence) -> Iterator[DataFinding]:
    """The eval days against the train days of the same window; amber. Silent where the drift check names the day."""
    profile = evidence.profile
    if profile is None or profile.thinned or not profile.splits.get("train") or not profile.splits.get("eval"):
        return
    for name, column in profile.columns.items():
        drift = evidence.drift.get(name)
        if column.kind == "time" or evidence.ignores(name) or (drift is not None and drift.is_beyond):
            continue
        before = profile.distribution(name, profile.splits["train"])
        after = profile.distribution(name, profile.splits["eval"])
        finding = _finding(evidence, "split", name, "eval", before, after, ("training days", "eval days"))
        if finding:
            yield finding


def serving_is_like_train(evidence: WindowEvidence) -> Iterator[DataFinding]:
    """What serving saw against the training split: distribution, missing values, and columns that serving lacks."""
    if evidence.serving is None or evidence.profile is None:
        return
    days = evidence.serving.days
    split = "eval" if evidence.profile.thinned else "train"
    for name, column in evidence.profile.columns.items():
        if column.kind == "time" or evidence.ignores(name):
            continue
        if name not in evidence.serving.columns:
            if evidence.roles.is_used(name):
                yield DataFinding(
                    "red" if evidence.options.on_drift == "red" else "amber", "skew", name, split,
                    f"{name}: the serving log does not have this column, and a feature reads it", cause="serving_skew",
                )  # fmt: skip
            continue
        before = evidence.profile.distribution(name, evidence.profile.splits.get(split, ()))
        after = evidence.serving.distribution(name, days)
        finding = _finding(evidence, "skew", name, split, before, after, ("training", "serving"))
        if finding:
            yield finding
        change = after.missing_share - before.missing_share
        if abs(change) > evidence.options.missing.amber and abs(missing_sigmas(before, after)) > SIGMAS:
            severity = evidence.severity(name, abs(change), evidence.options.missing)
            bound = evidence.options.missing.red if severity == "red" else evidence.options.missing.amber
            yield DataFinding(
                severity, "skew", name, split,
                f"{name}: {percent(after.missing_share)} of serving's rows have no value, "
                f"{percent(before.missing_share)} of training's; change {change:+.2g} beyond {bound:g}",
                measure="missing_share", value=round(change, 5), threshold=bound, threshold_source="default",
                arithmetic=(pair("no value", before.missing_share, after.missing_share),),
                cause="serving_skew",
            )  # fmt: skip


def _finding(
    evidence: WindowEvidence,
    kind: str,
    name: str,
    split: str,
    before: Distribution,
    after: Distribution,
    words: tuple[str, str],
) -> DataFinding | None:
    if not before.present or not after.present:
        return None
    comparison = compare(evidence.profile.columns[name].kind, before, after)
    bounds = _bounds(evidence, name)
    if comparison.value <= bounds.amber or not comparison.is_real:
        return None
    severity = evidence.severity(name, comparison.value, bounds) if kind == "skew" else "amber"
    bound = bounds.red if severity == "red" else bounds.amber
    arithmetic = tuple(comparison.arithmetic())
    bins = "; ".join(f"{one['bin']}: {percent(one['before'])} -> {percent(one['after'])}" for one in arithmetic)
    return DataFinding(
        severity, kind, name, split,
        f"{name}: JS {comparison.value:.2g} > {bound:.2g} from {words[0]} to {words[1]}; {bins}",
        measure="js", value=round(comparison.value, 5), threshold=round(bound, 5),
        threshold_source=bounds.source_of(bound), arithmetic=arithmetic,
        cause="serving_skew" if kind == "skew" else "drift",
    )  # fmt: skip


def _bounds(evidence: WindowEvidence, name: str) -> Learnt:
    if evidence.reference is not None and name in evidence.compared_columns:
        return evidence.drift_bounds(name)
    return learnt(evidence.options.drift, 0.0)
