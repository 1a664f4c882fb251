"""Dynamic batching: requests of one version and signature that wait at the same time run as one.

A thread of its own takes what waits, up to a number of rows, runs it and splits the result. While it runs, the next
requests gather; so batches grow with the load, and a lone request waits for nobody unless a timeout says so.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, TimeoutError
from typing import Any

import grpc
import numpy as np

from hivemill.serving.server.api.errors import ServingError
from hivemill.serving.server.loading.saved_model import Tensors

ROW_LENGTHS_SUFFIX = "_row_lengths"
Run = Callable[[Mapping[str, np.ndarray]], Tensors]


def can_batch(signature: Any) -> bool:
    """Whether rows of requests can be put one after the other: every tensor has one row per example.

    The values of a multivalent column (`tags` beside `tags_row_lengths`) have not; such a signature runs alone.
    """
    if any(alias.endswith(ROW_LENGTHS_SUFFIX) for alias in signature.inputs):
        return False
    infos = [*signature.inputs.values(), *signature.outputs.values()]
    return bool(signature.inputs) and all(
        info.WhichOneof("encoding") == "name"
        and not info.tensor_shape.unknown_rank
        and len(info.tensor_shape.dim) > 0
        and info.tensor_shape.dim[0].size == -1
        for info in infos
    )


class Batcher:
    """`submit` from any thread. `close` lets what waits finish, then ends the thread."""

    def __init__(
        self, run: Run, max_rows: int, timeout_seconds: float, on_batch: Callable[[int, int], None] = lambda *_: None
    ):
        """`run` takes the merged feeds; `on_batch(requests, rows)` is called after each run."""
        self._run, self._max_rows, self._timeout, self._on_batch = run, max_rows, timeout_seconds, on_batch
        self._waiting: collections.deque[_Task] = collections.deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    def submit(self, feeds: Mapping[str, np.ndarray], timeout: float | None = None) -> Tensors:
        """Waits for the result, at most `timeout` seconds. Raises ServingError."""
        task = _Task(feeds)
        with self._changed:
            if self._closed:
                raise ServingError(grpc.StatusCode.UNAVAILABLE, "the version is being unloaded")
            self._waiting.append(task)
            self._changed.notify_all()
        try:
            return task.result.result(timeout)
        except TimeoutError:
            task.result.cancel()
            raise ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded") from None

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    if self._closed:
                        return
                    self._changed.wait()
                self._wait_for_more()
                tasks = self._take()
            self._answer([task for task in tasks if task.result.set_running_or_notify_cancel()])

    def _wait_for_more(self) -> None:
        until = self._waiting[0].since + self._timeout
        while sum(task.rows for task in self._waiting) < self._max_rows and not self._closed:
            remaining = until - time.monotonic()
            if remaining <= 0:
                return
            self._changed.wait(remaining)

    def _take(self) -> list[_Task]:
        """The oldest task and all others of its shapes that fit; tasks of other shapes keep their place."""
        first = self._waiting.popleft()
        taken, rows, others = [first], first.rows, []
        for task in self._waiting:
            fits = task.shapes == first.shapes and rows + task.rows <= self._max_rows
            if fits:
                taken.append(task)
                rows += task.rows
            else:
                others.append(task)
        self._waiting = collections.deque(others)
        return taken

    def _answer(self, tasks: Sequence[_Task]) -> None:
        merged = self._merged(tasks) if len(tasks) > 1 else None
        if merged is None:
            for task in tasks:
                self._answer_alone(task)
            return
        self._on_batch(len(tasks), sum(task.rows for task in tasks))
        start = 0
        for task in tasks:
            task.result.set_result({key: value[start : start + task.rows] for key, value in merged.items()})
            start += task.rows

    def _merged(self, tasks: Sequence[_Task]) -> Tensors | None:
        """None where the batch as a whole fails, as by one bad row: each request then has an answer of its own."""
        rows = sum(task.rows for task in tasks)
        try:
            outputs = self._run({key: np.concatenate([task.feeds[key] for task in tasks]) for key in tasks[0].feeds})
        except Exception:
            return None
        return outputs if all(np.ndim(value) and len(value) == rows for value in outputs.values()) else None

    def _answer_alone(self, task: _Task) -> None:
        try:
            outputs = self._run(task.feeds)
            self._on_batch(1, task.rows)
            task.result.set_result(outputs)
        except BaseException as error:
            task.result.set_exception(error)


class _Task:
    def __init__(self, feeds: Mapping[str, np.ndarray]):
        self.feeds = feeds
        self.rows = len(next(iter(feeds.values())))
        self.shapes = tuple((key, value.shape[1:], value.dtype.str) for key, value in sorted(feeds.items()))
        self.result: Future[Tensors] = Future()
        self.since = time.monotonic()
