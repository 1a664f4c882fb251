"""Reference models beside the candidate: the training split's click rate, a logistic regression, boosted trees.

A DeepFM that does not beat the first two has a defect, whatever its AUC; what boosted trees do better is what it leaves
on the table. All see what the candidate sees, the tensors of its own `transformed_features` signature, and are judged
on the same sample of the eval split, row by row, so that the difference has an interval.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from absl import logging

from hivemill.components.evaluator.gate_entries import SliceMetrics, entry, figure
from hivemill.components.evaluator.metrics import bootstrap, click_summary, comparison
from hivemill.components.evaluator.options import ReferenceOptions
from hivemill.components.evaluator.references import boosted_trees, logistic_regression
from hivemill.components.evaluator.references.transformed import TRANSFORM_SIGNATURE, Rows, Tensors, transformed

GLOBAL_CTR, LOGISTIC_REGRESSION, BOOSTED_TREES = "global_ctr", "logistic_regression", "boosted_trees"
_WORDS = {
    GLOBAL_CTR: "always the click rate",
    LOGISTIC_REGRESSION: "a logistic regression on the same features",
    BOOSTED_TREES: "LightGBM on the same features",
}
_METRIC = "normalized_entropy"


@dataclasses.dataclass(frozen=True)
class Samples:
    """Rows of the splits, in the order of the log.

    `train` and `validation` have `kept_negatives` of their negatives: what is learnt from them is corrected as the
    candidate is (components/trainer/signatures.py).
    """

    train: Rows
    validation: Rows | None
    evaluation: Rows
    kept_negatives: float = 1.0


def compare(model: Any, samples: Samples, predictions: np.ndarray, options: ReferenceOptions) -> dict[str, Any]:
    """The `references` section of verdict.json: {rows, train_rows, candidate, models: [{name, …, difference}]}.

    `predictions` are the candidate's for the evaluation rows; `difference` is the candidate less the reference. Train
    and evaluation need both classes. A reference that fails has a `problem` and no metrics.
    """
    labels = samples.evaluation[1]
    candidate = _judged(labels, predictions)
    models = []
    for name, (train_rows, predict) in _references(model, samples, options).items():
        made: dict[str, Any] = {"name": name, "train_rows": train_rows, "problem": None}
        made |= {"metrics": {}, "intervals": {}, "difference": {}}
        try:
            judged = _judged(labels, _corrected(predict(), samples.kept_negatives))
            made |= {"metrics": judged[0], "intervals": comparison.intervals(*judged)}
            made |= {"difference": comparison.differences(*candidate, *judged)}
        except Exception as error:  # a reference judges the model; whether it works judges nothing
            logging.exception("The reference model %s failed.", name)
            made["problem"] = f"{type(error).__name__}: {error}"[:500]
        models.append(made)
    return {"rows": len(labels), "train_rows": len(samples.train[1]), "candidate": candidate[0], "models": models}


def bounds(references: Mapping[str, Any] | None, options: ReferenceOptions) -> list[dict[str, Any]]:
    """An entry of `bounds` for each reference that was compared. One that does better than the candidate by more than
    luck refuses the model, or is a doubt, or neither, as the options say."""
    models = (references or {}).get("models", ())
    known = [one for one in models if _METRIC in one.get("difference", {})]
    return [_bound(one, references, options) for one in known] if references else []


def _bound(one: Mapping[str, Any], references: Mapping[str, Any], options: ReferenceOptions) -> dict[str, Any]:
    severity = options.boosted_trees_better if one["name"] == BOOSTED_TREES else options.trivial_model_better
    seen, mine = one["metrics"][_METRIC], references["candidate"][_METRIC]
    loses = one["difference"][_METRIC]["meaning"] == "loss"
    words = _WORDS[one["name"]]
    message = (
        f"{words} does better than the model: normalised entropy {figure(seen)} against {figure(mine)}, on "
        f"{references['rows']:,} rows"
    )
    made = entry(
        SliceMetrics({}, references["candidate"]),
        _METRIC,
        mine,
        f"{_METRIC} <= {words}, luck set aside",
        passed=not (loses and severity == "red"),
        cause="worse_than_reference",
        message=message if loses and severity != "note" else None,
    )
    return made | {"limit": seen, "at_least": False, "judged": severity == "red"}


def _references(
    model: Any, samples: Samples, options: ReferenceOptions
) -> dict[str, tuple[int, Callable[[], np.ndarray]]]:
    """By name: rows trained on, and what fits the reference and predicts the evaluation rows."""
    labels = samples.train[1]
    found: dict[str, tuple[int, Callable[[], np.ndarray]]] = {
        GLOBAL_CTR: (len(labels), lambda: np.full(len(samples.evaluation[1]), labels.mean()))
    }
    if TRANSFORM_SIGNATURE not in model.signatures:
        return found
    cache: dict[int, Tensors] = {}  # both models see the evaluation rows

    def tensors(rows: Rows) -> Tensors:
        if id(rows) not in cache:
            cache[id(rows)] = transformed(model, rows[0])
        return cache[id(rows)]

    if options.logistic_regression:
        train = _thinned(samples.train, options.train_rows)
        found[LOGISTIC_REGRESSION] = (
            len(train[1]),
            lambda: logistic_regression.fit_and_predict(tensors(train), train[1], tensors(samples.evaluation)),
        )
    if options.boosted_trees:
        rows = _thinned(samples.train, options.boosted_trees_rows)

        def trees() -> np.ndarray:
            parts = [boosted_trees.Sample(tensors(each), each[1]) for each in (rows, samples.evaluation)]
            watched = samples.validation and boosted_trees.Sample(tensors(samples.validation), samples.validation[1])
            return boosted_trees.fit_and_predict(parts[0], watched, parts[1])

        found[BOOSTED_TREES] = (len(rows[1]), trees)
    return found


def _thinned(rows: Rows, wanted: int) -> Rows:
    if len(rows[1]) <= wanted:
        return rows
    chosen = np.linspace(0, len(rows[1]) - 1, wanted).astype(int)
    return rows[0][chosen], rows[1][chosen]


def _corrected(p: np.ndarray, kept_negatives: float) -> np.ndarray:
    return p / (p + (1 - p) / kept_negatives)


def _judged(labels: np.ndarray, predictions: np.ndarray) -> tuple[dict[str, float | None], np.ndarray]:
    summary = click_summary.summarize(labels, predictions)
    values = click_summary.metrics_of(summary)
    named = {name: value if np.isfinite(value) else None for name, value in values.items()}
    return {name: named[name] for name in bootstrap.METRICS}, bootstrap.replicates(summary.groups)
