"""The checks on the data: each a pure function from evidence to findings.

To add a check: write a function, put it into `CHECKS`, and what it compares with into `Evidence`; to add a cause, put
it into `findings.CAUSES`. Imports the metadata protos only: no TensorFlow, no TFX.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from hivemill.components.data_verdict.checks import causes, columns, skew, window
from hivemill.components.data_verdict.checks.evidence import WindowEvidence
from hivemill.components.data_verdict.findings import DataFinding, Severity, ranked

__all__ = ["CHECKS", "DataFinding", "WindowEvidence", "run_checks"]

_Anomaly = anomalies_pb2.AnomalyInfo
Check = Callable[[WindowEvidence], Iterable[DataFinding]]


def run_checks(evidence: WindowEvidence) -> list[DataFinding]:
    """Findings of all checks, red ones first, the most probable root cause first among them."""
    return ranked(finding for check in CHECKS for finding in check(evidence))


def splits_have_rows(evidence: WindowEvidence) -> Iterator[DataFinding]:
    """Every split has rows, and there is one to train on and one to evaluate on."""
    for split in sorted({"train", "eval", *evidence.statistics}, key=_split_order):
        statistics = evidence.statistics.get(split)
        if statistics is None or statistics.num_examples == 0:
            yield DataFinding("red", "rows", "", split, f"{split}: the split has no rows", cause="no_rows")


def label_is_binary(evidence: WindowEvidence) -> Iterator[DataFinding]:
    """The label is an integer 0 or 1 in every row, and both occur in every split."""
    label = evidence.label_column
    for split, statistics in _with_rows(evidence):
        feature = _feature_statistics(statistics, label)
        problem = _label_problem(label, feature, int(statistics.num_examples))
        if problem:
            yield DataFinding("red", "label", label, split, f"{split}: {problem}", cause="label")


def schema_holds(evidence: WindowEvidence) -> Iterator[DataFinding]:
    """TFDV's anomalies: the table has the columns, types, values and presence that the schema states."""
    for split, _ in _with_rows(evidence):
        anomalies = evidence.anomalies.get(split, anomalies_pb2.Anomalies())
        for feature, anomaly in sorted(anomalies.anomaly_info.items()):
            if _is_judged_elsewhere(evidence, feature, anomaly):
                continue
            cause = causes.cause_of(evidence, feature, evidence.drift)
            message = _type_mismatch(evidence, split, feature) or _described(feature, anomaly)
            severity = _severity(evidence, feature, anomaly)
            name = cause.name if cause else "schema"
            yield DataFinding(severity, "schema", feature, split, f"{split}: {message}", cause=name)
        if anomalies.HasField("dataset_anomaly_info"):
            text = anomalies.dataset_anomaly_info.description or anomalies.dataset_anomaly_info.short_description
            yield DataFinding(evidence.options.on_anomaly, "schema", "", split, f"{split}: {text}")


CHECKS: tuple[Check, ...] = (
    splits_have_rows,
    label_is_binary,
    schema_holds,
    window.nothing_is_missing,
    window.days_have_their_rows,
    window.hours_have_their_rows,
    window.clicks_arrive,
    window.rows_are_no_copies,
    window.no_user_is_the_traffic,
    window.clocks_are_right,
    window.hours_are_where_they_were,
    columns.distributions_hold,
    columns.values_are_present,
    columns.vocabulary_holds,
    columns.ids_are_as_many,
    columns.eval_values_are_known,
    columns.columns_belong_together,
    columns.no_column_tells_the_label,
    skew.eval_is_like_train,
    skew.serving_is_like_train,
)

# What every new day brings against a schema that was inferred from the training days: new values (the model has
# out-of-vocabulary buckets for them), a new column (nothing reads it), fewer rows with a value or other list lengths.
_EXPECTED_OF_NEW_DAYS = frozenset(
    (
        _Anomaly.ENUM_TYPE_UNEXPECTED_STRING_VALUES,
        _Anomaly.SCHEMA_NEW_COLUMN,
        _Anomaly.FEATURE_TYPE_LOW_FRACTION_PRESENT,
        _Anomaly.FEATURE_TYPE_LOW_NUMBER_PRESENT,
        _Anomaly.FEATURE_TYPE_LOW_NUMBER_VALUES,
        _Anomaly.FEATURE_TYPE_HIGH_NUMBER_VALUES,
        _Anomaly.INVALID_FEATURE_SHAPE,
    )
)


def _is_judged_elsewhere(evidence: WindowEvidence, feature: str, anomaly: _Anomaly) -> bool:
    """A new date is no news; and how many new values or missing ones are too many, the checks of columns know better
    than a schema that was inferred from one week."""
    reasons = _reasons(anomaly)
    if feature == evidence.roles.date and reasons == {_Anomaly.ENUM_TYPE_UNEXPECTED_STRING_VALUES}:
        return True
    known = feature in evidence.compared_columns or evidence.roles.is_partition(feature)
    return evidence.schema_is_inferred and known and bool(reasons) and reasons <= _EXPECTED_OF_NEW_DAYS


def _reasons(anomaly: _Anomaly) -> set[int]:
    return {reason.type for reason in anomaly.reason}


def _severity(evidence: WindowEvidence, feature: str, anomaly: _Anomaly) -> Severity:
    reasons = _reasons(anomaly)
    expected = evidence.schema_is_inferred and bool(reasons) and reasons <= _EXPECTED_OF_NEW_DAYS
    return "amber" if expected and feature != evidence.label_column else evidence.options.on_anomaly


def _label_problem(label: str, feature: statistics_pb2.FeatureNameStatistics | None, num_rows: int) -> str | None:
    if feature is None or not _num_non_missing(feature):
        return f"label `{label}` has no value in any of the {num_rows:,} rows"
    if feature.type != statistics_pb2.FeatureNameStatistics.INT:
        return f"label `{label}` has type {_type_name(feature.type)}, it must be an integer, 0 or 1"
    numbers = feature.num_stats
    missing = num_rows - int(numbers.common_stats.num_non_missing)
    if numbers.min < 0 or numbers.max > 1:
        return f"label `{label}` has values {numbers.min:g}..{numbers.max:g}, it must be 0 or 1"
    if missing:
        return f"label `{label}` is missing in {missing:,} of {num_rows:,} rows"
    if numbers.min == numbers.max:
        return f"label `{label}` is {numbers.min:g} in all {num_rows:,} rows, both 0 and 1 are needed"
    return None


def _type_mismatch(evidence: WindowEvidence, split: str, feature: str) -> str | None:
    """Our own words where the type is the matter; TFDV's name a column's type only in part of the cases."""
    stated = next((column.type for column in evidence.schema.feature if column.name == feature), None)
    found = _feature_statistics(evidence.statistics[split], feature)
    if stated is None or found is None or not _num_non_missing(found):
        return None
    stated_name, found_name = schema_pb2.FeatureType.Name(stated), _type_name(found.type)
    if stated_name == found_name or stated == schema_pb2.TYPE_UNKNOWN:
        return None
    return f"column `{feature}` has type {found_name}, the schema says {stated_name}"


def _described(feature: str, anomaly: _Anomaly) -> str:
    text = (anomaly.description or anomaly.short_description).strip().rstrip(".")
    return f"column `{feature}`: {text}"


def _type_name(kind: int) -> str:
    name = statistics_pb2.FeatureNameStatistics.Type.Name(kind)
    return "BYTES" if name == "STRING" else name  # the schema has one word for both


def _num_non_missing(feature: statistics_pb2.FeatureNameStatistics) -> int:
    stats = getattr(feature, feature.WhichOneof("stats") or "num_stats")
    return int(stats.common_stats.num_non_missing)


def _feature_statistics(
    statistics: statistics_pb2.DatasetFeatureStatistics, name: str
) -> statistics_pb2.FeatureNameStatistics | None:
    for feature in statistics.features:
        if name in (feature.name, ".".join(feature.path.step)):
            return feature
    return None


def _with_rows(evidence: WindowEvidence) -> list[tuple[str, statistics_pb2.DatasetFeatureStatistics]]:
    """Splits that have rows, in the order of time; those without are `splits_have_rows`'s matter."""
    splits = sorted(evidence.statistics, key=_split_order)
    return [(split, evidence.statistics[split]) for split in splits if evidence.statistics[split].num_examples]


def _split_order(split: str) -> tuple[int, str]:
    return {"train": 0, "validation": 1, "eval": 2}.get(split, 3), split
