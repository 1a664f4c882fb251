"""Scratch folders go with their process, and a child of a fork leaves its parent's alone."""

import os
import subprocess
import sys
from pathlib import Path

from hivemill.common.storage import scratch

ROOT = Path(__file__).parents[3]
CODE = """
import os, sys
from hivemill.common.storage import scratch
folder = scratch.scratch_folder("test")
(folder / "file").write_text("x")
print(folder, flush=True)
if sys.argv[1] == "_exit":
    scratch.remove_all()
    os._exit(0)
"""


def made_by(how, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CODE, how],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(done.stdout.strip())


def test_gone_with_the_process_however_it_ends(tmp_path):
    for how in ("exit", "_exit"):
        folder = made_by(how, tmp_path)
        assert folder.parent == tmp_path and folder.name.startswith("hivemill-test-")
        assert not folder.exists()


def test_remove_now_and_not_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(tmp_path))
    folder = scratch.scratch_folder("test")
    scratch.remove(folder)
    assert not folder.exists()
    folder.mkdir()
    scratch.remove(folder)
    assert folder.exists()


def test_child_of_a_fork_leaves_it(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(tmp_path))
    folder = scratch.scratch_folder("test")
    child = os.fork()
    if child == 0:
        scratch.remove_all()
        os._exit(0)
    os.waitpid(child, 0)
    assert folder.exists()
    scratch.remove(folder)
