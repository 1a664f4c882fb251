"""How large an embedding table one machine carries: memory, speed, checkpoint and SavedModel by the number of rows.

Builds the product's DeepFM from features with `encoding: hash`, whose buckets add up to the rows asked for, trains some
steps from the output of Transform, writes a checkpoint and exports the SavedModel, each size in a process of its own.
Ids are uniform: a batch touches as many rows of the table as it can, the hardest case for caches and for the optimizer.

    table       rows x (width + 1) float32: the embeddings and the first-order weight
    build       peak resident memory while the variables and the optimizer's slots are made
    steps       ... during training steps
    epoch end   ... while norms are taken and a checkpoint is written
    export      ... while the SavedModel is written
    per byte    the largest of the four, less what a table of the first size of the list needs, per byte of table

One machine carries a table as long as `largest` fits into its memory. Sizes that would not fit into what is free now
(`--memory-factor` times the table) are left out aloud rather than killed by the kernel.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import _harness

BATCH_SIZE, WARM_UP_STEPS = 4096, 5
# Shares of the rows by feature: one feature has most of them, as users or items have in real tables.
SHARES = {"user": 0.6, "item": 0.3, "user_x_device": 0.1}
PHASES = ("build", "steps", "epoch_end", "export")
GIB, MIB = 2**30, 2**20


def features_document(rows: int) -> dict[str, Any]:
    """What stands under `features:` in hivemill.yaml."""
    user, item, cross = (max(2, int(rows * share)) for share in SHARES.values())
    return {
        "user": {"type": "categorical", "encoding": "hash", "hash_buckets": user},
        "item": {"type": "categorical", "encoding": "hash", "hash_buckets": item},
        "user_x_device": {"type": "cross", "columns": ["user", "device"], "hash_buckets": cross},
        "device": {"type": "categorical", "encoding": "hash", "hash_buckets": 8},
    }


def write_log(num_rows: int, file: str) -> dict[str, Any]:
    """Impressions as ExampleGen writes them."""
    import numpy as np
    import pyarrow as pa
    import tensorflow as tf
    from tfx_bsl.coders import example_coder

    random = np.random.default_rng(1)
    columns = {name: random.integers(0, 2**40, num_rows) for name in ("user", "item")}
    columns |= {"device": random.integers(0, 4, num_rows), "click": random.integers(0, 2, num_rows)}
    arrays = [
        pa.FixedSizeListArray.from_arrays(pa.array(values), 1).cast(pa.list_(pa.int64())) for values in columns.values()
    ]
    with tf.io.TFRecordWriter(file, "GZIP") as writer:
        for row in example_coder.RecordBatchToExamplesEncoder().encode(pa.RecordBatch.from_arrays(arrays, [*columns])):
            writer.write(row)
    return {"rows": num_rows}


def transform_log(rows: int, log: str, folder: str) -> dict[str, Any]:
    """The Transform node's work, for the hash buckets of a table of `rows`."""
    from hivemill.common import runtime

    runtime.prepare_tensorflow()
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    from hivemill.components.transform.standalone import transform_files

    always = "presence { min_fraction: 1 } shape { dim { size: 1 } }"
    text = "".join(f'feature {{ name: "{c}" type: INT {always} }}\n' for c in ("user", "item", "device", "click"))
    transform_files(_features(rows), text_format.Parse(text, schema_pb2.Schema()), {"train": [log]}, Path(folder))
    return {}


def train(rows: int, width: int, optimizer: str, num_steps: int, folder: str, scratch: str) -> dict[str, Any]:
    """Builds, trains, writes a checkpoint and exports; peak memory of each phase, seconds, sizes on the disk."""
    from hivemill.common import runtime

    runtime.prepare_tensorflow()
    import tensorflow as tf

    from hivemill.components.trainer.input import InputSource, training_batches
    from hivemill.components.trainer.loop.checkpoints import TrainingCheckpoints
    from hivemill.components.trainer.loop.history import TrainingHistory
    from hivemill.components.trainer.loop.optimizers import make_optimizer
    from hivemill.components.trainer.loop.steps import TrainingSteps
    from hivemill.components.trainer.model.fields import model_fields
    from hivemill.components.trainer.model.networks import make_network
    from hivemill.components.trainer.options import ModelOptions, TrainingOptions
    from hivemill.components.trainer.signatures import TracedModel
    from hivemill.components.transform.layout import FieldLayout
    from hivemill.components.transform.standalone import transform_output

    features, learnt = _features(rows), transform_output(Path(folder))
    options = TrainingOptions(batch_size=BATCH_SIZE, optimizer=optimizer)
    source = InputSource.of([f"{folder}/train/*"], FieldLayout.of(features))
    architecture = ModelOptions(embedding_size=width)
    found: dict[str, Any] = {}
    with _phase("build", found):
        model = make_network(model_fields(features, architecture, learnt), architecture)
        steps = TrainingSteps(model, make_optimizer(options), tf.distribute.get_strategy())
        steps.build(source)
    with _phase("steps", found):
        batches = iter(
            training_batches(
                source,
                num_rows=(WARM_UP_STEPS + num_steps) * BATCH_SIZE,
                batch_size=BATCH_SIZE,
                replica_batch_size=BATCH_SIZE,
                shuffle_rows=options.shuffle_rows,
                seed=1,
            )
        )
        steps.train(batches, WARM_UP_STEPS)
        with _harness.cpu_clock() as clock:
            steps.train(batches, num_steps)
            steps.metrics()
    with _phase("epoch_end", found):
        steps.embedding_norms()
        TrainingCheckpoints(Path(scratch) / "checkpoint", steps).save(1, TrainingHistory())
    with _phase("export", found):
        TracedModel(model, learnt, features).save(f"{scratch}/model")
    return {
        **found,
        "table_bytes": sum(4 * weight.shape.num_elements() for table in model.tables for weight in table.weights),
        "examples_per_cpu_second": num_steps * BATCH_SIZE / clock["cpu_seconds"],
        "checkpoint_bytes": _size(Path(scratch) / "checkpoint"),
        "model_bytes": _size(Path(scratch) / "model"),
    }


@contextlib.contextmanager
def _phase(name: str, found: dict[str, Any]) -> Iterator[None]:
    """Peak resident bytes and wall seconds of the block. Linux's mark of the peak is set back before it."""
    Path("/proc/self/clear_refs").write_text("5")
    started = time.monotonic()
    yield
    found[f"{name}_seconds"] = time.monotonic() - started
    line = next(line for line in Path("/proc/self/status").read_text().split("\n") if line.startswith("VmHWM:"))
    found[f"{name}_peak_bytes"] = int(line.split()[1]) * 1024


def _features(rows: int) -> Any:
    from hivemill.components.features import FeatureSet

    return FeatureSet(features=features_document(rows), label="click")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000, 30_000_000])
    parser.add_argument("--width", type=int, nargs="+", default=[10], help="embedding_size: each with each --rows")
    parser.add_argument("--optimizer", nargs="+", choices=("adam", "adagrad"), default=["adam"])
    parser.add_argument("--steps", type=int, default=30, help=f"measured steps of {BATCH_SIZE} examples")
    parser.add_argument("--memory-factor", type=float, default=4.0, help="leaves out tables larger than free/factor")
    parser.add_argument("--scratch", type=Path, default=None, help="where files of up to 4 times the table may lie")
    _harness.add_measure_argument(parser)
    arguments = parser.parse_args()
    functions = (write_log, transform_log, train)
    if _harness.run_measurement(arguments, {function.__name__: function for function in functions}):
        return
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        _print(_measured(arguments, Path(scratch)))


def _measured(arguments: argparse.Namespace, scratch: Path) -> list[dict[str, Any]]:
    log, found = scratch / "log.gz", []
    num_rows = (WARM_UP_STEPS + arguments.steps) * BATCH_SIZE
    _harness.measure(__file__, "write_log", num_rows=num_rows, file=str(log))
    for rows in arguments.rows:
        folder = scratch / f"rows-{rows}"
        _harness.measure(__file__, "transform_log", rows=rows, log=str(log), folder=str(folder))
        for width in arguments.width:
            for optimizer in arguments.optimizer:
                if rows * (width + 1) * 4 * arguments.memory_factor > _free_bytes():
                    print(f"left out: {rows:,} rows x {width} with {optimizer}: {_free_bytes() / GIB:.1f} GiB are free")
                    continue
                shape = {"rows": rows, "width": width, "optimizer": optimizer}
                place = scratch / "one"
                place.mkdir()
                one = _harness.measure(
                    __file__, "train", **shape, num_steps=arguments.steps, folder=str(folder), scratch=str(place)
                )
                found.append({**shape, **one.facts, "load": os.getloadavg()[0]})
                shutil.rmtree(place)
    return found


def _free_bytes() -> int:
    line = next(line for line in Path("/proc/meminfo").read_text().split("\n") if line.startswith("MemAvailable:"))
    return int(line.split()[1]) * 1024


def _print(found: list[dict[str, Any]]) -> None:
    header = ["rows x width, optimizer", "table MiB", *(f"{phase} GiB".replace("_", " ") for phase in PHASES)]
    header += ["per byte", "examples/CPU-s", "checkpoint", "export", "model MiB", "load"]
    rows = []
    for one in found:
        one["peak_per_table_byte"] = _per_byte(one, found[0])
        rows.append(
            [
                f"{one['rows']:,} x {one['width']}, {one['optimizer']}",
                f"{one['table_bytes'] / MIB:,.0f}",
                *(f"{one[f'{phase}_peak_bytes'] / GIB:.2f}" for phase in PHASES),
                "" if one["peak_per_table_byte"] is None else f"{one['peak_per_table_byte']:.1f}",
                f"{one['examples_per_cpu_second']:,.0f}",
                f"{one['epoch_end_seconds']:.1f} s",
                f"{one['export_seconds']:.1f} s",
                f"{one['model_bytes'] / MIB:,.0f}",
                f"{one['load']:.1f}",
            ]
        )
    _harness.print_table(header, rows)
    largest = max(found, key=lambda one: one["table_bytes"])
    _harness.print_result(
        "table_size",
        largest["examples_per_cpu_second"] / found[0]["examples_per_cpu_second"],
        "the smallest table",
        "examples per CPU-second",
        sizes=found,
    )


def _per_byte(one: dict[str, Any], base: dict[str, Any]) -> float | None:
    more = one["table_bytes"] - base["table_bytes"]
    return (_largest(one) - _largest(base)) / more if more > 0 else None


def _largest(one: dict[str, Any]) -> int:
    return max(one[f"{phase}_peak_bytes"] for phase in PHASES)


if __name__ == "__main__":
    main()
