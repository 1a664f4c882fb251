"""A small shop for tests that run the whole pipeline: its table, its config, and a way to run the command line."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from hivemill.data.click_log.generator import click_log_options, generate
from hivemill.pipeline.cli import main

FIRST_DAY, RUN_DATE = datetime.date(2026, 11, 12), "2026-11-15"
CONFIG = {
    "name": "shop",
    "root": "root",
    "source": {"table": "log/clicks", "success_file": "_SUCCESS"},
    "window": {"train_days": 3, "validation_days": 1, "eval_days": 1},
    "label": {"column": "click", "user": "user_id"},
    "features": {
        "item_id": {"type": "categorical", "oov_buckets": 4},
        "category": {"type": "categorical"},
        "price": {"type": "numeric", "transform": "quantile_buckets", "buckets": 5},
        "log_price": {"type": "numeric", "column": "price", "transform": "log"},
        "position": {"type": "categorical"},
        "device": {"type": "categorical"},
        "recent_items": {"type": "multivalent", "encoding": "hash", "hash_buckets": 100},
        "context": {"type": "multivalent", "of": "items"},
        "device_category": {"type": "cross", "columns": ["device", "category"], "hash_buckets": 50},
    },
    "model": {"embedding_size": 4, "hidden_units": [32, 16]},
    "training": {
        "batch_size": 256,
        "epochs": 2,
        "learning_rate": 0.003,
        "tensorboard": {"histograms": True, "projector_terms": 20},
    },
    "gates": {
        "metrics": {"clicks": {"min": 20}, "auc": {"min": 0.5}},
        "slices": [["device"]],
        "references": {"trivial_model_better": "amber"},  # so few rows teach a network less than a regression
    },
}


def make_shop(folder: Path, rows_per_day: int = 2_000, days: int = 4) -> Path:
    """Writes log and config below `folder`; returns the config's path. Daily Parquet partitions."""
    options = click_log_options(
        start_date=FIRST_DAY, days=days, rows_per_day=rows_per_day, hours=False, format="parquet", num_items=300
    )
    generate(options, folder / "log" / "clicks")
    path = folder / "hivemill.yaml"
    path.write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    return path


def rewrite_column(folder: Path, day: str, column: str, values: list) -> None:
    """Replaces a column of one day's partition; `values` repeat over its rows."""
    file = next(f for f in (folder / "log" / "clicks" / f"dt={day}").rglob("0*") if f.is_file())
    table = pq.read_table(file)
    index = table.column_names.index(column)
    new = pa.array([values[row % len(values)] for row in range(table.num_rows)], table.schema.field(column).type)
    pq.write_table(table.set_column(index, column, new), file)


def hivemill(config: Path, *words: str) -> int:
    """Runs one command in this process and returns its exit code."""
    return main.main(["--config", str(config), *words])


def hivemill_command(config: Path, *words: str) -> list[str]:
    """The same as a command of its own."""
    return [sys.executable, "-m", "hivemill", "--config", str(config), *words]


@contextlib.contextmanager
def mounted_disk(place: Path, size: str) -> Iterator[Path]:
    """A disk of its own at `place`; the test is skipped where it cannot be made."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting a disk needs root")
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("this machine does not let a test mount a tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def only_run(config: Path) -> Path:
    """The folder of the one run below the config's root."""
    (folder,) = (path for path in (config.parent / "root" / "runs").iterdir() if path.is_dir())
    return folder


def document(folder: Path, name: str) -> dict:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` with its content, to tell that nothing has changed."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}
