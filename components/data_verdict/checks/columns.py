"""Checks of single columns against the reference: distribution, missing values, vocabulary, what tells the label."""

from __future__ import annotations

import math
from collections.abc import Iterator

from hivemill.components.data_verdict.checks import causes
from hivemill.components.data_verdict.checks.evidence import DriftEvidence, Learnt, WindowEvidence, learnt
from hivemill.components.data_verdict.comparison.columns import shown_value
from hivemill.components.data_verdict.comparison.reference import usual
from hivemill.components.data_verdict.findings import DataFinding
from hivemill.components.data_verdict.profile.window_profile import Distribution

SIGMAS = 6.0
_MIN_CLICKS = 30
_LEAK_SIGMAS = 5.0
_MIN_DEPENDENCE = 0.2
_DEPENDENCE = Learnt(amber=0.15, red=0.4, source="default")
_CARDINALITY = Learnt(amber=2.0, red=4.0, source="default")


def distributions_hold(evidence: WindowEvidence) -> Iterator[DataFinding]:
    """Jensen-Shannon divergence of each judged day, of numbers in bins, of values and list elements by name."""
    for name, row in evidence.drift.items():
        if row.is_beyond:
            yield _drift_finding(evidence, name, row)


def _drift_finding(evidence: WindowEvidence, name: str, row: DriftEvidence) -> DataFinding:
    cause = causes.cause_of(evidence, name, evidence.drift)
    comparison = row.comparison
    severity = evidence.severity(name, comparison.value, row.bounds)
    bound = row.bounds.red if severity == "red" else row.bounds.amber
    arithmetic = tuple(comparison.arithmetic())
    bins = "; ".join(f"{one['bin']}: {percent(one['before'])} -> {percent(one['after'])}" for one in arithmetic)
    because = f"; {cause.because}" if cause else ""
    return DataFinding(
        severity, "drift", name, evidence.split_of(row.day),
        f"{name}: JS {comparison.value:.2g} > {bound:.2g} on {_days(row)}{because}; {bins}",
        measure="js", value=round(comparison.value, 5), threshold=round(bound, 5),
        threshold_source=row.bounds.source_of(bound), arithmetic=arithmetic, cause=cause.name if cause else "drift",
    )  # fmt: skip


def _days(row: DriftEvidence) -> str:
    if len(row.days_beyond) == 1:
        return row.day
    return f"{row.day} (and on {len(row.days_beyond) - 1} other days, the first {min(row.days_beyond)})"


def values_are_present(evidence: WindowEvidence) -> Iterator[DataFinding]:
    """The share of rows without a value, by day."""
    for name in evidence.compared_columns:
        worst = _worst_missing(evidence, name)
        if worst is None:
            continue
        day, before, after = worst
        bounds = _missing_bounds(evidence, name)
        change = after.missing_share - before.missing_share
        if abs(change) <= bounds.amber or abs(missing_sigmas(before, after)) < SIGMAS:
            continue
        severity = evidence.severity(name, change, bounds)  # fewer missing values never stop a run
        bound = bounds.red if severity == "red" else bounds.amber
        yield DataFinding(
            severity, "missing", name, evidence.split_of(day),
            f"{name}: {percent(after.missing_share)} of the rows of {day} have no value, "
            f"{percent(before.missing_share)} before; change {change:+.2g} beyond {bound:.2g}",
            measure="missing_share", value=round(change, 5), threshold=round(bound, 5),
            threshold_source=bounds.source_of(bound),
            arithmetic=(pair("no value", before.missing_share, after.missing_share),),
            cause=_missing_cause(evidence, name, before, after),
        )  # fmt: skip


def _missing_bounds(evidence: WindowEvidence, name: str) -> Learnt:
    chosen = evidence.options.columns.get(name)
    if chosen is not None and chosen.missing is not None:
        return Learnt(chosen.missing.amber, chosen.missing.red, "config")
    return learnt(evidence.options.missing, _usual_missing(evidence, name))


def _worst_missing(evidence: WindowEvidence, name: str) -> tuple[str, Distribution, Distribution] | None:
    days = {day: evidence.profile.columns[name].days.get(day) for day in evidence.judged_days}
    pairs = [(day, evidence.reference.column(name, day), after) for day, after in days.items() if after]
    found = [one for one in pairs if one[1].rows and one[2].rows]
    return max(found, key=lambda one: abs(one[2].missing_share - one[1].missing_share), default=None)


def _usual_missing(evidence: WindowEvidence, name: str) -> float:
    shares = [one.missing_share for one in evidence.reference.profile.columns[name].days.values() if one.rows]
    mean = sum(shares) / len(shares) if shares else 0.0
    return usual([abs(share - mean) for share in shares])


def missing_sigmas(before: Distribution, after: Distribution) -> float:
    """How many standard errors the shares of missing values differ."""
    rate = (before.missing + after.missing) / max(before.rows + after.rows, 1)
    variance = rate * (1 - rate) * (1 / max(before.rows, 1) + 1 / max(after.rows, 1))
    return (after.missing_share - before.missing_share) / math.sqrt(max(variance, 1e-12))


def _missing_cause(evidence: WindowEvidence, name: str, before: Distribution, after: Distribution) -> str:
    if after.missing_share > 0.99 and before.missing_share < 0.9:
        return "dead_feature"
    cause = causes.cause_of(evidence, name, evidence.drift)
    return cause.name if cause else "missing_values"


def vocabulary_holds(evidence: WindowEvidence) -> Iterator[DataFinding]:
    """New and lost values of columns whose values are few enough to be known by name."""
    for name in evidence.compared_columns:
        if evidence.profile.columns[name].kind not in ("value", "list"):
            continue
        bounds = learnt(evidence.options.values, _usual_change(evidence, name))
        found = [_values_finding(evidence, name, day, bounds) for day in evidence.judged_days]
        worst = max((one for one in found if one), key=lambda one: one.value or 0.0, default=None)
        if worst:
            yield worst


def _values_finding(evidence: WindowEvidence, name: str, day: str, bounds: Learnt) -> DataFinding | None:
    after = evidence.profile.columns[name].days.get(day)
    before = evidence.reference.column(name, day)
    if after is None or not (after.is_whole and before.is_whole and after.present and before.present):
        return None
    new, lost = causes.new_values(before, after), causes.lost_values(before, after)
    new_share, lost_share = causes.share_of(after, new), causes.share_of(before, lost)
    value = max(new_share, lost_share)
    if value <= bounds.amber:
        return None
    severity = evidence.severity(name, value, bounds)
    bound = bounds.red if severity == "red" else bounds.amber
    what = "new" if new_share >= lost_share else "lost"
    shown = sorted(new if what == "new" else lost, key=lambda one: -(after if what == "new" else before).counts[one])[
        :3
    ]
    words = "occur in no row before" if what == "new" else "occur no longer"
    cause = causes.cause_of(evidence, name, evidence.drift)
    arithmetic = tuple(
        pair(shown_value(one), causes.share_of(before, [one]), causes.share_of(after, [one])) for one in shown
    )
    return DataFinding(
        severity, "values", name, evidence.split_of(day),
        f"{name}: {len(new if what == 'new' else lost):,} values that {words} make {percent(value)} of {day} > "
        f"{percent(bound)}: {', '.join(map(repr, shown))}",
        measure=f"{what}_share", value=round(value, 5), threshold=round(bound, 5),
            threshold_source=bounds.source_of(bound),
        arithmetic=arithmetic, cause=cause.name if cause else {"new": "category_flood", "lost": "lost_values"}[what],
    )  # fmt: skip


def _usual_change(evidence: WindowEvidence, name: str) -> float:
    """How many values are new or lost on a day of the reference, against its other days."""
    profile = evidence.reference.profile
    by_day = profile.columns[name].days
    changes = []
    for day, now in by_day.items():
        others = profile.distribution(name, profile.alike(day))
        if others.is_whole and now.is_whole and others.present:
            new, lost = causes.new_values(others, now), causes.lost_values(others, now)
            changes.append(max(causes.share_of(now, new), causes.share_of(others, lost)))
    return usual(changes)


def ids_are_as_many(evidence: WindowEvidence) -> Iterator[DataFinding]:
    """Different values per day, of columns that have too many of them to be known by name."""
    for name in evidence.compared_columns:
        found = [(ratio, day) for day in evidence.judged_days if (ratio := _cardinality(evidence, name, day))]
        if not found:
            continue
        ratio, day = max(found, key=lambda one: abs(math.log(one[0])))
        factor = max(ratio, 1 / ratio)
        if factor <= _CARDINALITY.amber:
            continue
        severity = evidence.severity(name, factor, _CARDINALITY)
        bound = _CARDINALITY.red if severity == "red" else _CARDINALITY.amber
        yield DataFinding(
            severity, "values", name, evidence.split_of(day),
            f"{name}: {evidence.profile.columns[name].days[day].distinct:,} different values on {day}, {ratio:.2g} "
            f"times as many as usual; the bound is a factor of {bound:g}",
            measure="distinct_ratio", value=round(ratio, 4), threshold=bound, threshold_source="default",
            cause="category_flood" if ratio > 1 else "truncated_vocabulary",
        )  # fmt: skip


def _cardinality(evidence: WindowEvidence, name: str, day: str) -> float | None:
    """Different values over those of the reference's days of about as many rows; None where nothing compares."""
    now = evidence.profile.columns[name].days.get(day)
    if now is None or now.is_whole or not now.distinct:
        return None
    days = evidence.reference.profile.columns[name].days
    alike = [
        one.distinct
        for other, one in days.items()
        if other in evidence.reference.days_for(day) and not one.is_whole and 2 / 3 < now.rows / max(one.rows, 1) < 1.5
    ]
    return now.distinct / sorted(alike)[len(alike) // 2] if alike else None


def eval_values_are_known(evidence: WindowEvidence) -> Iterator[DataFinding]:
    """Share of the eval split's values that training has not seen: rises where vocabularies or ids broke."""
    if evidence.baseline is None:
        return
    for name in evidence.compared_columns:
        before, after = evidence.baseline.profile.columns[name].unseen, evidence.profile.columns[name].unseen
        if before is None or after is None:
            continue
        earlier = list(evidence.history.unseen.get(name, ()))
        spread = usual([abs(one - before) for one in earlier])
        bounds = learnt(evidence.options.coverage, spread)
        change = after - before
        if change > bounds.amber:
            severity = evidence.severity(name, change, bounds)
            bound = bounds.red if severity == "red" else bounds.amber
            cause = causes.cause_of(evidence, name, evidence.drift)
            yield DataFinding(
                severity, "coverage", name, "eval",
                f"{name}: training lacks {percent(after)} of eval's values, {percent(before)} in the last good window; "
                f"change {change:+.2g} > {bound:.2g}",
                measure="unseen_share", value=round(change, 5), threshold=round(bound, 5),
                threshold_source=bounds.source_of(bound), cause=cause.name if cause else "category_flood",
                arithmetic=(pair("unseen", before, after),),
            )  # fmt: skip


def columns_belong_together(evidence: WindowEvidence) -> Iterator[DataFinding]:
    """What columns say about each other, by day: each may look as before, and still be that of other rows."""
    if evidence.reference is None:
        return
    known, now = evidence.reference.profile.dependence, evidence.profile.dependence
    compared = set(evidence.compared_columns)
    for pair_name, by_day in known.items():
        first, second = pair_name.split("|", 1)
        if not {first, second} <= compared or any(_has_cause(evidence, name) for name in (first, second)):
            continue
        worst = None
        for day in evidence.judged_days:
            before = sorted(by_day[other] for other in evidence.reference.days_for(day) if other in by_day)
            after = now.get(pair_name, {}).get(day, 0.0)
            usual_value = before[len(before) // 2] if before else 0.0
            lost = 1 - after / usual_value if usual_value >= _MIN_DEPENDENCE else 0.0
            if worst is None or lost > worst[0]:
                worst = (lost, day, usual_value, after)
        if worst and worst[0] > _DEPENDENCE.amber:
            yield _dependence_finding(evidence, first, second, *worst)


def _has_cause(evidence: WindowEvidence, name: str) -> bool:
    """Another column's values, new ones or none at all: of course nothing fits any more."""
    return causes.cause_of(evidence, name, evidence.drift) is not None


def _dependence_finding(
    evidence: WindowEvidence, first: str, second: str, lost: float, day: str, before: float, after: float
) -> DataFinding:
    is_used = evidence.roles.is_used(first) or evidence.roles.is_used(second)
    severity = evidence.severity(first if evidence.roles.is_used(first) or not is_used else second, lost, _DEPENDENCE)
    bound = _DEPENDENCE.red if severity == "red" else _DEPENDENCE.amber
    return DataFinding(
        severity, "dependence", first, evidence.split_of(day),
        f"{first}: with {second} it has {after:.2f} of the information that one could give about the other on {day}, "
        f"{before:.2f} before; {percent(lost)} is lost > {percent(bound)}",
        measure="mutual_information_lost", value=round(lost, 4), threshold=bound, threshold_source="default",
        arithmetic=(pair(f"{first} and {second}", before, after),), cause="mixed_up_rows",
    )  # fmt: skip


def no_column_tells_the_label(evidence: WindowEvidence) -> Iterator[DataFinding]:
    """The AUC of one column alone, learnt on half of a day's rows and measured on the other half."""
    if evidence.profile is None:
        return
    days = evidence.judged_days
    for name, column in evidence.profile.columns.items():
        clicks = {day: sum(evidence.profile.clicks.get(day, {}).values()) for day in days}
        aucs = [
            (column.days[day].label_auc or 0.5, day)
            for day in days
            if day in column.days and clicks[day] >= _MIN_CLICKS
        ]
        if not aucs or evidence.ignores(name):
            continue
        auc, day = max(aucs)
        finding = _leak_finding(evidence, name, auc, day, clicks[day])
        if finding:
            yield finding


def _leak_finding(evidence: WindowEvidence, name: str, auc: float, day: str, clicks: int) -> DataFinding | None:
    bounds = evidence.options.leak
    before = _usual_auc(evidence, name, day)
    jump = auc - (before or 0.5)
    is_jump = before is not None and jump > (bounds.red - 0.5) / 3 and jump > _LEAK_SIGMAS * 0.5 / math.sqrt(clicks)
    if auc <= bounds.amber and not is_jump:
        return None
    limit = Learnt(bounds.amber, bounds.red, "default")
    severity = evidence.severity(name, auc, Learnt(0.0, 0.0, "default") if is_jump else limit)
    bound = (
        before + (bounds.red - 0.5) / 3
        if is_jump and auc <= bounds.red
        else bounds.red
        if severity == "red"
        else bounds.amber
    )
    told = f", {before:.2f} before" if before is not None else ""
    return DataFinding(
        severity, "leak", name, evidence.split_of(day),
        f"{name}: alone it tells clicks from non-clicks with AUC {auc:.2f} on {day}{told}; the bound is {bound:.2f}",
        measure="label_auc", value=round(auc, 4), threshold=round(bound, 4), threshold_source="default",
        arithmetic=({"bin": "AUC of this column alone", "before": before, "after": auc},), cause="leaked_label",
    )  # fmt: skip


def _usual_auc(evidence: WindowEvidence, name: str, day: str) -> float | None:
    if evidence.reference is None or name not in evidence.reference.profile.columns:
        return None
    days = evidence.reference.profile.columns[name].days
    known = sorted(
        days[other].label_auc for other in evidence.reference.days_for(day) if other in days and days[other].label_auc
    )
    return known[len(known) // 2] if known else None


def percent(share: float) -> str:
    return f"{share * 100:.3g} %"


def pair(name: str, before: float, after: float) -> dict[str, str | float]:
    return {"bin": name, "before": round(before, 5), "after": round(after, 5)}
