"""Thrift services in this process: the real protocol over a real socket, with or without SASL PLAIN."""

import contextlib
import shutil
import socketserver
import ssl
import struct
import subprocess
import threading

import pytest
from thrift.protocol import TBinaryProtocol
from thrift.transport import TSocket, TTransport

_OK, _BAD, _COMPLETE = 2, 3, 5


@contextlib.contextmanager
def serving(processor, password=None, sasl=False, tls=None):
    """Yields the port. With `sasl`, a client must bring this password (any, if None); `tls` is (certificate, key)."""

    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)

    class Connection(socketserver.BaseRequestHandler):
        def handle(self):
            socket = TSocket.TSocket()
            with contextlib.suppress(TTransport.TTransportException, OSError, EOFError):
                socket.setHandle(context.wrap_socket(self.request, server_side=True) if context else self.request)
                if sasl and not _let_in(socket, password):
                    return
                transport = TTransport.TFramedTransport(socket) if sasl else TTransport.TBufferedTransport(socket)
                protocol = TBinaryProtocol.TBinaryProtocol(transport)
                while True:
                    processor.process(protocol, protocol)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Connection) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def _let_in(socket, password):
    mechanism, response = _message(socket), _message(socket)
    assert mechanism == b"PLAIN"
    given = response.split(b"\0")[2].decode()
    welcome = password is None or given == password
    said = b"" if welcome else b"Error validating the login"
    socket.write(struct.pack(">BI", _COMPLETE if welcome else _BAD, len(said)) + said)
    socket.flush()
    return welcome


def _message(socket):
    _, length = struct.unpack(">BI", _exactly(socket, 5))
    return _exactly(socket, length)


def _exactly(socket, length):
    data = b""
    while len(data) < length:
        data += socket.read(length - len(data))
    return data


def certificate(folder):
    """(certificate, key) of localhost, trusted by nobody."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is needed to make a certificate")
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*made, "-keyout", folder / "key", "-out", folder / "cert"], check=True, capture_output=True)
    return str(folder / "cert"), str(folder / "key")
