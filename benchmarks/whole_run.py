"""What a run costs node by node, and what the nodes before the Trainer cost as rows, days and cores grow.

Each run is a process of its own, which launches the nodes of the DAG one after the other as `hivemill run` does; the CPU
seconds of a node are those of its launch (metadata included, imports before the first node left out). The table is the
click log of `hivemill data generate`, daily Parquet partitions, with the features of the demo's config.

Measured: CPU by node at two sizes (their difference per row is the marginal cost), the window a week later against its
new days alone, and a stock TFX pipeline (ParquetExampleGen, StatisticsGen, SchemaGen, ExampleValidator, Transform with
TFT's analyzers and Hivemill's preprocessing function) on the same rows.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import _harness

_FIRST_DAY = datetime.date(2026, 11, 2)
_BEFORE_TRAINER = (
    *("HiveLogExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "DataVerdict", "Transform"),
)
_FEATURES = """
  age_band: {type: categorical}
  gender: {type: categorical}
  member_level: {type: categorical}
  category: {type: categorical}
  brand: {type: categorical}
  position: {type: categorical}
  device: {type: categorical}
  item_id: {type: categorical, min_count: 1000}
  city: {type: categorical, encoding: hash, hash_buckets: 1000}
  price: {type: numeric, transform: quantile_buckets, buckets: 20}
  query: {type: multivalent}
  recent_items: {type: multivalent, min_count: 1000, max_length: 20}
  context: {type: multivalent, of: items}
  category_by_age_band: {type: cross, columns: [category, age_band], hash_buckets: 2000}
  category_by_gender: {type: cross, columns: [category, gender], hash_buckets: 1000}
  age_band_by_gender: {type: cross, columns: [age_band, gender], hash_buckets: 500}
"""
_CONFIG = """
name: bench
root: {root}
source: {{table: {table}, format: parquet, partition_columns: {{dt: string}}}}
window: {{train_days: {train_days}, validation_days: 1, eval_days: 1, completeness: {{min_share_of_median: null}}}}
label: {{column: click, user: user_id}}
features: {features}
data_verdict: {{on_anomaly: amber, on_drift: amber}}
store: {{path: models}}
"""


def ours(root: str, table: str, date: str, train_days: int) -> dict[str, Any]:
    """Runs the nodes before the Trainer: CPU and wall seconds by node, rows."""
    from hivemill.common import runtime

    runtime.prepare_tensorflow()
    from hivemill.components.hive_example_gen.planning.window import plan_window
    from hivemill.pipeline import dag
    from hivemill.pipeline.config import loader
    from hivemill.pipeline.orchestrators.node_launcher import launch_node
    from hivemill.pipeline.runs.compiled_pipeline import compiled
    from hivemill.pipeline.runs.records import RunFolder

    raise NotImplementedError
