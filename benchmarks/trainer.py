"""Training speed in examples per CPU-second: Hivemill's trainer against DeepCTR's DeepFM, same table, same run.

Two shapes: `frappe` (10 fields, 5,400 ids) and `criteo` (39 fields, 1,000,000 ids); embedding 10, deep part 400 x 3,
batch 4096, Adam, AUC on every batch. The tables are synthetic: ids from a Zipf law, labels at random, since speed does
not depend on them. CPU seconds count every thread of the process. One row per way to feed the model:

    hivemill              the product: GZIP TFRecord files on disk, shuffled and parsed batch by batch
    hivemill-memory       the same model on a few parsed batches kept in memory: what a step costs without its input
    deepctr-disk          TFRecord files, not compressed, a feature per column, by DeepCTR's own `input_fn_tfrecord`
    deepctr-disk-l2       the same with DeepCTR's default L2 terms (1e-5) instead of 0
    deepctr-disk-batched  the same files without L2, parsed by whole batches: code that DeepCTR's user has to write
    deepctr-memory        NumPy arrays in memory and `model.fit`, without L2
    deepctr-memory-l2     the same with the default L2 terms

The headline `ratio` is hivemill / deepctr-disk: the same job, a table that need not fit into memory, and the same
objective (no L2), each with the input that it brings. It is mostly a gain of the input, for DeepCTR parses row by row.
`ratio_to_best_peer` is hivemill / the fastest of DeepCTR's rows, whichever it is: what is left where the user writes a
better input, or the table fits into memory. Both are the smallest of the shapes.

`--memory-rows`: trains a whole pass over that many rows, and over a tenth of them, and compares the peak memory of the
process. The files are links to one file, which the input cannot know.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks import _harness

BATCH_SIZE, EMBEDDING_SIZE, HIDDEN_UNITS = 4096, 10, (400, 400, 400)
SHAPES: dict[str, dict[str, Any]] = {
    "frappe": {"num_fields": 10, "num_ids": 5_400, "target": 20_000},
    "criteo": {"num_fields": 39, "num_ids": 1_000_000, "target": 15_000},
}
ROWS_PER_FILE = 100_000
# deepctr pins an h5py without a wheel for Python 3.11, so it comes without its dependencies, and they beside it.
# TensorFlow 2.12 is among the last with the whole `tensorflow.python.keras` that deepctr imports.
PEER_DISTRIBUTION = "deepctr==0.9.3"
PEER_REQUIREMENTS = ("tensorflow-cpu==2.12.*", "numpy<2", "setuptools", "requests")
WARM_UP_STEPS = 10
PEER_ROWS: dict[str, dict[str, Any]] = {
    "deepctr-disk": {"feed": "disk", "default_l2": False},
    "deepctr-disk-l2": {"feed": "disk", "default_l2": True},
    "deepctr-disk-batched": {"feed": "disk-batched", "default_l2": False},
    "deepctr-memory": {"feed": "memory", "default_l2": False},
    "deepctr-memory-l2": {"feed": "memory", "default_l2": True},
}
HEADLINE = "deepctr-disk"


def field_sizes(num_fields: int, num_ids: int) -> list[int]:
    """Few large fields and many small ones, as in real tables: sizes fall geometrically and sum to num_ids."""
    shares = [0.8**i for i in range(num_fields)]
    sizes = [max(2, int(num_ids * share / sum(shares))) for share in shares]
    sizes[0] += num_ids - sum(sizes)
    return sizes


def table(shape: str, num_rows: int, seed: int):
    """ids int64 [num_rows, num_fields] and labels float32 [num_rows]."""
    import numpy as np

    random = np.random.default_rng(seed)
    sizes = field_sizes(SHAPES[shape]["num_fields"], SHAPES[shape]["num_ids"])
    ids = np.stack([(random.zipf(1.2, num_rows) - 1) % size for size in sizes], axis=1)
    return ids.astype(np.int64), (random.random(num_rows) < 0.3).astype(np.float32)


def write_table(shape: str, num_rows: int, folder: str) -> dict[str, Any]:
    """Writes Transform's output for the table; files of ROWS_PER_FILE rows."""
    import pyarrow as pa

    Path(folder).mkdir(parents=True)
    for number, start in enumerate(range(0, num_rows, ROWS_PER_FILE)):
        ids, labels = table(shape, min(ROWS_PER_FILE, num_rows - start), seed=number)
        packed = pa.FixedSizeListArray.from_arrays(pa.array(ids.ravel()), ids.shape[1]).cast(pa.list_(pa.int64()))
        _write_examples(f"{folder}/part-{number:05d}.gz", {"field_ids": packed, "label": _lists(labels)}, "GZIP")
    return {"rows": num_rows}


def write_peer_table(shape: str, num_steps: int, folder: str) -> dict[str, Any]:
    """The same kind of rows as DeepCTR reads them: a feature per column; one file to warm up, one to measure."""
    Path(folder).mkdir(parents=True)
    for name, steps in (("warm-up", WARM_UP_STEPS), ("measured", num_steps)):
        ids, labels = table(shape, steps * BATCH_SIZE, seed=0)
        columns = {f"f{i}": _lists(ids[:, i]) for i in range(ids.shape[1])}
        _write_examples(f"{folder}/{name}.tfrecord", {**columns, "label": _lists(labels)}, "")
    return {"steps": num_steps}


def _lists(values) -> Any:
    """One value per row, as tf.Example has it."""
    import pyarrow as pa

    array = pa.array(values)
    return pa.FixedSizeListArray.from_arrays(array, 1).cast(pa.list_(array.type))


def _write_examples(path: str, columns: dict[str, Any], compression: str) -> None:
    import pyarrow as pa
    import tensorflow as tf
    from tfx_bsl.coders import example_coder

    batch = pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
    with tf.io.TFRecordWriter(path, compression) as writer:
        for row in example_coder.RecordBatchToExamplesEncoder().encode(batch):
            writer.write(row)


def train_hivemill(shape: str, folder: str, num_steps: int, in_memory: bool = False) -> dict[str, Any]:
    """Examples per CPU-second of `num_steps` steps of the trainer's own loop, after a warm-up."""
    from hivemill.common import runtime

    runtime.prepare_tensorflow()
    import tensorflow as tf

    from hivemill.components.trainer.input import InputSource, training_batches
    from hivemill.components.trainer.loop.optimizers import make_optimizer
    from hivemill.components.trainer.loop.steps import TrainingSteps
    from hivemill.components.trainer.model.deepfm import DeepFM, IdField
    from hivemill.components.trainer.options import TrainingOptions
    from hivemill.components.transform.layout import FieldLayout

    sizes = field_sizes(SHAPES[shape]["num_fields"], SHAPES[shape]["num_ids"])
    layout = FieldLayout(tuple(f"f{i}" for i in range(len(sizes))), (), (), frozenset(), has_weight=False)
    source = InputSource.of([f"{folder}/*.gz"], layout)
    options = TrainingOptions(batch_size=BATCH_SIZE)
    model = DeepFM([IdField(i, n, EMBEDDING_SIZE) for i, n in enumerate(sizes)], EMBEDDING_SIZE, HIDDEN_UNITS)
    steps = TrainingSteps(model, make_optimizer(options), tf.distribute.get_strategy())
    steps.build(source)
    batches = training_batches(
        source,
        num_rows=ROWS_PER_FILE * len(source.files),
        batch_size=BATCH_SIZE,
        replica_batch_size=BATCH_SIZE,
        shuffle_rows=options.shuffle_rows,
        seed=options.seed,
    )
    if in_memory:
        batches = batches.take(WARM_UP_STEPS).cache().repeat()
    iterator = iter(batches)
    steps.train(iterator, WARM_UP_STEPS)
    with _harness.cpu_clock() as clock:
        for _ in range(num_steps // WARM_UP_STEPS):
            steps.train(iterator, WARM_UP_STEPS)
        steps.metrics()
    examples = num_steps // WARM_UP_STEPS * WARM_UP_STEPS * BATCH_SIZE
    return {"examples": examples, **clock, **_speeds(examples, clock)}


def train_deepctr(shape: str, folder: str, num_steps: int, feed: str, default_l2: bool) -> dict[str, Any]:
    """The same for DeepCTR's DeepFM with `model.fit`; runs in the peer's environment."""
    from deepctr.feature_column import SparseFeat
    from deepctr.models import DeepFM

    sizes = field_sizes(SHAPES[shape]["num_fields"], SHAPES[shape]["num_ids"])
    columns = [SparseFeat(f"f{i}", n, embedding_dim=EMBEDDING_SIZE) for i, n in enumerate(sizes)]
    l2 = {} if default_l2 else {"l2_reg_linear": 0, "l2_reg_embedding": 0, "l2_reg_dnn": 0}
    model = DeepFM(columns, columns, dnn_hidden_units=HIDDEN_UNITS, task="binary", **l2)
    model.compile("adam", "binary_crossentropy", metrics=["AUC"])
    if feed == "memory":
        warm_up, measured = (_arrays(shape, steps) for steps in (WARM_UP_STEPS, num_steps))
    else:
        dataset = {"disk": _deepctr_dataset, "disk-batched": _batched_dataset}[feed]
        warm_up, measured = ({"x": dataset(f"{folder}/{name}.tfrecord", sizes)} for name in ("warm-up", "measured"))
    model.fit(**warm_up, verbose=0)
    with _harness.cpu_clock() as clock:
        model.fit(**measured, verbose=0)
    return {"examples": num_steps * BATCH_SIZE, **clock, **_speeds(num_steps * BATCH_SIZE, clock)}


def _arrays(shape: str, num_steps: int) -> dict[str, Any]:
    import numpy as np

    ids, labels = table(shape, num_steps * BATCH_SIZE, seed=0)
    inputs = {f"f{i}": np.ascontiguousarray(ids[:, i]) for i in range(ids.shape[1])}
    return {"x": inputs, "y": labels, "batch_size": BATCH_SIZE}


def _deepctr_spec(sizes: list[int]) -> dict[str, Any]:
    import tensorflow as tf

    ids = {f"f{i}": tf.io.FixedLenFeature([1], tf.int64) for i in range(len(sizes))}
    return {**ids, "label": tf.io.FixedLenFeature([1], tf.float32)}


def _deepctr_dataset(path: str, sizes: list[int]):
    """DeepCTR's function ends in an iterator for Estimators; the dataset under it is what `model.fit` takes."""
    import tensorflow as tf
    from deepctr.estimator.inputs import input_fn_tfrecord

    kept = mock.patch.object(
        tf.compat.v1.data, "make_one_shot_iterator", lambda dataset: types.SimpleNamespace(get_next=lambda: dataset)
    )
    with kept:
        return input_fn_tfrecord([path], _deepctr_spec(sizes), "label", batch_size=BATCH_SIZE)()


def _batched_dataset(path: str, sizes: list[int]):
    import tensorflow as tf

    def parse(rows):
        features = tf.io.parse_example(rows, _deepctr_spec(sizes))
        return features, features.pop("label")

    return tf.data.TFRecordDataset(path).shuffle(10 * BATCH_SIZE).batch(BATCH_SIZE).map(parse).prefetch(2)


def _speeds(examples: int, clock: dict[str, float]) -> dict[str, float]:
    return {
        "examples_per_cpu_second": examples / clock["cpu_seconds"],
        "examples_per_second": examples / clock["wall_seconds"],
    }


def peer_environment(folder: Path) -> str:
    """Python of an environment that holds DeepCTR and the TensorFlow that it needs; made here when it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--no-deps", PEER_DISTRIBUTION], check=True)
        subprocess.run([*pip, *PEER_REQUIREMENTS], check=True)
    return str(python)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeat", type=int, default=3, help="measurements per side, in turns; the median counts")
    parser.add_argument("--shapes", nargs="*", choices=sorted(SHAPES), default=list(SHAPES))
    parser.add_argument("--memory-shape", choices=sorted(SHAPES), default="frappe")
    parser.add_argument("--memory-rows", type=int, default=5_000_000, help="0 leaves the memory measurement out")
    parser.add_argument("--peer-environment", type=Path, default=Path.home() / ".cache/hivemill/deepctr")
    parser.add_argument("--no-peer", action="store_true")
    _harness.add_measure_argument(parser)
    arguments = parser.parse_args()
    functions = (write_table, write_peer_table, train_hivemill, train_deepctr)
    if _harness.run_measurement(arguments, {function.__name__: function for function in functions}):
        return
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(compare(arguments, Path(scratch))))


def compare(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    peer = None if arguments.no_peer else peer_environment(arguments.peer_environment)
    result: dict[str, Any] = {"name": "trainer", "peer": "DeepCTR DeepFM", "unit": "examples per CPU-second"}
    result["shapes"] = {shape: _compare_shape(shape, arguments, scratch, peer) for shape in arguments.shapes}
    if peer and arguments.shapes:
        for name in ("ratio", "ratio_to_best_peer"):
            result[name] = min(row[name] for row in result["shapes"].values())
    if arguments.memory_rows:
        result["peak_memory_bytes"] = peak_memory(arguments.memory_shape, arguments.memory_rows, scratch)
    return result


def _compare_shape(shape: str, arguments: argparse.Namespace, scratch: Path, peer: str | None) -> dict[str, Any]:
    folder, peer_folder = str(scratch / shape), str(scratch / f"{shape}-peer")
    _harness.measure(__file__, "write_table", shape=shape, num_rows=4 * ROWS_PER_FILE, folder=folder)
    if peer:
        _harness.measure(__file__, "write_peer_table", shape=shape, num_steps=arguments.steps, folder=peer_folder)
    runs: dict[str, list[dict[str, Any]]] = {}
    for _ in range(arguments.repeat):
        shared = {"shape": shape, "num_steps": arguments.steps}
        for name, in_memory in (("hivemill", False), ("hivemill-memory", True)):
            measured = _harness.measure(__file__, "train_hivemill", folder=folder, in_memory=in_memory, **shared)
            runs.setdefault(name, []).append(measured.facts)
        for name, row in PEER_ROWS.items() if peer else ():
            measured = _harness.measure(__file__, "train_deepctr", python=peer, folder=peer_folder, **row, **shared)
            runs.setdefault(name, []).append(measured.facts)
    return _report(shape, runs)


def _report(shape: str, runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Prints the medians of a shape; returns examples per CPU-second by row, and the headline ratio."""
    speeds = {name: _harness.median(run["examples_per_cpu_second"] for run in row) for name, row in runs.items()}
    rows = []
    for name, speed in speeds.items():
        wall = _harness.median(run["examples_per_second"] for run in runs[name])
        target = f">= {SHAPES[shape]['target']:,}" if name == "hivemill" else ">= 1.40x" if name == HEADLINE else ""
        rows.append([name, f"{speed:,.0f}", f"{wall:,.0f}", f"{speeds['hivemill'] / speed:.2f}x", target])
    _harness.print_table([shape, "examples/CPU-s", "examples/s", "hivemill is", "target"], rows)
    rounded = {name: round(speed) for name, speed in speeds.items()}
    if HEADLINE not in speeds:
        return rounded
    fastest = max(speeds[name] for name in PEER_ROWS)
    ratios = {"ratio": speeds["hivemill"] / speeds[HEADLINE], "ratio_to_best_peer": speeds["hivemill"] / fastest}
    return rounded | {name: round(ratio, 2) for name, ratio in ratios.items()}


def peak_memory(shape: str, num_rows: int, scratch: Path) -> dict[str, int]:
    """Peak resident bytes of the process that trains through a tenth of the rows, and through all of them."""
    folder = scratch / "memory"
    _harness.measure(__file__, "write_table", shape=shape, num_rows=ROWS_PER_FILE, folder=str(folder))
    peaks, num_files = {}, 1
    for rows in (num_rows // 10, num_rows):
        for number in range(num_files, rows // ROWS_PER_FILE):
            os.link(folder / "part-00000.gz", folder / f"part-{number:05d}.gz")
        num_files = max(num_files, rows // ROWS_PER_FILE)
        steps = rows // BATCH_SIZE
        measured = _harness.measure(__file__, "train_hivemill", shape=shape, folder=str(folder), num_steps=steps)
        peaks[str(rows)] = measured.peak_memory_bytes
        print(f"peak memory, a pass over {rows:,} rows: {measured.peak_memory_bytes / 2**30:.2f} GiB (target < 2)")
    return peaks


if __name__ == "__main__":
    main()
