"""The search space: what is tried, what it makes of the options, and what the config may not say."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from hivemill.components.trainer import option_changes
from hivemill.components.trainer.options import ModelOptions, RateOptions, TrainingOptions
from hivemill.components.tuner import space
from hivemill.components.tuner.options import TuningOptions

SECTIONS = option_changes.sections_of(ModelOptions(), TrainingOptions(), RateOptions())


def test_the_config_comes_first_and_each_value_once():
    choices = space.choices({"model.dropout": [0.0, 0.2, 0.4], "model.hidden_units": [[8]]}, SECTIONS)
    assert choices == {"model.dropout": ["0.2", "0.0", "0.4"], "model.hidden_units": ["[256, 128]", "[8]"]}


def test_values_change_a_copy_at_any_depth():
    changed = option_changes.with_values(SECTIONS, {"training.plateau.patience": 5, "model.hidden_units": [8]})
    assert changed["training"]["plateau"]["patience"] == 5 and changed["model"]["hidden_units"] == [8]
    assert SECTIONS["training"]["plateau"]["patience"] == 3


def test_the_options_refuse_what_a_config_could_not_say():
    with pytest.raises(ValidationError):
        option_changes.with_values(SECTIONS, {"model.dropout": 1.5})


@pytest.mark.parametrize(
    ("key", "values", "words"),
    [
        ("window.train_days", [3], "must be a key of model, training, rates"),
        ("model", [3], "must be a key of"),
        ("model.drop", [0.1], "is not a key"),
        ("model.dropout.x", [0.1], "is not a key"),
        ("model.dropout", [], "at least one value"),
        ("model.dropout", [0.1, 2], "received 2"),
    ],
)
def test_mistakes_name_the_key_and_the_value(key, values, words):
    [(found, message)] = space.mistakes({key: values}, SECTIONS)
    assert found == key and words in message


def test_the_default_space_has_no_mistake():
    assert list(space.mistakes(TuningOptions().space, SECTIONS)) == []
