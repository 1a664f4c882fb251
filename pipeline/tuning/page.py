"""The page of a search: what is proposed, every trial, how each came along."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hivemill.pipeline.report.charts import svg
from hivemill.pipeline.report.rendering import render_page


def render_tuning_page(document: Mapping[str, Any]) -> str:
    """The page as text, of the document that `hivemill tune --json` prints."""
    keys = list(document["trials"][0]["values"])
    trials = sorted(document["trials"], key=lambda one: (one.get("val_logloss") is None, one.get("val_logloss")))
    first = document["trials"][0]["values"]
    return render_page(
        "tuning.html.j2",
        document=document,
        headline=headline(document),
        reason=reason(document),
        keys=keys,
        trials=[{**one, "cells": [_cell(one["values"][key], first[key]) for key in keys]} for one in trials],
        chart=_chart(document),
    )


def headline(document: Mapping[str, Any]) -> str:
    """What came of the search, in a line."""
    if document["best"]["values"]:
        return f"Trial {document['best']['trial']} is better than the config as it is"
    if document["mean"]["values"]:
        return f"The mean of {len(document['mean']['trials'])} trials is better than the config as it is"
    return "Nothing is proposed: keep the config"


def reason(document: Mapping[str, Any]) -> str:
    """The figures behind the headline."""
    if document["mean"]["values"] and not document["best"]["values"]:
        return f"{mean_words(document)} {_of_best(document)}"
    return _of_best(document)


def mean_words(document: Mapping[str, Any]) -> str:
    """What the mean of the best few is worth."""
    mean, config = document["mean"], document["config"]
    chance = "more" if mean["is_beyond_chance"] else "no more"
    return (
        f"The mean of the best {len(mean['trials'])} trials as one model: validation logloss {mean['val_logloss']:.5f} "
        f"against {config['val_logloss']:.5f}, {chance} than chance may give."
    )


def _of_best(document: Mapping[str, Any]) -> str:
    best, others = document["best"], len(document["trials"]) - 1
    if not others:
        return "Only the config as it is was trained; there was no time for another trial."
    if best["trial"] == 0:
        return f"None of {others} other trials has a lower validation logloss than the config as it is."
    words = (
        f"Trial {best['trial']} has the lowest validation logloss, {best['val_logloss']:.5f} against "
        f"{document['config']['val_logloss']:.5f}: {best['gain']:.5f} less. "
    )
    chance = f"chance alone may give the best of {others} trials {best['needed']:.5f}"
    return f"{words}{'This counts' if best['is_beyond_chance'] else 'This proves nothing'}: {chance}."


def _cell(value: Any, of_config: Any) -> dict[str, Any]:
    return {"text": json.dumps(value, ensure_ascii=False), "is_changed": value != of_config}


def _chart(document: Mapping[str, Any]) -> Any:
    """The config and the best trial, by epoch."""
    trials = {one["trial"]: one for one in document["trials"]}
    best = document["best"]["trial"]
    shown = [("config", "train", 0)] + ([(f"trial {best}", "validation", best)] if best else [])
    series = [
        svg.Series(name, style, tuple((check["epoch"], check["val_loss"]) for check in trials[number]["checks"]))
        for name, style, number in shown
    ]
    return svg.line_chart("tuning-chart", "Validation logloss by epoch", series)
