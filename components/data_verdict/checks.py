"""The checks on the data: each a pure function from evidence (statistics, schema, anomalies) to findings.

To add a check (drift, skew, volume): write a function, put it into `CHECKS`, and what it compares with into `Evidence`.
Imports the metadata protos only: no TensorFlow, no TFX.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from components.data_verdict.options import DataVerdictOptions

Severity = Literal["red", "amber"]
_Anomaly = anomalies_pb2.AnomalyInfo


@dataclasses.dataclass(frozen=True)
class Finding:
    """`severity` red stops the run; `kind` groups findings; `feature` and `split` may be empty."""

    severity: Severity
    kind: Literal["schema", "label", "rows"]
    feature: str
    split: str
    message: str


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What the checks look at: the statistics and TFDV's anomalies of each split, and the schema that judged them."""

    statistics: Mapping[str, statistics_pb2.DatasetFeatureStatistics]
    anomalies: Mapping[str, anomalies_pb2.Anomalies]
    schema: schema_pb2.Schema
    label_column: str
    options: DataVerdictOptions
    date_columns: frozenset[str] = frozenset()  # partition columns whose values are new every day by their nature

    @property
    def schema_is_inferred(self) -> bool:
        return self.options.schema_path is None


Check = Callable[[Evidence], Iterable[Finding]]


def run_checks(evidence: Evidence) -> list[Finding]:
    """Findings of all checks, red ones first, otherwise in the order of `CHECKS`."""
    findings = [finding for check in CHECKS for finding in check(evidence)]
    return sorted(findings, key=lambda finding: finding.severity != "red")


def splits_have_rows(evidence: Evidence) -> Iterator[Finding]:
    """Every split has rows, and there is one to train on and one to evaluate on."""
    for split in sorted({"train", "eval", *evidence.statistics}, key=_split_order):
        statistics = evidence.statistics.get(split)
        if statistics is None or statistics.num_examples == 0:
            yield Finding("red", "rows", "", split, f"{split}: the split has no rows")


def label_is_binary(evidence: Evidence) -> Iterator[Finding]:
    """The label is an integer 0 or 1 in every row, and both occur in every split."""
    label = evidence.label_column
    for split, statistics in _with_rows(evidence):
        feature = _feature_statistics(statistics, label)
        problem = _label_problem(label, feature, int(statistics.num_examples))
        if problem:
            yield Finding("red", "label", label, split, f"{split}: {problem}")


def schema_holds(evidence: Evidence) -> Iterator[Finding]:
    """TFDV's anomalies: the table has the columns, types, values and presence that the schema states."""
    for split, _ in _with_rows(evidence):
        anomalies = evidence.anomalies.get(split, anomalies_pb2.Anomalies())
        for feature, anomaly in sorted(anomalies.anomaly_info.items()):
            if feature in evidence.date_columns and _reasons(anomaly) == {_Anomaly.ENUM_TYPE_UNEXPECTED_STRING_VALUES}:
                continue
            message = _type_mismatch(evidence, split, feature) or _described(feature, anomaly)
            yield Finding(_severity(evidence, feature, anomaly), "schema", feature, split, f"{split}: {message}")
        if anomalies.HasField("dataset_anomaly_info"):
            text = anomalies.dataset_anomaly_info.description or anomalies.dataset_anomaly_info.short_description
            yield Finding(evidence.options.on_anomaly, "schema", "", split, f"{split}: {text}")


CHECKS: tuple[Check, ...] = (splits_have_rows, label_is_binary, schema_holds)

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


def _reasons(anomaly: _Anomaly) -> set[int]:
    return {reason.type for reason in anomaly.reason}


def _severity(evidence: Evidence, feature: str, anomaly: _Anomaly) -> Severity:
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


def _type_mismatch(evidence: Evidence, split: str, feature: str) -> str | None:
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


def _with_rows(evidence: Evidence) -> list[tuple[str, statistics_pb2.DatasetFeatureStatistics]]:
    """Splits that have rows, in the order of time; those without are `splits_have_rows`'s matter."""
    splits = sorted(evidence.statistics, key=_split_order)
    return [(split, evidence.statistics[split]) for split in splits if evidence.statistics[split].num_examples]


def _split_order(split: str) -> tuple[int, str]:
    return {"train": 0, "validation": 1, "eval": 2}.get(split, 3), split
