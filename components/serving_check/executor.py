"""Executor of ServingCheck: the exported model in a server, before it is pushed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging
from tfx import types
from tfx.components.util import model_utils
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from hivemill.common.errors import InfrastructureError
from hivemill.common.storage.atomic import write_json_atomically
from hivemill.components.evaluator.example_sample import sample_rows
from hivemill.components.serving_check import judge, replay
from hivemill.components.serving_check.options import ServingCheckOptions
from hivemill.components.serving_check.server_process import ServerProcess, find_server, running_server

BLESSED_KEY = "blessed"
BLESSED_FILE, NOT_BLESSED_FILE = "INFRA_BLESSED", "INFRA_NOT_BLESSED"  # as TFX's InfraValidator names them
EVAL_SPLIT = "eval"
_START_SECONDS = 600.0  # a server that takes longer is stopped, whatever the bound says


class ServingCheckExecutor(base_executor.BaseExecutor):
    """Inputs model, examples, blessing; output infra_blessing. Raises InfrastructureError where the check is red."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        self._log_startup(input_dict, output_dict, exec_properties)
        output = artifact_utils.get_single_instance(output_dict["infra_blessing"])
        if not model_utils.is_model_blessed(artifact_utils.get_single_instance(input_dict["blessing"])):
            logging.info("Not checked: the model is not blessed, so it is not pushed.")
            _write(output, judge.skipped("the model is not blessed, so there is nothing to push"))
            return
        options = ServingCheckOptions.model_validate_json(exec_properties["options"])
        model = artifact_utils.get_single_instance(input_dict["model"])
        examples = artifact_utils.get_split_uris(input_dict["examples"], EVAL_SPLIT)[0]
        saved_model = Path(path_utils.serving_model_path(model.uri))
        document = check(saved_model, options, lambda: _rows(examples, options.rows, exec_properties["label_column"]))
        if document["state"] != "passed":
            raise red(document)
        _write(output, document)


def check(saved_model: Path, options: ServingCheckOptions, read_rows: Callable[[], Sequence[bytes]]) -> dict[str, Any]:
    """serving_check.json of a SavedModel. `read_rows()` gives serialised tf.Examples; it is called while the server
    starts. Raises InfrastructureError (with the document in `details`) where the server does not start or answer.
    """
    kind = find_server(options.model_server, options.docker_image)
    measured: dict[str, Any] = {"server": {"kind": kind.name, "version": kind.version, "path": kind.place}}
    try:
        with running_server(kind, saved_model) as server:
            _measure(server, saved_model, options, read_rows, measured)
    except InfrastructureError as error:
        raise _with_document(error, judge.stopped(error.message, measured)) from error
    return judge.judged(options, measured)


def red(document: dict[str, Any]) -> InfrastructureError:
    """The error that ends the run; it carries the document, since TFX removes a failed node's outputs."""
    return InfrastructureError(
        f"serving check: {document['reason']}",
        hint="Nothing was pushed. The bounds stand in the section serving_check of the config.",
        details=document,
    )


def _measure(
    server: ServerProcess,
    saved_model: Path,
    options: ServingCheckOptions,
    read_rows: Callable[[], Sequence[bytes]],
    measured: dict[str, Any],
) -> None:
    asking = replay.Replay(server)
    try:
        ready = _in_background(lambda: asking.wait_until_loaded(_START_SECONDS))
        rows = read_rows()
        measured["rows"] = len(rows)
        model = _loaded(saved_model)
        measured["load_seconds"] = round(ready.result(), 3)
        measured["differences"] = replay.differences(model, rows, asking.call)
        measured["latency"] = asking.latency(rows, options.latency_seconds)
        measured["memory_bytes"] = server.memory_bytes()
    finally:
        asking.close()


def _in_background(wait: Callable[[], float]) -> Future[float]:
    """So that the time of the server is not that of this process, which loads the model too."""
    result: Future[float] = Future()

    def run() -> None:
        try:
            result.set_result(wait())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, name="serving check", daemon=True).start()
    return result


def _loaded(saved_model: Path) -> Any:
    try:
        return tf.saved_model.load(str(saved_model))
    except Exception as error:
        raise InfrastructureError(
            f"serving check: {saved_model} cannot be loaded: {type(error).__name__}: {str(error).splitlines()[0]}",
            hint="The exported files are damaged; `hivemill run --force` trains and exports anew.",
        ) from error


def _rows(split_uri: str, wanted: int, label_column: str) -> Sequence[bytes]:
    rows, _ = sample_rows(split_uri, wanted, label_column)
    if not len(rows):
        raise InfrastructureError(
            "serving check: the eval split has no rows to replay", hint="Check window.eval_days of the config."
        )
    return list(rows)


def _with_document(error: InfrastructureError, document: dict[str, Any]) -> InfrastructureError:
    return InfrastructureError(error.message, hint=error.hint, details=document)


def _write(output: types.Artifact, document: dict[str, Any]) -> None:
    """Files and property as TFX's InfraValidator writes them, and what was measured."""
    passed = document["state"] == "passed"
    write_json_atomically(Path(output.uri) / judge.FILE_NAME, document)
    io_utils.write_string_file(os.path.join(output.uri, BLESSED_FILE if passed else NOT_BLESSED_FILE), "")
    output.set_int_custom_property(BLESSED_KEY, int(passed))
    output.set_int_custom_property("num_rows", document["rows"])
