"""HTTP as clients of every kind send it, on real sockets: what is read, what is refused, and what nobody can hold."""

import gzip
import http.client
import json
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from hivemill.serving.server.api.errors import ServingError
from hivemill.serving.server.http_server import HttpServer, Reply
from hivemill.serving.server.in_flight import InFlight
from hivemill.serving.server.options import ServerOptions

POST = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\n"
GET = b"GET /v1/models/m HTTP/1.1\r\nHost: x\r\n\r\n"


class Echo:
    """Answers with the body it was given; `ask` waits while `hold` is not set."""

    def __init__(self):
        self.bodies, self.hold = [], threading.Event()
        self.hold.set()

    def look(self, method, path, origin):
        return Reply(200, f"{method} {path}".encode())

    def ask(self, path, body, claim, timeout):
        self.bodies.append(body)
        self.hold.wait(10)
        return Reply(200, body)


@pytest.fixture
def serve():
    servers = []

    def start(**options):
        answers = Echo()
        options = ServerOptions(Path("models.config"), **{"max_message_bytes": 100_000, **options})
        in_flight = InFlight(options.max_in_flight_bytes)
        server = HttpServer(answers, in_flight, options, 0)
        server.start()
        servers.append((server, answers))
        server.answers, server.in_flight = answers, in_flight
        return server

    yield start
    for server, answers in servers:
        answers.hold.set()
        server.stop(2.0)


def send(server, data: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.port), timeout=5)
    client.sendall(data)
    return client


def all_of(client: socket.socket) -> bytes:
    found = b""
    try:
        while piece := client.recv(65536):
            found += piece
    except (TimeoutError, ConnectionResetError):
        pass
    return found


def answer_of(client: socket.socket) -> tuple[int, bytes]:
    answer = http.client.HTTPResponse(client)
    answer.begin()
    return answer.status, answer.read()


def ask(server, data: bytes) -> tuple[int, bytes]:
    """Status and body of the first answer."""
    with send(server, data) as client:
        return answer_of(client)


def post(body: bytes, *headers: bytes) -> bytes:
    lines = b"".join(header + b"\r\n" for header in (*headers, b"Content-Length: %d" % len(body)))
    return POST + lines + b"\r\n" + body


@pytest.mark.parametrize(
    "data",
    [
        POST + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde",
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: +3\r\n\r\nabc",
        POST + b"Content-Length: 0x3\r\n\r\nabc",
        POST + b"Content-Length : 3\r\n\r\nabc",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        POST + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_ambiguous_and_damaged_requests_are_refused(serve, data):
    server = serve()
    status, body = ask(server, data)
    assert status == 400 and json.loads(body)["error"]
    assert server.answers.bodies == []


def test_body_of_a_get_is_no_second_request(serve):
    """The standard library's server left it unread, so that it was taken for the next request of the connection."""
    hidden = POST + b"Content-Length: 1\r\n\r\nx"
    with send(serve(), GET[:-2] + b"Content-Length: %d\r\n\r\n" % len(hidden) + hidden + GET) as client:
        client.settimeout(1.0)
        answers = all_of(client)
    assert answers.count(b"HTTP/1.1 ") == answers.count(b"GET /v1/models/m") <= 2


@pytest.mark.parametrize(
    "data",
    [
        post(b"abc" * 1000),
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"3e8\r\n" + (b"abc" * 334)[:1000] + b"\r\n"
        + b"7d0\r\n" + (b"bca" * 667)[:2000] + b"\r\n0\r\n\r\n",
        post(gzip.compress(b"abc" * 1000), b"Content-Encoding: gzip"),
        POST + b"Expect: 100-continue\r\nContent-Length: 3000\r\n\r\n" + b"abc" * 1000,
    ],
    ids=["plain", "chunked", "gzip", "expect"],
)  # fmt: skip
def test_bodies_are_read_however_they_are_sent(serve, data):
    server = serve()
    assert ask(server, data) == (200, b"abc" * 1000)
    assert server.answers.bodies == [b"abc" * 1000]
    time.sleep(0.05)
    assert server.in_flight.held == 0


def test_what_is_too_large_is_refused_before_it_is_read(serve):
    server = serve()
    bomb = gzip.compress(bytes(50 << 20))
    for data in (
        POST + b"Content-Length: 100001\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"30d40\r\n" + bytes(200_000) + b"\r\n0\r\n\r\n",
        post(bomb, b"Content-Encoding: gzip"),
    ):
        assert ask(server, data)[0] == 413
    assert server.answers.bodies == [] and server.in_flight.held == 0


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "GET"])
def test_other_methods_are_answered_at_once(serve, method):
    server = serve(cors=True)
    with send(server, f"{method} /v1/models/m HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()) as client:
        answer = all_of(client)
    assert answer.startswith(b"HTTP/1.1 200") and b"Access-Control-Allow-Origin: *" in answer
    assert answer.endswith(b"\r\n\r\n") == (method == "HEAD")


def test_slow_connections_hold_neither_health_nor_metrics(serve):
    """512 of them took every thread of the server before this one."""
    server = serve(max_connections=50, idle_seconds=30.0)
    slow = [send(server, POST + b"Content-Length: 10\r\n\r\n{") for _ in range(50)]
    time.sleep(0.3)
    assert ask(server, GET)[0] == 200
    assert ask(server, post(b"x"))[0] == 503
    spare = [send(server, b"GET /") for _ in range(64)]
    time.sleep(0.3)
    assert ask(server, GET)[0] == 503  # without being read
    time.sleep(2.5)
    assert ask(server, GET)[0] == 200  # who sends no headers in time loses the place
    for client in slow + spare:
        client.close()


def test_time_is_bounded_for_idle_connections_headers_bodies_and_answers(serve):
    server = serve(idle_seconds=0.5, request_seconds=0.5)
    started = time.monotonic()
    idle, headers, body = send(server, b""), send(server, POST), send(server, POST + b"Content-Length: 9\r\n\r\n{")
    assert all_of(idle) == all_of(headers) == b""
    assert all_of(body).startswith(b"HTTP/1.1 408")
    server.answers.hold.clear()
    assert ask(server, post(b"x"))[0] == 504
    assert time.monotonic() - started < 4


def test_no_more_requests_than_allowed_run_and_the_bytes_of_all_are_bounded(serve):
    server = serve(max_concurrent=2, max_in_flight_bytes=150_000)
    server.answers.hold.clear()
    running = [send(server, post(bytes(60_000))) for _ in range(2)]
    until = time.monotonic() + 5
    while len(server.answers.bodies) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    assert ask(server, post(b"x"))[0] == 503
    assert server.in_flight.held == 120_000
    with pytest.raises(ServingError) as caught:
        server.in_flight.claim().resize(40_000, 0.0)
    assert caught.value.http_status == 429
    server.answers.hold.set()
    assert [answer_of(client)[0] for client in running] == [200, 200]
    assert server.in_flight.held == 0


def test_a_body_for_which_there_is_no_room_is_refused_while_it_comes(serve):
    server = serve(max_in_flight_bytes=200_000)
    with server.in_flight.claim() as other:
        other.resize(190_000)
        assert ask(server, post(bytes(50_000)))[0] == 429
    assert ask(server, post(bytes(50_000)))[0] == 200


def test_client_that_is_gone_in_the_middle_of_its_request_does_not_hold_up_the_end(serve):
    server = serve()
    client = send(server, POST + b"Content-Length: 100\r\n\r\n{")
    time.sleep(0.2)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()  # with a reset, as of a process that is killed
    time.sleep(0.2)
    started = time.monotonic()
    assert server.stop(5.0)
    assert time.monotonic() - started < 2


def test_the_end_waits_for_requests_and_no_longer_than_the_grace(serve):
    server = serve()
    server.answers.hold.clear()
    client = send(server, post(b"abc"))
    time.sleep(0.2)
    started = time.monotonic()
    assert not server.stop(0.5)
    assert time.monotonic() - started < 2
    client.close()
    other = serve()
    other.answers.hold.clear()
    client = send(other, post(b"abc"))
    time.sleep(0.2)
    threading.Timer(0.5, other.answers.hold.set).start()
    assert other.stop(5.0)
    assert all_of(client).endswith(b"abc")
