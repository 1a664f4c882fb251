"""Prometheus metrics under TensorFlow Serving's names, with the version as one label more (text format 0.0.4)."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterable, Mapping
from typing import Any

PATH = "/monitoring/prometheus/metrics"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REQUEST_COUNT = ":tensorflow:serving:request_count"
REQUEST_LATENCY = ":tensorflow:serving:request_latency"
BATCH_ROWS = "hivemill_batch_rows"
LOAD_SECONDS = "hivemill_model_load_seconds"
_LATENCY_BOUNDS = tuple(10 * 1.8**power for power in range(33))  # microseconds; TensorFlow Serving's own buckets
_ROWS_BOUNDS = tuple(2**power for power in range(11))

Labels = tuple[tuple[str, str], ...]


class ServerMetrics:
    """Counts of one server, thread-safe. The values of labels come from the config, never from what a request says."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[Labels, int] = {}
        self._latency: dict[Labels, _Histogram] = {}
        self._batches: dict[Labels, _Histogram] = {}
        self._loads: dict[Labels, float] = {}

    def request(self, model: str, version: int | None, api: str, entrypoint: str, status: str, seconds: float) -> None:
        """One answered request; `status` is gRPC's name of the code, `version` None where none was found."""
        number = "" if version is None else str(version)
        counted = (("model_name", model), ("model_version", number), ("status", status))
        timed = (("model_name", model), ("model_version", number), ("API", api), ("entrypoint", entrypoint))
        with self._lock:
            self._requests[counted] = self._requests.get(counted, 0) + 1
            if status == "OK":
                self._latency.setdefault(timed, _Histogram(_LATENCY_BOUNDS)).add(seconds * 1e6)

    def batch(self, model: str, version: int, rows: int) -> None:
        labels = (("model_name", model), ("model_version", str(version)))
        with self._lock:
            self._batches.setdefault(labels, _Histogram(_ROWS_BOUNDS)).add(rows)

    def loaded(self, model: str, version: int, seconds: float) -> None:
        with self._lock:
            self._loads[(("model_name", model), ("model_version", str(version)))] = seconds

    def page(self, states: Iterable[tuple[str, int, str]], labels: Iterable[tuple[str, str, int]]) -> str:
        """The page that Prometheus reads."""
        state_lines = {
            (("model_name", model), ("model_version", str(version)), ("state", state)): 1
            for model, version, state in states
        }
        label_lines = {(("model_name", model), ("label", label)): version for model, label, version in labels}
        with self._lock:
            lines = [
                *_simple(REQUEST_COUNT, "counter", "Requests by model, version and status.", self._requests),
                *_histograms(REQUEST_LATENCY, "Microseconds of a request that succeeded.", self._latency),
                *_histograms(BATCH_ROWS, "Rows that ran together.", self._batches),
                *_simple(LOAD_SECONDS, "gauge", "Seconds that loading took, with warm-up.", self._loads),
                *_simple("hivemill_model_version_state", "gauge", "1 for the state of a version.", state_lines),
                *_simple("hivemill_model_label_version", "gauge", "The version that a label means.", label_lines),
            ]
        return "\n".join(lines) + "\n"


class _Histogram:
    def __init__(self, bounds: tuple[float, ...]):
        self.bounds, self.counts, self.total = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.total += value


def _simple(name: str, kind: str, meaning: str, values: Mapping[Any, float]) -> list[str]:
    samples = [f"{name}{_written(labels)} {value}" for labels, value in sorted(values.items())]
    return [*_head(name, kind, meaning), *samples]


def _histograms(name: str, meaning: str, values: dict[Labels, _Histogram]) -> list[str]:
    lines = _head(name, "histogram", meaning)
    for labels, histogram in sorted(values.items(), key=lambda item: item[0]):
        count = 0
        for bound, inside in zip((*histogram.bounds, None), histogram.counts, strict=True):
            count += inside
            edge = "+Inf" if bound is None else f"{bound:g}"
            lines.append(f"{name}_bucket{_written((*labels, ('le', edge)))} {count}")
        lines.append(f"{name}_sum{_written(labels)} {histogram.total:g}")
        lines.append(f"{name}_count{_written(labels)} {count}")
    return lines


def _head(name: str, kind: str, meaning: str) -> list[str]:
    return [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]


def _written(labels: Labels) -> str:
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
