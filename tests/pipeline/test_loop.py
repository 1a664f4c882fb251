"""Four simulated weeks: train, push, canary, A/B test, promote; a model stopped offline, and one stopped online.

The generator's true model says what CTR each variant must get: given what was shown, clicks are independent with known
probabilities, so mean and deviation of the observed CTR are exact.
"""

import datetime
import json
import re
import time

import pytest
import yaml

from hivemill.data.click_log.generator import click_log_options, generate
from hivemill.data.click_log.simulation import SimulatedTraffic
from hivemill.serving.server.app import DevServer
from hivemill.serving.server.options import ServerOptions
from hivemill.serving.store.model_store import ModelStore
from tests.pipeline.loop import CANARY, STABLE, Application, Clock, without_items
from tests.pipeline.shop import CONFIG, hivemill

pytestmark = pytest.mark.slow
START = datetime.date(2025, 9, 1)  # a Monday
REQUESTS_A_DAY = 800
LOG = {"num_users": 3_000, "num_items": 300, "signal": 1.5, "hours": False}
WEAK = {"position": {"type": "categorical"}, "device": {"type": "categorical"}, "age_band": {"type": "categorical"}}
ITEMS = {name: {"type": "categorical"} for name in ("item_id", "category", "gender")}
GOOD = {
    **WEAK,
    **ITEMS,
    "log_price": {"type": "numeric", "column": "price", "transform": "log"},
    "recent_items": {"type": "multivalent", "encoding": "hash", "hash_buckets": 100},
    "query": {"type": "multivalent"},
    "context": {"type": "multivalent", "of": "items"},
}
ENDS = ("publish", "promote: done", "abort: done", "rollback: done")
BAD = {"city": {"type": "categorical"}, "hour": {"type": "categorical"}}


def day(number):
    return START + datetime.timedelta(days=number)


class Shop:
    """One pipeline over the weeks, its logs and its server."""

    def __init__(self, folder, capsys, monkeypatch):
        self.folder, self._capsys = folder, capsys
        self.config = folder / "hivemill.yaml"
        self.clock = Clock(monkeypatch)
        self.store = ModelStore(folder / "root" / "models", "shop")
        options = click_log_options(start_date=START, days=7, rows_per_day=1_500, format="parquet", **LOG)
        generate(options, folder / "log" / "clicks")
        self.traffic, self.server, self.application = SimulatedTraffic(options), None, None

    def configure(self, features, train_days=12):
        document = {
            **CONFIG,
            "features": features,
            "window": {
                "train_days": train_days,
                "validation_days": 1,
                "eval_days": 2,
                "completeness": {"min_share_of_median": 0.1},  # the generated days are larger than the simulated ones
            },
            "training": {"batch_size": 256, "epochs": 4, "learning_rate": 0.005},
            "gates": {
                "metrics": {"clicks": {"min": 50}, "auc": {"min": 0.5, "max_drop": 0.01}},
                "references": {"logistic_regression": False, "importance_predictions": 0},
            },
            # A recommender changes what is shown: neither the items nor the click rate stay as they were.
            "data_verdict": {
                "on_drift": "amber",
                "click_rate": {"amber": 1.0, "red": 2.0},
                "volume": {"amber": 4, "red": 8},
            },
            "serving_check": {"enabled": False},
            # Latency on a busy machine says nothing, and the best of six predictions is too high in so small a log.
            "experiment": {
                "log": str(self.folder / "exposures"),
                "lift_of_interest": 0.5,
                "guardrails": {"max_p99_ratio": 100, "calibration_at_least": 0.5, "calibration_at_most": 2},
            },
            "rollout": {
                "server": f"127.0.0.1:{self.server.port}" if self.server else None,
                "percentages": [50, 100],
                "min_hours": 44,  # two days at least
                "min_impressions": 200,
                "approval": "automatic",
                "guardrails": {
                    "max_p99_seconds": 10,
                    "max_p99_ratio": 100,
                    "max_calibration_error": 0.6,
                    "max_ctr_loss_at_end": 0,
                },
            },
        }
        self.config.write_text(yaml.safe_dump(document, sort_keys=False))

    def hivemill(self, *words):
        """(exit code, the JSON document)."""
        self._capsys.readouterr()
        code = hivemill(self.config, *words, "--json")
        return code, json.loads(self._capsys.readouterr().out)

    def train(self, date):
        started = time.monotonic()
        code, document = self.hivemill("run", "--date", date.isoformat())
        self.say(f"run {date}: exit code {code}, {time.monotonic() - started:.0f} s")
        return code, document

    def say(self, line):
        """Seen with `pytest -s`, beside what the commands print."""
        with self._capsys.disabled():
            print(line)

    def serve(self):
        options = ServerOptions(self.store.path / "models.config", port=0, rest_port=None, poll_seconds=0.5)
        self.server = DevServer(options, log=lambda _: None)
        self.server.start()
        assert self.server.wait_until_loaded(60)
        address = f"127.0.0.1:{self.server.port}"
        self.application = Application(self.folder, self.traffic, address, self.store.folder, "shop")

    def traffic_of(self, numbers):
        for number in numbers:
            self.application.day(day(number), REQUESTS_A_DAY)

    def collect(self, first, last):
        words = (str(self.folder / name) for name in ("exposures", "impressions", "log/clicks"))
        return self.hivemill("data", "collect", *words, "--from", first.isoformat(), "--to", last.isoformat())

    def roll_out(self, first, last, **how):
        """Days of traffic with a look and a step at the end of each. (Days that ran, exit code, last report.)"""
        self.clock.begin(first)
        code, _ = self.hivemill("rollout", "start", "--auto")
        assert code == 0 and self.store.state().rollout["state"] == "running"
        report = None
        for number in range((last - first).days + 1):
            date = first + datetime.timedelta(days=number)
            self.application.day(date, REQUESTS_A_DAY, **how)
            _, report = self.hivemill("ab", "report", str(self.folder / "exposures"), "--since", first.isoformat())
            self.clock.end(date)
            code, document = self.hivemill("rollout", "step", "--auto")
            self.say(f"{date}: exit code {code}, {document.get('message') or document['error']['message']}")
            if code or self.store.state().rollout["state"] == "done":
                break
        return date, code, report

    def check_truth(self, first, last, variants):
        """Observed against expected CTR, 4 deviations; returns both variants."""
        found = [self.application.served(variant, first, last) for variant in variants]
        for variant, served in zip(variants, found, strict=True):
            self.say(f"{first} {last} {variant:6} {served}")
            assert abs(served.ctr - served.expected_ctr) < 4 * served.deviation, variant
        return found


@pytest.fixture
def shop(tmp_path, capsys, monkeypatch):
    made = Shop(tmp_path, capsys, monkeypatch)
    yield made
    if made.server:
        made.server.stop()


def within(interval, value):
    return interval is not None and interval[0] <= value <= interval[1]


def true_lift(control, treatment):
    return treatment.expected_ctr / control.expected_ctr - 1


def first_week(shop):
    """The first model, of a generated log, serves everybody. (Its version, what its users did.)"""
    shop.configure(WEAK, train_days=5)
    assert shop.train(day(6))[0] == 0
    (version,) = shop.store.versions()
    assert shop.store.labels() == {"stable": version}
    shop.serve()
    shop.traffic_of(range(7, 14))
    return version, *shop.check_truth(day(7), day(13), [STABLE])


def better_model(shop, first, weak):
    """What the users saw is the newer half of the window; a better model gets half of the users, then all."""
    code, collected = shop.collect(day(7), day(13))
    assert code == 0 and sum(one["rows"] for one in collected["days"].values()) == weak.impressions
    assert sum(one["clicks"] for one in collected["days"].values()) == weak.clicks
    shop.configure(GOOD)
    assert shop.train(day(13))[0] == 0
    version = shop.store.versions()[-1]
    last, code, report = shop.roll_out(day(14), day(20))
    assert code == 0 and shop.store.state().rollout["state"] == "done"
    assert shop.store.labels() == {"stable": version, "canary": version, "previous": first}
    assert report["verdict"]["state"] == "better"
    lift = true_lift(*shop.check_truth(day(14), last, [STABLE, CANARY]))
    assert lift > 0.2 and within(report["lift"]["always_valid"]["lift_interval"], lift)
    shop.traffic_of(range((last - START).days + 1, 21))
    return version


def worse_model(shop, first, second, weak):
    """Somebody takes the features away; the gates do not let that model out, and the better one serves on."""
    assert shop.collect(day(14), day(20))[0] == 0
    shop.configure(BAD)
    code, _ = shop.train(day(20))
    assert code == 5
    assert shop.store.versions() == [first, second] and shop.store.labels()["stable"] == second
    shop.traffic_of(range(21, 28))
    (good,) = shop.check_truth(day(21), day(27), [STABLE])
    assert good.expected_ctr > 1.2 * weak.expected_ctr


def model_that_fails_online(shop, second):
    """A model that passes every gate, and whose items are not found when it serves: aborted, and nobody sees it."""
    assert shop.collect(day(21), day(27))[0] == 0
    shop.configure(GOOD)
    assert shop.train(day(27))[0] == 0
    version = shop.store.versions()[-1]
    assert version != second
    last, code, report = shop.roll_out(day(28), day(34), path=without_items)
    assert code == 8
    assert shop.store.labels()["stable"] == shop.store.labels()["canary"] == second
    assert str(version) in shop.store.state().rejected
    lift = true_lift(*shop.check_truth(day(28), last, [STABLE, CANARY]))
    assert lift < -0.2 and within(report["lift"]["always_valid"]["lift_interval"], lift)
    after = last + datetime.timedelta(days=1)
    shop.application.day(after, REQUESTS_A_DAY)
    shop.check_truth(after, after, [STABLE])
    assert shop.application.served(CANARY, after, after) is None


def check_audit(store):
    """Every change is in it, with the run that each version came from, and why the last one went."""
    audit = store.audit()
    actions = [line["action"] for line in audit if line["action"] in ENDS]
    assert actions == ["publish", "publish", "promote: done", "publish", "abort: done"]
    runs = [line["run_id"] for line in audit if line["action"] == "publish"]
    assert [run[:10] for run in runs] == [day(6).isoformat(), day(13).isoformat(), day(27).isoformat()]
    gone = audit[-1]
    assert gone["action"] == "abort: done" and gone["run_id"] == runs[-1]
    assert re.search("click rate|lift in CTR", gone["why"])


def test_four_weeks(shop):
    first, weak = first_week(shop)
    second = better_model(shop, first, weak)
    worse_model(shop, first, second, weak)
    model_that_fails_online(shop, second)
    check_audit(shop.store)
