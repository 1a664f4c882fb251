"""Whether two runs of one log made the same artifacts, whatever engine of Beam ran their steps.

Shards and the order of rows, columns and map entries are an engine's own. What is computed from floats is the same
within rounding (sums in its own order, batches of its own sizes), everything else to the byte.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import tensorflow as tf
from google.protobuf import json_format, text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from hivemill.components.transform.layout import FIELD_VALUES_KEY
from tests.pipeline.shop import tree

OF_SAVED_MODEL = tuple(f"transform_fn/{name}" for name in ("saved_model.pb", "fingerprint.pb", "variables/"))
VOCABULARIES = ("item_id", "category", "position", "device", "context")
# Of float32 columns; of sums, where a deviation is the difference of large ones.
FLOAT32, FLOAT64 = 1e-6, 1e-9


class Ran(Protocol):
    """The artifacts of one run."""

    def place(self, node: str, output: str) -> Path:
        """The folder of a node's output."""


def assert_same(one: Ran, other: Ran) -> None:
    """Of all Beam nodes. One model must have been judged by both."""
    assert_same_data(one, other)
    assert plain_files(one) == plain_files(other)
    assert differences(metrics(one), metrics(other), FLOAT64) == {}


def assert_same_data(one: Ran, other: Ran) -> None:
    """Of the nodes before the training."""
    for read in (examples, graph):
        assert read(one) == read(other)
    for read, rounding in ((transformed, FLOAT32), (statistics, FLOAT64)):
        assert differences(read(one), read(other), rounding) == {}


def examples(ran: Ran) -> dict[str, list[bytes]]:
    """ExampleGen's, by split, sorted."""
    place = ran.place("HiveLogExampleGen", "examples")
    found = {
        split: sorted(each.SerializeToString(deterministic=True) for each in parsed(place / split))
        for split in ("Split-train", "Split-validation", "Split-eval")
    }
    assert all(len(rows) > 500 for rows in found.values())
    return found


def transformed(ran: Ran) -> dict[str, Any]:
    """Transform's, as one value per path. Rows are sorted by what holds no rounded float first."""
    place = ran.place("Transform", "transformed_examples")
    found: dict[str, Any] = {}
    for split in ("Split-train", "Split-validation"):
        rows = []
        for each in parsed(place / split):
            floats = list(each.features.feature.pop(FIELD_VALUES_KEY).float_list.value)
            rows.append((each.SerializeToString(deterministic=True), floats))
        found |= leaves(sorted(rows), split)
    return found


def parsed(split: Path) -> Iterator[tf.train.Example]:
    shards = tf.data.TFRecordDataset(sorted(map(str, split.iterdir())), compression_type="GZIP")
    return (tf.train.Example.FromString(record) for record in shards.as_numpy_iterator())


def graph(ran: Ran) -> dict[str, bytes]:
    """Vocabularies, schemas and metadata. A SavedModel is no two times the same bytes: its examples stand for it."""
    found = in_order(tree(ran.place("Transform", "transform_graph")))
    assert {f"transform_fn/assets/vocabulary_{name}" for name in VOCABULARIES} < found.keys()
    return {name: content for name, content in found.items() if not name.startswith(OF_SAVED_MODEL)}


def plain_files(ran: Ran) -> list[dict[str, bytes]]:
    places = (("HiveLogExampleGen", "manifest"), ("SchemaGen", "schema"), ("DataVerdict", "verdict"))
    return [in_order(tree(ran.place(*each))) for each in (*places, ("Evaluator", "blessing"))]


def in_order(files: dict[str, bytes]) -> dict[str, bytes]:
    """The columns of schemas by name: an inferred schema has them in the order in which the engine gave statistics."""
    return {name: _sorted_schema(it) if name.endswith("schema.pbtxt") else it for name, it in files.items()}


def _sorted_schema(text: bytes) -> bytes:
    schema = text_format.Parse(text, schema_pb2.Schema())
    for columns in (schema.feature, schema.string_domain):
        by_name = sorted(columns, key=lambda each: each.name)
        del columns[:]
        columns.extend(by_name)
    assert schema.feature
    return text_format.MessageToString(schema).encode()


def statistics(ran: Ran) -> dict[str, Any]:
    """Data-validation's statistics as one value per path, the features by name."""
    found: dict[str, Any] = {}
    for file in ran.place("StatisticsGen", "statistics").glob("Split-*/FeatureStats.pb"):
        (dataset,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read_bytes()).datasets
        features = {each.path.step[0]: json_format.MessageToDict(each) for each in dataset.features}
        found |= leaves([dataset.num_examples, features], file.parent.name)
    assert len(found) > 1_000
    return found


def metrics(ran: Ran) -> dict[str, Any]:
    """The model's verdict as one value per path: metrics and their intervals, of the whole and of slices."""
    verdict = json.loads((ran.place("Evaluator", "verdict") / "verdict.json").read_text(encoding="utf-8"))
    assert verdict["slices"][0]["metrics"]["example_count"] > 1_000 and len(verdict["slices"]) > 2
    return leaves(verdict, "verdict")


def leaves(value: Any, path: str) -> dict[str, Any]:
    """{"Split-eval.1.price.numStats.mean": 3.5, …}"""
    if not isinstance(value, dict | list | tuple):
        return {path: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {key: leaf for name, each in items for key, leaf in leaves(each, f"{path}.{name}").items()}


def differences(one: dict[str, Any], other: dict[str, Any], rounding: float) -> dict[str, tuple[Any, Any]]:
    """What two engines do not agree on, by path."""
    pairs = {path: (one.get(path), other.get(path)) for path in one.keys() | other.keys()}
    return {path: pair for path, pair in pairs.items() if not _same(*pair, rounding)}


def _same(one: Any, other: Any, rounding: float) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=rounding, abs_tol=rounding)
    return one == other
