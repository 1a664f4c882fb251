"""The fuzzer of the dev server: seeds are answered, a finding is one, some inputs pass. For more: fuzz_serving.py."""

import importlib.util
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import fuzz_serving


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_seeds_are_answered_and_their_edits_documented(protocol):
    target, chooser = fuzz_serving.target_of(protocol), random.Random(7)
    seeds = fuzz_serving.seeds_of(protocol)
    assert [target(seed) for seed in seeds].count("answered") >= 5
    outcomes = {target(fuzz_serving.edited(chooser.choice(seeds), chooser)) for _ in range(2000)}
    assert outcomes == {"answered", "refused"}


def test_what_the_server_does_not_catch_is_a_finding(monkeypatch):
    target = fuzz_serving.target_of("rest")
    monkeypatch.setattr(fuzz_serving.rest.rest_json, "parse", lambda body: 1 / 0)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        target(b"\0{}")


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_the_command(protocol):
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed (pip install atheris)")
    command = [sys.executable, Path(fuzz_serving.__file__), protocol, "--runs", "20000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
