"""Which tensors the Transform node hands to the trainer, and how the declared features are laid out in them.

Plain Python (no TensorFlow), shared by `preprocessing_fn`, the trainer and the exported signatures. The transform is
packed: one matrix of ids and one of numbers instead of a tensor per field, so that parsing costs the trainer little.

    field_ids          int64   [batch, num_id_fields]     categorical, cross and bucketised fields; ids from 0 per field
    field_values       float32 [batch, num_value_fields]  the other numeric fields
    ids_of_<field>     int64   [batch, any]               multivalent fields (sparse)
    weights_of_<field> float32 [batch, any]               only where weights are declared; parallel to the ids
    label              float32 [batch]
    weight             float32 [batch]                    only where declared
"""

from __future__ import annotations

import dataclasses
import urllib.parse

from hivemill.components.features import (
    CategoricalFeature,
    CrossFeature,
    Feature,
    FeatureSet,
    MultivalentFeature,
    NumericFeature,
)

FIELD_IDS_KEY = "field_ids"
FIELD_VALUES_KEY = "field_values"
LABEL_KEY = "label"
WEIGHT_KEY = "weight"
BLOCK_ROWS = 8_192  # neighbours in time that stand together in one file: the Transform node deals, readers gather


def ids_key(field: str) -> str:
    return f"ids_of_{field}"


def weights_key(field: str) -> str:
    return f"weights_of_{field}"


def vocabulary_file_name(field: str) -> str:
    """Name of the field's vocabulary in Transform's assets: one token per line, the most frequent first."""
    return f"vocabulary_{urllib.parse.quote(field, safe='')}"


@dataclasses.dataclass(frozen=True)
class FieldLayout:
    """The fields by the tensor that carries them, each in the order of the declaration."""

    id_fields: tuple[str, ...]
    value_fields: tuple[str, ...]
    multivalent_fields: tuple[str, ...]
    weighted_fields: frozenset[str]
    has_weight: bool

    @classmethod
    def of(cls, features: FeatureSet) -> FieldLayout:
        kinds = {name: _kind(feature) for name, feature in features.features.items()}
        return cls(
            id_fields=tuple(name for name, kind in kinds.items() if kind == "id"),
            value_fields=tuple(name for name, kind in kinds.items() if kind == "value"),
            multivalent_fields=tuple(name for name, kind in kinds.items() if kind == "multivalent"),
            weighted_fields=frozenset(n for n, f in features.features.items() if getattr(f, "weights", None)),
            has_weight=features.weight is not None,
        )


def _kind(feature: Feature) -> str:
    if isinstance(feature, MultivalentFeature):
        return "multivalent"
    if isinstance(feature, NumericFeature) and feature.transform != "quantile_buckets":
        return "value"
    return "id"


def uses_vocabulary(feature: Feature) -> bool:
    return isinstance(feature, CategoricalFeature | MultivalentFeature) and feature.encoding == "vocabulary"


def num_ids(feature: Feature, vocabulary_size: int | None) -> int:
    """How many ids a field can take; `vocabulary_size` counts the tokens in its vocabulary file, if it has one."""
    if isinstance(feature, CrossFeature):
        return feature.hash_buckets
    if isinstance(feature, NumericFeature):
        return feature.buckets
    if feature.encoding == "hash":
        assert feature.hash_buckets is not None  # checked when the feature was declared
        return feature.hash_buckets
    if vocabulary_size is None:
        raise ValueError("a field with a vocabulary needs the size of it")
    return vocabulary_size + feature.oov_buckets


def candidate_columns(name: str, feature: Feature) -> tuple[str, ...]:
    """Every flattened column that a feature may read (a multivalent one: the array, or the map's two lists)."""
    if isinstance(feature, CrossFeature):
        return feature.columns
    column = feature.column or name
    if not isinstance(feature, MultivalentFeature):
        return (column,)
    columns = [column, f"{column}_keys", f"{column}_values"]
    if feature.weights not in (None, "values"):
        columns.append(feature.weights)
    return tuple(columns)
