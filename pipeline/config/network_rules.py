"""What `model` and `training` demand of each other, and `model.type` of the rest of the config."""

from __future__ import annotations

from collections.abc import Iterator

from hivemill.common.text import did_you_mean
from hivemill.components.features import CategoricalFeature, Feature, MultivalentFeature
from hivemill.components.trainer.option_changes import Sections, sections_of
from hivemill.pipeline.config.schema import PipelineConfig
from hivemill.pipeline.config.yaml_source import Path

Found = Iterator[tuple[Path, str]]
_SECTION_OF = {"dcn_v2": "cross", "din": "attention"}


def network_rules(config: PipelineConfig) -> Found:
    kind = config.model.type
    for owner, section in _SECTION_OF.items():
        if getattr(config.model, section) is not None and kind != owner:
            yield ("model", section), f"has no effect with `type: {kind}`; set model.type to {owner}, or remove it"
    if kind == "din" and config.model.attention is None:
        rule = "is `din`, which needs model.attention.sequences: which multivalent feature is compared with which other"
        yield ("model", "type"), rule
    if kind == "din":
        yield from _sequences(config)
    if not config.members and (rule := optimizer_rule(sections_of(config.model, config.training, config.rates))):
        yield ("training", "optimizer"), rule


def optimizer_rule(sections: Sections) -> str | None:
    """What is wrong with training.optimizer, if anything."""
    penalty = sections["model"]["embedding_l2"]
    if sections["training"]["optimizer"] == "adagrad" and penalty:
        return f"is adagrad, which has no L2 penalty; set model.embedding_l2 (now {penalty:g}) to 0, or take adam"
    return None


def _sequences(config: PipelineConfig) -> Found:
    sequences = config.model.attention.sequences if config.model.attention is not None else {}
    for name, target in sequences.items():
        path = ("model", "attention", "sequences", name)
        sequence, other = config.features.get(name), config.features.get(target)
        if not isinstance(sequence, MultivalentFeature):
            yield path, _must_be(name, sequence, "multivalent", config, MultivalentFeature)
        elif not isinstance(other, CategoricalFeature):
            yield path, _must_be(target, other, "categorical", config, CategoricalFeature)
        elif _size(sequence, config) != _size(other, config):
            sizes = f"{_size(sequence, config)} and {_size(other, config)}"
            yield path, f"`{name}` and `{target}` must have the same embedding_size; received {sizes}"


def _must_be(name: str, feature: Feature | None, kind: str, config: PipelineConfig, wanted: type) -> str:
    if feature is not None:
        return f"`{name}` is of type {feature.type}, and must be {kind}"
    known = [each for each, declared in config.features.items() if isinstance(declared, wanted)]
    return f"there is no feature `{name}`; {did_you_mean(name, known)}"


def _size(feature: CategoricalFeature | MultivalentFeature, config: PipelineConfig) -> int:
    return feature.embedding_size or config.model.embedding_size
