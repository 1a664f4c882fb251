"""URLs of filesystems other than this machine's, opened by Arrow: s3://, gs://, hdfs://.

Credentials come from where each filesystem looks (environment, instance, core-site.xml), never from the URL. What a URL
says after `?` (`region=`, `endpoint_override=`) goes to the filesystem. Transient errors are retried by Arrow: on s3://
for seconds; on gs:// it would be 15 minutes a call, so it is RETRY_SECONDS unless the URL says `retry_limit_seconds=`.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from hivemill.common.errors import ConfigError, InfrastructureError

if TYPE_CHECKING:
    import pyarrow.fs

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_QUERY = re.compile(r"\?(?:\w+=[^?&]*)(?:&\w+=[^?&]*)*\Z")
# Names under which Hadoop writes the same filesystems.
_SCHEMES = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}
_OPENED = "Arrow opens s3://, gs:// and hdfs://."
_METASTORE = "A table of a metastore is hive://HOST:9083/DATABASE.TABLE."
_HDFS_HINT = (
    f"{_OPENED} For hdfs it needs a Hadoop installation, which pip does not bring: JAVA_HOME, ARROW_LIBHDFS_DIR (the "
    "folder of libhdfs.so, lib/native in Hadoop's tar file) and CLASSPATH=$(hadoop classpath --glob)."
)
RETRY_SECONDS = 30
# How Google's client says an error: its own words, the server's, then everything once more as metadata.
_GOOGLE = re.compile(
    r"google::cloud::Status\((\w+): (?:[^,]*, with a last message of )?(.*?)(?: error_info=|\)(?:\. Detail: |\Z))",
    re.DOTALL,
)
_SECRET = re.compile(r"key|secret|token|password|credential", re.IGNORECASE)


def is_url(path: str) -> bool:
    """Whether `path` is on another filesystem than this machine's; `file://` is not."""
    return bool(_URL.match(path)) and not path.startswith("file://")


def local(path: str) -> str:
    """`file:///a`, `file:/a` (as a metastore writes it) and `/a` as `/a`."""
    return re.sub(r"^file:(//)?(?=/)", "", path)


def split_query(url: str) -> tuple[str, str]:
    """The URL without its query, and the query with its `?`; a name may hold a `?` of its own."""
    found = _QUERY.search(url)
    return (url[: found.start()], found[0]) if found else (url, "")


def shown(path: str) -> str:
    """`path` for messages: a URL without user, password and what follows `?`."""
    if not is_url(path):
        return local(path)
    scheme, _, rest = split_query(path)[0].partition("://")
    authority, slash, inner = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{inner}"


def holds_credentials(url: str) -> bool:
    """Whether a user's password or a key stands in the URL, from where it would end in metadata and logs."""
    authority = url.partition("://")[2].partition("/")[0]
    names = [part.partition("=")[0] for part in split_query(url)[1].lstrip("?").split("&")]
    return ":" in authority.rpartition("@")[0] or any(map(_SECRET.search, names))


def reason(error: Exception) -> str:
    """What a filesystem's error says, in one line."""
    text = str(error) or type(error).__name__
    if found := _GOOGLE.search(text):
        return f"{found[1]}: {' '.join(found[2].split())}"
    return text.splitlines()[0]


def check_url(key: str, url: str) -> None:
    """Raises ConfigError for a URL that holds credentials, or that cannot be opened at all. `key` is the config key
    that says it."""
    if holds_credentials(url):
        raise ConfigError(
            f"{key} {shown(url)} holds credentials; it is written to metadata and logs",
            hint="Give them where the filesystem looks for them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "GOOGLE_APPLICATION_CREDENTIALS, the instance's role, a Kerberos ticket.",
        )
    filesystem_of(url)


def filesystem_of(url: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """The filesystem of a URL and the path within it. Raises ConfigError, InfrastructureError."""
    bare, query = split_query(url)
    scheme, _, rest = bare.partition("://")
    authority, _, path = rest.partition("/")
    opened, root = _opened(_SCHEMES.get(scheme.lower(), scheme.lower()), authority, query)
    # The path is never part of the URI that Arrow decodes: Hive's %3A in a folder's name is the name.
    return opened, f"{root.rstrip('/')}/{path}".rstrip("/") if root != "/" else f"/{path}"


@functools.lru_cache(maxsize=16)
def _opened(scheme: str, authority: str, query: str) -> tuple[pyarrow.fs.FileSystem, str]:
    import pyarrow as pa
    import pyarrow.fs

    if scheme == "gs" and "retry_limit_seconds=" not in query:
        query += f"{'&' if query else '?'}retry_limit_seconds={RETRY_SECONDS}"
    try:
        return pyarrow.fs.FileSystem.from_uri(f"{scheme}://{authority}/{query}")
    # A scheme that Arrow, or this build of it, does not open: ArrowInvalid or its "not implemented".
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        said = str(error).split("\n")[0].removesuffix(query)
        kind = InfrastructureError if isinstance(error, OSError) else ConfigError
        raise kind(
            f"{scheme}://{authority} cannot be opened: {said}",
            hint=_HDFS_HINT if scheme in ("hdfs", "viewfs") else f"{_OPENED} {_METASTORE}",
        ) from error
