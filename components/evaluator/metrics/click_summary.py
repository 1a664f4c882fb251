"""Everything the metrics need to know about a set of rows, in bounded memory, mergeable in any order. NumPy only.

Why not TFMA's own accumulators: they visit each row in Python once per metric, model and slice, and place predictions
in 10,000 equal buckets between 0 and 1, of which a table with 0.5 % clicks uses a few dozen. A summary is made of whole
arrays, and its buckets are equal in the logit, so they are as fine at 0.001 as they are at 0.5.

Shape legend: N rows, B occupied buckets, U users.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np

from hivemill.components.evaluator.metrics import bootstrap

BUCKETS_PER_LOGIT = 256  # rows in the same bucket count as tied; the error of AUC is below 1e-4 (tests)
BUCKETS_PER_CELL = 8  # the bootstrap's buckets are 32 per logit: it asks for the spread, not for the last digit
MAX_LOGIT = 21.0  # float32 probabilities below 1e-9 or above 1 - 6e-8 share the outer buckets
LOGLOSS_EPSILON = 1e-7  # as Keras clips probabilities in BinaryCrossentropy
STANDARD_ERRORS = 3.0  # auc_lower_bound = AUC - 3 SE
PREDICTION_METRICS = (
    "auc",
    "auc_lower_bound",
    "auc_precision_recall",
    "logloss",
    "normalized_entropy",
    "calibration",
    "gauc",
    "calibration_error",
    "logit_range",
)


@dataclasses.dataclass(frozen=True)
class ClickSummary:
    """Sums over the usable rows (label 0 or 1, prediction in [0, 1]) and counts of the others."""

    bucket_ids: np.ndarray  # int32[B], ascending
    bucket_rows: np.ndarray  # int64[B]
    bucket_clicks: np.ndarray  # int64[B]
    bucket_predictions: np.ndarray  # float64[B], sums
    examples: int = 0  # all rows, usable or not
    clicks: int = 0  # rows with label 1, whatever the prediction
    logloss_sum: float = 0.0
    gauc_sum: float = 0.0  # sum over users of impressions * AUC
    gauc_rows: int = 0  # impressions of the users that have both classes
    missing_labels: int = 0
    bad_labels: int = 0
    bad_predictions: int = 0  # NaN, infinite, below 0 or above 1
    groups: bootstrap.GroupSums = dataclasses.field(default_factory=bootstrap.no_groups)

    @property
    def usable_rows(self) -> int:
        return int(self.bucket_rows.sum())


def empty_summary() -> ClickSummary:
    zero = np.zeros(0, np.int64)
    return ClickSummary(np.zeros(0, np.int32), zero, zero, np.zeros(0, np.float64))


def summarize(
    labels_N: np.ndarray,
    predictions_N: np.ndarray,
    users_N: np.ndarray | None = None,
    groups_N: np.ndarray | None = None,
) -> ClickSummary:
    """Summary of rows. `labels_N` float, NaN where missing; `users_N` uint64, 0 where unknown.

    All rows of a user within the slice must be in the same call: GAUC compares the rows of a user with each other.
    `groups_N` (resampling.group_of) are what the bootstrap draws; by user or place when left out.
    """
    labels = np.asarray(labels_N, np.float64).reshape(-1)
    predictions = np.asarray(predictions_N, np.float64).reshape(-1)
    missing = np.isnan(labels)
    bad_label = ~missing & (labels != 0) & (labels != 1)
    good_prediction = (predictions >= 0) & (predictions <= 1)
    num_clicks = int((labels == 1).sum())
    usable = ~missing & ~bad_label & good_prediction
    groups = np.asarray(groups_N) if groups_N is not None else bootstrap.group_of(users_N, len(missing))
    users = None if users_N is None else np.asarray(users_N)[usable]
    labels, predictions, groups = labels[usable], predictions[usable], groups[usable]
    logloss_N, gauc_N2 = row_logloss(labels, predictions), grouped_auc(labels, predictions, users)
    ids = _bucket_ids(predictions)
    by_row = np.column_stack([logloss_N, predictions, gauc_N2])
    return ClickSummary(
        *_buckets(ids, labels, predictions),
        examples=len(missing),
        clicks=num_clicks,
        logloss_sum=float(logloss_N.sum()),
        gauc_sum=float(gauc_N2[:, 0].sum()),
        gauc_rows=round(gauc_N2[:, 1].sum()),
        missing_labels=int(missing.sum()),
        bad_labels=int(bad_label.sum()),
        bad_predictions=int((~good_prediction).sum()),
        groups=bootstrap.sum_groups(groups, np.floor_divide(ids, BUCKETS_PER_CELL), labels, by_row),
    )


def merge(summaries: Iterable[ClickSummary]) -> ClickSummary:
    """Summary of all rows of `summaries` (whose users must not overlap)."""
    parts = list(summaries)
    if not parts:
        return empty_summary()
    ids, group_B = np.unique(np.concatenate([p.bucket_ids for p in parts]), return_inverse=True)

    def total(name: str, kind: type) -> np.ndarray:
        sums = np.zeros(len(ids), kind)
        np.add.at(sums, group_B, np.concatenate([getattr(p, name) for p in parts]))
        return sums

    return ClickSummary(
        ids,
        total("bucket_rows", np.int64),
        total("bucket_clicks", np.int64),
        total("bucket_predictions", np.float64),
        *(sum(getattr(p, field.name) for p in parts) for field in dataclasses.fields(ClickSummary)[4:-1]),
        groups=bootstrap.merge([p.groups for p in parts]),
    )


def metrics_of(summary: ClickSummary) -> dict[str, float]:
    """The metrics of `MetricName` and the counts of unusable rows; NaN where undefined.

    With a single prediction that is no probability every metric of the predictions is NaN: a mean that leaves the bad
    rows out would bless a broken model.
    """
    counts = {
        name: float(getattr(summary, name)) for name in ("clicks", "missing_labels", "bad_labels", "bad_predictions")
    }
    counts["example_count"] = float(summary.examples)
    metrics = dict.fromkeys(PREDICTION_METRICS, math.nan) if summary.bad_predictions else _prediction_metrics(summary)
    return metrics | counts


def _prediction_metrics(summary: ClickSummary) -> dict[str, float]:
    rows, clicks = summary.usable_rows, summary.clicks
    auc = area_under_roc(summary.bucket_rows, summary.bucket_clicks)
    logloss = summary.logloss_sum / rows if rows else math.nan
    return {
        "auc": auc,
        "auc_lower_bound": auc - STANDARD_ERRORS * auc_standard_error(auc, clicks, rows - clicks),
        "auc_precision_recall": area_under_precision_recall(summary.bucket_rows, summary.bucket_clicks),
        "logloss": logloss,
        "normalized_entropy": normalized_entropy(logloss, clicks, rows),
        "calibration": float(summary.bucket_predictions.sum()) / clicks if clicks else math.nan,
        "gauc": summary.gauc_sum / summary.gauc_rows if summary.gauc_rows else math.nan,
        "calibration_error": calibration_error(calibration_bins(summary), clicks),
        "logit_range": logit_range(summary.bucket_ids, summary.bucket_rows),
    }


def area_under_roc(bucket_rows_B: np.ndarray, bucket_clicks_B: np.ndarray) -> float:
    """Probability that a click is ranked above a non-click, ties counting half (Mann-Whitney). Buckets ascend."""
    clicks_B = bucket_clicks_B.astype(np.float64)
    others_B = bucket_rows_B - clicks_B
    pairs = clicks_B.sum() * others_B.sum()
    others_below_B = np.cumsum(others_B) - others_B
    return float((clicks_B * (others_below_B + others_B / 2)).sum() / pairs) if pairs else math.nan


def area_under_precision_recall(bucket_rows_B: np.ndarray, bucket_clicks_B: np.ndarray) -> float:
    """Average precision: sum over thresholds of the gain in recall times the precision there. Buckets ascend."""
    clicks_B, rows_B = bucket_clicks_B[::-1].astype(np.float64), bucket_rows_B[::-1]
    if not clicks_B.sum():
        return math.nan
    precision_B = np.cumsum(clicks_B) / np.cumsum(rows_B)
    return float((clicks_B * precision_B).sum() / clicks_B.sum())


def auc_standard_error(auc: float, clicks: int, others: int) -> float:
    """Hanley and McNeil, Radiology 143 (1982), equation 2 with the exponential approximation of Q1 and Q2."""
    if not clicks or not others:
        return math.nan
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (clicks - 1) * (q1 - auc**2) + (others - 1) * (q2 - auc**2)
    return math.sqrt(max(variance, 0.0) / (clicks * others))


def normalized_entropy(logloss: float, clicks: int, rows: int) -> float:
    """Logloss over the entropy of the click rate (He et al., ADKDD 2014): 1 is no better than the mean."""
    if not 0 < clicks < rows:
        return math.nan
    rate = clicks / rows
    return logloss / -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))


def calibration_error(bins: Sequence[CalibrationBin], clicks: int) -> float:
    """Share of the clicks that the bins' predictions miscount, each bin less two standard errors: 0 is right or luck.

    The expected calibration error, relative to the clicks and without what chance alone would add on small data.
    """
    if not clicks:
        return math.nan
    luck = (2 * math.sqrt(max(one.prediction_sum, one.clicks)) for one in bins)
    excess = (abs(one.prediction_sum - one.clicks) - noise for one, noise in zip(bins, luck, strict=True))
    return sum(max(each, 0.0) for each in excess) / clicks


def logit_range(bucket_ids_B: np.ndarray, bucket_rows_B: np.ndarray) -> float:
    """Distance in logits between the 1st and the 99th percentile of the predictions: 0 is a constant prediction."""
    if not len(bucket_ids_B):
        return math.nan
    share_B = np.cumsum(bucket_rows_B) / bucket_rows_B.sum()
    low, high = np.searchsorted(share_B, [0.01, 0.99])
    return float(bucket_ids_B[min(high, len(share_B) - 1)] - bucket_ids_B[low]) / BUCKETS_PER_LOGIT


def grouped_auc(labels_N: np.ndarray, predictions_N: np.ndarray, users_N: np.ndarray | None) -> np.ndarray:
    """float64[N, 2]: on the first row of each user with both classes (impressions * AUC, impressions), else zeros.

    Their sums are those of GAUC (Zhou et al., KDD 2018); user 0 is no user.
    """
    found = np.zeros((len(labels_N), 2))
    rows = np.flatnonzero(users_N) if users_N is not None else np.zeros(0, np.int64)
    if not len(rows):
        return found
    labels, predictions, users = labels_N[rows], predictions_N[rows], users_N[rows]
    order = np.lexsort((predictions, users))
    labels, predictions, users = labels[order], predictions[order], users[order]
    new_user = np.r_[True, users[1:] != users[:-1]]
    new_tie = new_user | np.r_[True, predictions[1:] != predictions[:-1]]
    user_starts_U, tie_starts = np.flatnonzero(new_user), np.flatnonzero(new_tie)
    tie_sizes = np.diff(np.r_[tie_starts, len(users)])
    rows_U = np.diff(np.r_[user_starts_U, len(users)])
    mean_position_N = np.repeat(tie_starts + (tie_sizes - 1) / 2, tie_sizes)
    ranks_N = mean_position_N - np.repeat(user_starts_U, rows_U) + 1
    clicks_U = np.add.reduceat(labels, user_starts_U)
    rank_sums_U = np.add.reduceat(ranks_N * labels, user_starts_U)
    both = (clicks_U > 0) & (clicks_U < rows_U)
    clicks_U, rows_U, rank_sums_U = clicks_U[both], rows_U[both], rank_sums_U[both]
    auc_U = (rank_sums_U - clicks_U * (clicks_U + 1) / 2) / (clicks_U * (rows_U - clicks_U))
    found[rows[order[user_starts_U[both]]]] = np.stack([auc_U * rows_U, rows_U], axis=1)
    return found


@dataclasses.dataclass(frozen=True)
class CalibrationBin:
    """Rows with a prediction in [lower, upper): what was predicted and what happened."""

    lower: float
    upper: float
    examples: int
    prediction_sum: float
    clicks: int


def calibration_bins(summary: ClickSummary, num_bins: int = 10) -> list[CalibrationBin]:
    """Bins of about equally many rows, ordered by prediction: where clicks are rare, equal widths would be one bin."""
    if not summary.usable_rows:
        return []
    middle_B = np.cumsum(summary.bucket_rows) - summary.bucket_rows / 2
    bin_B = np.minimum((middle_B / summary.usable_rows * num_bins).astype(int), num_bins - 1)
    starts = np.flatnonzero(np.r_[True, bin_B[1:] != bin_B[:-1]])
    edges = np.r_[0.0, _probability((summary.bucket_ids[starts[1:]] - 0.5) / BUCKETS_PER_LOGIT), 1.0]
    columns = (summary.bucket_rows, summary.bucket_predictions, summary.bucket_clicks)
    rows, predictions, clicks = (np.add.reduceat(column, starts) for column in columns)
    return [
        CalibrationBin(float(edges[i]), float(edges[i + 1]), int(rows[i]), float(predictions[i]), int(clicks[i]))
        for i in range(len(starts))
    ]


def _bucket_ids(predictions_N: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        logits_N = np.clip(np.log(predictions_N) - np.log1p(-predictions_N), -MAX_LOGIT, MAX_LOGIT)
    return np.rint(logits_N * BUCKETS_PER_LOGIT).astype(np.int32)


def _buckets(ids_N: np.ndarray, labels_N: np.ndarray, predictions_N: np.ndarray) -> tuple[np.ndarray, ...]:
    ids_B, bucket_N = np.unique(ids_N, return_inverse=True)
    num = len(ids_B)
    rows_B = np.bincount(bucket_N, minlength=num).astype(np.int64)
    clicks_B = np.rint(np.bincount(bucket_N, labels_N, minlength=num)).astype(np.int64)
    return ids_B, rows_B, clicks_B, np.bincount(bucket_N, predictions_N, minlength=num)


def row_logloss(labels_N: np.ndarray, predictions_N: np.ndarray) -> np.ndarray:
    """Binary cross-entropy of each row, in nats, with Keras' clipping."""
    clipped_N = np.clip(predictions_N, LOGLOSS_EPSILON, 1 - LOGLOSS_EPSILON)
    return -np.log(np.where(labels_N == 1, clipped_N, 1 - clipped_N))


def _probability(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))
