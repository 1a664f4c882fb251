"""The rollout as its users see it: labels, percentages, refusals, and what the server was told in which order."""

import multiprocessing
import shutil
import time

import pytest

from hivemill.common.errors import (
    ConfigError,
    DataNotReadyError,
    InfrastructureError,
    LockHeldError,
    ModelNotBlessedError,
    RolloutAbortedError,
)
from hivemill.serving.store.server_config import parse_models_config
from tests.serving.rollout.rollouts import machine, make_store, metrics, served
from tests.support.object_stores import bucket


@pytest.fixture(params=["folder", "s3"])
def shop(request, tmp_path, monkeypatch):
    if request.param == "folder":
        yield made(tmp_path)
        return
    with bucket(request.param, tmp_path, monkeypatch) as (_, url):
        yield made(tmp_path, f"{url}/models")


def made(tmp_path, place=None):
    class Shop:
        store = make_store(tmp_path, 3, place)
        server = served(store, tmp_path)
        old, middle, new = store.versions()
        folder = tmp_path

        def machine(self, **options):
            return machine(self.store, self.server, **options)

        def steps(self, count):
            for number in range(1, count + 1):
                self.machine().step(metrics(self.store, {"impressions": 10_000 * number}))

    return Shop()


def test_start_loads_then_labels_then_is_over(shop):
    outcome = shop.machine().start(shop.new, why="better offline")
    assert (outcome.rollout.canary, outcome.rollout.stable, outcome.rollout.percent) == (shop.new, shop.old, 1)
    assert shop.store.labels() == {"stable": shop.old, "canary": shop.new}
    loaded, labelled, drained = shop.server.reloads[1:]
    assert loaded == {"loaded": [shop.old, shop.new], "labels": {"stable": shop.old}}
    assert labelled == drained == {"loaded": [shop.old, shop.new], "labels": {"stable": shop.old, "canary": shop.new}}
    actions = [(line["action"], line.get("why")) for line in shop.store.audit()][-3:]
    assert actions == [(f"start: {phase}", "better offline") for phase in ("load", "label", "done")]


def test_all_steps_to_the_end(shop):
    shop.machine().start()
    seen = []
    for number in range(1, 5):
        seen.append(shop.machine().step(metrics(shop.store, {"impressions": 10_000 * number})).rollout.percent)
    assert seen == [5, 25, 50, 100]
    assert shop.store.labels() == {"stable": shop.new, "canary": shop.new, "previous": shop.old}
    assert shop.store.state().rollout["state"] == "done"
    assert shop.server.memory()["loaded"] == [shop.old, shop.new]  # the way back stays open
    steps = [line["action"] for line in shop.store.audit() if line["action"].startswith("step")]
    assert steps == ["step to 5 %", "step to 25 %", "step to 50 %"]


def test_rollback_of_a_promotion(shop):
    shop.machine().start()
    shop.steps(4)
    shop.server.reloads.clear()
    outcome = shop.machine().rollback(why="complaints")
    assert outcome.rollout.state == "rolled back" and outcome.rollout.percent == 0
    assert shop.store.labels() == {"stable": shop.old, "canary": shop.old}
    labelled, drained = shop.server.reloads
    assert labelled == {"loaded": [shop.old, shop.new], "labels": {"stable": shop.old, "canary": shop.old}}
    assert drained == {"loaded": [shop.old], "labels": {"stable": shop.old, "canary": shop.old}}
    with pytest.raises(ConfigError, match="nothing to roll back"):
        shop.machine().rollback()
    with pytest.raises(ConfigError, match=f"version {shop.new} was taken back before: complaints"):
        shop.machine().start()
    assert shop.machine().start(again=True).rollout.canary == shop.new


@pytest.mark.parametrize("verb", ["abort", "rollback"])
def test_abort_leaves_canary_answered_by_stable(shop, verb):
    shop.machine().start(shop.middle)
    shop.steps(2)
    getattr(shop.machine(), verb)(why="slow")
    assert shop.store.labels() == {"stable": shop.old, "canary": shop.old}
    assert shop.server.memory() == {"loaded": [shop.old], "labels": {"stable": shop.old, "canary": shop.old}}
    rollout = shop.store.state().rollout
    assert (rollout["state"], rollout["percent"], rollout["why"]) == ("aborted", 0, "slow")
    assert shop.store.state().rejected == {str(shop.middle): "slow"}


def test_what_cannot_start(shop, tmp_path):
    with pytest.raises(ConfigError, match=f"version {shop.old} is stable already"):
        shop.machine().start(shop.old)
    with pytest.raises(ConfigError, match="there is no version 7 of shop"):
        shop.machine().start(7)
    shop.machine().start(shop.new)
    with pytest.raises(ConfigError, match=f"a rollout of version {shop.new} is running, at 1 %"):
        shop.machine().start(shop.middle)
    with pytest.raises(InfrastructureError, match="a rollout holds the labels"):
        shop.store.set_label("canary", shop.middle)
    with pytest.raises(ConfigError, match="no rollout of shop is running"):
        empty = make_store(tmp_path / "other", 1)
        machine(empty, None).abort()


def test_a_version_that_does_not_load_changes_nothing(shop):
    before = shop.store.state()
    broken = served(shop.store, shop.folder, refused=(shop.new,))
    with pytest.raises(InfrastructureError, match=f"cannot load shop {shop.new}: out of memory"):
        machine(shop.store, broken, load_timeout_seconds=60).start(shop.new)
    after = shop.store.state()
    assert (after.labels, after.rollout, after.pending, after.also_served) == (before.labels, None, None, ())
    assert [line["action"] for line in shop.store.audit()][-2:] == ["start: load", "start: taken back"]
    assert parse_models_config((shop.store.path / "models.config").read_text()) == parse_models_config(
        shop.store.server_config()
    )
    assert broken.memory()["loaded"] == [shop.old]


def test_a_server_that_is_away_at_the_start_changes_nothing(shop):
    class Away:
        def reload(self, config_text):
            raise InfrastructureError("connection refused")

        states = reload

    with pytest.raises(InfrastructureError, match="connection refused"):
        machine(shop.store, Away()).start()
    assert shop.store.labels() == {"stable": shop.old} and shop.store.state().pending is None
    shop.machine().start()
    with pytest.raises(InfrastructureError, match=rf"the store is back at \[{shop.old}\], but connection refused"):
        machine(shop.store, Away()).abort()
    # Clients that read the store go back, and servers that poll it; the one that is away is told by the next call.
    assert shop.store.labels()["canary"] == shop.old and shop.store.state().rollout["percent"] == 0
    with pytest.raises(InfrastructureError, match="connection refused"):
        machine(shop.store, Away()).abort()
    assert shop.machine().abort().message == "It was interrupted; it is done now."
    assert shop.server.memory() == {"loaded": [shop.old], "labels": {"stable": shop.old, "canary": shop.old}}
    assert shop.store.state().pending is None


def test_an_interrupted_promotion_does_not_keep_anybody_from_going_back(shop):
    """Killed after the labels, and then one server is away: rolling back must not wait for the promotion to end."""
    shop.machine(percentages=(50, 100)).start()
    told = shop.server.reload

    def away(text):
        raise InfrastructureError("one of the servers is away")

    promoting = shop.machine(percentages=(50, 100))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(promoting._mover, "_end", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        promoting.step(metrics(shop.store))
    assert shop.store.labels()["stable"] == shop.new
    shop.server.reload = away
    with pytest.raises(InfrastructureError, match=rf"the store is back at \[{shop.old}\]"):
        shop.machine().rollback()
    assert shop.store.labels() == {"stable": shop.old, "canary": shop.old}
    shop.server.reload = told
    assert "interrupted rollback was finished" in shop.machine().rollback().warnings[0]
    assert shop.server.memory() == {"loaded": [shop.old], "labels": {"stable": shop.old, "canary": shop.old}}


def test_a_server_that_goes_away_while_it_goes_back_is_told_by_the_next_call(shop):
    shop.machine().start()
    calls = []
    told = shop.server.reload

    def fails_once(text):
        calls.append(text)
        if len(calls) == 1:
            raise InfrastructureError("gone")
        told(text)

    shop.server.reload = fails_once
    with pytest.raises(InfrastructureError, match="gone"):
        shop.machine().abort("slow")
    assert shop.store.labels()["canary"] == shop.old and shop.store.state().pending["phase"] == "label"
    outcome = shop.machine().end_interrupted()
    assert "an interrupted abort was finished" in outcome.warnings
    assert shop.server.memory()["labels"] == {"stable": shop.old, "canary": shop.old}
    assert shop.store.state().pending is None


def test_a_step_waits_without_a_step_and_says_for_what(shop):
    shop.machine().start()
    with pytest.raises(DataNotReadyError, match=r"stays at 1 %: 0\.0 of at least 24 hours at 1 %; 5 of at least 1000"):
        shop.machine(min_hours=24, min_impressions=1000).step(metrics(shop.store, {"impressions": 5, "clicks": 1}))
    waiting = shop.machine(min_hours=24).step(metrics(shop.store), auto=True)
    assert "0.0 of at least 24 hours" in waiting.message and waiting.rollout.percent == 1


def test_impressions_are_those_of_the_step(shop):
    shop.machine(min_impressions=8_000).start()
    shop.machine(min_impressions=8_000).step(metrics(shop.store))
    with pytest.raises(DataNotReadyError, match="5000 of at least 8000 impressions of canary at 5 %"):
        shop.machine(min_impressions=8_000).step(metrics(shop.store, {"impressions": 15_000}))
    assert shop.machine(min_impressions=8_000).step(metrics(shop.store, {"impressions": 18_000})).rollout.percent == 25


def test_red_stops_a_person_and_aborts_by_itself(shop):
    shop.machine().start()
    bad = metrics(shop.store, {"errors": 2_000})
    with pytest.raises(ModelNotBlessedError, match=r"errors 20\.000% of canary, 0\.000% of stable"):
        shop.machine().step(bad)
    assert shop.store.labels()["canary"] == shop.new
    with pytest.raises(RolloutAbortedError, match=r"was aborted at 1 %: errors 20\.000%") as caught:
        shop.machine(min_hours=1000).step(bad, auto=True)  # red needs no time
    assert caught.value.exit_code == 8
    assert shop.store.labels()["canary"] == shop.old
    assert shop.store.audit()[-1]["action"] == "abort: done" and "errors 20.000%" in shop.store.audit()[-1]["why"]


def test_a_version_that_somebody_deleted_does_not_stop_the_way_back(shop):
    shop.machine().start(shop.new)
    shutil.rmtree(shop.store.path_of(shop.new))
    shop.machine().abort()
    assert shop.store.labels() == {"stable": shop.old, "canary": shop.old}


def test_approval(shop):
    shop.machine().start()
    outcome = shop.machine(approval="manual").step(metrics(shop.store), auto=True)
    assert outcome.rollout.percent == 1 and "`hivemill rollout step` takes it to 5 %" in outcome.message
    assert shop.machine(approval="automatic").step(metrics(shop.store), auto=True).rollout.percent == 5


def test_a_canary_that_the_server_lost_gets_no_more_traffic(shop):
    shop.machine().start()
    lost = served(shop.store, shop.folder, refused=(shop.new,))
    with pytest.raises(RolloutAbortedError, match=f"version {shop.new} is END at the server out of memory"):
        machine(shop.store, lost).step(metrics(shop.store), auto=True)


def test_metrics_of_something_else_are_refused(shop):
    shop.machine().start(shop.middle)
    other = metrics(shop.store, {"model_version": shop.new})
    with pytest.raises(DataNotReadyError, match=f"canary is {shop.middle}; received {shop.new}"):
        shop.machine().step(other)
    with pytest.raises(DataNotReadyError, match="must not begin before the rollout"):
        shop.machine().step(metrics(shop.store, since_utc="2020-01-01T00:00:00+00:00"))
    with pytest.raises(DataNotReadyError, match=r"must end less than 0\.0001 hours ago"):
        late = metrics(shop.store)
        time.sleep(0.5)
        shop.machine(max_metrics_age_hours=0.0001).step(late, auto=True)


def _hold(path, ready, done):
    import fcntl

    with open(path, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ready.set()
        done.wait(30)


def test_two_calls_at_once(tmp_path):
    shop = made(tmp_path)
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(shop.store.folder / ".rollout.lock"), ready, done))
    holder.start()
    try:
        assert ready.wait(30)
        with pytest.raises(LockHeldError, match="another rollout command for shop is at work: unknown"):
            shop.machine().start()
    finally:
        done.set()
        holder.join()
    shop.machine().start()
