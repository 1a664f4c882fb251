"""The fuzzer: its seeds are read, a finding is one, some inputs pass. For millions of them: fuzz_readers.py."""

import importlib.util
import random
import subprocess
import sys
from pathlib import Path

import pytest

from hivemill.components.hive_example_gen.formats.hadoop import sequence_file
from tests.fuzz import fuzz_readers


@pytest.mark.parametrize("reader", fuzz_readers.READERS)
def test_seeds_are_read_and_their_edits_documented(reader):
    target, chooser = fuzz_readers.target_of(reader), random.Random(7)
    outcomes = set()
    for seed in fuzz_readers.seeds_of(reader):
        outcomes.add(target(seed))
        for _ in range(5):
            edits = [(chooser.randrange(4096), chooser.randrange(6), chooser.randbytes(chooser.randrange(4)))]
            outcomes.add(target(fuzz_readers.edited(seed, edits)))
    assert "rows" in outcomes
    assert outcomes & {"bad rows", "refused"}


def test_what_is_not_documented_is_a_finding(monkeypatch):
    monkeypatch.setattr(sequence_file.Header, "read", lambda source: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fuzz_readers.target_of("sequence_file")(b"\0SEQ\x06")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["atheris", "hypothesis"])
def test_the_command(tmp_path, engine):
    if engine == "atheris" and importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed (pip install atheris)")
    command = [sys.executable, Path(fuzz_readers.__file__), "--engine", engine, "--runs", "500"]
    done = subprocess.run([*command, "--findings", tmp_path / "f"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(reader in done.stdout for reader in fuzz_readers.READERS)
