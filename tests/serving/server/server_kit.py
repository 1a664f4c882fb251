"""Starts dev servers on stores of copied versions, and speaks to them with TensorFlow Serving's own stubs."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from hivemill.common.storage.atomic import write_text_atomically
from hivemill.serving.server.app import DevServer
from hivemill.serving.server.loading.config_file import parse
from hivemill.serving.server.options import ServerOptions

STATE = get_model_status_pb2.ModelVersionStatus


class Store:
    """<folder>/models.config and <folder>/shop/<version>/, all copies of one SavedModel."""

    def __init__(self, folder: Path, saved_model: Path):
        self.folder, self._saved_model = folder, saved_model
        self.config = folder / "models.config"

    def add(self, version: int, saved_model: Path | None = None) -> Path:
        """Complete or absent, as the model store publishes."""
        place = self.folder / "shop" / str(version)
        shutil.copytree(saved_model or self._saved_model, self.folder / f".{version}.tmp")
        place.parent.mkdir(exist_ok=True)
        (self.folder / f".{version}.tmp").rename(place)
        return place

    def text(self, versions: Sequence[int], labels: Mapping[str, int], base_path: Path | None = None) -> str:
        chosen = "".join(f"versions: {version} " for version in versions)
        policy = f"specific {{ {chosen} }}" if versions else "latest { num_versions: 1 }"
        named = "".join(f'version_labels {{ key: "{k}" value: {v} }} ' for k, v in labels.items())
        return (
            f'model_config_list {{ config {{ name: "shop" base_path: "{base_path or self.folder / "shop"}" '
            f'model_platform: "tensorflow" model_version_policy {{ {policy} }} {named} }} }}'
        )

    def write(self, versions: Sequence[int], **labels: int) -> None:
        write_text_atomically(self.config, self.text(versions, labels))


@contextlib.contextmanager
def running(store: Store, **options) -> Iterator[Client]:
    settings = {"port": 0, "rest_port": 0, "poll_seconds": 0.05, "grace_seconds": 10.0, **options}
    server = DevServer(ServerOptions(store.config, **settings), log=lambda _: None)
    server.start()
    try:
        assert server.wait_until_loaded(60)
        yield Client(server)
    finally:
        server.stop()


class Client:
    def __init__(self, server: DevServer):
        self.server = server
        self.channel = grpc.insecure_channel(f"127.0.0.1:{server.port}")
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.management = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def predict(self, inputs: Mapping, signature: str = "", label: str = "", version: int | None = None, timeout=20.0):
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "shop", signature
        if label:
            request.model_spec.version_label = label
        if version is not None:
            request.model_spec.version.value = version
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        return self.prediction.Predict(request, timeout=timeout)

    def states(self) -> dict[int, int]:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "shop"
        response = self.management.GetModelStatus(request, timeout=10)
        return {one.version: one.state for one in response.model_version_status}

    def reload(self, text: str):
        request = model_management_pb2.ReloadConfigRequest(config=parse(text))
        return self.management.HandleReloadConfigRequest(request, timeout=30)

    def wait_for(self, condition, seconds: float = 30.0) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, self.states()
            time.sleep(0.02)

    def wait_for_state(self, version: int, state: int) -> None:
        self.wait_for(lambda: self.states().get(version) == state)

    def rest(self, path: str, body=None, raw: bytes | None = None):
        """(status, document or text)."""
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.server.rest_port}{path}", data)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                content, status = answer.read().decode(), answer.status
        except urllib.error.HTTPError as error:
            content, status = error.read().decode(), error.code
        return status, json.loads(content) if content[:1] in "[{" else content
