"""As much of S3 as Arrow's client asks for: ListObjectsV2, HeadObject, GetObject with a range, PutObject, CopyObject,
uploads in parts, DeleteObject, DeleteObjects."""

import contextlib
import http.server
import itertools
import re
import threading
import time
import urllib.parse
from xml.sax.saxutils import escape, unescape

MODIFIED = "Sun, 15 Nov 2026 01:02:03 GMT"
_MODIFIED_LISTED = "2026-11-15T01:02:03.456Z"  # a listing may say more than a header can
NO_BUCKET = "no-bucket"


@contextlib.contextmanager
def serving(objects, listed=None, before_write=None, requests=None, delay_seconds=0.0, modified=None):
    """`objects` maps "bucket/key" to bytes. Yields the port; each listing's prefix is appended to `listed`.

    `before_write(method, keys)` is called before objects change; what it returns, a status, is answered instead.
    `requests` gets "METHOD bucket/key" of every request (COPY for a PUT without a body of its own), each of which takes
    `delay_seconds`. `modified` maps keys to when they were written, if that is not MODIFIED. Any bucket is there,
    but NO_BUCKET.
    """
    modified = {} if modified is None else modified
    parts, numbers = {}, itertools.count(1)

    class Request(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def parse_request(self):
            is_parsed = super().parse_request()
            if is_parsed and requests is not None:
                method = "COPY" if "x-amz-copy-source" in self.headers else self.command
                requests.append(f"{method} {self._asked()[0]}")
            time.sleep(delay_seconds)
            return is_parsed

        def do_GET(self):
            path, query = self._asked()
            if path.split("/")[0] == NO_BUCKET:
                self._answer(404, _xml("Error", "<Code>NoSuchBucket</Code><Message>No such bucket</Message>"))
            elif "list-type" in query:
                if listed is not None:
                    listed.append(query.get("prefix", [""])[0])
                self._answer(200, _listing(objects, path.strip("/"), query, modified).encode())
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

        def do_PUT(self):
            path, query = self._asked()
            content = self._body()
            if path.split("/")[0] == NO_BUCKET:
                self._answer(404, _xml("Error", "<Code>NoSuchBucket</Code><Message>No such bucket</Message>"))
            elif "x-amz-copy-source" in self.headers:
                self._copy(urllib.parse.unquote(self.headers["x-amz-copy-source"]).lstrip("/"), path)
            elif "partNumber" in query:
                parts[query["uploadId"][0]][int(query["partNumber"][0])] = content
                self._answer(200, tag='"part"')
            elif not self._refused("PUT", [path]):
                objects[path] = content
                self._answer(200, tag='"whole"')

        def do_POST(self):
            path, query = self._asked()
            content = self._body().decode()
            if path.split("/")[0] == NO_BUCKET:
                self._answer(404, _xml("Error", "<Code>NoSuchBucket</Code><Message>No such bucket</Message>"))
            elif "uploads" in query:
                number = str(next(numbers))
                parts[number] = {}
                self._answer(200, _xml("InitiateMultipartUploadResult", f"<UploadId>{number}</UploadId>"))
            elif "uploadId" in query and not self._refused("PUT", [path]):
                whole = parts.pop(query["uploadId"][0])
                objects[path] = b"".join(whole[number] for number in sorted(whole))
                self._answer(200, _xml("CompleteMultipartUploadResult", "<ETag>whole</ETag>"))
            elif "delete" in query:
                keys = [f"{path.strip('/')}/{unescape(key)}" for key in re.findall("<Key>(.*?)</Key>", content)]
                if not self._refused("DELETE", keys):
                    for key in keys:
                        objects.pop(key, None)
                    self._answer(200, _xml("DeleteResult", ""))

        def do_DELETE(self):
            path, _ = self._asked()
            if not self._refused("DELETE", [path]):
                objects.pop(path, None)
                self._answer(204)

        def _copy(self, source, path):
            if source not in objects:
                self._answer(404, _xml("Error", "<Code>NoSuchKey</Code><Message>No such key</Message>"))
            elif not self._refused("PUT", [path]):
                objects[path] = objects[source]
                self._answer(200, _xml("CopyObjectResult", "<ETag>whole</ETag>"))

        def _body(self):
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                content = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    content += self.rfile.read(size)
                    self.rfile.readline()
                while self.rfile.readline().strip():
                    pass
            else:
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            return _without_chunks(content) if "aws-chunked" in self.headers.get("Content-Encoding", "") else content

        def _refused(self, method, keys):
            status = before_write(method, keys) if before_write else None
            if status:
                self._answer(status, _xml("Error", "<Code>AccessDenied</Code><Message>Access Denied</Message>"))
            return bool(status)

        def _asked(self):
            path, _, query = self.path.partition("?")
            return urllib.parse.unquote(path).lstrip("/"), urllib.parse.parse_qs(query, keep_blank_values=True)

        def _answer(self, status, body=b"", tag=None):
            self.send_response(status)
            if tag:
                self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", MODIFIED)
            self.end_headers()
            if self.command != "HEAD":
                with contextlib.suppress(ConnectionError):  # the client was killed
                    self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Request) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def _xml(name, content):
    return f'<?xml version="1.0"?><{name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{content}</{name}>'.encode()


def _without_chunks(content):
    """The content of a body in AWS's own chunks, each with its size in front and perhaps a signature."""
    whole = b""
    while content:
        head, _, rest = content.partition(b"\r\n")
        size = int(head.split(b";")[0], 16)
        if not size:
            break
        whole, content = whole + rest[:size], rest[size + 2 :]
    return whole


def _listing(objects, bucket, query, modified):
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
            keys.append((key, len(objects[name]), modified.get(name, _MODIFIED_LISTED)))
    contents = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size><LastModified>{at}</LastModified></Contents>"
        for key, size, at in keys
    )
    prefixes = "".join(f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in sorted(folders))
    return (
        '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{bucket}</Name><KeyCount>{len(keys) + len(folders)}</KeyCount><IsTruncated>false</IsTruncated>"
        f"{contents}{prefixes}</ListBucketResult>"
    )
