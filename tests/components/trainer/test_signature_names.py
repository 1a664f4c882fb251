"""Columns of any name that Hive allows have an input of their own name in the SignatureDef."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from hivemill.components.trainer.signature_names import argument_name, column_name, name_inputs_by_column

ODD = [
    "class",
    "item id",
    "ctx/dev",
    "größe",
    "7d_ctr",
    "_c0",
    "a-b",
    "user.id",
    "self",
    "价格",
    "None",
    "column__x",
    "a_",
]


@pytest.mark.parametrize("column", [*ODD, "price", "item_id", "Größe_2"])
def test_a_name_can_be_told_from_its_argument(column):
    argument = argument_name(column)
    assert argument.isascii() and argument.isidentifier()
    assert column_name(argument) == column
    assert column_name(f"{argument}_row_lengths") == f"{column}_row_lengths"


def test_plain_names_are_their_own():
    assert [argument_name(name) for name in ("price", "user_id", "x7", "a_")] == ["price", "user_id", "x7", "a_"]
    assert len({argument_name(name) for name in ODD}) == len(ODD)


def test_a_saved_model_takes_the_columns_own_names(tmp_path: Path):
    module = tf.Module()
    specs = {argument_name(name): tf.TensorSpec([None], tf.float32, name=argument_name(name)) for name in ODD}
    add = tf.function(lambda **columns: {"sum": tf.add_n(list(columns.values()))}).get_concrete_function(**specs)
    tf.saved_model.save(module, str(tmp_path), signatures={"predict": add})
    name_inputs_by_column(str(tmp_path), "predict", {argument_name(name): name for name in ODD})
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path))
        signature = graph.signature_def["predict"]
        assert set(signature.inputs) == set(ODD)
        fed = {signature.inputs[name].name: [1.0] for name in ODD}
        assert session.run(signature.outputs["sum"].name, fed).tolist() == [len(ODD)]
    loaded = tf.saved_model.load(str(tmp_path)).signatures["predict"]
    assert float(loaded(**{argument_name(name): tf.constant([2.0]) for name in ODD})["sum"][0]) == 2 * len(ODD)
