"""preprocessing_fn through real Beam: ids, numbers and vocabulary files worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

pytest.importorskip("tensorflow_transform")

import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam

from hivemill.common.errors import ConfigError
from hivemill.components.features import FeatureSet
from hivemill.components.transform import layout, standalone
from hivemill.components.transform.preprocessing import preprocessing_fn
from hivemill.components.transform.vocabulary_file import ordered_tokens

FEATURES = {
    # red 3, blue 2, "" 2; green once: out of vocabulary
    "colour": {"type": "categorical", "min_count": 2, "oov_buckets": 2},
    "shop": {"type": "categorical", "column": "shop_id", "min_count": 1, "default": -1},
    "tags": {"type": "multivalent", "min_count": 1, "max_length": 2},
    "context": {"type": "multivalent", "of": "items", "min_count": 1},
    "scores": {"type": "multivalent", "column": "affinity", "weights": "values", "encoding": "hash", "hash_buckets": 7},
    "pair": {"type": "cross", "columns": ["colour", "shop_id"], "hash_buckets": 1000},
    "price": {"type": "numeric", "default": 0.0},
    "clicks": {"type": "numeric", "transform": "log"},
    "age": {"type": "numeric", "transform": "quantile_buckets", "buckets": 2, "default": 100.0},
    "ratio": {"type": "numeric", "transform": "raw", "default": 0.5},
}
SPEC = {
    "colour": tf.io.VarLenFeature(tf.string),
    "shop_id": tf.io.VarLenFeature(tf.int64),
    "tags": tf.io.VarLenFeature(tf.string),
    "context_keys": tf.io.VarLenFeature(tf.string),
    "context_values": tf.io.VarLenFeature(tf.string),
    "affinity_keys": tf.io.VarLenFeature(tf.string),
    "affinity_values": tf.io.VarLenFeature(tf.float32),
    "price": tf.io.VarLenFeature(tf.float32),
    "clicks": tf.io.FixedLenFeature([1], tf.int64),
    "age": tf.io.VarLenFeature(tf.int64),
    "ratio": tf.io.VarLenFeature(tf.float32),
    "click": tf.io.FixedLenFeature([], tf.int64),
    "importance": tf.io.VarLenFeature(tf.float32),
    "unused": tf.io.VarLenFeature(tf.string),
}


def _row(colour, shop, tags, context, affinity, price, clicks, age, ratio, click):
    return {
        "colour": [] if colour is None else [colour],
        "shop_id": [] if shop is None else [shop],
        "tags": tags,
        "context_keys": [k for k, _ in context],
        "context_values": [v for _, v in context],
        "affinity_keys": [k for k, _ in affinity],
        "affinity_values": [v for _, v in affinity],
        "price": [] if price is None else [price],
        "clicks": [clicks],
        "age": [] if age is None else [age],
        "ratio": [] if ratio is None else [ratio],
        "click": click,
        "importance": [2.0],
        "unused": [],
    }


TRAIN = [
    _row(b"red", 7, [b"a", b"b", b"c"], [(b"os", b"ios")], [(b"x", 0.5), (b"y", 2.0)], 1.0, 0, 10, 0.25, 1),
    _row(b"red", 7, [b"a"], [(b"os", b"android")], [], 3.0, 1, 20, None, 0),
    _row(b"red", 8, [], [(b"os", b"ios"), (b"v", b"2")], [], None, -3, 30, math.nan, 0),
    _row(b"blue", None, [b"b"], [], [(b"y", 1.0)], math.nan, 5, 40, 1.0, 1),
    _row(b"blue", 9, [b"a"], [], [], None, 0, None, 2.0, 0),
    _row(b"", 9, ["naïve".encode()], [], [], None, 0, None, 2.0, 0),
    _row(None, 9, [], [], [], None, 0, None, 2.0, 0),
    _row(b"green", 9, [], [], [], None, 0, None, 2.0, 0),
]
SERVE = [_row(b"never seen", 12345, [b"zzz", b"a"], [(b"os", b"b\nreak")], [(b"x", 1.0)], None, 2, 25, None, 0)]


def _config(features=None, label="click", weight="importance"):
    declared = FeatureSet(features=FEATURES if features is None else features, label=label, weight=weight)
    return {"features": declared.model_dump_json()}


@pytest.fixture(scope="module", params=["Beam", "one machine"])
def transformed(request, tmp_path_factory):
    """The transform of TRAIN, analysed on TRAIN, and of SERVE with what was learnt there."""
    return (_by_beam if request.param == "Beam" else _on_one_machine)(tmp_path_factory.mktemp("transformed"))


def _on_one_machine(folder: Path):
    schema = tft.DatasetMetadata.from_feature_spec(SPEC).schema
    files = {split: str(folder / f"{split}.gz") for split in ("train", "serve")}
    coder = tft.coders.ExampleProtoCoder(schema)
    for split, rows in (("train", TRAIN), ("serve", SERVE)):
        with tf.io.TFRecordWriter(files[split], "GZIP") as writer:
            for row in rows:
                writer.write(coder.encode(row))
    features = FeatureSet(features=FEATURES, label="click", weight="importance")
    standalone.transform_files(features, schema, {split: [file] for split, file in files.items()}, folder)
    return *(_rows(folder, split) for split in files), folder / "transform_graph"


def _rows(folder: Path, split: str) -> list[dict]:
    """As Beam gives them: dense values, and lists for sparse ones."""
    spec = standalone.transform_output(folder).transformed_feature_spec()
    records = tf.data.TFRecordDataset(tf.io.gfile.glob(str(folder / split / "*.gz")), "GZIP")
    parsed = (tf.io.parse_single_example(record, spec) for record in records)
    return [{name: getattr(value, "values", value).numpy() for name, value in row.items()} for row in parsed]


def _by_beam(folder: Path):
    folder = str(folder)
    metadata = tft.DatasetMetadata.from_feature_spec(SPEC)
    config = _config()
    with tft_beam.Context(temp_dir=folder, force_tf_compat_v1=False):
        (train, _), fn = (TRAIN, metadata) | tft_beam.AnalyzeAndTransformDataset(
            lambda inputs: preprocessing_fn(inputs, config)
        )
        serve, _ = ((SERVE, metadata), fn) | tft_beam.TransformDataset()
        _ = fn | tft_beam.WriteTransformFn(folder + "/out")
    return train, serve, Path(folder) / "out"


def _vocabulary(folder: Path, field: str) -> list[str]:
    path = folder / "transform_fn" / "assets" / layout.vocabulary_file_name(field)
    return path.read_text(encoding="utf-8").splitlines()


def _ids(rows, field):
    place = layout.FieldLayout.of(FeatureSet(features=FEATURES, label="click")).id_fields.index(field)
    return [int(row[layout.FIELD_IDS_KEY][place]) for row in rows]


def _values(rows, field):
    place = layout.FieldLayout.of(FeatureSet(features=FEATURES, label="click")).value_fields.index(field)
    return [float(row[layout.FIELD_VALUES_KEY][place]) for row in rows]


def test_vocabularies_are_ordered_by_count_and_drop_rare_tokens(transformed):
    _, _, folder = transformed
    assert _vocabulary(folder, "colour") == ["red", '""', "blue"]  # missing counts as "", its default; ties by bytes
    assert _vocabulary(folder, "shop") == ["9", "7", "-1", "8"]
    assert _vocabulary(folder, "tags") == ["a", "b", "naïve"]  # c was the third of its row: max_length 2
    assert _vocabulary(folder, "context") == ["os=ios", "os=android", "v=2"]


def test_ids_of_single_values(transformed):
    train, serve, _ = transformed
    colours = _ids(train, "colour")
    assert colours[:7] == [0, 0, 0, 2, 2, 1, 1]
    assert colours[7] in (3, 4)  # out of vocabulary: one of the two buckets after the three tokens
    assert _ids(train, "shop") == [1, 1, 3, 2, 0, 0, 0, 0]
    assert _ids(serve, "shop") == [4]
    assert _ids(serve, "colour")[0] in (3, 4)


def test_ids_of_multivalent_values(transformed):
    train, serve, _ = transformed
    assert [list(row["ids_of_tags"]) for row in train] == [[0, 1], [0], [], [1], [0], [2], [], []]
    assert [list(row["ids_of_tags"]) for row in serve] == [[3, 0]]
    assert [list(row["ids_of_context"]) for row in train][:4] == [[0], [1], [0, 2], []]
    assert [list(row["ids_of_context"]) for row in serve] == [[3]]


def test_weights_stay_beside_their_ids(transformed):
    train, serve, _ = transformed
    x, y = train[0]["ids_of_scores"]
    assert 0 <= x < 7 and 0 <= y < 7
    assert list(train[3]["ids_of_scores"]) == [y] and list(serve[0]["ids_of_scores"]) == [x]
    assert list(train[0]["weights_of_scores"]) == [0.5, 2.0]
    assert list(train[1]["weights_of_scores"]) == []


def test_crosses_depend_on_both_columns(transformed):
    train, _, _ = transformed
    pairs = _ids(train, "pair")
    assert pairs[0] == pairs[1]
    assert len({pairs[0], pairs[2], pairs[3], pairs[4], pairs[5], pairs[7]}) == 6
    assert all(0 <= pair < 1000 for pair in pairs)
    assert pairs[5] == pairs[6]  # missing is "" there, which is the default


def test_numbers(transformed):
    train, _, _ = transformed
    # price: 1 and 3 are there: mean 2, deviation 1; missing and NaN turn into 0 before the transform.
    assert _values(train, "price") == pytest.approx([-1, 1, -2, -2, -2, -2, -2, -2])
    assert _values(train, "clicks")[:4] == pytest.approx([0, math.log(2), -math.log(4), math.log(6)])
    assert _values(train, "ratio")[:5] == pytest.approx([0.25, 0.5, 0.5, 1.0, 2.0])
    assert _ids(train, "age") == [0, 0, 1, 1, 1, 1, 1, 1]  # median of 10, 20, 30, 40; the default 100 is above it


def test_label_and_weight(transformed):
    train, _, _ = transformed
    assert [float(row["label"]) for row in train] == [1, 0, 0, 1, 0, 0, 0, 0]
    assert {float(row["weight"]) for row in train} == {2.0}


def test_ties_are_broken_by_bytes_and_max_size_keeps_the_most_frequent():
    counts = [(1, b"z"), (3, b"b"), (3, b"a"), (2, b"")]
    assert ordered_tokens(counts, None) == [b"a", b"b", b'""', b"z"]
    assert ordered_tokens(counts, 2) == [b"a", b"b"]


def test_a_missing_label_is_not_a_number():
    """It must not pass as 0: training refuses NaN."""
    out = preprocessing_fn(
        {"click": tf.sparse.from_dense([[1], [0]]), "n": tf.constant([1.0, 2.0])},
        _config({"n": {"type": "numeric", "transform": "raw"}}, weight=None),
    )
    assert math.isnan(out["label"][1].numpy()) and out["label"][0].numpy() == 1


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"f": {"type": "numeric", "column": "text"}}, r"features\.f needs numbers, but column 'text' holds strings"),
        ({"f": {"type": "categorical", "column": "number"}}, r"features\.f needs strings or integers.*'number'"),
        (
            {"f": {"type": "categorical", "column": "txet"}},
            r"features\.f reads column 'txet', which the table does not",
        ),
        ({"f": {"type": "multivalent", "column": "text", "of": "items"}}, r"features\.f\.of is `items`, but 'text'"),
        (
            {"f": {"type": "multivalent", "column": "m", "weights": "values", "encoding": "hash", "hash_buckets": 2}},
            r"features\.f\.weights needs numbers",
        ),
    ],
)
def test_a_feature_that_cannot_read_its_column_is_named(features, message):
    inputs = {
        "text": tf.constant(["a"]),
        "number": tf.constant([1.0]),
        "m_keys": tf.ragged.constant([["k"]]),
        "m_values": tf.ragged.constant([["v"]]),
        "click": tf.constant([1]),
    }
    with pytest.raises(ConfigError, match=message):
        preprocessing_fn(inputs, _config(features, weight=None))


def test_ragged_and_dense_inputs_give_the_same_ids():
    features = {"f": {"type": "categorical", "encoding": "hash", "hash_buckets": 100, "default": "none"}}
    config = _config(features, weight=None)
    label = tf.constant([1, 0])
    dense = preprocessing_fn({"f": tf.constant([["a"], ["b"]]), "click": label}, config)
    ragged = preprocessing_fn({"f": tf.ragged.constant([["a"], ["b"]]), "click": label}, config)
    flat = preprocessing_fn({"f": tf.constant(["a", "b"]), "click": label}, config)
    assert (
        dense["field_ids"].numpy().tolist()
        == ragged["field_ids"].numpy().tolist()
        == flat["field_ids"].numpy().tolist()
    )
