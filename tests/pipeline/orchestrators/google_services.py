"""As much of Google's cloud as Beam and TensorFlow ask for: Cloud Storage for their own clients, and Dataflow's jobs.

What speaks to it is real: Beam's DataflowRunner and its client, google-cloud-storage, TensorFlow's client for gs:// and
Arrow's. TensorFlow's has its addresses (https://www.googleapis.com, https://storage.googleapis.com) compiled in, so it
comes through a proxy that answers in their names; whatever asks for another host is refused and noted.
Dataflow's jobs are taken, and what becomes of them `run_job` decides.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import re
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import google_crc32c
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

TESTS = Path(__file__).parents[1]

from tests.serving import certificates  # noqa: E402

TOKEN, PROJECT, REGION, BUCKET = "a-token", "a-project", "europe-west1", "bucket"
_HOSTS = ("www.googleapis.com", "storage.googleapis.com", "iamcredentials.googleapis.com")
_COPY = re.compile(rf"/storage/v1/b/{BUCKET}/o/(.*)/(?:copyTo|rewriteTo)/b/{BUCKET}/o/([^/]*)")
_CANCELLED = 5  # JobState.JOB_STATE_CANCELLED
_UPDATED = "2026-11-15T01:02:03.456Z"
Objects = MutableMapping[str, bytes]


class Google:
    """Its state: objects by name in BUCKET, Dataflow's jobs as they came in, hosts that were asked for and refused."""

    def __init__(self, folder: Path, run_job: Callable[[dict[str, Any]], str]):
        """`run_job` gets a job and returns its state, like JOB_STATE_DONE when it has run it."""
        self.objects: Objects = {}
        self.jobs: list[dict[str, Any]] = []
        self.uploads: list[tuple[str, bytearray]] = []
        self.lock = threading.RLock()
        self.refused: list[str] = []
        self.errors: list[str] = []
        self.run_job = run_job
        self.folder = folder
        self.port = 0
        authority = certificates.Authority(folder / "authority")
        self.authority_file = authority.file
        self.contexts = {host: _tls(authority, host) for host in _HOSTS}

    def environment(self) -> dict[str, str]:
        """What a process needs to see this instead of Google, and nothing else of Google."""
        here = f"http://127.0.0.1:{self.port}"
        return {
            "GOOGLE_APPLICATION_CREDENTIALS": str(self._credentials(f"{here}/token")),
            "STORAGE_EMULATOR_HOST": here,  # google-cloud-storage
            "CLOUD_STORAGE_EMULATOR_ENDPOINT": here,  # Arrow
            "https_proxy": here,  # TensorFlow, and whoever else goes out
            "http_proxy": here,
            "no_proxy": "localhost,127.0.0.1",
            "CURL_CA_BUNDLE": str(self.authority_file),
            "REQUESTS_CA_BUNDLE": str(self.authority_file),
            "NO_GCE_CHECK": "true",
            "CLOUDSDK_CONFIG": str(self.folder / "gcloud"),
        }

    def take(self, path: str, job: dict[str, Any]) -> dict[str, Any]:
        """projects.locations.jobs.create: hands the job to `run_job`, and says what became of it."""
        with self.lock:
            self.jobs.append({**job, "path": path})
            job = self.jobs[-1]
            job["id"] = f"job-{len(self.jobs)}"
        job["currentState"] = self.run_job(job)
        return {"id": job["id"], "name": job["name"], "currentState": job["currentState"]}

    def cancel(self, path: str, wanted: dict[str, Any]) -> dict[str, Any]:
        """projects.locations.jobs.update, for one state."""
        assert wanted["requestedState"] == _CANCELLED, wanted
        (job,) = (each for each in self.jobs if each["id"] == path.rpartition("/")[2])
        job["currentState"] = "JOB_STATE_CANCELLED"
        return self.job(path)

    def job(self, path: str) -> dict[str, Any]:
        """projects.locations.jobs.get, its messages and metrics."""
        place = f"/v1b3/projects/{PROJECT}/locations/{REGION}/jobs/"
        job_id, _, what = path.removeprefix(place).partition("/")
        if what:
            return {}
        (job,) = (each for each in self.jobs if each["id"] == job_id)
        return {"id": job_id, "name": job["name"], "currentState": job["currentState"]}

    def _credentials(self, token_uri: str) -> Path:
        """A service account's key file."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        document = {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "1",
            "private_key": key.private_bytes(*form).decode(),
            "client_email": f"hivemill@{PROJECT}.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": token_uri,
        }
        file = self.folder / "credentials.json"
        file.write_text(json.dumps(document))
        return file


@contextlib.contextmanager
def serving(google: Google) -> Iterator[Google]:
    """On `google.port` of this machine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(google)) as server:
        google.port = server.server_port
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield google
        finally:
            server.shutdown()


def _tls(authority: certificates.Authority, host: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue(host, host=host))
    return context


def _handler(google: Google) -> type[http.server.BaseHTTPRequestHandler]:
    class Request(_Request):
        services = google

    return Request


class _Request(http.server.BaseHTTPRequestHandler):
    """One request after the other of a connection; Cloud Storage's JSON API, downloads by its XML API, Dataflow's."""

    services: Google
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    is_tls = False

    def parse_request(self) -> bool:
        """What is meant for another host is refused; no service of Google is asked in plain text, but a machine's own
        metadata."""
        is_parsed = super().parse_request()
        if not is_parsed or not self.path.startswith("http://"):
            return is_parsed
        self.services.refused.append(self.path)
        self._error(403)
        return False

    def do_CONNECT(self) -> None:
        """A tunnel to one of Google's hosts ends here; any other is refused."""
        host = self.path.partition(":")[0]
        if host not in self.services.contexts:
            self.services.refused.append(self.path)
            self._error(403)
            return
        self.send_response(200)
        self.end_headers()
        self.connection = self.services.contexts[host].wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb", -1), self.connection.makefile("wb", 0)
        self.is_tls, self.close_connection = True, False

    def do_GET(self) -> None:
        asked = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(asked.query))
        objects = self.services.objects
        if asked.path.startswith("/v1b3/"):
            self._document(self.services.job(asked.path))
        elif asked.path.endswith("/allowedLocations"):  # of a service account: anywhere
            self._document({"locations": [], "encodedLocations": "0x0"})
        elif asked.path == f"/storage/v1/b/{BUCKET}":
            self._document({"kind": "storage#bucket", "name": BUCKET, "id": BUCKET, "location": "EU"})
        elif asked.path == f"/storage/v1/b/{BUCKET}/storageLayout":  # TensorFlow asks before it renames
            self._document({"bucket": BUCKET, "hierarchicalNamespace": {"enabled": False}})
        elif asked.path == f"/storage/v1/b/{BUCKET}/o":
            with self.services.lock:
                self._document(_listing(objects, query))
        else:
            name, is_content = _name_asked_for(asked.path, query)
            if name not in objects:
                self._error(404)
            elif is_content:
                self._content(objects[name])
            else:
                self._document(_item(objects, name))

    def do_POST(self) -> None:
        asked = urllib.parse.urlsplit(self.path)
        body = self._body()
        copied = _COPY.fullmatch(asked.path)
        if asked.path in ("/token", "/oauth2/v4/token"):
            self._document({"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"})
        elif asked.path.startswith("/v1b3/"):
            self._document(self.services.take(asked.path, json.loads(body)))
        elif asked.path == "/batch/storage/v1":
            self._batch(body)
        elif copied:
            self._document(self._copied(*map(urllib.parse.unquote, copied.groups()), "/rewriteTo/" in asked.path))
        elif asked.path == f"/upload/storage/v1/b/{BUCKET}/o":
            self._upload(dict(urllib.parse.parse_qsl(asked.query)), body)
        else:
            self._error(404)

    def do_PUT(self) -> None:
        """The next part of an upload, whose object appears with the last one; or what is wanted of a job."""
        if self.path.startswith("/v1b3/"):
            self._document(self.services.cancel(urllib.parse.urlsplit(self.path).path, json.loads(self._body())))
            return
        name, received = self.services.uploads[int(self.path.rpartition("/")[2])]
        received += self._body()
        total = self.headers["Content-Range"].rpartition("/")[2]
        if total == "*" or int(total) != len(received):
            self._answer(308, b"", **({"Range": f"bytes=0-{len(received) - 1}"} if received else {}))
        else:
            self._stored(name, bytes(received))

    def do_DELETE(self) -> None:
        status = self._deleted(self.path)
        self._answer(status, b"") if status == 204 else self._error(status)

    def _body(self) -> bytes:
        """TensorFlow's client sends parts of unknown length, and a Content-Length beside that counts for nothing."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while length := int(self.rfile.readline(), 16):
            content += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _deleted(self, path: str) -> int:
        name, _ = _name_asked_for(urllib.parse.urlsplit(path).path, {})
        with self.services.lock:
            return 204 if self.services.objects.pop(name, None) is not None else 404

    def _upload(self, query: dict[str, str], body: bytes) -> None:
        if query["uploadType"] == "resumable":
            name = query.get("name") or json.loads(body)["name"]
            scheme = "https" if self.is_tls else "http"
            self.services.uploads.append((name, bytearray()))
            place = f"{scheme}://{self.headers['Host']}/upload/{len(self.services.uploads) - 1}"
            self._answer(200, b"", Location=place)
        elif query["uploadType"] == "multipart":
            description, content = _parts(self.headers["Content-Type"], body)
            self._stored(json.loads(description)["name"], content)
        else:
            self._stored(query["name"], body)

    def _stored(self, name: str, content: bytes) -> None:
        with self.services.lock:
            self.services.objects[name] = content
            self._document(_item(self.services.objects, name))

    def _copied(self, source: str, target: str, is_rewrite: bool) -> dict[str, Any] | None:
        objects = self.services.objects
        with self.services.lock:
            if source not in objects:
                return None
            objects[target] = objects[source]
            item = _item(objects, target)
        return {"done": True, "resource": item} if is_rewrite else item

    def _batch(self, body: bytes) -> None:
        """Several requests in one, each answered by a part of the answer: those of google-cloud-storage that change."""
        answers = []
        for part in _parts(self.headers["Content-Type"], body):
            line = part.decode().strip().splitlines()[0]
            method, path, _ = line.split(" ", 2)
            path = urllib.parse.urlsplit(path).path
            copied = _COPY.fullmatch(path)
            if method == "DELETE":
                status, document = self._deleted(path), None
            else:
                assert method == "POST" and copied, line
                document = self._copied(*map(urllib.parse.unquote, copied.groups()), "/rewriteTo/" in path)
                status = 200 if document else 404
            text = json.dumps(document or {})
            answers.append(
                f"--batch\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 {status} -\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n{text}\r\n"
            )
        content = ("".join(answers) + "--batch--\r\n").encode()
        self._answer(200, content, **{"Content-Type": "multipart/mixed; boundary=batch"})

    def _content(self, data: bytes) -> None:
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if span is None:
            self._answer(200, data)
            return
        first, end = int(span[1]), min(int(span[2] or len(data)) + 1, len(data))
        if first >= len(data):
            self._error(416)
        else:
            self._answer(206, data[first:end], **{"Content-Range": f"bytes {first}-{end - 1}/{len(data)}"})

    def _document(self, document: dict[str, Any] | None) -> None:
        if document is None:
            self._error(404)
        else:
            self._answer(200, json.dumps(document).encode(), **{"Content-Type": "application/json"})

    def _error(self, status: int) -> None:
        self.services.errors.append(f"{status} {self.command} {self.path}")
        reason = {"message": f"the fake says {status}", "domain": "global", "reason": "fake"}
        error = {"error": {"code": status, "message": reason["message"], "errors": [reason]}}
        self._answer(status, json.dumps(error).encode(), **{"Content-Type": "application/json"})

    def _answer(self, status: int, content: bytes, **headers: str) -> None:
        with contextlib.suppress(ConnectionError):  # the client was killed
            self.send_response(status)
            for name, value in {"x-goog-generation": "1", "Content-Length": len(content), **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def _name_asked_for(path: str, query: dict[str, str]) -> tuple[str, bool]:
    """An object's name, and whether its bytes are wanted."""
    one = f"/storage/v1/b/{BUCKET}/o/"
    is_download = path.startswith("/download")
    path = path.removeprefix("/download")
    if path.startswith(one):
        return urllib.parse.unquote(path.removeprefix(one)), is_download or query.get("alt") == "media"
    return urllib.parse.unquote(path.removeprefix(f"/{BUCKET}/")), True  # the XML API


def _listing(objects: Objects, query: dict[str, str]) -> dict[str, Any]:
    """Objects directly below the prefix as items, what lies deeper as prefixes alone; one page."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
    items, prefixes = [], set()
    for name in sorted(each for each in objects if each.startswith(prefix)):
        inner = name.removeprefix(prefix)
        if delimiter and delimiter in inner:
            prefixes.add(prefix + inner.split(delimiter)[0] + delimiter)
        else:
            items.append(_item(objects, name))
    most = int(query.get("maxResults", 0)) or len(items)
    return {"kind": "storage#objects", "items": items[:most], "prefixes": sorted(prefixes)}


def _item(objects: Objects, name: str) -> dict[str, Any]:
    content = objects[name]
    checksum = base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()
    return {
        "kind": "storage#object", "id": name, "name": name, "bucket": BUCKET, "generation": "1", "metageneration": "1",
        "size": str(len(content)), "crc32c": checksum, "updated": _UPDATED, "timeCreated": _UPDATED,
    }  # fmt: skip


def _parts(content_type: str, body: bytes) -> list[bytes]:
    """The bodies of a multipart document."""
    boundary = re.search(r'boundary="?([^";]+)', content_type)[1].encode()
    parts = body.split(b"--" + boundary)[1:-1]
    return [re.split(rb"\r?\n\r?\n", part, maxsplit=1)[1].rstrip(b"\r\n") for part in parts]
