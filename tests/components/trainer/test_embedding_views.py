"""What TensorBoard gets of the embeddings by option, read back with TensorBoard's own readers."""

from __future__ import annotations

import types
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow_transform")

import tensorflow as tf
from google.protobuf import text_format
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from hivemill.components.features import FeatureSet
from hivemill.components.trainer.loop.monitoring import TensorBoardLog
from hivemill.components.trainer.model.deepfm import DeepFM, IdField, MultivalentField, ValueField
from hivemill.components.trainer.model.embedding_views import MAX_HISTOGRAM_ROWS, EmbeddingViews
from hivemill.components.trainer.options import TrainingOptions

TERMS = {"item": [b"shoe", b"h\xc3\xa4t\tblue", b"cap"], "tags/new": [b'""', b"sale"]}
FEATURES = FeatureSet(
    label="click",
    features={
        "item": {"type": "categorical", "min_count": 1},
        "price": {"type": "numeric"},
        "pair": {"type": "cross", "columns": ["item", "hour"], "hash_buckets": 7},
        "tags/new": {"type": "multivalent", "min_count": 1, "max_length": 3, "embedding_size": 3},
    },
)


@pytest.fixture(scope="module")
def model() -> DeepFM:
    fields = [IdField(0, 4, 2), ValueField(0, 2), IdField(1, 7, 2), MultivalentField("ids_of_tags/new", 3, 3)]
    model = DeepFM(fields, embedding_size=2, hidden_units=(4,))
    inputs = {
        "field_ids": tf.zeros([1, 2], tf.int64),
        "field_values": tf.zeros([1, 1]),
        "ids_of_tags/new": tf.ragged.constant([[0]], tf.int64),
    }
    model(inputs)
    for number, table in enumerate(model.tables):
        rows = tf.range(table.num_rows, dtype=tf.float32)[:, tf.newaxis] + 100.0 * number
        table.table.assign(tf.tile(rows, [1, table.embedding_size + 1]))
    return model


@pytest.fixture
def transformed(tmp_path) -> types.SimpleNamespace:
    assets = tmp_path / "transform" / "assets"
    assets.mkdir(parents=True)
    for name, terms in TERMS.items():
        (assets / f"vocabulary_{name.replace('/', '%2F')}").write_bytes(b"".join(term + b"\n" for term in terms))
    return types.SimpleNamespace(transform_savedmodel_dir=str(assets.parent))


def histograms_of(folder: Path) -> dict[str, list]:
    """tag -> [(step, array of [left, right, count])]."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    read.Reload()
    tags = [tag for tag in read.Tags()["tensors"] if read.SummaryMetadata(tag).plugin_data.plugin_name == "histograms"]
    return {tag: [(one.step, tf.make_ndarray(one.tensor_proto)) for one in read.Tensors(tag)] for tag in tags}


def test_a_histogram_of_each_feature_and_epoch(model, tmp_path):
    with TensorBoardLog(tmp_path, EmbeddingViews(model, FEATURES).histograms) as log:
        log.train(10, {"loss": 0.5})
        log.train(20, {"loss": 0.4})
        log.validation(20, {"loss": 0.4})
    found = histograms_of(tmp_path / "train")
    features = ("item", "pair", "tags/new")  # the numeric one has no table of ids
    assert set(found) == {f"{kind}/{name}" for kind in ("embeddings", "first_order") for name in features}
    assert [step for step, _ in found["embeddings/item"]] == [10, 20]
    bins = found["embeddings/pair"][0][1]  # ids 0 to 6 of `pair` come after the 4 of `item`
    assert (bins[0, 0], bins[-1, 1], bins[:, 2].sum()) == (4, 10, 7 * 2)
    assert found["first_order/tags/new"][0][1][:, 2].sum() == 3
    assert histograms_of(tmp_path / "validation") == {}


def test_nothing_of_it_by_default(model, tmp_path):
    assert TrainingOptions().tensorboard.model_dump() == {"histograms": False, "projector_terms": 0}
    with TensorBoardLog(tmp_path) as log:
        log.train(10, {"loss": 0.5})
    assert histograms_of(tmp_path / "train") == {}


def test_a_large_table_is_sampled():
    model = DeepFM([IdField(0, 3 * MAX_HISTOGRAM_ROWS + 1, 2)], embedding_size=2, hidden_units=(2,))
    model({"field_ids": tf.zeros([1, 1], tf.int64)})
    features = FeatureSet(label="click", features={"item": {"type": "categorical", "min_count": 1}})
    rows = EmbeddingViews(model, features).histograms()["embeddings/item"]
    assert MAX_HISTOGRAM_ROWS / 2 < len(rows) <= MAX_HISTOGRAM_ROWS


def test_the_projector_has_terms_beside_their_embeddings(model, transformed, tmp_path):
    EmbeddingViews(model, FEATURES).write_projector(tmp_path, transformed, max_terms=2)
    config = text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), ProjectorConfig())
    assert [one.tensor_name for one in config.embeddings] == ["item", "tags/new"]  # a cross has no terms
    item, tags = config.embeddings
    assert list(item.tensor_shape) == [2, 2] and list(tags.tensor_shape) == [2, 3]
    assert np.loadtxt(tmp_path / item.tensor_path).tolist() == [[0, 0], [1, 1]]
    assert np.loadtxt(tmp_path / tags.tensor_path).tolist() == [[100] * 3, [101] * 3]
    terms = (tmp_path / item.metadata_path).read_text(encoding="utf-8")
    assert terms == "term\trank\nshoe\t1\nhät blue\t2\n"


def test_a_short_vocabulary_has_no_rows_for_unknown_values(model, transformed, tmp_path):
    EmbeddingViews(model, FEATURES).write_projector(tmp_path, transformed, max_terms=100)
    assert len(np.loadtxt(tmp_path / "projector" / "item.tsv")) == 3  # its 4th row is that of all unknown values


def test_tensorboard_reads_the_projector(model, transformed, tmp_path):
    """TensorBoard's own plugin, with the run behind a link as in <root>/tensorboard."""
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
    from werkzeug.test import Client
    from werkzeug.wrappers import Response

    with TensorBoardLog(tmp_path / "runs" / "r" / "tensorboard") as log:
        log.train(1, {"loss": 0.5})
    views = EmbeddingViews(model, FEATURES)
    views.write_projector(tmp_path / "runs" / "r" / "tensorboard" / "train", transformed, 100)
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "r").symlink_to(tmp_path / "runs" / "r" / "tensorboard")
    folder = str(tmp_path / "tensorboard")
    runs = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(folder)
    runs.Reload()
    provider = data_provider.MultiplexerDataProvider(runs, folder)
    apps = ProjectorPlugin(TBContext(logdir=folder, multiplexer=runs, data_provider=provider)).get_plugin_apps()

    def got(path: str, **query: str) -> Response:
        answer = Client(apps[path]).get(path, query_string=query)
        assert answer.status_code == 200, answer.text
        return answer

    assert got("/runs").json == ["r/train"]
    names = [one["tensorName"] for one in got("/info", run="r/train").json["embeddings"]]
    assert names == ["item", "tags/new"]
    tensor = np.frombuffer(got("/tensor", run="r/train", name="item").data, np.float32).reshape(3, 2)
    assert tensor.tolist() == [[0, 0], [1, 1], [2, 2]]
    assert got("/metadata", run="r/train", name="tags/new").text == 'term\trank\n""\t1\nsale\t2\n'
