"""Quality on MovieLens 100K: test AUC and logloss of the whole transform and trainer, mean of three seeds.

Rows in time order, 80 % training, 10 % validation, 10 % test; a click is a rating of 4 or 5. The same preprocessing_fn
and the same training code as in the pipeline, without the DAG.

Two sets of columns. `history` (the default) adds what a feature store knows at each impression, from strictly earlier
ones (data.click_log.history): how often user and item were rated and liked so far, the user's last 20 liked and
disliked items.
86 % of the test rows are of users that training never saw: their ids say nothing, their last minutes do. `plain` has
the publisher's columns only, like the peer, DeepFM of FuxiCTR 2.3: AUC 0.7153, logloss 0.6281.

Model and training have their default options, with and without click rates. `--networks` compares the networks of
`model.type`, each with its defaults; `din` attends to the user's last items, which `plain` does not have.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hivemill.common import runtime
from hivemill.data.click_log.history import past_clicks, recent_items

runtime.prepare_tensorflow()

SHARED_DATA = Path(os.environ.get("HIVEMILL_DATA", Path(__file__).parents[2] / "shared" / "data"))
SPLITS = (("train", 0.0, 0.8), ("validation", 0.8, 0.9), ("test", 0.9, 1.0))
TARGET_AUC, TARGET_LOGLOSS = 0.714, 0.615
PEER_AUC, PEER_LOGLOSS = 0.7153, 0.6281

CONTEXT: dict[str, dict[str, Any]] = {
    "item_id": {"type": "categorical", "min_count": 2},
    "age": {"type": "numeric", "transform": "quantile_buckets", "buckets": 8},
    "gender": {"type": "categorical"},
    "occupation": {"type": "categorical"},
    "release_year": {"type": "categorical", "min_count": 20},
    "genres": {"type": "multivalent"},
    "hour": {"type": "categorical"},
    "weekday": {"type": "categorical"},
}
FEATURES: dict[str, dict[str, dict[str, Any]]] = {
    "history": {
        **CONTEXT,
        "user_impressions": {"type": "numeric", "transform": "log"},
        "user_click_rate": {"type": "numeric", "transform": "z_score"},
        "item_impressions": {"type": "numeric", "transform": "log"},
        "item_click_rate": {"type": "numeric", "transform": "z_score"},
        "recent_items": {"type": "multivalent", "min_count": 5},
        "recent_disliked": {"type": "multivalent", "min_count": 5},
    },
    "plain": {
        **CONTEXT,
        "user_id": {"type": "categorical", "min_count": 2},
        "zip_area": {"type": "categorical"},
        "title_words": {"type": "multivalent", "min_count": 20},
    },
}


NETWORKS: dict[str, dict[str, Any]] = {
    "deepfm": {},
    "dcn_v2": {"type": "dcn_v2"},
    "din": {
        "type": "din",
        "attention": {"sequences": {"recent_items": "item_id", "recent_disliked": "item_id"}},
    },
}


def rows() -> list[dict[str, Any]]:
    """MovieLens rows in time order, ties in the order of the file."""
    users = {r["user_id"]: r for r in _table("ml-100k.user")}
    items = {r["item_id"]: r for r in _table("ml-100k.item")}
    ratings = sorted(_table("ml-100k.inter"), key=lambda r: int(r["timestamp"]))
    found = [_row(rating, users[rating["user_id"]], items[rating["item_id"]]) for rating in ratings]
    _add_history(found, np.array([int(rating["timestamp"]) for rating in ratings]))
    return found


def _add_history(found: list[dict[str, Any]], times: np.ndarray) -> None:
    """What a feature store would have known at each impression, from strictly earlier ones."""
    users, items, clicks = (np.array([row[name][0] for row in found]) for name in ("user_id", "item_id", "click"))
    recent = recent_items(users, items, times, clicks, 20)
    disliked = recent_items(users, items, times, 1 - clicks, 20)
    for kind, keys in (("user", users), ("item", items)):
        shown, clicked = past_clicks(keys, times, clicks)
        for row, n, k in zip(found, shown.tolist(), clicked.tolist(), strict=True):
            row[f"{kind}_impressions"] = [float(n)]
            row[f"{kind}_click_rate"] = [(k + 5.5) / (n + 10)]
    for row, ids, others in zip(found, recent, disliked, strict=True):
        row["recent_items"] = ids
        row["recent_disliked"] = others


def _table(name: str) -> Iterator[dict[str, str]]:
    with open(SHARED_DATA / "ml100k" / name, encoding="utf-8") as file:
        header = [column.split(":")[0] for column in next(file).rstrip("\n").split("\t")]
        for line in file:
            yield dict(zip(header, line.rstrip("\n").split("\t"), strict=True))


def _row(rating: dict[str, str], user: dict[str, str], item: dict[str, str]) -> dict[str, Any]:
    moment = datetime.datetime.fromtimestamp(int(rating["timestamp"]), datetime.timezone.utc)
    return {
        "click": [int(float(rating["rating"]) >= 4)],
        "user_id": [int(rating["user_id"])],
        "item_id": [int(rating["item_id"])],
        "age": [int(user["age"])],
        "gender": [user["gender"]],
        "occupation": [user["occupation"]],
        "zip_area": [user["zip_code"][:2]],
        "release_year": [item["release_year"]] if item["release_year"] else [],
        "genres": item["class"].split() if item["class"] else [],
        "title_words": item["movie_title"].lower().split() if item["movie_title"] else [],
        "hour": [moment.hour],
        "weekday": [moment.weekday()],
    }


def write_splits(folder: Path) -> dict[str, list[str]]:
    import pyarrow as pa
    import tensorflow as tf
    from tfx_bsl.coders import example_coder

    everything = rows()
    files = {}
    for split, start, end in SPLITS:
        part = everything[round(start * len(everything)) : round(end * len(everything))]
        columns = {name: pa.array([row[name] for row in part]) for name in part[0]}
        encoded = {pa.string(): pa.binary(), pa.float64(): pa.float32()}  # what tf.Example has
        columns = {n: a.cast(pa.list_(encoded.get(a.type.value_type, pa.int64()))) for n, a in columns.items()}
        path = folder / f"{split}.gz"
        with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
            batch = pa.RecordBatch.from_pydict(columns)
            for record in example_coder.RecordBatchToExamplesEncoder().encode(batch):
                writer.write(record)
        files[split] = [str(path)]
    return files


def schema():
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    integers = ("click", "user_id", "item_id", "age", "hour", "weekday")
    strings = ("gender", "occupation", "zip_area", "release_year", "genres", "title_words")
    text = "".join(
        f'feature {{ name: "{n}" type: INT presence {{ min_fraction: 1 }} shape {{ dim {{ size: 1 }} }} }}\n'
        for n in integers
    )
    return text_format.Parse(
        text
        + "".join(
            f'feature {{ name: "{n}" type: FLOAT presence {{ min_fraction: 1 }} shape {{ dim {{ size: 1 }} }} }}\n'
            for n in ("user_impressions", "user_click_rate", "item_impressions", "item_click_rate")
        )
        + "".join(f'feature {{ name: "{n}" type: INT }}\n' for n in ("recent_items", "recent_disliked"))
        + "".join(f'feature {{ name: "{n}" type: BYTES }}\n' for n in strings),
        schema_pb2.Schema(),
    )


def train_and_judge(
    transformed: Path, features: Any, seed: int, rates: str, network: str = "deepfm"
) -> tuple[float, float, dict[str, Any]]:
    """(AUC, logloss) on the test rows of a training with the default options, and the history."""
    import tensorflow as tf
    import tf_keras

    from hivemill.components.trainer.input import InputSource
    from hivemill.components.trainer.loop.checkpoint_storage import KeptCheckpoints
    from hivemill.components.trainer.options import ModelOptions, RateOptions, TrainingOptions
    from hivemill.components.trainer.run_fn import TrainingConfig, fit
    from hivemill.components.transform.layout import FieldLayout
    from hivemill.components.transform.standalone import transform_output

    layout = FieldLayout.of(features)
    sources = {name: InputSource.of([str(transformed / name / "*")], layout) for name, _, _ in SPLITS}
    training = TrainingOptions(seed=seed)
    model = ModelOptions(**NETWORKS[network])
    config = TrainingConfig(features, model, training, RateOptions.model_validate(rates), None, "")
    tf_keras.utils.set_random_seed(seed)
    with tempfile.TemporaryDirectory() as scratch:
        result = fit(
            config,
            transform_output(transformed),
            sources["train"],
            sources["validation"],
            tf.distribute.get_strategy(),
            KeptCheckpoints(Path(scratch) / "checkpoints", None),
            Path(scratch) / "log",
        )
    return *judge(result.model, result.rates, sources["test"]), result.document


def judge(model: Any, rates: Any, source: Any) -> tuple[float, float]:
    """Exact AUC (ties count one half) and logloss."""
    from hivemill.components.trainer.input import evaluation_batches
    from hivemill.components.trainer.model.deepfm import RATES_KEY

    def logits_of(inputs: dict[str, Any]) -> np.ndarray:
        return model({**inputs, RATES_KEY: rates(inputs)} if rates else inputs).numpy()[:, 0]

    parts = [(y.numpy()[:, 0], logits_of(x)) for x, y, _ in evaluation_batches(source, 4096)]
    labels, logits = (np.concatenate(column).astype(np.float64) for column in zip(*parts, strict=True))
    logloss = float(np.mean(np.logaddexp(0, logits) - labels * logits))
    return exact_auc(labels, logits), logloss


def exact_auc(labels: np.ndarray, logits: np.ndarray) -> float:
    values, places, counts = np.unique(logits, return_inverse=True, return_counts=True)
    del values
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    clicks = labels.sum()
    return float((ranks[labels == 1].sum() - clicks * (clicks + 1) / 2) / (clicks * (len(labels) - clicks)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", choices=FEATURES, nargs="+", default=list(FEATURES))
    parser.add_argument("--rates", choices=("auto", "off"), nargs="+", default=["auto", "off"])
    parser.add_argument("--networks", choices=NETWORKS, nargs="+", default=["deepfm"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    if "din" in arguments.networks and "plain" in arguments.columns:
        parser.error("--networks din needs --columns history: the plain columns have no sequence")
    from hivemill.components.features import FeatureSet
    from hivemill.components.transform.standalone import transform_files

    with tempfile.TemporaryDirectory() as scratch:
        files = write_splits(Path(scratch))
        for columns in arguments.columns:
            features = FeatureSet(features=FEATURES[columns], label="click")
            transform_files(features, schema(), files, Path(scratch) / columns)
            for rates, network in itertools.product(arguments.rates, arguments.networks):
                report(Path(scratch) / columns, features, columns, rates, network, arguments.seeds)


def report(transformed: Path, features: Any, columns: str, rates: str, network: str, seeds: list[int]) -> None:
    figures = []
    print(f"{columns}, rates {rates}, {network}")
    print(f"{'seed':>5} {'AUC':>8} {'logloss':>8} {'CPU s':>6}   of validation (best epoch)")
    for seed in seeds:
        started = time.process_time()
        auc, logloss, document = train_and_judge(transformed, features, seed, rates, network)
        figures.append((auc, logloss))
        best = document["checks"][document["best_check"] - 1]
        validation = f"{best['val_auc']:.4f} {best['val_loss']:.4f} ({best['epoch']:.1f})"
        print(f"{seed:5} {auc:8.4f} {logloss:8.4f} {time.process_time() - started:6.1f}   {validation}", flush=True)
    auc, logloss = (statistics.mean(column) for column in zip(*figures, strict=True))
    print(f" mean {auc:8.4f} {logloss:8.4f}   targets >= {TARGET_AUC}, <= {TARGET_LOGLOSS}")
    facts = {"auc": auc, "logloss": logloss, "peer_auc": PEER_AUC, "peer_logloss": PEER_LOGLOSS, "seeds": seeds}
    peer = {"name": "quality", "ratio": auc / PEER_AUC, "peer": "FuxiCTR 2.3 DeepFM", "unit": "test AUC"}
    print(json.dumps({**peer, "columns": columns, "rates": rates, "network": network, **facts}))


if __name__ == "__main__":
    main()
