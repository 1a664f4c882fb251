"""Conformance: the joined label and the sample of every row agree with Spark SQL's, for each rule."""

import datetime
import json
import subprocess
from pathlib import Path

import pytest

from hivemill.components.hive_example_gen import convert
from hivemill.components.hive_example_gen.options import SamplingOptions, SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning import table_checks
from hivemill.components.hive_example_gen.planning.window import plan_window
from hivemill.components.hive_example_gen.rows.label_join.options import LabelJoinOptions, LabelRules
from tests.components.hive_example_gen.converted_rows import examples_of
from tests.support import spark_needed

pytestmark = spark_needed.MARKS
DATE = datetime.date(2026, 11, 15)
WINDOW = WindowOptions(train_days=2, validation_days=0, completeness={"min_share_of_median": None})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spark")
    script = Path(__file__).with_name("spark_joins_labels.py")
    done = subprocess.run(
        [spark_needed.PYTHON, script, folder], capture_output=True, text=True, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout)
    return folder


def _converted(folder, name, label, **source):
    """id -> example of the window's impressions; records."""
    options = SourceOptions(table=str(folder / "impressions"), **source)
    cache = folder / name
    plan = plan_window(options, WINDOW, DATE, str(cache), label)
    plan.check()
    table_checks.check(options, plan)
    records = [convert.convert_partition(p, options.table, options.bad_rows, str(cache)) for p in plan.partitions]
    return {example["id"][0]: example for record in records for example in examples_of(cache, record)}


@pytest.mark.parametrize("take", ["last", "first", "every"])
def test_labels(folder, take):
    join = LabelJoinOptions(
        clicks=SourceOptions(table=str(folder / "clicks")),
        keys=("user", "item"),
        click_keys=("who", "what"),
        impression_time="seen",
        click_time="at",
        within="6h",
        take=take,
    )
    found = _converted(folder, take, LabelRules(column="click", join=join))
    expected = {int(key): label for key, label in json.loads((folder / "labels.json").read_text())[take].items()}
    assert len(found) > 3000
    assert {key: example["click"][0] for key, example in found.items()} == {key: expected[key] for key in found}
    share = sum(expected[key] for key in found) / len(found)
    assert 0.05 < share < 0.95


def test_the_three_rules_differ_on_these_rows(folder):
    labels = json.loads((folder / "labels.json").read_text())
    assert labels["last"] != labels["first"] != labels["every"] != labels["last"]


def test_the_sample(folder):
    """`item` stands in for the label: no row but those of item 0 is a negative."""
    options = SamplingOptions(negatives=0.3, key=("id", "user", "item", "seen"), salt="salt")
    found = _converted(folder, "sample", LabelRules(column="item"), sampling=options)
    everything = _converted(folder, "all", None)
    sample = set(json.loads((folder / "sample.json").read_text()))
    eval_ids = {key for key, example in everything.items() if example["dt"] == [b"2026-11-15"]}
    negatives = {key for key, example in everything.items() if example["item"] == [0]} - eval_ids
    assert len(negatives) > 100
    assert set(found) == set(everything) - (negatives - sample)
