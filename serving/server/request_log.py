"""Sampled requests with their answers as PredictionLogs in TFRecords, where a model's `logging_config` asks for them.

A file is what TensorFlow Serving plays as warm-up requests, and what TFX and TFMA read as logged predictions. Each
server process writes files of its own: <filename_prefix>-<UTC time>-<process>-<number>.tfrecord. The open one ends in
`.part`; a full or old one is renamed, so what has the plain name is complete. Requests never wait for more than one
write, and a disk that fails costs log lines, not answers.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tensorflow.python.lib.io import tf_record
from tensorflow_serving.apis import prediction_log_pb2

from hivemill.serving.server.loading.config_file import ModelTarget

_FILE_BYTES = 64 * 2**20
_FILE_SECONDS = 300.0
_KINDS = {
    "PredictRequest": "predict_log",
    "ClassificationRequest": "classify_log",
    "RegressionRequest": "regress_log",
    "MultiInferenceRequest": "multi_inference_log",
}


class RequestLog:
    """Of all models of a server. Thread-safe."""

    def __init__(self, log: Callable[[str], None]):
        self._log = log
        self._lock = threading.Lock()
        self._collectors: dict[str, _Collector] = {}

    def assign(self, targets: Mapping[str, ModelTarget]) -> None:
        """A new config: what is logged from now on."""
        with self._lock:
            for collector in self._collectors.values():
                collector.close()
            self._collectors = {name: _Collector(one) for name, one in targets.items() if one.logging}

    def sampled(self, model: str) -> bool:
        """Whether this request of the model is to be logged."""
        collector = self._collectors.get(model)
        return collector is not None and random.random() < collector.rate

    def write(self, model: str, request: Any, response: Any) -> None:
        """One request with its answer, if its kind is one that a PredictionLog can hold."""
        kind = _KINDS.get(type(request).__name__)
        with self._lock:
            collector = self._collectors.get(model)
            if kind is None or collector is None:
                return
            record = prediction_log_pb2.PredictionLog()
            record.log_metadata.model_spec.CopyFrom(_spec(response) or request.model_spec)
            record.log_metadata.sampling_config.sampling_rate = collector.rate
            getattr(record, kind).request.CopyFrom(request)
            getattr(record, kind).response.CopyFrom(response)
            try:
                collector.write(record.SerializeToString())
            except Exception as error:  # TensorFlow's errors and OSError: a full disk, a folder that is gone
                collector.close()
                self._log(f"requests of {model} are not logged: {type(error).__name__}: {error}")
                del self._collectors[model]  # until the next config

    def close(self) -> None:
        self.assign({})


def _spec(response: Any) -> Any:
    return response.results[0].model_spec if hasattr(response, "results") else response.model_spec


class _Collector:
    def __init__(self, target: ModelTarget):
        config = target.logging
        assert config is not None
        self.rate = config.sampling_config.sampling_rate
        self._prefix = config.log_collector_config.filename_prefix
        self._writer: Any = None
        self._path, self._number, self._bytes, self._began = "", 0, 0, 0.0

    def write(self, record: bytes) -> None:
        if self._writer is None:
            self._open()
        self._writer.write(record)
        self._writer.flush()
        self._bytes += len(record)
        if self._bytes > _FILE_BYTES or time.monotonic() - self._began > _FILE_SECONDS:
            self.close()

    def close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(Exception):  # what was flushed is in the file
                writer.close()
            with contextlib.suppress(OSError):
                os.rename(f"{self._path}.part", self._path)

    def _open(self) -> None:
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        self._number += 1
        self._path = f"{self._prefix}-{now}-{os.getpid()}-{self._number}.tfrecord"
        Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        self._writer = tf_record.TFRecordWriter(f"{self._path}.part")
        self._bytes, self._began = 0, time.monotonic()
