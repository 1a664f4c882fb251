"""What `members` may say."""

from __future__ import annotations

import pytest

from hivemill.common.errors import ConfigError
from hivemill.pipeline.config import loader
from tests.support.small_config import small_config


def load(tmp_path, members: str):
    path = tmp_path / "hivemill.yaml"
    path.write_text(small_config(f"members: {members}"))
    return loader.load(path, environment={})


def test_members_change_the_run(tmp_path):
    with_members = load(tmp_path, "[{}, {training.seed: 18}]").config
    assert with_members.members == ({}, {"training.seed": 18})
    assert with_members.semantic_fingerprint() != load(tmp_path, "[]").config.semantic_fingerprint()


def test_a_member_may_train_with_adagrad_where_it_has_no_penalty(tmp_path):
    load(tmp_path, "[{}, {training.optimizer: adagrad, model.embedding_l2: 0.0}]")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ("[{training.seed: 1}]", "has one member"),
        ("[{}, {}]", "is the same as one before it"),
        ("[{}, {rates.max_pairs: 3}]", "must be the same for all members"),
        ("[{}, {training.optimizer: adagrad}]", "members.1: training.optimizer is adagrad, which has no L2 penalty"),
        ("[{}, {model.dropout: 3}]", "members.1.model.dropout"),
        ("[{}, {window.train_days: 3}]", "must be a key of model, training"),
    ],
)
def test_mistakes_name_the_member_and_the_rule(tmp_path, members, words):
    with pytest.raises(ConfigError, match=words.replace(".", r"\.")):
        load(tmp_path, members)
