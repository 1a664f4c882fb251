"""The features of the model as a user declares them: one class per type, one entry per field of the model.

A *column* is what the table has, a *feature* what the config declares, a *field* what the model sees. Nested columns
arrive flattened in tf.Example (components/hive_example_gen): a map column `context` as the two parallel features
`context_keys` and `context_values`, a struct column `geo<lat,lon>` as `geo_lat` and `geo_lon`, an array as a list.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from hivemill.common.options import Options

EmbeddingSize = Annotated[int, Field(ge=1, le=1024)]


class _Feature(Options):
    column: str | None = Field(None, description="Column of the table; the feature's own name when left out.")
    embedding_size: EmbeddingSize | None = Field(
        None, description="Length of this field's embedding; model.embedding_size when left out."
    )


class _Tokens(_Feature):
    encoding: Literal["vocabulary", "hash"] = Field(
        "vocabulary", description="vocabulary: ids learnt from the training split; hash: ids by a stable hash."
    )
    min_count: PositiveInt = Field(
        2, description="Values seen fewer times in the training split are out of vocabulary."
    )
    max_size: PositiveInt | None = Field(
        None, description="Keep only the most frequent values; no limit when left out."
    )
    oov_buckets: PositiveInt = Field(1, description="Ids shared, by hash, among out-of-vocabulary values.")
    hash_buckets: PositiveInt | None = Field(None, description="Number of ids; required with `encoding: hash`.")

    @model_validator(mode="after")
    def _hash_has_buckets(self):
        if self.encoding == "hash" and self.hash_buckets is None:
            raise ValueError("`encoding: hash` needs `hash_buckets`, the number of ids")
        if self.encoding == "vocabulary" and self.hash_buckets is not None:
            raise ValueError("`hash_buckets` has no effect with `encoding: vocabulary`; use oov_buckets or max_size")
        return self


class CategoricalFeature(_Tokens):
    """One value per row: string, integer, boolean or date column; a partition column too."""

    type: Literal["categorical"]
    default: str | int = Field("", description="Stands in for a missing value; the empty string is a value of its own.")


class MultivalentFeature(_Tokens):
    """Any number of values per row: an array, or a map. Pooled by weighted mean; no values give a zero embedding."""

    type: Literal["multivalent"]
    of: Literal["keys", "items"] = Field(
        "keys", description="For a map column: its keys, or its items written `key=value`."
    )
    weights: str | None = Field(
        None,
        description="`values` takes a map's numeric values as weights; a column name a parallel array; else all are 1.",
    )
    max_length: PositiveInt | None = Field(None, description="Only the first so many values of a row count.")
    default: None = Field(None, description="A row without values has a zero embedding; there is nothing to set.")


class NumericFeature(_Feature):
    """A number per row."""

    type: Literal["numeric"]
    transform: Literal["log", "z_score", "quantile_buckets", "raw"] = Field(
        "z_score",
        description="log: sign(x) ln(1+|x|); z_score: (x - mean) / deviation of the training split; "
        "quantile_buckets: the bucket is an id with an embedding; raw: as it is.",
    )
    buckets: Annotated[int, Field(ge=2, le=10_000)] = Field(10, description="Number of buckets for quantile_buckets.")
    default: float = Field(0.0, description="Stands in for a missing value, before the transform.")


class CrossFeature(Options):
    """The combination of two or more single-valued columns as one categorical field, by hash."""

    type: Literal["cross"]
    columns: Annotated[tuple[str, ...], Field(min_length=2)] = Field(description="The columns to combine.")
    hash_buckets: PositiveInt = Field(description="Number of ids.")
    embedding_size: EmbeddingSize | None = Field(None, description="As for the other types.")
    default: str = Field("", description="Stands in for a missing value of any of the columns.")


Feature = Annotated[
    CategoricalFeature | MultivalentFeature | NumericFeature | CrossFeature, Field(discriminator="type")
]


class FeatureSet(Options):
    """All declared features by name, in the order of the file (the order of the model's fields), with the label."""

    features: dict[str, Feature]
    label: str
    weight: str | None = None
