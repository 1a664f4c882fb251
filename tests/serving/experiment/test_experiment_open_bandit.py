"""The real A/B test of the Open Bandit Dataset: the figures of docs/experiments.md, held against scipy."""

import datetime
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from hivemill.serving.experiment.analysis import analyse
from hivemill.serving.experiment.exposures.log import read_log
from hivemill.serving.experiment.options import ExperimentOptions

OPEN_BANDIT = Path(__file__).resolve().parents[4] / "shared" / "data" / "obd"
pytestmark = pytest.mark.skipif(not OPEN_BANDIT.is_dir(), reason="../shared/data/obd is not here")
POLICIES = {"control": "random", "treatment": "bts"}


def policy(name: str) -> pd.DataFrame:
    """There are no user ids: each impression is a unit of its own."""
    rows = pd.read_csv(OPEN_BANDIT / name / "men" / "men.csv", index_col=0)
    return pd.DataFrame(
        {
            "request_time": pd.to_datetime(rows["timestamp"], format="ISO8601", utc=True),
            "user_id": [f"{name}-{number}" for number in range(len(rows))],
            "variant": name,
            "click": rows["click"],
            "position": rows["position"],
            "features": rows[[f"user_feature_{number}" for number in range(4)]].agg("-".join, axis=1),
        }
    )


@pytest.fixture(scope="module")
def rows():
    return pd.concat([policy(name) for name in POLICIES.values()], ignore_index=True)


def report(folder, rows, **options):
    rows.to_parquet(folder / "log.parquet")
    made = ExperimentOptions(**POLICIES, **options)
    return analyse(read_log(folder / "log.parquet", slices=made.slices), made, with_bootstrap=True)


def test_one_planned_look_is_what_scipy_says(tmp_path, rows):
    made = report(tmp_path, rows, planned_end=datetime.date(2019, 11, 30))
    clicks = {name: rows["click"][rows["variant"] == name] for name in POLICIES.values()}
    welch = stats.ttest_ind(clicks["bts"], clicks["random"], equal_var=False)
    once = made["lift"]["one_look"]
    assert once["p_value"] == pytest.approx(welch.pvalue, rel=1e-3) == pytest.approx(0.0315, abs=1e-4)
    assert once["difference_interval"] == pytest.approx(tuple(welch.confidence_interval()), abs=1e-6)
    assert made["lift"]["lift"] == pytest.approx(0.5) and once["lift_interval"] == pytest.approx(
        (0.0375, 1.2345), abs=1e-3
    )
    assert made["lift"]["bootstrap"]["lift_interval"] == pytest.approx((0.046, 1.167), abs=0.02)
    assert made["verdict"]["state"] == "better" and made["ratio_check"]["state"] == "not judged"
    assert [made["variants"][name]["clicks"] for name in ("random", "bts")] == [46, 69]


def test_seven_looks_need_more_than_115_clicks(tmp_path, rows):
    made = report(tmp_path, rows, slices=("position",))
    assert made["verdict"]["state"] == "undecided" and len(made["looks"]) == 7
    assert made["lift"]["always_valid"]["p_value"] == pytest.approx(0.667, abs=0.01)
    assert not any(row.get("significant") for row in made["slices"]["rows"])
    fixed_before = report(tmp_path, rows, lift_of_interest=0.5)
    assert fixed_before["lift"]["always_valid"]["p_value"] == pytest.approx(0.082, abs=0.002)


def test_users_features_as_units(tmp_path, rows):
    groups = rows.assign(user_id=rows["variant"] + rows["features"])
    made = report(tmp_path, groups, planned_end=datetime.date(2019, 11, 30))
    assert rows["features"].nunique() == 265
    assert made["lift"]["one_look"]["p_value"] == pytest.approx(0.0188, abs=1e-3)
