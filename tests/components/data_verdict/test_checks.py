"""The checks on hand-made statistics and anomalies: no TensorFlow."""

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from hivemill.components.data_verdict.checks.registry import WindowEvidence, run_checks
from hivemill.components.data_verdict.options import DataVerdictOptions
from hivemill.components.data_verdict.profile.column_roles import ColumnRoles

SCHEMA = text_format.Parse(
    'feature { name: "click" type: INT } feature { name: "price" type: FLOAT } feature { name: "city" type: BYTES }',
    schema_pb2.Schema(),
)


def label(low=0, high=1, num_non_missing=100, kind="INT"):
    return (
        f'features {{ path {{ step: "click" }} type: {kind} num_stats {{ min: {low} max: {high} '
        f"common_stats {{ num_non_missing: {num_non_missing} }} }} }}"
    )


def statistics(*features, num_examples=100):
    text = f"num_examples: {num_examples} " + " ".join(features)
    return text_format.Parse(text, statistics_pb2.DatasetFeatureStatistics())


def anomalies(feature, reason, description="what TFDV says."):
    return text_format.Parse(
        f'anomaly_info {{ key: "{feature}" value {{ description: "{description}" reason {{ type: {reason} }} }} }}',
        anomalies_pb2.Anomalies(),
    )


def findings(eval_statistics=None, eval_anomalies=None, schema_path=None, on_anomaly="red", date_column="dt", **splits):
    by_split = {"train": statistics(label()), "eval": eval_statistics or statistics(label()), **splits}
    evidence = WindowEvidence(
        statistics={split: stats for split, stats in by_split.items() if stats is not None},
        anomalies={"eval": eval_anomalies} if eval_anomalies else {},
        schema=SCHEMA,
        roles=ColumnRoles(label="click", date=date_column),
        options=DataVerdictOptions(schema_path=schema_path, on_anomaly=on_anomaly),
    )
    return run_checks(evidence)


def test_good_data_has_no_findings():
    assert findings() == []


@pytest.mark.parametrize(
    ("label_feature", "message"),
    [
        (label(high=5), "eval: label `click` has values 0..5, it must be 0 or 1"),
        (label(low=-1), "eval: label `click` has values -1..1, it must be 0 or 1"),
        (label(low=0, high=0), "eval: label `click` is 0 in all 100 rows, both 0 and 1 are needed"),
        (label(low=1, high=1), "eval: label `click` is 1 in all 100 rows, both 0 and 1 are needed"),
        (label(num_non_missing=97), "eval: label `click` is missing in 3 of 100 rows"),
        (label(num_non_missing=0), "eval: label `click` has no value in any of the 100 rows"),
        ("", "eval: label `click` has no value in any of the 100 rows"),
        (label(kind="FLOAT"), "eval: label `click` has type FLOAT, it must be an integer, 0 or 1"),
        (
            'features { path { step: "click" } type: STRING string_stats { common_stats { num_non_missing: 100 } } }',
            "eval: label `click` has type BYTES, it must be an integer, 0 or 1",
        ),
    ],
)
def test_label(label_feature, message):
    (finding,) = findings(statistics(label_feature))
    assert (finding.severity, finding.kind, finding.feature, finding.split) == ("red", "label", "click", "eval")
    assert finding.message == message


def test_a_split_without_rows_is_one_finding_and_no_other_check_runs_on_it():
    (finding,) = findings(statistics(num_examples=0))
    assert (finding.severity, finding.kind, finding.message) == ("red", "rows", "eval: the split has no rows")


def test_an_absent_train_split_is_a_finding_an_absent_validation_split_is_none():
    assert [f.message for f in findings(train=None)] == ["train: the split has no rows"]


def test_type_mismatch_names_both_types():
    price = 'features { path { step: "price" } type: STRING string_stats { common_stats { num_non_missing: 100 } } }'
    (finding,) = findings(statistics(label(), price), anomalies("price", "UNEXPECTED_DATA_TYPE"))
    assert finding.message == "eval: column `price` has type BYTES, the schema says FLOAT"
    assert finding.severity == "red"


def test_string_and_bytes_are_the_same_type():
    city = 'features { path { step: "city" } type: STRING string_stats { common_stats { num_non_missing: 9 } } }'
    (finding,) = findings(statistics(label(), city), anomalies("city", "ENUM_TYPE_INVALID_UTF8"))
    assert finding.message == "eval: column `city`: what TFDV says"


def test_missing_column_is_red():
    (finding,) = findings(eval_anomalies=anomalies("price", "SCHEMA_MISSING_COLUMN"))
    assert (finding.severity, finding.feature) == ("red", "price")


@pytest.mark.parametrize(("schema_path", "severity"), [(None, "amber"), ("schema.pbtxt", "red")])
def test_new_values_are_amber_against_an_inferred_schema_and_red_against_a_curated_one(schema_path, severity):
    (finding,) = findings(
        eval_anomalies=anomalies("city", "ENUM_TYPE_UNEXPECTED_STRING_VALUES"), schema_path=schema_path
    )
    assert finding.severity == severity


def test_a_new_date_in_the_date_column_is_no_finding_but_its_loss_is():
    assert findings(eval_anomalies=anomalies("dt", "ENUM_TYPE_UNEXPECTED_STRING_VALUES")) == []
    (finding,) = findings(eval_anomalies=anomalies("dt", "SCHEMA_MISSING_COLUMN"))
    assert finding.severity == "red"


def test_on_anomaly_amber_spares_the_schema_but_not_the_label():
    found = findings(statistics(label(high=2)), anomalies("price", "SCHEMA_MISSING_COLUMN"), on_anomaly="amber")
    assert [(finding.severity, finding.kind) for finding in found] == [("red", "label"), ("amber", "schema")]
