"""The verb `serve`: the dev server on the model store."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hivemill.common.errors import ConfigError
from hivemill.pipeline.cli.output import Output, add_verb, count

if TYPE_CHECKING:
    from hivemill.serving.tls import ServerTls

_LOCAL = "127.0.0.1"


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    summary = "run the dev server on the model store: TensorFlow Serving's gRPC and REST APIs, until Ctrl-C"
    verb = add_verb(verbs, "serve", serve, summary, "hivemill serve --port 8500 --rest-port 8501", common)
    verb.add_argument("--port", type=_port, default=8500, metavar="N", help="of gRPC (default: 8500; 0: any)")
    verb.add_argument("--rest-port", type=_port, default=8501, metavar="N", help="of REST and metrics (default: 8501)")
    verb.add_argument("--host", default=_LOCAL, metavar="H", help="address to listen at (default: 127.0.0.1)")
    verb.add_argument(
        "--model-config", type=Path, metavar="FILE", help="a models.config; the store's of the config when left out"
    )
    verb.add_argument("--max-batch-rows", type=count, default=256, metavar="N", help="rows that run together at most")
    verb.add_argument(
        "--batch-timeout-ms", type=_milliseconds, default=0.0, metavar="MS", help="a request waits so long for others"
    )
    verb.add_argument("--tls-cert", type=Path, metavar="FILE", help="PEM certificate of this server: TLS on both ports")
    verb.add_argument("--tls-key", type=Path, metavar="FILE", help="PEM file of its private key")
    verb.add_argument(
        "--client-ca", type=Path, metavar="FILE", help="only clients with a certificate of this authority"
    )
    verb.add_argument(
        "--ssl-config-file", type=Path, metavar="FILE", help="the same three, as tensorflow_model_server takes them"
    )
    verb.add_argument("--max-message-mb", type=count, default=32, metavar="N", help="largest request and answer")
    verb.add_argument(
        "--max-in-flight-mb", type=count, default=2048, metavar="N", help="memory of all requests in progress at most"
    )
    verb.add_argument("--max-connections", type=count, default=1024, metavar="N", help="on each protocol")
    verb.add_argument(
        "--cors", action="store_true", help="let web pages of any origin read REST answers (off by default)"
    )


def serve(arguments: argparse.Namespace, _: Output) -> int:
    """Runs in this process, which loads TensorFlow's core only."""
    from hivemill.common import runtime
    from hivemill.serving.server.options import ServerOptions

    options = ServerOptions(
        model_config=arguments.model_config or _of_the_store(arguments),
        host=arguments.host,
        port=arguments.port,
        rest_port=arguments.rest_port,
        max_batch_rows=arguments.max_batch_rows,
        batch_timeout_seconds=arguments.batch_timeout_ms / 1000,
        max_message_bytes=arguments.max_message_mb * 2**20,
        max_in_flight_bytes=arguments.max_in_flight_mb * 2**20,
        max_connections=arguments.max_connections,
        cors=arguments.cors,
        tls=_tls(arguments),
    )
    runtime.tensorflow_core_only()
    with runtime.quick_imports():
        from hivemill.serving.server import app
    return app.serve(options)


def _tls(arguments: argparse.Namespace) -> ServerTls | None:
    from hivemill.serving import tls

    given = (arguments.tls_cert, arguments.tls_key, arguments.client_ca)
    if arguments.ssl_config_file is not None:
        if any(given):
            raise ConfigError("--ssl-config-file has certificate, key and authority: leave the other options out")
        return tls.server_tls_of_config(arguments.ssl_config_file)
    if not any(given):
        return None
    if arguments.tls_cert is None or arguments.tls_key is None:
        raise ConfigError("TLS needs --tls-cert and --tls-key", hint="--client-ca is for asking clients besides.")
    return tls.server_tls(*given)


def _of_the_store(arguments: argparse.Namespace) -> Path:
    from hivemill.common.storage import urls
    from hivemill.pipeline.config import loader
    from hivemill.serving.store.model_store import SERVING_CONFIG_FILE

    store = loader.load(arguments.config, arguments.set).config.places().store
    if urls.is_url(store):
        raise ConfigError(
            f"the model store is at {urls.shown(store)}, and the dev server loads versions from a disk",
            hint="TensorFlow Serving with that filesystem built in reads models.config there.",
        )
    return Path(store) / SERVING_CONFIG_FILE


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be a port, 0 to 65535; received {text!r}")
    return int(text)


def _milliseconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"must be a number of milliseconds, 0 to 1000; received {text!r}")
    return value
