"""serving/clients/java, built by Maven, predicts with TensorFlow Java what TensorFlow does in Python.

Needs a JDK, Maven and Maven Central (170 MB, kept in Maven's own folder). Where one of them is missing the tests are
skipped with these words; with HIVEMILL_REQUIRE_JAVA=1, as in CI, they fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(sys.platform != "linux", reason="pom.xml names the library for Linux on x86-64"),
]
PROJECT = Path(__file__).parents[3] / "serving" / "clients" / "java"


def _unavailable(words: str) -> None:
    pytest.fail(words) if os.environ.get("HIVEMILL_REQUIRE_JAVA") == "1" else pytest.skip(words)


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> list[str]:
    """The command, built in a folder of its own. No Maven Central is no defect of ours; what does not compile is."""
    if missing := [tool for tool in ("java", "javac", "mvn") if not shutil.which(tool)]:
        _unavailable(f"no {', '.join(missing)} (Debian: default-jdk-headless maven)")
    folder = tmp_path_factory.mktemp("java") / "project"
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("target"))
    done = subprocess.run(["mvn", "-B", "-q", "package"], cwd=folder, capture_output=True, text=True, check=False)
    words = (done.stdout + done.stderr)[-3000:]
    if done.returncode and ("Could not transfer artifact" in words or "Could not find artifact" in words):
        _unavailable(f"Maven could not fetch TensorFlow Java: {words}")
    assert done.returncode == 0, words
    return ["java", "-cp", f"{folder}/target/classes:{folder}/target/libraries/*", "PredictInProcess"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A model as Trainer exports it, with every type of feature."""
    from hivemill.components.trainer.run_fn import run_fn
    from tests.components.trainer import click_world

    folder = tmp_path_factory.mktemp("world")
    click_world.write_world(folder)
    run_fn(click_world.fn_args(folder, folder / "run", training={"epochs": 1}))
    rows = click_world.raw_examples(200, seed=7)
    _write(folder / "rows.tfrecord", rows)
    return folder


def _write(path: Path, rows: list[bytes]) -> None:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in rows:
            writer.write(row)


def _run(program: list[str], *words: str | Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [*program, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_it_predicts_what_python_does(program, trained):
    import tensorflow as tf

    model = trained / "run" / "Format-Serving"
    done = _run(program, model, trained / "rows.tfrecord")
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [row.numpy() for row in tf.data.TFRecordDataset(str(trained / "rows.tfrecord"))]
    signature = tf.saved_model.load(str(model)).signatures["serving_default"]
    expected = signature(examples=tf.constant(rows))["click_probability"].numpy()[:, 0]
    found = np.array(done.stdout.split(), np.float32)
    assert found.shape == expected.shape and np.abs(found - expected).max() <= 1e-6
    assert expected.std() > 0.01, "a model that says the same of every row would prove nothing"


def test_mistakes_are_named(program, trained, tmp_path):
    model, rows = trained / "run" / "Format-Serving", trained / "rows.tfrecord"
    (tmp_path / "half.tfrecord").write_bytes(rows.read_bytes()[:-7])
    (tmp_path / "text.tfrecord").write_text("this is no TFRecord file at all")
    (tmp_path / "empty.tfrecord").write_bytes(b"")
    _write(tmp_path / "other.tfrecord", [b"not an Example"])
    for words, message in (
        ((tmp_path / "nowhere", rows), "nowhere: there is no saved_model.pb in it"),
        ((model, tmp_path / "half.tfrecord"), "the file ends within a record"),
        ((model, tmp_path / "text.tfrecord"), "not an uncompressed TFRecord file"),
        ((model, tmp_path / "empty.tfrecord"), "there is no example in it"),
        ((model, tmp_path / "absent.tfrecord"), "absent.tfrecord: cannot be opened"),
        ((model, tmp_path / "other.tfrecord"), "Could not parse example"),
    ):
        done = _run(program, *words)
        assert done.returncode == 1 and message in done.stderr and done.stdout == "", (words, done.stderr[-2000:])
        assert "\tat " not in done.stderr
    assert _run(program, model).returncode == 2
