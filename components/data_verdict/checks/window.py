"""Checks of the window as a whole: rows by day and hour, click rate, copies, who made the traffic, which clock."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from hivemill.components.data_verdict.checks.columns import percent
from hivemill.components.data_verdict.checks.evidence import Learnt, WindowEvidence, learnt
from hivemill.components.data_verdict.comparison import distances
from hivemill.components.data_verdict.comparison.reference import usual
from hivemill.components.data_verdict.findings import DataFinding
from hivemill.components.data_verdict.profile.window_profile import Distribution, Profile, date_of

_MIN_EXPECTED_ROWS = 30
_HOUR_LOW, _HOUR_HIGH, _HOUR_SIGMAS = 0.3, 4.0, 6.0
_LOST_RATIO, _LOST_SIGMAS = 0.5, 4.5
_RATE_SIGMAS = 5.0
_TOP_USERS = 10
_TRAFFIC = Learnt(amber=0.03, red=0.1, source="default")
_CLOCK = Learnt(amber=0.02, red=0.2, source="default")
_COPIES = Learnt(amber=0.02, red=0.2, source="default")
_SAME_SHARE = 1e-4


def nothing_is_missing(evidence: WindowEvidence) -> Iterator[DataFinding]:
    """Partitions that the window goes on without, by the config's own wish: said, not stopped."""
    names = [str(name) for key in ("missing", "late", "empty") for name in evidence.manifest.get(key, ())]
    if names:
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        yield DataFinding(
            "amber", "volume", "", "", f"the window goes on without {len(names)} partitions: {shown}",
            measure="partitions", value=float(len(names)), threshold=0.0, threshold_source="config",
            cause="missing_hour",
        )  # fmt: skip


def days_have_their_rows(evidence: WindowEvidence) -> Iterator[DataFinding]:
    """Rows of a day against the same weekday of earlier good windows, else against the other days."""
    if evidence.reference is None:
        return
    worst = None
    for day in evidence.judged_days:
        expected, is_weekday = _expected_rows(evidence, day)
        if expected:
            ratio = max(evidence.profile.day_rows(day), 1) / expected
            if worst is None or abs(math.log(ratio)) > abs(math.log(worst[1])):
                worst = (day, ratio, expected, is_weekday)
    if worst is None:
        return
    day, ratio, expected, is_weekday = worst
    factor = max(ratio, 1 / ratio)
    bounds = _volume_bounds(evidence)
    if factor <= bounds.amber:
        return
    severity = evidence.severity(None, factor if is_weekday else min(factor, bounds.red), bounds)
    bound = bounds.red if severity == "red" else bounds.amber
    rows = evidence.profile.day_rows(day)
    yield DataFinding(
        severity, "volume", "", evidence.split_of(day),
        f"{day} has {rows:,} rows, {ratio:.2f} times the {expected:,.0f} of "
        f"{'the same weekday' if is_weekday else 'a day'} before; the bound is a factor of {bound:.2f}",
        measure="rows_ratio", value=round(ratio, 4), threshold=round(bound, 4),
        threshold_source=bounds.source_of(bound),
        arithmetic=({"bin": "rows", "before": round(expected), "after": rows},), cause="volume",
    )  # fmt: skip


def _expected_rows(evidence: WindowEvidence, day: str) -> tuple[float, bool]:
    """Median of the same weekday, else of all days; 0 where no other day is known."""
    rows = {} if evidence.profile.thinned else dict(evidence.history.rows)
    rows |= {other: evidence.reference.profile.day_rows(other) for other in evidence.reference.days_for(day)}
    rows.pop(day, None)
    same = [count for other, count in rows.items() if date_of(other).weekday() == date_of(day).weekday()]
    chosen = same or list(rows.values())
    return (float(np.median(chosen)) if chosen else 0.0), bool(same)


def _volume_bounds(evidence: WindowEvidence) -> Learnt:
    """Widened by how much the same weekday usually differs from week to week, where that is known."""
    rows = evidence.history.rows
    changes = []
    for day, count in rows.items():
        others = [
            known
            for other, known in rows.items()
            if other != day and date_of(other).weekday() == date_of(day).weekday()
        ]
        if others and count:
            changes.append(abs(math.log(count / max(float(np.median(others)), 1.0))))
    usual_change = math.exp(usual(changes))
    floor = evidence.options.volume
    amber, red = max(floor.amber, usual_change**3), max(floor.red, usual_change**6)
    return Learnt(amber, red, "learnt" if amber > floor.amber else "default")


def hours_have_their_rows(evidence: WindowEvidence) -> Iterator[DataFinding]:
    """Rows of an hour against the same hour of the reference: none, hardly any, or several times as many."""
    if evidence.reference is None or not evidence.profile.knows_hours:
        return
    lost, flooded = [], []
    for day in evidence.judged_days:
        expected = expected_hours(evidence, day)
        hours = evidence.profile.rows[day]
        for hour, usual_rows in expected.items():
            rows = hours.get(hour, 0)
            if usual_rows < _MIN_EXPECTED_ROWS or abs(rows - usual_rows) < _HOUR_SIGMAS * math.sqrt(usual_rows):
                continue
            ratio = rows / usual_rows
            if ratio < _HOUR_LOW:
                lost.append((ratio, day, hour, rows, usual_rows))
            elif ratio > _HOUR_HIGH:
                flooded.append((1 / ratio, day, hour, rows, usual_rows))
    for places, bound, cause in ((lost, _HOUR_LOW, "missing_hour"), (flooded, _HOUR_HIGH, "volume")):
        if places:
            yield _hour_finding(evidence, places, bound, cause)


def _hour_finding(evidence: WindowEvidence, places: list, bound: float, cause: str) -> DataFinding:
    _, day, hour, rows, expected = min(places)
    more = f", and {len(places) - 1} hours more" if len(places) > 1 else ""
    is_red = cause == "missing_hour" and evidence.options.on_drift == "red"
    return DataFinding(
        "red" if is_red else "amber", "volume", "", evidence.split_of(day),
        f"{day} hour {hour:02}: {rows:,} rows, {expected:,.0f} are usual{more}; the bound is {bound:g} times the usual",
        measure="rows_ratio", value=round(rows / expected, 4), threshold=bound, threshold_source="default",
        arithmetic=({"bin": f"{day} {hour:02}", "before": round(expected), "after": rows},), cause=cause,
    )  # fmt: skip


def expected_hours(evidence: WindowEvidence, day: str) -> dict[int, float]:
    """Median rows by hour of the reference's days of the same kind (weekday or weekend), else of all."""
    profile = evidence.reference.profile
    days = evidence.reference.days_for(day)
    alike = [other for other in days if (date_of(other).weekday() >= 5) == (date_of(day).weekday() >= 5)] or days
    hours = range(24)
    return (
        {hour: float(np.median([profile.rows[other].get(hour, 0) for other in alike])) for hour in hours}
        if alike
        else {}
    )


def clicks_arrive(evidence: WindowEvidence) -> Iterator[DataFinding]:
    """The click rate of a day, and of each of its hours."""
    if evidence.reference is None:
        return
    yield from _lost_hours(evidence)
    found = []
    for day in evidence.judged_days:
        rate, rows, clicks = (
            _rate_of(evidence.reference.profile, evidence.reference.days_for(day)),
            *_sums(evidence.profile, day),
        )
        if rows and rate and abs(distances.rate_sigmas(clicks, rows, rate)) > _RATE_SIGMAS:
            found.append((clicks / rows / rate - 1, day, rate, clicks / rows))
    if not found:
        return
    change, day, before, after = max(found, key=lambda one: abs(one[0]))
    bounds = learnt(evidence.options.click_rate, _usual_rate_change(evidence))
    if abs(change) <= bounds.amber:
        return
    severity = evidence.severity(None, abs(change), bounds)
    bound = bounds.red if severity == "red" else bounds.amber
    yield DataFinding(
        severity, "label", evidence.label_column, evidence.split_of(day),
        f"click rate of {day} is {percent(after)}, {percent(before)} before; change {change:+.0%} beyond {bound:.0%}",
        measure="click_rate_change", value=round(change, 4), threshold=round(bound, 4),
        threshold_source=bounds.source_of(bound),
        arithmetic=({"bin": "click rate", "before": round(before, 5), "after": round(after, 5)},),
        cause="clicks_lost" if change < -0.8 else "label_rate",
    )  # fmt: skip


def _lost_hours(evidence: WindowEvidence) -> Iterator[DataFinding]:
    places = []
    for day in evidence.judged_days:
        for hour, rows in evidence.profile.sampled.get(day, {}).items():
            rate = _rate_of(evidence.reference.profile, evidence.reference.days_for(day), hour)
            clicks = evidence.profile.clicks[day].get(hour, 0)
            if not rate or hour < 0:
                continue
            sigmas = distances.rate_sigmas(clicks, rows, rate)
            if sigmas < -_LOST_SIGMAS and clicks / rows < _LOST_RATIO * rate:
                places.append((sigmas, day, hour, rows, clicks, rate))
    if not places:
        return
    _, day, hour, rows, clicks, rate = min(places)
    more = f", and {len(places) - 1} hours more" if len(places) > 1 else ""
    yield DataFinding(
        evidence.options.on_drift, "label", evidence.label_column, evidence.split_of(day),
        f"{day} hour {hour:02}: {clicks:,} clicks in {rows:,} rows, {rows * rate:.0f} are usual{more}; the bound is "
        "half of them",
        measure="click_rate_ratio", value=round(clicks / rows / rate, 4), threshold=_LOST_RATIO,
        threshold_source="default", cause="clicks_lost",
        arithmetic=({"bin": f"{day} {hour:02}", "before": round(rate, 5), "after": round(clicks / rows, 5)},),
    )  # fmt: skip


def _rate_of(profile: Profile, days: list[str], hour: int | None = None) -> float:
    sums = [_sums(profile, day, hour) for day in days]
    rows = sum(one[0] for one in sums)
    return sum(one[1] for one in sums) / rows if rows else 0.0


def _sums(profile: Profile, day: str, hour: int | None = None) -> tuple[int, int]:
    sampled, clicks = profile.sampled.get(day, {}), profile.clicks.get(day, {})
    if hour is not None:
        return sampled.get(hour, 0), clicks.get(hour, 0)
    return sum(sampled.values()), sum(clicks.values())


def _usual_rate_change(evidence: WindowEvidence) -> float:
    profile = evidence.reference.profile
    changes = []
    for day in profile.days:
        rate = _rate_of(profile, profile.alike(day))
        rows, clicks = _sums(profile, day)
        if rows and rate:
            changes.append(abs(clicks / rows / rate - 1))
    return usual(changes)


def rows_are_no_copies(evidence: WindowEvidence) -> Iterator[DataFinding]:
    """The share of rows that are exact copies of others of their day."""
    if evidence.reference is None:
        return
    known = list(evidence.reference.profile.repeated.values())
    before = float(np.median(known)) if known else 0.0
    shares = [(evidence.profile.repeated.get(day, 0.0), day) for day in evidence.judged_days]
    after, day = max(shares, default=(0.0, ""))
    if after - before <= _COPIES.amber:
        return
    severity = evidence.severity(None, after - before, _COPIES)
    bound = _COPIES.red if severity == "red" else _COPIES.amber
    yield DataFinding(
        severity, "volume", "", evidence.split_of(day),
        f"{percent(after)} of the rows of {day} are exact copies of others, {percent(before)} before; the bound is "
        f"{percent(bound)} more",
        measure="repeated_share", value=round(after - before, 5), threshold=bound, threshold_source="default",
        arithmetic=({"bin": "copies", "before": round(before, 5), "after": round(after, 5)},), cause="repeated_rows",
    )  # fmt: skip


def no_user_is_the_traffic(evidence: WindowEvidence) -> Iterator[DataFinding]:
    """The share of a day's rows that its ten busiest users made."""
    user = evidence.roles.user
    if evidence.reference is None or user is None or user not in evidence.compared_columns:
        return
    before = usual([_top_share(one) for one in evidence.reference.profile.columns[user].days.values()])
    days = evidence.profile.columns[user].days
    after, day = max(((_top_share(days[day]), day) for day in evidence.judged_days if day in days), default=(0.0, ""))
    bounds = Learnt(_TRAFFIC.amber + before, _TRAFFIC.red + 2 * before, "learnt")
    if after <= bounds.amber:
        return
    severity = evidence.severity(user, after, bounds)
    bound = bounds.red if severity == "red" else bounds.amber
    top = sorted(days[day].counts.items(), key=lambda one: -one[1])[:3]
    yield DataFinding(
        severity, "traffic", user, evidence.split_of(day),
        f"{user}: the {_TOP_USERS} busiest of {day} made {percent(after)} of the rows > {percent(bound)}; usual are "
        f"{percent(before)}; the first are {', '.join(f'{name} ({count:,} rows)' for name, count in top)}",
        measure="top_share", value=round(after, 5), threshold=round(bound, 5), threshold_source="learnt",
        arithmetic=({"bin": f"the {_TOP_USERS} busiest", "before": round(before, 5), "after": round(after, 5)},),
        cause="bots",
    )  # fmt: skip


def _top_share(distribution: Distribution) -> float:
    top = sorted(distribution.counts.values(), reverse=True)[:_TOP_USERS]
    return sum(top) / distribution.present if distribution.present else 0.0


def clocks_are_right(evidence: WindowEvidence) -> Iterator[DataFinding]:
    """Times against the partition that they are in: how many rows have a distance that was never seen before."""
    for name in evidence.compared_columns:
        if evidence.profile.columns[name].kind != "time":
            continue
        found = []
        for day in evidence.judged_days:
            after, before = evidence.profile.columns[name].days.get(day), evidence.reference.column(name, day)
            if after and after.present and before.present:
                found.append((_unknown_share(before, after), day, before, after))
        if found:
            yield from _clock_finding(evidence, name, *max(found, key=lambda one: one[0]))


def _unknown_share(before: Distribution, after: Distribution) -> float:
    rare = {hours for hours, count in before.counts.items() if count < _SAME_SHARE * before.present}
    return sum(n for hours, n in after.counts.items() if hours not in before.counts or hours in rare) / after.present


def _clock_finding(
    evidence: WindowEvidence, name: str, share: float, day: str, before: Distribution, after: Distribution
) -> Iterator[DataFinding]:
    if share <= _CLOCK.amber:
        return
    # No feature need read a time for a wrong clock to do harm: it decides which day a row belongs to.
    severity = evidence.severity(None, share, _CLOCK)
    bound = _CLOCK.red if severity == "red" else _CLOCK.amber
    usually, now = (max(one.counts, key=lambda hours: one.counts[hours]) for one in (before, after))
    yield DataFinding(
        severity, "clock", name, evidence.split_of(day),
        f"{name}: {percent(share)} of the rows of {day} > {percent(bound)} are as far from the start of their "
        f"partition as no row was before; most are {now:+d} h from it, {usually:+d} h before",
        measure="unknown_offset_share", value=round(share, 5), threshold=bound, threshold_source="default",
        arithmetic=({"bin": "hours from the partition", "before": usually, "after": now},), cause="shifted_clock",
    )  # fmt: skip


def hours_are_where_they_were(evidence: WindowEvidence) -> Iterator[DataFinding]:
    """A day whose hours look like those of other days, but some hours later: partitions written by a moved clock."""
    if evidence.reference is None or not evidence.profile.knows_hours:
        return
    for day in evidence.judged_days:
        expected = expected_hours(evidence, day)
        before = np.array([expected.get(hour, 0.0) for hour in range(24)])
        after = np.array([float(evidence.profile.rows[day].get(hour, 0)) for hour in range(24)])
        if not before.sum() or not after.sum():
            continue
        values = [distances.jensen_shannon(np.roll(before, lag), after) for lag in range(24)]
        lag = int(np.argmin(values))
        if lag and values[0] > evidence.options.drift.red and values[lag] < values[0] / 4:
            hours = lag if lag <= 12 else lag - 24
            severity = evidence.severity(None, values[0], evidence.options.drift)
            yield DataFinding(
                severity, "clock", "", evidence.split_of(day),
                f"{day}: rows by hour are those of other days, {hours:+d} h: JS {values[0]:.2g} > "
                f"{evidence.options.drift.red:g}, {values[lag]:.2g} when moved",
                measure="js", value=round(values[0], 5), threshold=evidence.options.drift.red,
                threshold_source="default", cause="shifted_clock",
            )  # fmt: skip
            return
