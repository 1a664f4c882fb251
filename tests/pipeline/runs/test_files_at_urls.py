"""What a config names as a file may be in an object store: DDL, statistics, curated schema."""

from __future__ import annotations

from pathlib import Path

import pytest

from hivemill.common.errors import ConfigError
from hivemill.common.storage import object_store
from hivemill.components.hive_example_gen.table.ddl import read_ddl
from hivemill.pipeline.config.loader import load
from tests.support import object_stores
from tests.support.small_config import small_config

DDL = b"CREATE TABLE log (id bigint,\r\n click int)\r\nPARTITIONED BY (dt string) STORED AS PARQUET;\r\n"


@pytest.fixture(params=object_stores.KINDS)
def bucket(request, tmp_path, monkeypatch):
    """The URL of a folder in it."""
    with object_stores.bucket(request.param, tmp_path, monkeypatch) as (_, url):
        yield url


def test_ddl_is_read_where_it_is(bucket, tmp_path):
    (tmp_path / "log.hql").write_bytes(DDL)
    object_store.write_bytes(f"{bucket}/log.hql", DDL)
    there, here = read_ddl(f"{bucket}/log.hql"), read_ddl(tmp_path / "log.hql")
    assert there == here and list(there.columns) == ["id", "click"]
    with pytest.raises(ConfigError, match=r"source\.ddl: cannot read .*/other\.hql.*no such object"):
        read_ddl(f"{bucket}/other.hql")


def test_content_at_a_url_is_what_changes_the_configs_fingerprint(bucket, tmp_path):
    schema = f"{bucket}/schema.pbtxt"
    object_store.write_bytes(schema, b"feature {}")
    path = tmp_path / "hivemill.yaml"
    path.write_text(small_config(f"data_verdict: {{schema_path: {schema}}}"))
    first = load(path).config.semantic_fingerprint()
    assert load(path).config.semantic_fingerprint() == first
    object_store.write_bytes(schema, b"feature { }")
    assert load(path).config.semantic_fingerprint() != first
    object_store.delete(schema)
    with pytest.raises(ConfigError, match=r"data_verdict\.schema_path: .* cannot be read: no such object"):
        load(path).config.semantic_fingerprint()


def test_file_of_this_machine(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"\x00\xff")
    assert object_store.file_bytes(tmp_path / "a") == object_store.file_bytes(str(tmp_path / "a")) == b"\x00\xff"
    with pytest.raises(FileNotFoundError):
        object_store.file_bytes(tmp_path / "b")
