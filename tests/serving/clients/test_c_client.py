"""serving/clients/predict.c, compiled by gcc against the TensorFlow wheel, predicts what TensorFlow does in Python."""

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
    pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc"),
    pytest.mark.skipif(sys.platform != "linux", reason="the libraries' names are Linux's"),
]
SOURCE = Path(__file__).parents[3] / "serving" / "clients" / "predict.c"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The program, a SavedModel, 50 examples and what Python says of them; the environment of the program."""
    import tensorflow as tf

    from tests.serving.server.click_model import example, save

    folder = tmp_path_factory.mktemp("c")
    libraries = tf.sysconfig.get_lib()
    command = ["gcc", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", str(SOURCE), f"-I{tf.sysconfig.get_include()}"]
    command += [f"-L{libraries}", "-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"]
    done = subprocess.run([*command, "-o", str(folder / "predict")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    model = save(folder / "model", bias=0.3)
    rows = [example(hour=n % 24, item=f"i{n}", price=n / 50, tags=["x"] * (n % 3)) for n in range(50)]
    with tf.io.TFRecordWriter(str(folder / "rows.tfrecord")) as writer:
        for row in rows:
            writer.write(row)
    signature = tf.saved_model.load(str(model)).signatures["serving_default"]
    expected = signature(examples=tf.constant(rows))["click_probability"].numpy()[:, 0]
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries, "TF_CPP_MIN_LOG_LEVEL": "2"}
    return folder, expected, environment


def predict(built, *words: str) -> subprocess.CompletedProcess:
    folder, _, environment = built
    command = [str(folder / "predict"), *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)


def tensors(folder: Path) -> tuple[str, str]:
    """As saved_model_cli shows them."""
    from tensorflow.core.protobuf import saved_model_pb2

    document = saved_model_pb2.SavedModel.FromString((folder / "model" / "saved_model.pb").read_bytes())
    signature = document.meta_graphs[0].signature_def["serving_default"]
    return signature.inputs["examples"].name, signature.outputs["click_probability"].name


def test_it_predicts_what_python_does(built):
    folder, expected, _ = built
    done = predict(built, "model", *tensors(folder), "rows.tfrecord")
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.array(done.stdout.split(), np.float32)
    assert np.abs(found - expected).max() <= 1e-6 and len(set(found.tolist())) > 20


def test_mistakes_are_named(built):
    folder, *_ = built
    names = tensors(folder)
    (folder / "half.tfrecord").write_bytes((folder / "rows.tfrecord").read_bytes()[:-7])
    (folder / "text.tfrecord").write_text("this is no TFRecord file at all")
    (folder / "empty.tfrecord").write_bytes(b"")
    for words, message in (
        (("nowhere", *names, "rows.tfrecord"), "predict: nowhere: "),
        (("model", "hour:0", names[1], "rows.tfrecord"), "hour:0: the model has no such tensor"),
        (("model", *names, "half.tfrecord"), "ends within a record"),
        (("model", *names, "text.tfrecord"), "not an uncompressed TFRecord file"),
        (("model", *names, "empty.tfrecord"), "no example in it"),
        (("model", *names, "absent.tfrecord"), "absent.tfrecord: cannot be opened"),
    ):
        done = predict(built, *words)
        assert done.returncode == 1 and message in done.stderr and done.stdout == ""
    assert predict(built, "model").returncode == 2
