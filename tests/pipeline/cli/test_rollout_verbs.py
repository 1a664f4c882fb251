"""`hivemill rollout …` and `rollback` as a user types them: exit codes, JSON, refusals, the exposure log. No server."""

import datetime
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.pipeline.shop import CONFIG, hivemill
from tests.serving.rollout.rollouts import make_store, metrics

ROLLOUT = {"min_hours": 0, "min_impressions": 1}


@pytest.fixture
def shop(tmp_path, capsys):
    class Shop:
        config = tmp_path / "hivemill.yaml"
        store = make_store(tmp_path / "root", 2)
        old, new = store.versions()

        def configure(self, **sections):
            document = {**CONFIG, "rollout": ROLLOUT, **sections}
            self.config.write_text(yaml.safe_dump(document, sort_keys=False))

        def run(self, *words):
            """(exit code, standard output, standard error)."""
            capsys.readouterr()
            code = hivemill(self.config, *words)
            return code, *capsys.readouterr()

        def json(self, *words):
            code, out, _ = self.run(*words, "--json")
            return code, json.loads(out)

        def write_metrics(self, canary=None, **more):
            document = metrics(self.store, canary, **more).model_dump_json()
            (tmp_path / "metrics.json").write_text(document)

    made = Shop()
    made.configure()
    return made


def test_from_start_to_rollback(shop):
    shop.configure(rollout={**ROLLOUT, "percentages": [10, 100], "metrics": "metrics.json"})
    code, started = shop.json("rollout", "start", "--without-server", "--why", "better offline")
    assert code == 0 and started["rollout"]["percent"] == 10
    assert started["labels"] == {"stable": shop.old, "canary": shop.new}
    shop.write_metrics()
    code, status = shop.json("rollout", "status")
    assert code == 0 and status["judgement"]["colour"] == "green" and status["server"] is None
    code, out, _ = shop.run("models")
    assert f"Version {shop.new} is rolled out: 10 % of the users." in out
    code, out, _ = shop.run("rollout", "step", "--without-server")
    assert code == 0 and f"Version {shop.new} is at 100 %: it is stable now." in out
    assert "GUARDRAIL" in out and "calibration" in out
    code, done = shop.json("rollback", "--without-server", "--why", "complaints")
    assert code == 0 and done["labels"] == {"stable": shop.old, "canary": shop.old}
    code, out, _ = shop.run("rollout", "status")
    assert code == 0 and "rolled back" in out and "complaints" in out
    assert f"Version {shop.new} was taken back: complaints" in shop.run("models")[1]
    whys = {line["why"] for line in shop.store.audit() if line["action"].startswith(("start", "rollback"))}
    assert whys == {"better offline", "complaints"}


def test_without_a_server_in_the_config_labels_stay(shop):
    code, document = shop.json("rollout", "start")
    assert code == 2 and "rollout.server is not set" in document["error"]["message"]
    assert "--without-server" in document["error"]["hint"]
    assert shop.store.labels() == {"stable": shop.old}


def test_a_server_that_is_not_there_is_exit_code_6(shop):
    shop.configure(rollout={**ROLLOUT, "server": "127.0.0.1:1"})
    code, _, err = shop.run("rollout", "start")
    assert code == 6 and "127.0.0.1:1" in err and "UNAVAILABLE" in err
    assert shop.store.labels() == {"stable": shop.old}
    code, out, _ = shop.run("rollout", "status")
    assert code == 0 and "127.0.0.1:1" in out  # a note


def test_exit_codes_of_a_step(shop):
    assert shop.run("rollout", "step", "--without-server")[0] == 2  # no rollout
    assert shop.run("rollout", "start", "--without-server")[0] == 0
    code, _, err = shop.run("rollout", "step", "--without-server")
    assert code == 2 and "Neither rollout.metrics nor experiment.log is set" in err
    shop.configure(rollout={**ROLLOUT, "min_hours": 5, "metrics": "metrics.json"})
    code, _, err = shop.run("rollout", "step", "--without-server")
    assert code == 3 and "metrics.json: No such file" in err
    shop.write_metrics()
    code, _, err = shop.run("rollout", "step", "--without-server")
    assert code == 3 and "0.0 of at least 5 hours" in err
    code, out, _ = shop.run("rollout", "step", "--auto", "--without-server")
    assert code == 0 and "stays at 1 %" in out
    shop.write_metrics({"errors": 5_000})
    assert shop.run("rollout", "step", "--without-server")[0] == 5
    code, document = shop.json("rollout", "step", "--auto", "--without-server")
    assert code == 8 and "was aborted at 1 %: errors 50.000%" in document["error"]["message"]
    assert shop.store.labels() == {"stable": shop.old, "canary": shop.old}
    code, out, _ = shop.run("rollout", "step", "--auto", "--without-server")
    assert code == 0 and "No rollout of shop is running." in out
    assert shop.run("rollout", "step", "--without-server")[0] == 2


def test_a_schedule_starts_what_is_new_once(shop):
    words = ("rollout", "start", "--auto", "--without-server")
    code, out, _ = shop.run(*words)
    assert code == 0 and "Nothing is started: rollout.approval is manual." in out
    shop.configure(rollout={**ROLLOUT, "approval": "automatic"})
    code, out, _ = shop.run(*words)
    assert code == 0 and f"Version {shop.new} is canary at 1 %." in out
    assert "Nothing is started: a rollout is running." in shop.run(*words)[1]
    shop.run("rollback", "--without-server")
    assert f"Nothing is started: version {shop.new} was taken back before." in shop.run(*words)[1]
    assert shop.store.labels() == {"stable": shop.old, "canary": shop.old}


@pytest.mark.parametrize("words", [("rollout", "start", "x"), ("rollout",), ("rollback", "--auto"), ("rollout", "go")])
def test_words_that_are_not_understood(shop, words):
    assert shop.run(*words)[0] == 2


def test_a_config_that_is_wrong_names_the_key(shop):
    shop.configure(rollout={"percentages": [50, 5, 100]})
    code, _, err = shop.run("rollout", "status")
    assert code == 2 and "rollout.percentages" in err and "must rise from step to step" in err
    shop.configure(store={"path": "s3://bucket/models"})
    code, _, err = shop.run("rollout", "status")
    assert code == 2 and "store.path" in err and "not a URL" in err


def write_log(folder, shop, canary_ctr, users=4_000):
    """Two impressions each of `users`; a tenth of them sees canary. Clicks are spread evenly."""
    now = datetime.datetime.now(datetime.timezone.utc)
    rows = []
    for user in range(users):
        canary = user % 10 == 0
        ctr, version = (canary_ctr, shop.new) if canary else (0.2, shop.old)
        for impression in range(2):
            clicked = ((user // 10 * 2 + impression) * 61 % 100) / 100 < ctr
            row = (now, f"u{user}", "canary" if canary else "stable", int(clicked), version, 0.2, 0.01, False)
            rows.append(row)
    names = ("request_time", "user_id", "variant", "click", "model_version", "prediction", "latency_seconds", "error")
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), folder / "log.parquet")


def test_the_exposure_log_is_what_the_guardrails_ask(shop, tmp_path):
    shop.configure(experiment={"log": str(tmp_path / "exposures")}, rollout={**ROLLOUT, "percentages": [10, 50, 100]})
    shop.run("rollout", "start", "--without-server")
    write_log(tmp_path / "exposures", shop, canary_ctr=0.2)
    code, out, err = shop.run("rollout", "step", "--without-server")
    assert code == 0 and f"Version {shop.new} is at 50 %" in out, (out, err)
    write_log(tmp_path / "exposures", shop, canary_ctr=0.04, users=12_000)
    code, _, err = shop.run("rollout", "step", "--auto", "--without-server")
    assert code == 8 and "lift in CTR" in err
    assert shop.store.labels()["canary"] == shop.old


def test_rows_that_another_version_answered_do_not_count(shop, tmp_path):
    from hivemill.serving.experiment.options import ExperimentOptions
    from hivemill.serving.rollout.exposures import metrics_of_log
    from hivemill.serving.rollout.state import new_rollout

    write_log(tmp_path / "exposures", shop, canary_ctr=0.2, users=1_000)
    rollout = new_rollout(shop.new, shop.old, 10)
    earlier = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)).isoformat()
    rollout = type(rollout)(**{**vars(rollout), "started_utc": earlier})
    found = metrics_of_log(rollout, ExperimentOptions(log=str(tmp_path / "exposures")))
    assert (found.variants.canary.impressions, found.variants.stable.impressions) == (200, 1_800)
    assert found.variants.canary.clicks == 40 and found.variants.canary.mean_prediction == pytest.approx(0.2)
    other = type(rollout)(**{**vars(rollout), "canary": shop.new + 1})
    with pytest.raises(Exception, match=r"no row of canary since the rollout began"):
        metrics_of_log(other, ExperimentOptions(log=str(tmp_path / "exposures")))
