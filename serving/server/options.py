"""Options of `hivemill serve` and `python -m hivemill.serving.server`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from hivemill.serving.tls import ServerTls


@dataclasses.dataclass(frozen=True)
class ServerOptions:
    """Of one server process.

    Attributes:
        model_config: a tensorflow.serving.ModelServerConfig as text: the store's models.config.
        host: address to listen at; the loopback by default, since neither protocol authenticates clients.
        port: of gRPC; 0 for any that is free, None for none.
        rest_port: of REST and metrics; likewise.
        socket_path: a Unix socket for gRPC besides or instead of the port.
        poll_seconds: how often models.config and the versions on the disk are looked at.
        max_batch_rows: rows of several requests that run together at most; 1 runs every request alone.
        batch_timeout_seconds: how long the first request of a batch waits for others. With 0 only those run together
            that came while the run before was under way.
        max_message_bytes: largest request and response, on both protocols.
        max_concurrent: requests in progress at most, on each protocol; more are refused (RESOURCE_EXHAUSTED, 503).
        max_connections: open connections at most, on each protocol; a few more are kept for GET requests.
        max_in_flight_bytes: memory of all requests in progress at most; more are refused (RESOURCE_EXHAUSTED, 429).
        request_seconds: a REST request must be read, answered and written within this time.
        idle_seconds: after which a connection without a request is closed; headers must arrive within it too.
        cors: whether REST answers allow pages of any origin to read them (Access-Control-Allow-Origin: *).
        grace_seconds: how long running requests may take to finish after SIGTERM.
        threads: that compute at once, on each protocol.
        tls: certificate and key of both protocols, and whose clients may come; None is plain text.
    """

    model_config: Path
    host: str = "127.0.0.1"
    port: int | None = 8500
    rest_port: int | None = 8501
    socket_path: str | None = None
    poll_seconds: float = 1.0
    max_batch_rows: int = 256
    batch_timeout_seconds: float = 0.0
    max_message_bytes: int = 32 * 2**20
    max_concurrent: int = 512
    max_connections: int = 1024
    max_in_flight_bytes: int = 2**31
    request_seconds: float = 30.0
    idle_seconds: float = 30.0
    cors: bool = False
    grace_seconds: float = 30.0
    threads: int = 64
    tls: ServerTls | None = None
