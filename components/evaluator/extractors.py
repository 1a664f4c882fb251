"""TFMA extractors that keep rows in batches: Arrow -> frame of label, user, slice columns -> predictions -> slices.

TFMA's own extractors split batches into single rows before the metrics, which is most of its time. Here an extract that
reaches the metrics holds all rows of one slice whose users fall into one of `USER_BUCKETS`, so that the rows of a user
meet in one place, as GAUC needs (TFMA's `query_key` groups by user too, but makes every other metric wait row by row).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow_model_analysis as tfma

from hivemill.common import progress
from hivemill.components.evaluator.metrics import bootstrap
from hivemill.components.evaluator.options import GateOptions

ROWS_KEY = "rows"
USERS_KEY, GROUPS_KEY = "users", "groups"
USER_BUCKETS = 16  # a bucket's rows, about 40 bytes each, are in memory together: 25 MB at 10 million eval rows
LABEL, USER, PREDICTION = "<label>", "<user>", "<prediction>"  # cannot be names of Hive columns

rows_predicted = 0  # in this process since the executor set it to 0, for the progress line

SliceSpec = dict[str, "str | int | None"]  # column -> the one value, or None for every value


def slice_specs(gates: GateOptions) -> list[SliceSpec]:
    """The slices to compute, the whole eval split (`{}`) first, without repetitions."""
    specs: list[SliceSpec] = [{}]
    for columns in (*gates.slices, *(bound.slice for bound in gates.slice_bounds)):
        spec = dict(columns) if isinstance(columns, dict) else dict.fromkeys(columns)
        if spec not in specs:
            specs.append(spec)
    return specs


def batch_extractors(
    eval_config: tfma.EvalConfig,
    models: list[tfma.types.EvalSharedModel],
    label_column: str,
    user_column: str | None,
    specs: Sequence[SliceSpec],
) -> list[tfma.extractors.Extractor]:
    """The chain of extractors; the last one's stage name is the one that TFMA's evaluator runs after."""
    columns = sorted({column for spec in specs for column in spec})
    return [
        tfma.extractors.Extractor("ExtractRows", beam.Map(rows_of_batch, label_column, user_column, columns)),
        tfma.extractors.PredictionsExtractor(eval_config, models if len(models) > 1 else models[0]),
        tfma.extractors.Extractor(
            tfma.extractors.slice_key_extractor.SLICE_KEY_EXTRACTOR_STAGE_NAME,
            _SliceBatches(user_column is not None, list(specs)),
        ),
    ]


def rows_of_batch(
    extracts: tfma.types.Extracts, label_column: str, user_column: str | None, slice_columns: Sequence[str]
) -> tfma.types.Extracts:
    """Serialised examples for the model, and a frame of what the metrics need."""
    batch = extracts[tfma.ARROW_RECORD_BATCH_KEY]
    frame = frame_of(batch, label_column, user_column, slice_columns)
    serialized = batch.column(batch.schema.get_field_index(tfma.constants.ARROW_INPUT_COLUMN))
    return {tfma.INPUT_KEY: np.asarray(serialized.flatten()), ROWS_KEY: frame}


def frame_of(
    batch: pa.RecordBatch, label_column: str, user_column: str | None, slice_columns: Sequence[str]
) -> pd.DataFrame:
    """Label (missing: NaN), user (missing: 0) and slice columns; predictions are to be columns (PREDICTION, model)."""
    frame = pd.DataFrame({LABEL: _labels(batch, label_column)})
    if user_column is not None:
        frame[USER] = _hashed(_first_values(batch, user_column))
    for column in slice_columns:
        frame[column] = _slice_values(batch, column)
    return frame


class _SliceBatches(beam.PTransform):
    """Batches with predictions -> extracts of one slice each, holding the complete rows of some users."""

    def __init__(self, by_user: bool, specs: list[SliceSpec]):
        super().__init__()
        self._by_user = by_user
        self._specs = specs

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        if not self._by_user:
            frames = batches | "Frames" >> beam.Map(_frame_with_predictions)
        else:
            frames = (
                batches
                | "SplitByUser" >> beam.FlatMap(_frames_by_user_bucket)
                | "GroupByUserBucket" >> beam.GroupByKey()
                | "Concatenate" >> beam.MapTuple(lambda _, parts: pd.concat(list(parts), ignore_index=True))
            )
        return frames | "Slice" >> beam.FlatMap(extracts_of_slices, self._specs)


def extracts_of_slices(frame: pd.DataFrame, specs: Iterable[SliceSpec]) -> Iterator[tfma.types.Extracts]:
    """One extract per slice that has rows (rows_by_slice)."""
    models = predictions_of(frame)
    labels = frame[LABEL].to_numpy()
    users = frame[USER].to_numpy() if USER in frame else None
    groups = groups_of(frame)
    for key, rows in rows_by_slice(frame, specs).items():
        of_models = {model: values[rows] for model, values in models.items()}
        yield {
            tfma.SLICE_KEY_TYPES_KEY: [key],
            tfma.LABELS_KEY: labels[rows],
            tfma.PREDICTIONS_KEY: of_models if len(of_models) > 1 else next(iter(of_models.values())),
            tfma.FEATURES_KEY: {GROUPS_KEY: groups[rows]} | ({} if users is None else {USERS_KEY: users[rows]}),
        }


def predictions_of(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """float32[N] by model."""
    return {name[1]: frame[name].to_numpy() for name in frame.columns if isinstance(name, tuple)}


def groups_of(frame: pd.DataFrame) -> np.ndarray:
    """int64[N]: what the bootstrap draws (bootstrap.group_of)."""
    return bootstrap.group_of(frame[USER].to_numpy() if USER in frame else None, len(frame))


def rows_by_slice(frame: pd.DataFrame, specs: Iterable[SliceSpec]) -> dict[tuple, Any]:
    """What selects the rows of each slice that has any, by slice key; `()` is the whole.

    A row without a value for a column is in no slice of that column; a row with several values (an array column) is in
    the slice of each, once.
    """
    slices: dict[tuple, Any] = {}
    for spec in specs:
        columns = sorted(spec)
        if not columns:
            slices[()] = slice(None)
            continue
        part = frame[columns]
        for column in columns:
            part = part.explode(column) if part[column].dtype == object else part
        part = part[part.notna().all(axis=1)].reset_index(names=LABEL).drop_duplicates()
        for column, value in spec.items():
            part = part if value is None else part[part[column].astype(str) == str(value)]
        for values, rows in part.groupby(columns, observed=True, sort=False)[LABEL]:
            key = tuple(zip(columns, map(_plain, values), strict=True))
            slices[key] = rows.to_numpy()
    return slices


def _plain(value: Any) -> str | int | float:
    return value.item() if isinstance(value, np.generic) else value


def _frame_with_predictions(extracts: tfma.types.Extracts) -> pd.DataFrame:
    global rows_predicted
    predictions = extracts[tfma.PREDICTIONS_KEY]
    by_model = predictions if isinstance(predictions, dict) else {"": predictions}
    frame = extracts[ROWS_KEY].copy()
    for model, values in by_model.items():
        frame[(PREDICTION, model)] = np.asarray(values, np.float32).reshape(len(frame), -1)[:, 0]
    rows_predicted += len(frame)
    progress.report(rows_predicted)
    return frame


def _frames_by_user_bucket(extracts: tfma.types.Extracts) -> Iterator[tuple[int, pd.DataFrame]]:
    frame = _frame_with_predictions(extracts)
    for bucket, part in frame.groupby(frame[USER] % USER_BUCKETS, sort=False):
        yield int(bucket), part


def _labels(batch: pa.RecordBatch, column: str) -> np.ndarray:
    values = _first_values(batch, column)
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        return np.full(len(values), np.nan)
    return values.cast(pa.float64()).to_numpy(zero_copy_only=False)


def _first_values(batch: pa.RecordBatch, column: str) -> pa.Array:
    """The first value of each row's list, null where there is none; all null where the batch lacks the column."""
    index = batch.schema.get_field_index(column)
    if index < 0 or not hasattr(batch.column(index), "flatten"):
        return pa.nulls(batch.num_rows)
    lists = batch.column(index)
    if pa.types.is_null(lists.type):
        return pa.nulls(batch.num_rows)
    lengths = pc.fill_null(lists.value_lengths(), 0).to_numpy(zero_copy_only=False)
    starts = np.cumsum(lengths) - lengths
    return lists.flatten().take(pa.array(starts, mask=lengths == 0))


def _slice_values(batch: pa.RecordBatch, column: str) -> Any:
    index = batch.schema.get_field_index(column)
    lists = batch.column(index) if index >= 0 else None
    if (
        lists is not None
        and not pa.types.is_null(lists.type)
        and pc.max(lists.value_lengths()).as_py() not in (0, 1, None)
    ):
        return pd.Series([row and [_text(value) for value in row] for row in lists.to_pylist()], dtype=object)
    values = _first_values(batch, column)
    if pa.types.is_null(values.type):
        return pd.Series([None] * len(values), dtype=object)
    encoded = values.dictionary_encode()
    categories = [_text(value) for value in encoded.dictionary.to_pylist()]
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    texts, code_of = np.unique(np.array(categories, object), return_inverse=True)
    return pd.Categorical.from_codes(np.where(codes < 0, -1, code_of[codes]), texts)


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _hashed(values: pa.Array) -> np.ndarray:
    """uint64 per value, the same in every process; 0 for null."""
    if pa.types.is_null(values.type):
        return np.zeros(len(values), np.uint64)
    encoded = values.dictionary_encode()
    hashes = pd.util.hash_array(np.array([_text(value) for value in encoded.dictionary.to_pylist()], object))
    hashes = np.append(np.maximum(hashes, 1), np.uint64(0))
    return hashes[pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)]
