"""Training speed in examples per CPU-second: Hivemill's trainer against DeepCTR's DeepFM, same table, same run.

Two shapes: `frappe` (10 fields, 5,400 ids) and `criteo` (39 fields, 1,000,000 ids); embedding 10, deep part 400 x 3,
batch 4096. The tables are synthetic: ids from a Zipf law, labels at random, since speed does not depend on them.
Hivemill reads them from GZIP TFRecord files, parsing included; DeepCTR, which has no input of its own, gets NumPy
arrays in memory, its documented way. CPU seconds count every thread of the process.
The third measurement trains on 5,000,000 rows and looks at the peak memory of the whole process.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

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
    import tensorflow as tf
    from tfx_bsl.coders import example_coder

    Path(folder).mkdir(parents=True)
    encoder = example_coder.RecordBatchToExamplesEncoder()
    for number, start in enumerate(range(0, num_rows, ROWS_PER_FILE)):
        ids, labels = table(shape, min(ROWS_PER_FILE, num_rows - start), seed=number)
        columns = [
            pa.FixedSizeListArray.from_arrays(pa.array(ids.ravel()), ids.shape[1]).cast(pa.list_(pa.int64())),
            pa.FixedSizeListArray.from_arrays(pa.array(labels), 1).cast(pa.list_(pa.float32())),
        ]
        batch = pa.RecordBatch.from_arrays(columns, ["field_ids", "label"])
        with tf.io.TFRecordWriter(f"{folder}/part-{number:05d}.gz", "GZIP") as writer:
            for row in encoder.encode(batch):
                writer.write(row)
    return {"rows": num_rows}


def train_hivemill(shape: str, folder: str, num_steps: int) -> dict[str, Any]:
    """Examples per CPU-second of `num_steps` steps of the trainer's own loop, after a warm-up."""
    import common.runtime

    common.runtime.prepare_tensorflow()
    import tensorflow as tf

    from components.trainer.deepfm import DeepFM, IdField
    from components.trainer.input import InputSource, training_batches
    from components.trainer.optimizers import make_optimizer
    from components.trainer.options import TrainingOptions
    from components.trainer.steps import TrainingSteps
    from components.transform.layout import FieldLayout

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
    iterator = iter(batches)
    steps.train(iterator, tf.constant(WARM_UP_STEPS))
    with _harness.cpu_clock() as clock:
        for _ in range(num_steps // WARM_UP_STEPS):
            steps.train(iterator, tf.constant(WARM_UP_STEPS))
        steps.metrics()
    examples = num_steps // WARM_UP_STEPS * WARM_UP_STEPS * BATCH_SIZE
    return {"examples": examples, **clock, **_speeds(examples, clock)}


def train_deepctr(shape: str, num_steps: int) -> dict[str, Any]:
    """The same for DeepCTR's DeepFM with model.fit, as its documentation shows; runs in the peer's environment."""
    import numpy as np
    from deepctr.feature_column import SparseFeat
    from deepctr.models import DeepFM

    sizes = field_sizes(SHAPES[shape]["num_fields"], SHAPES[shape]["num_ids"])
    ids, labels = table(shape, num_steps * BATCH_SIZE, seed=0)
    columns = [SparseFeat(f"f{i}", n, embedding_dim=EMBEDDING_SIZE) for i, n in enumerate(sizes)]
    model = DeepFM(
        columns,
        columns,
        dnn_hidden_units=HIDDEN_UNITS,
        l2_reg_linear=0,
        l2_reg_embedding=0,
        l2_reg_dnn=0,
        task="binary",
    )
    model.compile("adam", "binary_crossentropy", metrics=["AUC"])
    inputs = {f"f{i}": np.ascontiguousarray(ids[:, i]) for i in range(len(sizes))}
    warm = WARM_UP_STEPS * BATCH_SIZE
    model.fit({k: v[:warm] for k, v in inputs.items()}, labels[:warm], batch_size=BATCH_SIZE, verbose=0)
    with _harness.cpu_clock() as clock:
        model.fit(inputs, labels, batch_size=BATCH_SIZE, epochs=1, verbose=0)
    return {"examples": len(labels), **clock, **_speeds(len(labels), clock)}


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
    parser.add_argument("--shapes", nargs="+", choices=sorted(SHAPES), default=list(SHAPES))
    parser.add_argument("--memory-rows", type=int, default=5_000_000, help="0 leaves the memory measurement out")
    parser.add_argument("--peer-environment", type=Path, default=Path.home() / ".cache/hivemill/deepctr")
    parser.add_argument("--no-peer", action="store_true")
    _harness.add_measure_argument(parser)
    arguments = parser.parse_args()
    measurements = {"write_table": write_table, "train_hivemill": train_hivemill, "train_deepctr": train_deepctr}
    if _harness.run_measurement(arguments, measurements):
        return
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(compare(arguments, Path(scratch))))


def compare(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    peer = None if arguments.no_peer else peer_environment(arguments.peer_environment)
    result: dict[str, Any] = {
        "name": "trainer",
        "peer": "DeepCTR DeepFM",
        "unit": "examples per CPU-second",
        "shapes": {},
    }
    print(f"{'shape':8} {'side':10} {'examples/CPU-s':>15} {'examples/s':>12}   target")
    for shape in arguments.shapes:
        folder = str(scratch / shape)
        _harness.measure(__file__, "write_table", shape=shape, num_rows=4 * ROWS_PER_FILE, folder=folder)
        sides: dict[str, list[dict[str, Any]]] = {"hivemill": [], "deepctr": []}
        for _ in range(arguments.repeat):
            parameters = {"shape": shape, "num_steps": arguments.steps}
            sides["hivemill"].append(_harness.measure(__file__, "train_hivemill", folder=folder, **parameters).facts)
            if peer:
                sides["deepctr"].append(_harness.measure(__file__, "train_deepctr", python=peer, **parameters).facts)
        result["shapes"][shape] = _row(shape, sides)
    if "deepctr" in next(iter(result["shapes"].values())):
        result["ratio"] = min(row["ratio"] for row in result["shapes"].values())
    if arguments.memory_rows:
        result["peak_memory_bytes"] = peak_memory(arguments.memory_rows, scratch)
        print(
            f"peak memory with {arguments.memory_rows:,} rows: {result['peak_memory_bytes'] / 2**30:.2f} GiB (below 2)"
        )
    return result


def _row(shape: str, sides: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for side, runs in sides.items():
        if not runs:
            continue
        row[side] = statistics.median(run["examples_per_cpu_second"] for run in runs)
        wall = statistics.median(run["examples_per_second"] for run in runs)
        target = f">= {SHAPES[shape]['target']:,}" if side == "hivemill" else ""
        print(f"{shape:8} {side:10} {row[side]:15,.0f} {wall:12,.0f}   {target}", flush=True)
    if "deepctr" in row:
        row["ratio"] = round(row["hivemill"] / row["deepctr"], 2)
        print(f"{shape:8} ratio      {row['ratio']:15.2f} {'':12}   >= 1.4", flush=True)
    return row


def peak_memory(num_rows: int, scratch: Path) -> int:
    """Trains through `num_rows` rows of the criteo shape; the files are copies, which the input cannot know."""
    first = scratch / "memory"
    _harness.measure(__file__, "write_table", shape="criteo", num_rows=ROWS_PER_FILE, folder=str(first))
    for number in range(1, num_rows // ROWS_PER_FILE):
        shutil.copy(first / "part-00000.gz", first / f"part-{number:05d}.gz")
    steps = num_rows // BATCH_SIZE
    measured = _harness.measure(__file__, "train_hivemill", shape="criteo", folder=str(first), num_steps=steps)
    return measured.peak_memory_bytes


if __name__ == "__main__":
    main()
