"""The page and its words, for a search that proposes something and for those that do not."""

from __future__ import annotations

import copy

from hivemill.pipeline.tuning.page import headline, reason, render_tuning_page

CHECKS = [{"epoch": number / 2, "val_loss": 0.6 / number} for number in (1, 2, 3)]
COMPARISON = {
    "val_logloss": 0.21,
    "val_auc": 0.9,
    "gain": 0.02,
    "standard_error": 0.004,
    "needed": 0.01,
    "is_beyond_chance": True,
}


def trial(number: int, dropout: float, loss: float) -> dict:
    figures = {"val_logloss": loss, "val_auc": 0.8, "best_epoch": 1.5, "checks": CHECKS, "seconds": 12.0}
    return {"trial": number, "values": {"model.dropout": dropout}, "state": "complete", "error": None, **figures}


DIFF = "--- a/hivemill.yaml\n+++ b/hivemill.yaml\n"
NOTHING = {"values": {}, "diff": "", "is_beyond_chance": False}
FAILED = {"trial": 2, "values": {"model.dropout": 0.0}, "state": "failed", "error": "it <diverged>", "checks": []}
DOCUMENT = {
    "version": 1,
    "tuning_id": "2026-11-15-0a1b2c3d",
    "num_validation_rows": 1000,
    "config": {"val_logloss": 0.23, "val_auc": 0.88},
    "best": {"trial": 1, **COMPARISON, "values": {"model.dropout": 0.5}, "diff": DIFF},
    "mean": {"trials": [1, 0], **COMPARISON, "values": {"members": [{"model.dropout": 0.5}, {}]}, "diff": DIFF},
    "trials": [trial(0, 0.2, 0.23), trial(1, 0.5, 0.21), {**FAILED, "seconds": 3.0}],
    "page": "x",
}


def nothing_proposed() -> dict:
    document = copy.deepcopy(DOCUMENT)
    document["best"] |= NOTHING
    document["mean"] |= NOTHING
    return document


def test_a_winner_is_proposed_with_its_diff():
    page = render_tuning_page(DOCUMENT)
    assert "Trial 1 is better than the config as it is" in page and "+++ b/hivemill.yaml" in page
    assert "0.21000 against 0.23000: 0.02000 less" in page and "--accept best" in page
    assert "it &lt;diverged&gt;" in page and "<strong>0.5</strong>" in page and "<svg" in page


def test_the_mean_may_be_better_where_no_trial_is():
    document = copy.deepcopy(DOCUMENT)
    document["best"] |= NOTHING
    page = render_tuning_page(document)
    assert "The mean of 2 trials is better than the config" in page
    assert "validation logloss 0.21000 against 0.23000, more than chance may give" in page
    assert "--accept mean" in page and "--accept best" not in page


def test_what_is_no_more_than_chance_is_not_proposed():
    document = nothing_proposed()
    assert headline(document) == "Nothing is proposed: keep the config"
    assert "This proves nothing: chance alone may give the best of 2 trials 0.01000" in reason(document)
    page = render_tuning_page(document)
    assert "--accept" not in page and "No change of the config is proposed" in page


def test_the_config_that_wins_or_stands_alone_is_said_so():
    document = nothing_proposed()
    document["best"]["trial"] = 0
    assert "None of 2 other trials" in reason(document)
    document["trials"] = document["trials"][:1]
    assert "no time for another trial" in reason(document)
    assert render_tuning_page(document)
