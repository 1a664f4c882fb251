"""model.type in hivemill.yaml: what each network needs, and what it has no use for."""

from __future__ import annotations

from pathlib import Path

import pytest

from hivemill.common.errors import ConfigError
from hivemill.pipeline.config import loader

GOOD = """\
name: shop
source: {table: log/impressions}
label: {column: click}
features:
  item_id: {type: categorical}
  recent_items: {type: multivalent}
  price: {type: numeric}
  brand: {type: categorical, embedding_size: 3}
model:
  type: din
  attention:
    sequences:
      recent_items: item_id
"""

# (what is replaced, by what, line of the mistake, what the message says)
MISTAKES = {
    "unknown type": ("type: din", "type: dnn", 10, "model.type: must be one of deepfm, dcn_v2, din"),
    "attention without din": (
        "type: din",
        "type: deepfm",
        11,
        "model.attention: has no effect with `type: deepfm`; set model.type to din, or remove it",
    ),
    "cross without dcn_v2": (
        "  type: din\n",
        "  type: din\n  cross: {layers: 2}\n",
        11,
        "model.cross: has no effect with `type: din`; set model.type to dcn_v2, or remove it",
    ),
    "din without sequences": (
        "  attention:\n    sequences:\n      recent_items: item_id\n",
        "",
        10,
        "model.type: is `din`, which needs model.attention.sequences",
    ),
    "unknown sequence": (
        "recent_items: item_id\n",
        "recent_item: item_id\n",
        13,
        "there is no feature `recent_item`; did you mean `recent_items`?",
    ),
    "unknown target": ("recent_items: item_id\n", "recent_items: item\n", 13, "there is no feature `item`"),
    "a sequence of one": ("recent_items: item_id", "brand: item_id", 13, "`brand` is of type categorical"),
    "a target of many": ("recent_items: item_id", "recent_items: recent_items", 13, "must be categorical"),
    "a target of numbers": ("recent_items: item_id", "recent_items: price", 13, "`price` is of type numeric"),
    "two sizes": (
        "recent_items: item_id",
        "recent_items: brand",
        13,
        "`recent_items` and `brand` must have the same embedding_size; received",
    ),
    "early stopping": (
        "model:\n",
        "training: {early_stopping: null}\nmodel:\n",
        9,
        "training.early_stopping: unknown key; `training.plateau` took its place",
    ),
    "a penalty that adagrad lacks": (
        "model:\n",
        "training: {optimizer: adagrad}\nmodel:\n",
        9,
        "training.optimizer: is adagrad, which has no L2 penalty; set model.embedding_l2 (now 0.001) to 0",
    ),
    "no rank": ("  type: din\n", "  type: din\n  cross: {rank: 0}\n", 11, "model.cross.rank: must be greater than 0"),
}


def _load(folder: Path, text: str) -> loader.LoadedConfig:
    path = folder / "hivemill.yaml"
    path.write_text(text, encoding="utf-8")
    return loader.load(path)


def test_each_network_loads(tmp_path):
    loaded = _load(tmp_path, GOOD)
    assert loaded.config.model.attention.sequences == {"recent_items": "item_id"}
    crossed = GOOD.partition("model:")[0] + "model: {type: dcn_v2, cross: {layers: 2, rank: 16}}\n"
    assert _load(tmp_path, crossed).config.model.cross.rank == 16
    assert _load(tmp_path, GOOD.partition("model:")[0]).config.model.type == "deepfm"


@pytest.mark.parametrize(("old", "new", "line", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_name_line_and_key(tmp_path, old, new, line, message):
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, GOOD.replace(old, new, 1))
    assert message in str(caught.value)
    assert f"hivemill.yaml:{line}" in str(caught.value)
