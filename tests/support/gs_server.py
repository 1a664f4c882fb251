"""As much of Google Cloud Storage as Arrow's client asks for: listings, one object, its bytes, resumable uploads,
copies, removal.

A listing is the service's: objects directly below the prefix as items, what lies deeper as prefixes alone, in pages.
"""

import collections
import contextlib
import http.server
import json
import subprocess
import sys
import threading
import time
import urllib.parse

_UPDATED = "2026-11-15T01:02:03.456Z"
_REASONS = {401: "required", 403: "forbidden", 404: "notFound", 412: "conditionNotMet", 429: "rateLimitExceeded"}
_PART_BYTES = 256 << 10  # all parts of an upload but the last are multiples of it
_TOKEN = {"id_token": "", "expires_in": 3600, "token_type": "Bearer"}
BUCKET = "bucket"
PAGE_OBJECTS = 1000


@contextlib.contextmanager
def serving(objects, token=None):
    """`objects` maps names in BUCKET to bytes; `token` is that of serving_here. Yields the port.

    In a process of its own, for readers: pyarrow asks for bytes in places where it holds the interpreter's lock.
    """
    command = [sys.executable, __file__, *([token] if token else [])]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        process.stdin.write(json.dumps({name: data.decode("latin-1") for name, data in objects.items()}) + "\n")
        process.stdin.flush()
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def serving_here(objects, before_write=None, token=None, requests=None, delay_seconds=0.0, modified=None):
    """In this process, for whoever wants to see `objects` change. Yields the port.

    `before_write(method, names)` is called before they change, one call at a time; what it returns, a status, is
    answered instead. With `token`, it is what /token gives to a user, and without it nothing is answered.
    `requests` gets "METHOD name" of every request (COPY for a rewrite), each of which takes `delay_seconds`. `modified`
    maps names to when they were written.
    """
    handler = _handler(objects, before_write, token, requests, delay_seconds, modified)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def _handler(objects, before_write=None, token=None, requests=None, delay_seconds=0.0, modified=None):
    modified = {} if modified is None else modified
    generations = collections.defaultdict(lambda: 1)
    uploads = []
    one_at_a_time = threading.Lock()

    class Request(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def parse_request(self):
            is_parsed = super().parse_request()
            if is_parsed and requests is not None:
                method = "COPY" if "/rewriteTo/" in self.path else self.command
                name = urllib.parse.unquote(self.path.split("?")[0].removeprefix("/storage/v1/b/"))
                requests.append(f"{method} {name}")
            time.sleep(delay_seconds)
            if not token or self.path == "/token" or self.headers.get("Authorization") == f"Bearer {token}":
                return is_parsed
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._error(401)
            return False

        def do_GET(self):
            asked = urllib.parse.urlsplit(self.path)
            listing, one = f"/storage/v1/b/{BUCKET}/o", f"/storage/v1/b/{BUCKET}/o/"
            if asked.path == listing:
                self._document(_listing(objects, generations, dict(urllib.parse.parse_qsl(asked.query)), modified))
            elif asked.path.startswith(one):
                self._object(urllib.parse.unquote(asked.path.removeprefix(one)), "alt=media" in asked.query)
            else:  # the XML API, which bytes come from
                self._object(urllib.parse.unquote(asked.path.removeprefix(f"/{BUCKET}/")), True)

        def do_POST(self):
            """Begins an upload, of which nothing is seen before its last part; or gives a token."""
            asked = urllib.parse.urlsplit(self.path)
            query = dict(urllib.parse.parse_qsl(asked.query))
            self.rfile.read(int(self.headers["Content-Length"]))
            if asked.path == "/token":
                return self._document(_TOKEN | {"access_token": token})
            source, is_copy, target = asked.path.removeprefix(f"/storage/v1/b/{BUCKET}/o/").partition("/rewriteTo/")
            if is_copy:
                name = urllib.parse.unquote(target.removeprefix(f"b/{BUCKET}/o/"))
                return self._copy(urllib.parse.unquote(source), name)
            if asked.path != f"/upload/storage/v1/b/{BUCKET}/o" or query.get("uploadType") != "resumable":
                return self._error(404)
            uploads.append((query["name"], bytearray()))
            return self._answer(200, b"", Location=f"http://{self.headers['Host']}/upload/{len(uploads) - 1}")

        def do_PUT(self):
            name, received = uploads[int(self.path.rpartition("/")[2])]
            content = self.rfile.read(int(self.headers["Content-Length"]))
            span, _, total = self.headers["Content-Range"].removeprefix("bytes ").partition("/")
            is_at = span == "*" or int(span.partition("-")[0]) == len(received)
            if not is_at or (total == "*" and len(content) % _PART_BYTES):
                return self._error(400)
            received += content
            if total == "*" or int(total) != len(received):
                return self._answer(308, b"", **({"Range": f"bytes=0-{len(received) - 1}"} if received else {}))
            with one_at_a_time:
                if not self._refused("PUT", name):
                    objects[name] = bytes(received)
                    generations[name] += 1
                    self._document(_item(objects, generations, name, modified))

        def do_DELETE(self):
            asked = urllib.parse.urlsplit(self.path)
            name = urllib.parse.unquote(asked.path.removeprefix(f"/storage/v1/b/{BUCKET}/o/"))
            with one_at_a_time:
                generation = dict(urllib.parse.parse_qsl(asked.query)).get("generation", str(generations[name]))
                if name not in objects or generation != str(generations[name]):
                    self._error(404)
                elif not self._refused("DELETE", name):
                    del objects[name]
                    self._answer(204, b"")

        def _copy(self, source, name):
            with one_at_a_time:
                if source not in objects:
                    self._error(404)
                elif not self._refused("PUT", name):
                    objects[name] = objects[source]
                    generations[name] += 1
                    size = str(len(objects[name]))
                    answer = {"kind": "storage#rewriteResponse", "totalBytesRewritten": size, "objectSize": size}
                    self._document(answer | {"done": True, "resource": _item(objects, generations, name, modified)})

        def _refused(self, method, name):
            status = before_write(method, [name]) if before_write else None
            if status:
                self._error(status)
            return bool(status)

        def _object(self, name, is_content):
            if name not in objects:
                self._error(404)
            elif is_content:
                self._send_range(objects[name])
            else:
                self._document(_item(objects, generations, name, modified))

        def _send_range(self, data):
            if "Range" not in self.headers:
                return self._answer(200, data)
            first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
            if int(first) >= len(data):
                return self._error(416)
            end = min(int(last) + 1 if last else len(data), len(data))
            span = {"Content-Range": f"bytes {first}-{end - 1}/{len(data)}"}
            return self._answer(206, data[int(first) : end], **span)

        def _document(self, document):
            self._answer(200, json.dumps(document).encode())

        def _error(self, status):
            """As the service says it."""
            message = f"The fake says\n{status}."
            reason = {"message": message, "domain": "global", "reason": _REASONS.get(status, "backendError")}
            error = {"code": status, "message": message, "errors": [reason]}
            self._answer(status, json.dumps({"error": error}, indent=2).encode())

        def _answer(self, status, content, **headers):
            with contextlib.suppress(ConnectionError):  # the client was killed
                self.send_response(status)
                for name, value in {"x-goog-generation": "1", "Content-Length": len(content), **headers}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    return Request


def _listing(objects, generations, query, modified):
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
    items, prefixes = [], set()
    for name in sorted(objects):
        inner = name.removeprefix(prefix)
        if not name.startswith(prefix):
            continue
        if not delimiter or delimiter not in inner:
            items.append(_item(objects, generations, name, modified))
            continue
        first = prefix + inner.split(delimiter)[0] + delimiter
        prefixes.add(first)
        if name == first and "includeTrailingDelimiter" in query:
            items.append(_item(objects, generations, name, modified))
    page, rest = _split(items, query.get("pageToken", ""))
    after = {"nextPageToken": page[-1]["name"]} if rest else {}
    return {"kind": "storage#objects", "items": page, "prefixes": sorted(prefixes)} | after


def _split(items, after):
    left = [item for item in items if item["name"] > after]
    return left[:PAGE_OBJECTS], left[PAGE_OBJECTS:]


def _item(objects, generations, name, modified):
    at = modified.get(name, _UPDATED)
    return {
        "kind": "storage#object", "name": name, "bucket": BUCKET, "generation": str(generations[name]),
        "metageneration": "1", "size": str(len(objects[name])), "updated": at, "timeCreated": at,
    }  # fmt: skip


if __name__ == "__main__":
    given = {name: text.encode("latin-1") for name, text in json.loads(sys.stdin.readline()).items()}
    token = sys.argv[1] if len(sys.argv) > 1 else None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(given, token=token))
    print(server.server_port, flush=True)
    server.serve_forever()
