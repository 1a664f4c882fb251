"""Damaged JSON is named for what it is, whatever it is."""

from __future__ import annotations

import pytest

from hivemill.common.storage import json_files


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not valid JSON in UTF-8"),
        (b'{"a": 1', "not valid JSON in UTF-8"),
        (b"\xff\xfe{}", "not valid JSON in UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[1, 2]", "must be a JSON object; it is a list"),
        (b"null", "it is a NoneType"),
    ],
)
def test_damage_is_named(tmp_path, content, why):
    (tmp_path / "f.json").write_bytes(content)
    with pytest.raises(json_files.DamagedJsonError, match=why):
        json_files.read_object(tmp_path / "f.json")


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(json_files, "MAX_BYTES", 3)
    (tmp_path / "f.json").write_text('{"a": 1}')
    with pytest.raises(json_files.DamagedJsonError, match="larger than 3 bytes"):
        json_files.read_object(tmp_path / "f.json")
