"""Frames of the eval rows -> a ClickSummary for each slice and model, in bounded memory beside the frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from hivemill.components.evaluator import extractors
from hivemill.components.evaluator.metrics import click_summary

ROWS_AT_ONCE = 500_000  # about 150 bytes a row while they are summed: 75 MB

Summaries = dict[tuple, dict[str, click_summary.ClickSummary]]  # slice key -> model -> summary


def summaries_by_slice(frames: Sequence[pd.DataFrame], specs: Sequence[extractors.SliceSpec]) -> Summaries:
    """The whole split is slice `()`. Rows of a user are summed together, as GAUC needs."""
    parts: dict[tuple, dict[str, list[click_summary.ClickSummary]]] = {}
    for frame in _parts_by_user(frames):
        groups = extractors.groups_of(frame)
        for key, rows in extractors.rows_by_slice(frame, specs).items():
            for model, summary in _summaries(frame, rows, groups).items():
                parts.setdefault(key, {}).setdefault(model, []).append(summary)
    return {
        key: {model: click_summary.merge(found) for model, found in of_models.items()}
        for key, of_models in parts.items()
    }


def _summaries(frame: pd.DataFrame, rows: Any, groups: np.ndarray) -> dict[str, click_summary.ClickSummary]:
    labels = frame[extractors.LABEL].to_numpy()[rows]
    users = frame[extractors.USER].to_numpy()[rows] if extractors.USER in frame else None
    return {
        model: click_summary.summarize(labels, predictions[rows], users, groups[rows])
        for model, predictions in extractors.predictions_of(frame).items()
    }


def _parts_by_user(frames: Sequence[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """All rows, in frames of about ROWS_AT_ONCE; the rows of a user are in one of them."""
    num_parts = 1 + sum(map(len, frames)) // ROWS_AT_ONCE
    if num_parts == 1 or extractors.USER not in frames[0]:
        per_part = -(-len(frames) // num_parts)
        starts = range(0, len(frames), per_part or 1)
        yield from (_concatenated(frames[start : start + per_part]) for start in starts)
        return
    for part in range(num_parts):
        yield _concatenated([frame[frame[extractors.USER] % num_parts == part] for frame in frames])


def _concatenated(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """`pd.concat` that leaves categories categories: the batches know different ones."""
    if len(frames) == 1:
        return frames[0].reset_index(drop=True)
    return pd.DataFrame({name: _column([frame[name] for frame in frames]) for name in frames[0].columns})


def _column(parts: Sequence[pd.Series]) -> Any:
    if all(isinstance(part.dtype, pd.CategoricalDtype) for part in parts):
        return union_categoricals(parts)
    if any(isinstance(part.dtype, pd.CategoricalDtype) for part in parts):  # lists in some batches only
        parts = [part.astype(object) for part in parts]
    return pd.concat(parts, ignore_index=True)
