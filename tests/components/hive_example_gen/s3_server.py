"""As much of S3 as Arrow's client asks for when it reads: ListObjectsV2, HeadObject, GetObject with a range."""

import contextlib
import http.server
import threading
import urllib.parse
from xml.sax.saxutils import escape

MODIFIED = "Sun, 15 Nov 2026 01:02:03 GMT"
_MODIFIED_LISTED = "2026-11-15T01:02:03.456Z"  # a listing may say more than a header can


@contextlib.contextmanager
def serving(objects, listed=None):
    """`objects` maps "bucket/key" to bytes. Yields the port; each listing's prefix is appended to `listed`."""

    class Request(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            path, query = self._asked()
            if "list-type" in query:
                if listed is not None:
                    listed.append(query.get("prefix", [""])[0])
                self._answer(200, _listing(objects, path.strip("/"), query).encode())
            elif path in objects:
                first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
                data = objects[path][int(first) : int(last) + 1 if last else None]
                self._answer(206 if "Range" in self.headers else 200, data)
            else:
                self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

        def do_HEAD(self):
            path, _ = self._asked()
            if "/" not in path.strip("/"):
                self._answer(200 if any(key.startswith(path) for key in objects) else 404)
            else:
                self._answer(200 if path in objects else 404, objects.get(path, b""))

        def _asked(self):
            path, _, query = self.path.partition("?")
            return urllib.parse.unquote(path).lstrip("/"), urllib.parse.parse_qs(query, keep_blank_values=True)

        def _answer(self, status, body=b""):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", MODIFIED)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Request) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def _listing(objects, bucket, query):
    prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
    keys, folders = [], set()
    for name in sorted(objects):
        own, _, key = name.partition("/")
        if own != bucket or not key.startswith(prefix):
            continue
        head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
        if found:
            folders.add(prefix + head + delimiter)
        else:
            keys.append((key, len(objects[name])))
    contents = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size><LastModified>{_MODIFIED_LISTED}</LastModified></Contents>"
        for key, size in keys
    )
    prefixes = "".join(f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in sorted(folders))
    return (
        '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{bucket}</Name><KeyCount>{len(keys) + len(folders)}</KeyCount><IsTruncated>false</IsTruncated>"
        f"{contents}{prefixes}</ListBucketResult>"
    )
