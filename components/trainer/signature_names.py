"""Names of the `predict` signature's inputs for columns of any name.

Hive lets a column be called `class`, `item id` or `7d_ctr`. TensorFlow takes only Python identifiers as arguments of a
signature. A column that is none is traced under another name, from which its own can be told: `column__`, then its
letters and digits, and for each other character `_`, its code point in hex, `_`. In the SignatureDef, which servers and
clients read, every input has the column's own name. Only a program that loads the model in Python meets the other one.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from pathlib import Path

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PREFIX = "column__"
_ROW_LENGTHS = "_row_lengths"
_RESERVED = frozenset(("self", "cls"))


def argument_name(column: str) -> str:
    """`price` for `price`, `column__item_20_id` for `item id`."""
    is_plain = _PLAIN.fullmatch(column) and not keyword.iskeyword(column) and column not in _RESERVED
    if is_plain and not column.startswith(_PREFIX):
        return column
    return _PREFIX + re.sub(r"[^A-Za-z0-9]", lambda found: f"_{ord(found[0]):x}_", column)


def column_name(argument: str) -> str:
    """The column of an `argument_name`; what follows it, such as `_row_lengths`, stays."""
    if not argument.startswith(_PREFIX):
        return argument
    coded, suffix = argument.removeprefix(_PREFIX), ""
    if coded.endswith(_ROW_LENGTHS):
        coded, suffix = coded.removesuffix(_ROW_LENGTHS), _ROW_LENGTHS
    return re.sub(r"_([0-9a-f]+)_", lambda found: chr(int(found[1], 16)), coded) + suffix


def name_inputs_by_column(folder: str, signature: str, columns: Mapping[str, str]) -> None:
    """Gives the inputs of a saved model's signature their columns' names; `columns` by argument. Raises OSError."""
    from tensorflow.core.protobuf import saved_model_pb2

    changed = {argument: column for argument, column in columns.items() if argument != column}
    if not changed:
        return
    path = Path(folder) / "saved_model.pb"
    document = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for graph in document.meta_graphs:
        inputs = graph.signature_def[signature].inputs
        for argument, column in changed.items():
            inputs[column].CopyFrom(inputs.pop(argument))
    path.write_bytes(document.SerializeToString(deterministic=True))
