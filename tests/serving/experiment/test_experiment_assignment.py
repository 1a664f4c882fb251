"""The assignment of users: known values, even, independent between salts, the same at every share and in Spark SQL."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hivemill.common.errors import ConfigError
from hivemill.serving.experiment.assignment import (
    CANARY,
    NUM_BUCKETS,
    STABLE,
    Split,
    bucket,
    bucket_sql,
    buckets,
    variant_sql,
    variants,
)

_PYTHON = os.environ.get("HIVEMILL_SPARK_PYTHON")
IDS = ["", "0", "007", "alice", "Ünïcödé", "日本語", "🦊", "a:b", " x ", "\t", "O'Brien", "%s", "9" * 40, "nul\u0000l"]
NUMBERS = [0, 7, -1, 2**63 - 1, -(2**63), 1_000_000]
text_ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def test_known_buckets_never_change():
    """Users would jump between variants in the middle of a test. The first is worked out by hand with sha256sum."""
    # printf 'm:alice' | sha256sum
    assert bucket("m", "alice") == 0xDA60F661130125C % 10_000
    assert [bucket("model-7", user) for user in ("", "alice", "日本語", 42)] == [8591, 2326, 979, 9062]


@given(st.lists(text_ids | st.integers(), max_size=20))
def test_scalar_and_vector_agree(users):
    found = buckets("salt", users)
    assert found.tolist() == [bucket("salt", user) for user in users]
    assert ((found >= 0) & (found < NUM_BUCKETS)).all()
    split = Split("salt", 3000)
    assert variants(split, [*users, None, ""]) == [split.variant(user) for user in [*users, None, ""]]


@given(st.integers(min_value=0))
def test_a_number_is_its_digits(number):
    assert bucket("s", number) == bucket("s", str(number))


@given(text_ids, st.integers(0, NUM_BUCKETS), st.integers(0, NUM_BUCKETS))
def test_who_is_in_canary_stays_when_it_grows(user, one, other):
    small, large = sorted((one, other))
    if Split("s", small).variant(user) == CANARY:
        assert Split("s", large).variant(user) == CANARY


def test_buckets_are_even_and_independent_between_salts():
    users = range(200_000)
    one, other = buckets("first", users), buckets("second", users)
    assert stats.chisquare(np.bincount(one // 100, minlength=100)).pvalue > 1e-4
    table = np.histogram2d(one, other, bins=10, range=[[0, 10_000]] * 2)[0]
    assert stats.chi2_contingency(table).pvalue > 1e-4


def test_shares_and_propensity():
    split = Split.at_percent("s", 12.34)
    assert split.canary_buckets == 1234
    users = range(20_000)
    share = np.mean([variant == CANARY for variant in variants(split, users)])
    assert abs(share - 0.1234) < 0.01
    user = next(user for user in users if split.variant(user) == CANARY)
    other = next(user for user in users if split.variant(user) == STABLE)
    assert (split.propensity(user), split.propensity(other)) == (0.1234, 1 - 0.1234)
    assert Split("s", 0).variant(user) == STABLE and Split("s", NUM_BUCKETS).variant(other) == CANARY


def test_nobody_sees_stable():
    everybody = Split("s", NUM_BUCKETS)
    assert [everybody.variant(user) for user in (None, "")] == [STABLE, STABLE]
    assert everybody.propensity(None) == 1.0


@pytest.mark.parametrize("user", [1.0, True, b"x", None, ["a"], np.float64(3), "\ud800"])
def test_other_ids_are_refused(user):
    with pytest.raises(ConfigError, match="user id must be"):
        bucket("s", user)
    with pytest.raises(ConfigError, match="user id must be"):
        buckets("s", [1, "1", user])


@pytest.mark.parametrize("salt", ["", "a'b", "a b", "ü", "x" * 101, ".a", None])
def test_bad_salts_are_refused(salt):
    with pytest.raises(ConfigError, match="salt must be"):
        Split(salt, 100)


@pytest.mark.parametrize("percent", [-1, 100.01, 0.005, "much", float("nan"), float("inf"), None])
def test_bad_percentages_are_refused(percent):
    with pytest.raises(ConfigError, match=r"0 to 100 in steps of 0\.01"):
        Split.at_percent("s", percent)


def test_sql_takes_no_other_sql():
    with pytest.raises(ConfigError, match="column"):
        bucket_sql("s", "user_id) or (1=1")


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.skipif(not _PYTHON, reason="HIVEMILL_SPARK_PYTHON names no Python with pyspark")
@pytest.mark.skipif(not shutil.which("java"), reason="Spark needs java")
def test_spark_sql_gives_the_same_variants(tmp_path):
    """Rows of a Parquet table, text and bigint ids; the expressions are those that the documentation shows."""
    split = Split("model-7", 2500)
    texts = [*IDS, *(f"user-{number}" for number in range(5000)), None]
    numbers = [*NUMBERS, *range(5000), None]
    queries = {
        name: {"bucket": bucket_sql(split.salt, name), "variant": variant_sql(split, name)}
        for name in ("text", "number")
    }
    (tmp_path / "in.json").write_text(json.dumps({"queries": queries, "text": texts, "number": numbers}))
    script = Path(__file__).with_name("spark_assigns.py")
    done = subprocess.run([_PYTHON, script, tmp_path], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads((tmp_path / "out.json").read_text())
    for name, ids in (("text", texts), ("number", numbers)):
        expected = [[None if user is None else bucket(split.salt, user), split.variant(user)] for user in ids]
        assert seen[name] == expected
        assert {variant for _, variant in seen[name]} == {STABLE, CANARY}


def test_the_documentation_shows_these_expressions():
    page = (Path(__file__).parents[3] / "docs" / "experiments.md").read_text(encoding="utf-8")
    assert bucket_sql("clicks-1764", "user_id") in page
    assert variant_sql(Split("clicks-1764", 500), "user_id") in page
