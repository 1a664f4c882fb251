"""Raw columns of every kind become one value per row, or all values of each row."""

from __future__ import annotations

import pytest

pytest.importorskip("tensorflow")

import tensorflow as tf

from hivemill.components.transform.columns import as_ragged, as_single, as_tokens

ROWS = [[b"a", b"b"], [], [b"c"]]


def _ragged(rows, dtype=tf.string):
    return tf.ragged.constant(rows, dtype, ragged_rank=1)


@pytest.mark.parametrize("kind", [lambda ragged: ragged, lambda ragged: ragged.to_sparse()], ids=["ragged", "sparse"])
def test_first_value_or_default(kind):
    assert as_single(kind(_ragged(ROWS)), "none").numpy().tolist() == [b"a", b"none", b"c"]
    assert as_ragged(kind(_ragged(ROWS))).to_list() == ROWS


@pytest.mark.parametrize("kind", [lambda ragged: ragged, lambda ragged: ragged.to_sparse()], ids=["ragged", "sparse"])
def test_a_batch_without_any_value(kind):
    empty = kind(_ragged([[], [], []], tf.float32))
    assert as_single(empty, 0.5).numpy().tolist() == [0.5, 0.5, 0.5]
    assert as_ragged(empty).to_list() == [[], [], []]


def test_no_rows():
    assert as_single(_ragged([]).to_sparse(), "").shape == [0]


def test_dense_columns_have_a_value_in_every_row():
    for column in (tf.constant([3, 4]), tf.constant([[3], [4]])):
        assert as_single(column, 0).numpy().tolist() == [3, 4]
        assert as_ragged(column).to_list() == [[3], [4]]


def test_tokens_keep_the_shape_and_an_integer_is_its_decimal_text():
    tokens = as_tokens(_ragged([[7, -1], []], tf.int64).to_sparse())
    assert as_ragged(tokens).to_list() == [[b"7", b"-1"], []]
    assert as_single(tokens, "none").numpy().tolist() == [b"7", b"none"]
