"""What `hivemill doctor` says of serving: ports of `hivemill serve`, the model server that rollouts ask, the mirror.

A port that is taken is a note, since no run needs it. A server or bucket that the config names and that does not
answer is a failure: the next rollout or push would end with it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hivemill.common.errors import HivemillError
from hivemill.pipeline.doctor.findings import DoctorFinding, failed

if TYPE_CHECKING:
    from hivemill.pipeline.config.schema import PipelineConfig
    from hivemill.serving.rollout.model_server import VersionState
    from hivemill.serving.store.model_store import ModelStore

GRPC_PORT, REST_PORT = 8500, 8501
_HOST, _TIMEOUT_SECONDS = "127.0.0.1", 5.0
_LISTENING = "0A"  # TCP_LISTEN in /proc/net/tcp (net/tcp_states.h)


def findings(config: PipelineConfig) -> Iterator[DoctorFinding]:
    """Of a config that is right."""
    from hivemill.serving.store.bucket import open_store

    yield from ports()
    store = open_store(config.places().store, config.model_name())
    yield from _model_server(config, store)
    yield from _mirror(config, store)


def ports(wanted: dict[str, int] | None = None) -> Iterator[DoctorFinding]:
    """`wanted`: port by what `serve` uses it for; its defaults when left out."""
    for use, port in (wanted or {"gRPC": GRPC_PORT, "REST": REST_PORT}).items():
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: what lingers is free
            try:
                tried.bind((_HOST, port))
            except OSError as error:
                option = "--port" if use == "gRPC" else "--rest-port"
                message = f"{use} of `hivemill serve`: {port} is taken ({_owner(port) or error.strerror})"
                yield DoctorFinding(f"port {port}", "note", message, f"`hivemill serve {option} N` takes another one.")
            else:
                yield DoctorFinding(f"port {port}", "ok", f"{use} of `hivemill serve`: free at {_HOST}")


def _owner(port: int) -> str | None:
    """`process 1234, python -m hivemill serve`; None where the system does not tell."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for folder in Path("/proc").glob("[0-9]*/fd") if sockets else ():
        with contextlib.suppress(OSError):  # another user's process, or one that has just ended
            if any(os.readlink(entry) in sockets for entry in folder.iterdir()):
                words = (folder.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                return f"process {folder.parent.name}, {words.strip()[:80]}"
    return "another user's process, or one in another container" if sockets else None


def _listening_inodes(port: int) -> Iterator[str]:
    """proc(5): local address as HEX:PORT in column 1, state in column 3, inode in column 9."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == _LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                    yield columns[9]


def _model_server(config: PipelineConfig, store: ModelStore) -> Iterator[DoctorFinding]:
    """Reached, and with every labelled version AVAILABLE."""
    from hivemill.serving.rollout.model_server import ModelServers

    name, addresses = "model server", config.rollout.addresses()
    if not addresses:
        yield DoctorFinding(name, "note", "rollout.server is not set; rollouts need it, or --without-server")
        return
    try:
        labels = store.labels()
        with ModelServers(addresses, _TIMEOUT_SECONDS, config.rollout.credentials()) as servers:
            states = servers.states(store.model)
    except HivemillError as error:
        yield failed(name, error.message, error.hint or "Start it, or correct rollout.server.", type(error))
        return
    yield _served(name, config.rollout.server or "", store.model, labels, states)


def _served(
    name: str, place: str, model: str, labels: dict[str, int], states: dict[int, VersionState]
) -> DoctorFinding:
    absent = {version for version in labels.values() if not states.get(version) or states[version].state != "AVAILABLE"}
    told = ", ".join(f"{v} {one.state} {one.error}".rstrip() for v, one in sorted(states.items())) or "no version"
    if not labels:
        return DoctorFinding(name, "note", f"{place} answers; {model} has no version in the store yet")
    if absent:
        rule = f"{place} must have {', '.join(map(str, sorted(absent)))} of {model} AVAILABLE; it has: {told}"
        return failed(name, rule, "See its log: does it read this store's models.config, at the same path as here?")
    return DoctorFinding(name, "ok", f"{place} serves {model}: {told}")


def _mirror(config: PipelineConfig, store: ModelStore) -> Iterator[DoctorFinding]:
    if config.store.mirror is None:
        return
    from hivemill.serving.store.mirror import StoreMirror

    try:
        mirror = StoreMirror(store, config.store.mirror)
        behind = mirror.is_behind()
    except HivemillError as error:
        yield failed("mirror", error.message, error.hint or "Correct store.mirror.", type(error))
        return
    if behind:
        yield failed(
            "mirror", f"{mirror.base_path} is behind the store", "`hivemill models sync` brings it up to date."
        )
    else:
        yield DoctorFinding("mirror", "ok", f"{mirror.base_path} answers, and is as the store")
