"""Whether the users of an exposure log may be compared at all: their ratio, users in both variants, users like robots.

The report and a rollout's guardrails ask the same questions here, so a rollout never goes on with a sample that the
report calls invalid.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from hivemill.serving.experiment.options import ExperimentOptions
from hivemill.serving.experiment.stats.sample_ratio import THRESHOLD, Mismatch, Stage, chi_square

MIN_ROWS_FOR_HEAVY_USERS = 1000
MAX_NAMED_USERS = 5


@dataclasses.dataclass(frozen=True)
class HeavyUser:
    """A user whose impressions are a large share of a variant's."""

    user: str
    variant: str
    impressions: int
    share: float


@dataclasses.dataclass(frozen=True)
class SampleChecks:
    """Attributes:
    expected_share: treatment's share of the users by the split; None where it is not known.
    mismatch: of all users, each in the variant of the first row; `unmixed` of those who saw one variant only.
    mixed_users: users in both variants; `mixed_share` is their share of the smaller variant's users, `smaller`.
    heavy_users: above the limit, the heaviest first.
    """

    expected_share: float | None
    mismatch: Mismatch | None
    unmixed: Mismatch | None
    mixed_users: int
    mixed_share: float
    smaller: str
    heavy_users: tuple[HeavyUser, ...]


@dataclasses.dataclass(frozen=True)
class Fault:
    """Why the variants may not be compared, and what to do."""

    title: str
    reason: str
    hint: str


def check_sample(frame: pd.DataFrame, share: float | None, options: ExperimentOptions) -> SampleChecks:
    """Of the rows of both variants under one split; `share` is treatment's by that split."""
    codes, users = pd.factorize(frame["user_id"])
    treated = (frame["variant"] == options.treatment).to_numpy()
    in_treatment = np.bincount(codes, treated, len(users)) > 0
    in_control = np.bincount(codes, ~treated, len(users)) > 0
    mixed = in_treatment & in_control
    sizes = {options.control: int(in_control.sum()), options.treatment: int(in_treatment.sum())}
    smaller = min(sizes, key=lambda name: sizes[name])
    order = np.argsort(frame["request_time"].to_numpy(), kind="stable")
    _, first = np.unique(codes[order], return_index=True)
    first_treated = treated[order][first]
    return SampleChecks(
        expected_share=share,
        mismatch=_mismatch(first_treated, share),
        unmixed=_mismatch(first_treated[~mixed], share),
        mixed_users=int(mixed.sum()),
        mixed_share=float(mixed.sum() / max(sizes[smaller], 1)),
        smaller=smaller,
        heavy_users=_heavy_users(codes, users, treated, options),
    )


def _mismatch(treated: np.ndarray, share: float | None) -> Mismatch | None:
    if share is None:
        return None
    return chi_square([Stage(share, int((~treated).sum()), int(treated.sum()))])


def _heavy_users(
    codes: np.ndarray, users: Sequence[str], treated: np.ndarray, options: ExperimentOptions
) -> tuple[HeavyUser, ...]:
    if options.max_impressions_per_user is not None:
        return ()
    found = []
    for variant, rows in ((options.control, ~treated), (options.treatment, treated)):
        total = int(rows.sum())
        if total < MIN_ROWS_FOR_HEAVY_USERS:
            continue
        counts = np.bincount(codes[rows], minlength=len(users))
        for user in np.flatnonzero(counts > options.max_user_share * total):
            found.append(HeavyUser(str(users[int(user)]), variant, int(counts[user]), float(counts[user] / total)))
    return tuple(sorted(found, key=lambda one: -one.share)[:MAX_NAMED_USERS])


def faults(checks: SampleChecks, options: ExperimentOptions) -> list[Fault]:
    """All reasons why there is no conclusion, the gravest first; empty where the variants may be compared."""
    found = [_ratio_fault(checks, checks.mismatch, "users", options)]
    if found[0] is None:
        found.append(_ratio_fault(checks, checks.unmixed, "users who saw one variant only", options))
    found += [_mixed_fault(checks, options), _heavy_fault(checks)]
    return [fault for fault in found if fault is not None]


def _ratio_fault(checks: SampleChecks, found: Mismatch | None, whom: str, options: ExperimentOptions) -> Fault | None:
    if found is None or not found.is_red:
        return None
    return Fault(
        "the sample ratio is wrong",
        f"{found.treatment_users / found.users:.2%} of {found.users:,} {whom} saw {options.treatment}, the split says "
        f"{checks.expected_share:.2%}; chance alone does that with probability {found.p_value:.2g}, below "
        f"{THRESHOLD:g}.",
        "Users are missing from one variant or are counted twice. Find out where before looking at any click: a "
        "variant that fails, redirects or logs less, bots, a log that lost files, a split that was changed.",
    )


def _mixed_fault(checks: SampleChecks, options: ExperimentOptions) -> Fault | None:
    if checks.mixed_share <= options.max_mixed_user_share:
        return None
    return Fault(
        "users saw both variants",
        f"{checks.mixed_users:,} users are in both variants: {checks.mixed_share:.2%} of the users of "
        f"{checks.smaller}, more than {options.max_mixed_user_share:.2%}. Active users change sides more often, so "
        "leaving them out leaves out the most active ones of the smaller variant.",
        "Assign by hivemill.serving.experiment.assignment with one salt and log `propensity`, so that changes of "
        "the split are known; or read the time since the last change only (--since).",
    )


def _heavy_fault(checks: SampleChecks) -> Fault | None:
    if not checks.heavy_users:
        return None
    named = "; ".join(f"{u.user!r}: {u.impressions:,} ({u.share:.1%} of {u.variant})" for u in checks.heavy_users)
    return Fault(
        "single users make up much of a variant",
        f"Impressions of {named}. One user more or less would decide the comparison.",
        "Leave robots and placeholder ids out of the log, or set experiment.max_impressions_per_user: what a user has "
        "beyond it is scaled down.",
    )
