"""The network that `model.type` names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hivemill.components.trainer.model.cross_network import DCNv2
from hivemill.components.trainer.model.deepfm import DeepFM, Field
from hivemill.components.trainer.options import CrossOptions, ModelOptions


def make_network(fields: Sequence[Field], options: ModelOptions, **more: Any) -> DeepFM:
    """`more` are arguments of DeepFM that are no options."""
    arguments = {**options.model_dump(exclude={"type", "cross", "attention", "embedding_l2"}), **more}
    if options.type == "dcn_v2":
        cross = options.cross or CrossOptions()
        return DCNv2(fields, cross_layers=cross.layers, cross_rank=cross.rank, **arguments)
    if options.attention is not None:
        arguments["attention_units"] = options.attention.hidden_units
    return DeepFM(fields, **arguments)
