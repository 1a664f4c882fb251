"""Artifact types of Hivemill's own nodes. Everything else is TFX's standard_artifacts."""

from __future__ import annotations

from tfx.types import artifact

SAMPLED_NEGATIVES_PROPERTY = "sampled_negatives"
"""Float custom property of Examples: the share of negatives kept in the splits train and validation; absent where that
is all of them."""

NUM_ROWS_PROPERTY = "num_rows"
"""Int custom property of an artifact; of Examples also `num_rows_<split>`."""


class WindowManifest(artifact.Artifact):
    """`manifest.json`: the partitions, files, rows, bytes and fingerprints that ExampleGen read."""

    TYPE_NAME = "HivemillWindowManifest"


class DataVerdict(artifact.Artifact):
    """`verdict.json`: the findings on the data and their colour."""

    TYPE_NAME = "HivemillDataVerdict"


class ModelVerdict(artifact.Artifact):
    """`verdict.json`: metrics by slice, bounds, and what was refused."""

    TYPE_NAME = "HivemillModelVerdict"
