"""`rollout step --auto` on a schedule: who is told of an abort and of a rollout that waits, by a real HTTP server."""

import dataclasses
import datetime

import pytest
import yaml

from tests.pipeline.alerts.test_alerts import URL_ENV, hook  # noqa: F401  (a fixture)
from tests.pipeline.shop import CONFIG, hivemill
from tests.serving.rollout.rollouts import make_store, metrics

ROLLOUT = {"min_hours": 0, "min_impressions": 1, "metrics": "metrics.json"}
CHANNEL = {"type": "webhook", "url_env": URL_ENV}


@pytest.fixture
def shop(tmp_path, monkeypatch, capsys, hook):  # noqa: F811
    class Shop:
        store = make_store(tmp_path / "root", 2)
        hook = None

        def configure(self, rollout=(), **alerts):
            options = {"channels": [CHANNEL], "attempts": 1, **alerts}
            document = {**CONFIG, "rollout": {**ROLLOUT, **dict(rollout)}, "alerts": options}
            (tmp_path / "hivemill.yaml").write_text(yaml.safe_dump(document))

        def answering(self, *answers):
            self.hook = hook(*answers)
            monkeypatch.setenv(URL_ENV, self.hook.url)

        def run(self, *words):
            capsys.readouterr()
            code = hivemill(tmp_path / "hivemill.yaml", *words, "--without-server")
            return code, capsys.readouterr().err

        def measure(self, **canary):
            (tmp_path / "metrics.json").write_text(metrics(self.store, canary).model_dump_json())

        def has_been_there_for(self, hours):
            since = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=hours)
            times = {"step_since_utc": since.isoformat(), "started_utc": since.isoformat()}
            self.store.change(lambda state: dataclasses.replace(state, rollout={**state.rollout, **times}), "test")

    made = Shop()
    made.configure()
    made.answering((200, "ok"))
    assert made.run("rollout", "start")[0] == 0
    return made


def test_an_abort_is_told_once(shop):
    shop.measure(errors=5_000)
    code, err = shop.run("rollout", "step", "--auto")
    assert code == 8 and f"alert `aborted` to generic ({URL_ENV}): sent" in err
    assert shop.run("rollout", "step", "--auto")[0] == 0
    (told,) = shop.hook.bodies()
    old, new = shop.store.versions()
    assert told["event"] == "aborted" and told["alert_title"] == f"Rollout: version {new} was aborted"
    assert told["reason"].startswith("errors 50.000%") and told["exit_code"] == 8 and told["run_id"] == "run-1"
    assert f"Version {old} is to serve all again" in told["note"]


def test_an_alert_that_nobody_took_is_sent_by_the_next_step(shop):
    shop.answering((500, "no"), (200, "ok"))
    shop.measure(errors=5_000)
    code, err = shop.run("rollout", "step", "--auto")
    assert code == 8 and "failed: the server answered HTTP 500" in err
    code, err = shop.run("rollout", "step", "--auto")
    assert code == 0 and "sent" in err
    assert shop.run("rollout", "step", "--auto") == (0, "")
    assert [told["event"] for told in shop.hook.bodies()] == ["aborted", "aborted"]


def test_a_step_by_hand_tells_nobody(shop):
    shop.measure(errors=5_000)
    assert shop.run("rollout", "step")[0] == 5
    shop.run("rollout", "abort")
    assert not shop.hook.bodies()


def test_an_abort_of_the_day_before_yesterday_is_no_news(shop):
    shop.run("rollout", "abort")
    shop.has_been_there_for(30)
    assert shop.run("rollout", "step", "--auto") == (0, "")
    assert not shop.hook.bodies()


def test_waiting_is_told_once_for_each_percentage(shop):
    shop.configure({"min_impressions": 20_000}, max_rollout_wait_hours=48)
    shop.measure()
    shop.run("rollout", "step", "--auto")
    assert not shop.hook.bodies()  # it has only begun
    shop.has_been_there_for(50)
    shop.measure()
    for _ in range(2):
        assert shop.run("rollout", "step", "--auto")[0] == 0
    (told,) = shop.hook.bodies()
    title = f"Rollout: version {shop.store.versions()[-1]} has been at 1 % for 50 hours"
    assert told["event"] == "waiting" and told["colour"] == "amber" and told["alert_title"] == title
    assert "10000 of at least 20000 impressions" in told["reason"].replace(",", "")


def test_a_rollout_that_nobody_measures_is_told_of(shop):
    shop.configure(max_rollout_wait_hours=48)
    shop.has_been_there_for(50)
    assert shop.run("rollout", "step", "--auto")[0] == 3
    (told,) = shop.hook.bodies()
    assert told["event"] == "waiting" and "metrics.json: No such file" in told["reason"]


def test_a_green_rollout_that_waits_for_a_person_is_told_of(shop):
    shop.configure({"approval": "manual"}, max_rollout_wait_hours=48)
    shop.has_been_there_for(50)
    shop.measure()
    assert shop.run("rollout", "step", "--auto")[0] == 0
    (told,) = shop.hook.bodies()
    assert "Green at 1 %: `hivemill rollout step` takes it to 5 %" in told["reason"]


def test_a_channel_may_leave_rollouts_out(shop):
    shop.configure(channels=[{**CHANNEL, "events": ["red"]}])
    shop.measure(errors=5_000)
    assert shop.run("rollout", "step", "--auto")[0] == 8
    assert not shop.hook.bodies()


def test_a_wait_that_every_step_has_is_refused(shop):
    shop.configure({"min_hours": 24}, max_rollout_wait_hours=24)
    code, err = shop.run("rollout", "step", "--auto")
    assert code == 2 and "alerts.max_rollout_wait_hours: must be more than rollout.min_hours (24)" in err
