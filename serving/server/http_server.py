"""HTTP/1.1 for the REST side, by aiohttp: one thread with an event loop reads and writes, others compute.

What a client can hold is bounded: connections, requests in progress, bytes of bodies, time. GET requests are answered
by the loop itself, on connections kept apart for them where the others are all taken, so that health checks and metrics
are answered however busy the server is. aiohttp decodes chunked and gzip bodies and refuses ambiguous requests.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import logging
import socket
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from hivemill.serving.server.api.errors import MAX_MESSAGE, ServingError
from hivemill.serving.server.in_flight import Claim, InFlight
from hivemill.serving.server.options import ServerOptions

JSON = "application/json"
_SPARE_CONNECTIONS = 64  # beyond the limit, for GET only
_SPARE_SECONDS = 2.0
_HANDSHAKE_SECONDS = 10.0
_BACKLOG = 512
_CUT_SECONDS = 0.05  # for what is still running at the end; aiohttp takes 0 for no limit
_SILENT = logging.Logger("rest", logging.CRITICAL + 1)  # what clients do wrong is answered and counted, not logged
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}


class Reply(NamedTuple):
    status: int
    body: bytes
    content_type: str = JSON


class Answers(Protocol):
    """What is behind HTTP. Both return errors as replies."""

    def look(self, method: str, path: str, origin: str | None) -> Reply:
        """Quick; called by the event loop, for every method but POST."""

    def ask(self, path: str, body: bytes, claim: Claim, timeout: float) -> Reply:
        """May take `timeout` seconds; called in a thread."""


class HttpServer:
    """Listens from construction on; `start` answers. Raises OSError where the address is not free."""

    def __init__(self, answers: Answers, in_flight: InFlight, options: ServerOptions, port: int):
        self._options = options
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        self._socket = socket.create_server((options.host, port), family=family, backlog=_BACKLOG)
        self.port = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda *_: None)  # a client that goes away is not worth a line
        self._requests = _Requests(answers, in_flight, options)
        self._connections: _Connections | None = None
        self._listener: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._run, name="rest", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, grace_seconds: float) -> bool:
        """Takes no more connections and lets running requests finish; False where some did not within the time."""
        if not self._thread.is_alive():
            self._socket.close()
            return True
        is_quiet = asyncio.run_coroutine_threadsafe(self._stop(grace_seconds), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(1.0)
        return is_quiet

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._loop.run_forever()
        self._loop.close()

    async def _listen(self) -> None:
        tls = self._options.tls.context() if self._options.tls else None
        self._connections = _Connections(self._requests, self._options)
        times: dict[str, Any] = {"ssl_handshake_timeout": _HANDSHAKE_SECONDS} if tls else {}
        self._listener = await self._loop.create_server(
            self._connections.accept, sock=self._socket, ssl=tls, backlog=_BACKLOG, **times
        )

    async def _stop(self, grace_seconds: float) -> bool:
        if self._listener:
            self._listener.close()
        is_quiet = await self._requests.finish(grace_seconds)
        if self._connections:
            await self._connections.close()
        return is_quiet


class _Connections:
    """Gives each connection its protocol: all requests, GET only, or a refusal, by how many there are."""

    def __init__(self, requests: _Requests, options: ServerOptions):
        self._limit, self._idle_seconds = options.max_connections, options.idle_seconds
        self._all, self._spare = web.Server(requests.handle), web.Server(requests.handle_spare)

    def accept(self) -> asyncio.Protocol:
        if len(self._all.connections) < self._limit:
            return _Connection(self._all, self._idle_seconds)
        if len(self._spare.connections) < _SPARE_CONNECTIONS:
            return _Connection(self._spare, _SPARE_SECONDS)
        return _Refusal()

    async def close(self) -> None:
        await self._all.shutdown(_CUT_SECONDS)
        await self._spare.shutdown(_CUT_SECONDS)


class _Connection(web.RequestHandler):
    """aiohttp's own, with errors as JSON. `idle_seconds` is also the time in which the headers must come."""

    __slots__ = ()

    def __init__(self, server: web.Server, idle_seconds: float):
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=idle_seconds,
            lingering_time=0.0,  # a body that was refused is not read
            access_log=None,  # type: ignore[arg-type]  # aiohttp's documentation allows it
            logger=_SILENT,
        )

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        return _closing(_error(status, message or f"{type(exc).__name__}: {exc}"))


class _Refusal(asyncio.Protocol):
    """Answers 503 without reading, and closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        body = _error_body("too many connections")
        head = f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: {JSON}\r\nContent-Length: {len(body)}\r\n"
        transport.write(head.encode() + b"Retry-After: 1\r\nConnection: close\r\n\r\n" + body)
        transport.close()


class _Requests:
    """Requests to replies. Everything but `_work` runs in the event loop."""

    def __init__(self, answers: Answers, in_flight: InFlight, options: ServerOptions):
        self._answers, self._in_flight, self._options = answers, in_flight, options
        self._threads = concurrent.futures.ThreadPoolExecutor(options.threads, "rest")
        self._running, self._computing = 0, 0
        self._is_ending, self._quiet = False, asyncio.Event()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._bounded(request, self._post if request.method == "POST" else self._look)

    async def handle_spare(self, request: web.BaseRequest) -> web.StreamResponse:
        response = await self._bounded(request, self._overloaded if request.method == "POST" else self._look)
        response.force_close()
        return response

    async def finish(self, grace_seconds: float) -> bool:
        """Waits until nothing runs; False where the time was too short."""
        self._is_ending = True
        try:
            if self._running or self._computing:
                await asyncio.wait_for(self._quiet.wait(), grace_seconds)
            return True
        except asyncio.TimeoutError:
            return False
        finally:
            self._threads.shutdown(wait=False)

    async def _bounded(self, request: web.BaseRequest, answer: Callable[..., Any]) -> web.StreamResponse:
        """Reads, answers and writes within `request_seconds`; a client that is slower loses its connection."""
        self._change(running=1)
        try:
            return await asyncio.wait_for(self._sent(request, answer), self._options.request_seconds)
        except asyncio.TimeoutError:
            if request.transport is not None and request.writer.output_size > 0:
                request.transport.abort()
                raise ConnectionError("the client reads too slowly") from None
            status = 504 if request.content.is_eof() else 408  # the answer was too slow, or the request
            return _closing(_error(status, f"the request took more than {self._options.request_seconds:g} s"))
        finally:
            self._change(running=-1)

    async def _sent(self, request: web.BaseRequest, answer: Callable[..., Any]) -> web.StreamResponse:
        response = await answer(request)
        if self._is_ending:
            response.force_close()
        response.headers["Server"] = "hivemill"
        if self._options.cors:
            response.headers.update(_CORS)
        await response.prepare(request)
        await response.write_eof()
        return response

    async def _look(self, request: web.BaseRequest) -> web.Response:
        reply = self._answers.look(request.method, request.rel_url.raw_path, request.headers.get("Origin"))
        return _response(reply)

    async def _overloaded(self, request: web.BaseRequest) -> web.Response:
        return _closing(_error(503, "too many connections or requests in progress", {"Retry-After": "1"}))

    async def _post(self, request: web.BaseRequest) -> web.Response:
        if self._computing >= self._options.max_concurrent:
            return await self._overloaded(request)
        ends = self._loop_time() + self._options.request_seconds
        claim = self._in_flight.claim()
        try:
            body = await self._body(request, claim)
        except ServingError as error:
            claim.release()
            return _closing(_error(error.http_status, error.message))
        except _BadBody as error:
            claim.release()
            return _closing(_error(error.status, str(error)))
        except BaseException:
            claim.release()
            raise
        work = self._threads.submit(self._answers.ask, request.rel_url.raw_path, body, claim, ends - self._loop_time())
        self._change(computing=1)
        loop = asyncio.get_running_loop()
        work.add_done_callback(lambda _: self._computed(claim, loop))
        return _response(await asyncio.wrap_future(work))

    async def _body(self, request: web.BaseRequest, claim: Claim) -> bytes:
        """Decoded, within the bounds. Raises ServingError, _BadBody."""
        limit = self._options.max_message_bytes
        if (request.content_length or 0) > limit:
            raise _BadBody(413, f"the request has {request.content_length} bytes, more than {limit}")
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        body = bytearray()
        try:
            async for chunk in request.content.iter_any():
                if len(body) + len(chunk) > limit:
                    raise _BadBody(413, f"the request has more than {limit} bytes")
                claim.resize(len(body) + len(chunk), wait_seconds=0.0)  # never waits: this is the event loop
                body += chunk
        except (web.RequestPayloadError, HttpProcessingError) as error:
            raise _BadBody(400, f"the body cannot be decoded: {error}") from error
        return bytes(body)

    def _computed(self, claim: Claim, loop: asyncio.AbstractEventLoop) -> None:
        """Called in the thread that computed, or where the work was cancelled before it began."""
        claim.release()
        if not loop.is_closed():
            loop.call_soon_threadsafe(lambda: self._change(computing=-1))

    def _change(self, running: int = 0, computing: int = 0) -> None:
        self._running += running
        self._computing += computing
        if self._is_ending and not self._running and not self._computing:
            self._quiet.set()

    @staticmethod
    def _loop_time() -> float:
        return asyncio.get_running_loop().time()


class _BadBody(Exception):
    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def _response(reply: Reply) -> web.Response:
    return web.Response(status=reply.status, body=reply.body, headers={"Content-Type": reply.content_type})


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=_error_body(message), headers={"Content-Type": JSON, **(headers or {})})


def _error_body(message: str) -> bytes:
    return json.dumps({"error": message[:MAX_MESSAGE]}).encode() + b"\n"


def _closing(response: web.Response) -> web.Response:
    response.force_close()
    return response
