"""A small click log with signal, raw and transformed, and a `run_fn` call on it. Also run as a script.

python click_world.py FOLDER RUN_NAME [TRAINING_JSON [MODEL_JSON]]: trains in FOLDER/RUN_NAME for the tests that kill
a training or need several replicas (`mirrored` gets two CPU devices).
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np

FEATURES = {
    "user": {"type": "categorical", "column": "user_id", "min_count": 1},
    "item": {"type": "categorical", "min_count": 1, "embedding_size": 3},
    "tags": {"type": "multivalent", "min_count": 1, "max_length": 3},
    "recent": {"type": "multivalent", "weights": "values", "encoding": "hash", "hash_buckets": 11},
    "price": {"type": "numeric"},
    "hour": {"type": "numeric", "transform": "quantile_buckets", "buckets": 4},
    "user_x_hour": {"type": "cross", "columns": ["user_id", "hour"], "hash_buckets": 50},
}
NUM_ROWS = {"train": 3000, "validation": 1000}


def feature_set():
    from hivemill.components.features import FeatureSet

    return FeatureSet(features=FEATURES, label="click")


def raw_examples(num_rows: int, seed: int) -> list[bytes]:
    """Serialised rows; the click depends on user, item and price; a tenth of the prices and items is missing."""
    import tensorflow as tf

    random = np.random.default_rng(seed)
    rows = []
    for _ in range(num_rows):
        user, item, hour = int(random.integers(20)), int(random.integers(30)), int(random.integers(24))
        price = float(random.normal(10, 3))
        logit = np.sin(user) + np.cos(item) + (price - 10) / 3 - 1
        example = tf.train.Example()
        feature = example.features.feature
        feature["user_id"].int64_list.value.append(user)
        feature["hour"].int64_list.value.append(hour)
        feature["click"].int64_list.value.append(int(random.random() < 1 / (1 + np.exp(-logit))))
        if random.random() < 0.9:
            feature["item"].bytes_list.value.append(f"i{item}".encode())
        if random.random() < 0.9:
            feature["price"].float_list.value.append(price)
        tags = [f"t{t}".encode() for t in random.integers(0, 6, random.integers(0, 5))]
        feature["tags"].bytes_list.value.extend(tags)
        keys = random.integers(0, 9, random.integers(0, 3))
        feature["recent_keys"].bytes_list.value.extend(f"r{k}".encode() for k in keys)
        feature["recent_values"].float_list.value.extend(random.random(len(keys)).tolist())
        rows.append(example.SerializeToString(deterministic=True))
    return rows


def schema():
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    always = {"user_id": "INT", "hour": "INT", "click": "INT"}
    sometimes = {
        "item": "BYTES",
        "price": "FLOAT",
        "tags": "BYTES",
        "recent_keys": "BYTES",
        "recent_values": "FLOAT",
    }
    text = "".join(
        f'feature {{ name: "{n}" type: {t} presence {{ min_fraction: 1 }} shape {{ dim {{ size: 1 }} }} }}\n'
        for n, t in always.items()
    )
    text += "".join(f'feature {{ name: "{n}" type: {t} }}\n' for n, t in sometimes.items())
    return text_format.Parse(text, schema_pb2.Schema())


def write_world(folder: Path) -> None:
    """Raw files under folder/raw, transformed ones and the transform graph under folder/transformed."""
    import tensorflow as tf

    from hivemill.components.transform.standalone import transform_files

    files = {}
    for seed, (split, num_rows) in enumerate(NUM_ROWS.items()):
        path = folder / "raw" / f"{split}.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
            for row in raw_examples(num_rows, seed):
                writer.write(row)
        files[split] = [str(path)]
    transform_files(feature_set(), schema(), files, folder / "transformed")


def predict_inputs(rows: list[bytes]) -> dict[str, np.ndarray]:
    """The rows as the `predict` signature takes them, missing values and empty lists included."""
    import tensorflow as tf

    columns: dict[str, list] = {"user_id": [], "hour": [], "item": [], "price": []}
    lists: dict[str, list] = {"tags": [], "recent_keys": [], "recent_values": []}
    for row in rows:
        feature = tf.train.Example.FromString(row).features.feature
        columns["user_id"] += feature["user_id"].int64_list.value
        columns["hour"] += feature["hour"].int64_list.value
        columns["item"] += list(feature["item"].bytes_list.value) or [b"\\N"]
        columns["price"] += list(feature["price"].float_list.value) or [float("nan")]
        for name, values in lists.items():
            kind = "float_list" if name == "recent_values" else "bytes_list"
            values.append(list(getattr(feature[name], kind).value))
    assert b"\\N" in columns["item"] and [] in lists["tags"]
    inputs = {name: np.array(values) for name, values in columns.items()}
    inputs["price"] = inputs["price"].astype(np.float32)
    for name, values in lists.items():
        flat = [v for row in values for v in row]
        inputs[name] = np.array(flat, np.float32 if name == "recent_values" else None)
        inputs[f"{name}_row_lengths"] = np.array([len(row) for row in values])
    return inputs


def fn_args(world: Path, run: Path, *, model=None, training=None, validate=True, code="1"):
    """What TFX hands to run_fn."""
    from hivemill.components.trainer.options import ModelOptions, TrainingOptions

    model = ModelOptions(**{"embedding_size": 4, "hidden_units": (16, 8), "dropout": 0.2, **(model or {})})
    training = TrainingOptions(
        **{"epochs": 3, "batch_size": 100, "learning_rate": 0.01, "shuffle_rows": 500, **(training or {})}
    )
    return types.SimpleNamespace(
        train_files=[str(world / "transformed/train/*")],
        eval_files=[str(world / "transformed/validation/*")] if validate else [],
        transform_output=str(world / "transformed/transform_graph"),
        serving_model_dir=str(run / "Format-Serving"),
        model_run_dir=str(run / "model_run"),
        custom_config={
            "features": feature_set().model_dump_json(),
            "model": model.model_dump_json(),
            "training": training.model_dump_json(),
            "checkpoints": str(world / "checkpoints"),
            "code": code,
        },
    )


def main() -> None:
    from hivemill.common import progress, runtime

    runtime.prepare_tensorflow()
    import tensorflow as tf

    training, model = (json.loads(text) for text in [*sys.argv[3:], "{}", "{}"][:2])
    training = {"checkpoint_every_steps": 7, "epochs": 4, **training}
    cpu = tf.config.list_physical_devices("CPU")[0]
    if training.get("strategy") == "mirrored":
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

    from hivemill.components.trainer.run_fn import run_fn

    world, name = Path(sys.argv[1]), sys.argv[2]
    progress.listen(lambda done, total, unit: print("progress", done, flush=True))
    run_fn(fn_args(world, world / name, model=model, training=training))
    print("finished", flush=True)


if __name__ == "__main__":
    main()
