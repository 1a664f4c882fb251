"""Real trials in real processes: what they leave, that a kill loses nothing, and what a budget cuts off."""

from __future__ import annotations

import json
import types
from pathlib import Path

import numpy as np
import pytest

from tests.components.trainer import click_world

pytest.importorskip("tensorflow_transform")

from hivemill.common.errors import ConfigError
from hivemill.components.tuner import executor, search
from hivemill.components.tuner.options import TuningOptions

SPACE = {"model.dropout": [0.0, 0.5], "training.learning_rate": [0.0001, 0.02]}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    click_world.write_world(folder)
    return folder


def fn_args(world: Path, name: str, training=None, **tuning):
    args = click_world.fn_args(world, world / name, training=training)
    options = TuningOptions(**{"trials": 4, "mean_of": 2, "workers": 2, "space": SPACE, **tuning})
    custom = {**args.custom_config, "tuning": options.model_dump_json(), "folder": str(world / name)}
    made = types.SimpleNamespace(
        train_files=args.train_files,
        eval_files=args.eval_files,
        transform_graph_path=args.transform_output,
        custom_config=custom,
    )
    return made, options


def tune(world: Path, name: str, **more):
    args, options = fn_args(world, name, **more)
    search.tuner_fn(args).tuner.search()
    return executor.document(world / name / "trials", options)


@pytest.mark.slow
def test_a_search_ends_resumes_and_continues(world):
    made = tune(world, "a")
    trials = made["trials"]
    assert [one["trial"] for one in trials] == [0, 1, 2, 3]
    assert trials[0]["values"] == {"model.dropout": 0.2, "training.learning_rate": 0.01}
    assert len({json.dumps(one["values"]) for one in trials}) == 4
    assert made["num_validation_rows"] == 1000
    complete = {one["trial"]: one["val_logloss"] for one in trials if one["state"] == "complete"}
    assert made["best"]["trial"] == min(complete, key=complete.__getitem__)
    assert made["mean"]["trials"] == sorted(complete, key=complete.__getitem__)[:2]
    assert made["config"]["val_logloss"] == complete[0]
    for one in trials:  # the predictions are those of the best check, with rates as a server looks them up
        assert one["val_logloss"] == pytest.approx(min(check["val_loss"] for check in one["checks"]), abs=2e-3)
    assert not list((world / "a" / "trials").glob("*/checkpoints"))

    lost = world / "a" / "trials" / "0002"
    before = {file: file.stat().st_mtime_ns for file in (world / "a").glob("trials/*/result.json")}
    (lost / "result.json").unlink()  # as a kill before the end leaves it
    again = tune(world, "a", trials=5)
    assert [one["trial"] for one in again["trials"]] == [0, 1, 2, 3, 4]
    changed = {file.parent.name for file, time in before.items() if file.stat().st_mtime_ns != time}
    assert changed == {"0002"}
    losses = [[check["val_loss"] for check in one["trials"][2]["checks"]] for one in (made, again)]
    both = min(map(len, losses))  # the first time the trials side by side may have been too few to prune it
    assert both >= 2 and np.allclose(losses[0][:both], losses[1][:both], atol=1e-4)


@pytest.mark.slow
def test_without_time_only_the_config_is_trained(world):
    made = tune(world, "b", minutes=1e-9, workers=1)
    assert [one["trial"] for one in made["trials"]] == [0]
    assert made["best"]["trial"] == 0 and not made["best"]["is_beyond_chance"]


@pytest.mark.slow
def test_a_config_that_diverges_ends_the_search(world):
    with pytest.raises(ConfigError, match="the config as it is: the loss is not a number"):
        tune(world, "c", training={"learning_rate": 1e30, "warmup_steps": 0}, workers=1)
