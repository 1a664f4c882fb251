"""CPU seconds, peak memory and output bytes of a node."""

from __future__ import annotations

import subprocess
import sys

from hivemill.pipeline.orchestrators.node_cost import NodeCost, output_bytes

_BUSY = "import time\nwhile time.process_time() < 0.3: pass"


def test_cpu_seconds_count_ended_children():
    with NodeCost() as cost:
        subprocess.run([sys.executable, "-c", _BUSY], check=True)
    assert 0.3 <= cost.cpu_seconds < 60
    assert cost.peak_memory_bytes > 2**20


def test_output_bytes_are_those_of_all_files(tmp_path):
    (tmp_path / "a" / "Split-train").mkdir(parents=True)
    (tmp_path / "a" / "Split-train" / "data").write_bytes(b"12345")
    (tmp_path / "a" / "top").write_bytes(b"123")
    (tmp_path / "b").write_bytes(b"1")
    assert output_bytes([str(tmp_path / "a"), str(tmp_path / "b")]) == 9
    assert output_bytes([str(tmp_path / "absent")]) == 0
