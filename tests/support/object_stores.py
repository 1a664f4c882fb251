"""A bucket of S3 or Cloud Storage on this machine, for this process and those that it starts."""

from __future__ import annotations

import contextlib
import json

from hivemill.common.storage import urls
from tests.support import gs_server, s3_server

KINDS = ("s3", "gs")


@contextlib.contextmanager
def bucket(kind, folder, monkeypatch, **how):
    """Yields (objects by name, URL of a folder in the bucket). Clients find the server by environment variables, which
    a process that is started from here inherits. `folder` is for files that they need.
    """
    objects = {}
    serving = s3_server.serving if kind == "s3" else gs_server.serving_here
    more = {} if kind == "s3" else {"token": "TOKEN"}
    with serving(objects, **more, **how) as port:
        for name, value in environment(kind, port, folder).items():
            monkeypatch.setenv(name, value)
        urls._opened.cache_clear()
        try:
            yield objects, f"{kind}://bucket/folder"
        finally:
            urls._opened.cache_clear()


def environment(kind, port, folder):
    """What a process needs to find the server, and to be let in."""
    here = f"http://127.0.0.1:{port}"
    if kind == "s3":
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
        return {"AWS_ENDPOINT_URL": here, "AWS_EC2_METADATA_DISABLED": "true", **keys}
    card = dict.fromkeys(("client_id", "client_secret", "refresh_token"), "test")
    credentials = folder / "credentials.json"
    credentials.write_text(json.dumps({"type": "authorized_user", "token_uri": f"{here}/token", **card}))
    return {"CLOUD_STORAGE_EMULATOR_ENDPOINT": here, "GOOGLE_APPLICATION_CREDENTIALS": str(credentials)}
