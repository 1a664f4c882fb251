"""A loaded version: its SavedModel with a batcher for each signature that can have one, warmed up before it serves."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from tensorflow.python.lib.io import tf_record

from hivemill.serving.server.api.errors import ServingError, failed_precondition
from hivemill.serving.server.loading.batching import Batcher, can_batch
from hivemill.serving.server.loading.saved_model import SavedModel, Tensors

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
MAX_WARMUP_REQUESTS = 1000  # TensorFlow Serving's own limit


class Servable:
    """`run` from any thread, until `close`."""

    def __init__(
        self,
        path: str,
        max_batch_rows: int = 1,
        batch_timeout_seconds: float = 0.0,
        on_batch: Callable[[int, int], None] = lambda *_: None,
    ):
        """Loads the SavedModel at `path`. Raises ServingError."""
        self.path = path
        self._model = SavedModel(path)
        self.signatures = self._model.signatures
        self._max_rows, self._timeout, self._on_batch = max_batch_rows, batch_timeout_seconds, on_batch
        self._batchable = {name: max_batch_rows > 1 and can_batch(one) for name, one in self.signatures.items()}
        self._batchers: dict[str, Batcher] = {}
        self._lock = threading.Lock()

    def run(self, name: str, feeds: Mapping[str, np.ndarray], timeout: float | None = None) -> Tensors:
        """All outputs of a signature for checked feeds, at most `timeout` seconds later. Raises ServingError."""
        rows = {len(value) for value in feeds.values() if value.ndim} if self._batchable[name] else set()
        if len(rows) == 1 and 0 < min(rows) < self._max_rows:
            return self._batcher(name).submit(feeds, timeout)
        return self._model.run(name, feeds)

    def close(self) -> None:
        for batcher in self._batchers.values():
            batcher.close()
        self._model.close()

    def _batcher(self, name: str) -> Batcher:
        with self._lock:
            if name not in self._batchers:
                self._batchers[name] = Batcher(
                    lambda feeds: self._model.run(name, feeds), self._max_rows, self._timeout, self._on_batch
                )
            return self._batchers[name]


def warmup_requests(path: str) -> Iterator[bytes]:
    """The serialised PredictionLogs of assets.extra/tf_serving_warmup_requests; none where there is no such file.

    Raises ServingError where the file is torn or has more records than TensorFlow Serving takes.
    """
    file = Path(path) / WARMUP_FILE
    if not file.is_file():
        return
    with _warmup_errors(file):
        for number, record in enumerate(tf_record.tf_record_iterator(str(file))):
            if number == MAX_WARMUP_REQUESTS:
                raise failed_precondition(f"{file}: more than {MAX_WARMUP_REQUESTS} warm-up requests")
            yield record


@contextlib.contextmanager
def _warmup_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except ServingError:
        raise
    except Exception as error:
        raise failed_precondition(f"{file}: cannot be read as warm-up requests: {error}") from error
