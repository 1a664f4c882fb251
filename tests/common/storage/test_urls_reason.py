"""What a filesystem's error says, in one line, and how long Google's client tries.

The texts of its errors are as Arrow 18 raises them.
"""

import pyarrow.fs
import pytest

from hivemill.common.storage import urls

_METADATA = "error_info={reason=, domain=, metadata={gcloud-cpp.retry.reason=permanent-error}}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "OSError"),
        ("one line\nand another", "one line"),
        (
            f"[Errno 13] google::cloud::Status(PERMISSION_DENIED: Permanent error, with a last message of me@x has\n"
            f"no access, it says. {_METADATA}). Detail: [errno 13] Permission denied",
            "PERMISSION_DENIED: me@x has no access, it says.",
        ),
        (
            f"google::cloud::Status(UNAVAILABLE: Retry policy exhausted, with a last message of no, with a last message"
            f" of y {_METADATA})",
            "UNAVAILABLE: no, with a last message of y",
        ),
        ("google::cloud::Status(INTERNAL: it (the server) broke)", "INTERNAL: it (the server) broke"),
        ("google::cloud::Status(NOT_FOUND: gone). Detail: [errno 2] No such file", "NOT_FOUND: gone"),
    ],
)
def test_reason(text, said):
    assert urls.reason(OSError(text)) == said


@pytest.mark.parametrize(("query", "seconds"), [("", urls.RETRY_SECONDS), ("?retry_limit_seconds=5", 5)])
def test_google_storage_that_does_not_answer_is_not_asked_for_a_quarter_of_an_hour(query, seconds):
    opened, path = urls.filesystem_of(f"gs://anonymous@bucket/folder{query}")
    by_arrow = {
        limit: pyarrow.fs.FileSystem.from_uri(f"gs://anonymous@bucket/{limit}")[0]
        for limit in ("", f"?retry_limit_seconds={seconds}")
    }
    assert [limit for limit, filesystem in by_arrow.items() if filesystem == opened] == [
        f"?retry_limit_seconds={seconds}"
    ]
    assert path == "bucket/folder"
