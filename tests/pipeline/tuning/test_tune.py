"""`hivemill tune` on a real table: killed half way, resumed, repeated, accepted, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from hivemill.pipeline.config import loader
from tests.pipeline.shop import CONFIG, RUN_DATE, hivemill, hivemill_command, make_shop

SPACE = {"training.learning_rate": [1e-6, 0.003], "model.dropout": [0.2, 0.4]}
# The config as it is hardly learns, so that another trial is better beyond chance.
TRAINING = {**CONFIG["training"], "learning_rate": 1e-6, "epochs": 6, "tensorboard": {}}
TUNING = {"trials": 4, "mean_of": 2, "workers": 2, "space": SPACE}


def configure(path: Path, **changes: object) -> None:
    document = {**CONFIG, "training": TRAINING, "tuning": TUNING, **changes}
    path.write_text("# ours\n" + yaml.safe_dump(document, sort_keys=False))


@pytest.mark.slow
def test_a_search_is_killed_resumed_repeated_and_accepted(tmp_path, capsys):
    config = make_shop(tmp_path)
    configure(config)
    before = config.read_text()
    words = ("tune", "--date", RUN_DATE, "--json")
    process = subprocess.Popen(hivemill_command(config, *words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob("root/tuning/*/trials/*/checks.json")):
        assert process.poll() is None
        time.sleep(0.1)
    process.kill()
    process.wait()
    time.sleep(1.0)  # the trials end with their parent

    assert hivemill(config, *words) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [one["trial"] for one in shown["trials"]] == [0, 1, 2, 3]
    assert shown["best"]["values"]["training.learning_rate"] == 0.003
    assert "+  learning_rate: 0.003" in shown["best"]["diff"] and shown["accepted"] is None
    assert config.read_text() == before
    assert "better than the config as it is" in Path(shown["page"]).read_text()

    assert hivemill(config, *words, "--accept", "best") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["trials"] == shown["trials"] and again["accepted"] == "best"
    assert yaml.safe_load(config.read_text())["training"]["learning_rate"] == 0.003
    assert config.read_text().startswith("# ours\n")

    config.write_text(before)
    assert hivemill(config, *words, "--accept", "mean") == 0
    members = yaml.safe_load(config.read_text())["members"]
    assert len(members) == 2 and members[0] == shown["best"]["values"]
    assert loader.load(config).config.members == tuple(members)
    assert not list(tmp_path.glob("root/runs/*"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"window": {**CONFIG["window"], "validation_days": 0}}, "trials are judged by validation days only"),
        ({"tuning": {"space": {"model.dropout": [2]}}}, "tuning.space.model.dropout"),
        ({"tuning": {"space": {"model.layers": [2]}}}, "is not a key of the config"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_any_cost(tmp_path, capsys, changes, words):
    config = tmp_path / "hivemill.yaml"
    configure(config, **({"training": {**TRAINING, "plateau": None}} | changes))
    assert hivemill(config, "tune", "--date", RUN_DATE) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "root").exists()
