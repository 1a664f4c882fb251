"""The proposal changes the values and nothing else of the user's file."""

from __future__ import annotations

import textwrap

import pytest

from hivemill.common.errors import ConfigError
from hivemill.pipeline.config import yaml_source
from hivemill.pipeline.tuning import proposal

VALUES = {"model.hidden_units": [512, 256], "training.learning_rate": 0.002}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "name: shop  # ours\nmodel:\n  hidden_units: [8]  # small\ntraining: {learning_rate: 1e-3, epochs: 2}\n",
            "name: shop  # ours\nmodel:\n  hidden_units: [512, 256]  # small\n"
            "training: {learning_rate: 0.002, epochs: 2}\n",
        ),
        (
            "model:\n  dropout: 0.1\ntraining: {}\n",
            "model:\n  hidden_units: [512, 256]\n  dropout: 0.1\ntraining: {learning_rate: 0.002}\n",
        ),
        (
            "model:\n  # wide\n  hidden_units:\n    - 8\n    - 4\n\n  # end\n  dropout: 0.1\ntraining: {epochs: 2}",
            "model:\n  # wide\n  hidden_units:\n    [512, 256]\n\n  # end\n  dropout: 0.1\n"
            "training: {learning_rate: 0.002, epochs: 2}",
        ),
        ("name: shop", "name: shop\n\nmodel: {hidden_units: [512, 256]}\n\ntraining: {learning_rate: 0.002}\n"),
        (
            "training:\nmodel:\n  hidden_units: [8]\n",
            "training: {learning_rate: 0.002}\nmodel:\n  hidden_units: [512, 256]\n",
        ),
    ],
)
def test_values_go_where_a_reader_looks_for_them(before, after):
    assert proposal.changed_text(before, VALUES, "hivemill.yaml") == after


def test_a_key_at_any_depth():
    made = proposal.changed_text("training:\n  epochs: 3\n", {"training.plateau.patience": 5}, "h")
    assert yaml_source.parse(made, "h").data == {"training": {"epochs": 3, "plateau": {"patience": 5}}}


@pytest.mark.parametrize("before", ["a: 1\n", "a: 1\nmembers: []\n", "a: 1\nmembers:\n- {model.dropout: 0.1}\n"])
def test_members_have_a_line_each(before):
    made = proposal.changed_text(before, {"members": [{"model.dropout": 0.3}, {}]}, "h")
    assert made.endswith('members:\n  - {"model.dropout": 0.3}\n  - {}\n')


def test_what_cannot_be_changed_is_told():
    text = "a: &x {dropout: 0.1}\nb: *x\nmodel: *x\n"
    with pytest.raises(ConfigError, match="cannot be put") as caught:
        proposal.changed_text(text, {"model.dropout": 0.3}, "hivemill.yaml")
    assert "model.dropout: 0.3" in (caught.value.hint or "")


def test_the_diff_is_for_patch():
    before = textwrap.dedent("""\
        name: shop
        model: {dropout: 0.1}""")
    made = proposal.diff(before, proposal.changed_text(before, {"model.dropout": 0.3}, "h"), "h")
    assert made.splitlines()[:2] == ["--- a/h", "+++ b/h"]
    assert "-model: {dropout: 0.1}\n" in made and "+model: {dropout: 0.3}\n" in made
