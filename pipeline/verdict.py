"""The one verdict of a run (verdict.json): exit code, report and command line all read it, so they cannot disagree."""

from __future__ import annotations

from typing import Any

from components.evaluator import gates


def assemble(record: dict[str, Any], collected: dict[str, Any], error: dict[str, Any] | None) -> dict[str, Any]:
    """The verdict document, version 1, from what the nodes judged and the error that stopped the run, if any.

    `collected` is pipeline.collect's result; `error` a card {message, hint, exit_code, details?}.
    """
    data = collected.get("data") or _data_of(error)
    model = collected.get("model")
    if model is not None:
        model = {**model, "version": collected.get("model_version")}
    refusals = gates.refusals(model) if model and not model["blessed"] else []
    exit_code, reason = _outcome(error, refusals, model)
    return {
        "version": 1,
        "run_id": record["run_id"],
        "date": record["date"],
        "colour": _colour(exit_code, data),
        "exit_code": exit_code,
        "reason": reason,
        "data": data,
        "model": model,
    }


def refusal_card(made: dict[str, Any]) -> dict[str, Any] | None:
    """The error card of a run whose model a gate refused; None for any other run."""
    if made["exit_code"] != 5:
        return None
    hint = "Nothing was pushed; what serves now stays. See the report for slices and curves."
    return {"message": made["reason"], "hint": hint, "exit_code": 5}


def _outcome(error: dict[str, Any] | None, refusals: list[str], model: dict[str, Any] | None) -> tuple[int, str]:
    if error:
        return error["exit_code"], error["message"].splitlines()[0]
    if refusals:
        return 5, "model not blessed: " + "; ".join(refusals)
    if model is None or model["version"] is None:
        return 1, "the run ended without a model and without an error"
    return 0, f"version {model['version']} is pushed"


def _colour(exit_code: int, data: dict[str, Any] | None) -> str:
    if exit_code != 0:
        return "red"
    return "amber" if data and data["colour"] == "amber" else "green"


def _data_of(error: dict[str, Any] | None) -> dict[str, Any] | None:
    """A red data verdict fails its node, and TFX removes a failed node's artifacts; the error carries the section."""
    return (error or {}).get("details")
