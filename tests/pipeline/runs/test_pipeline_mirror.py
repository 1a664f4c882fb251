"""A whole run with a bucket that does not follow: exit code 6, the version is in the store, and the run goes on."""

import pytest

from hivemill.serving.store.model_store import ModelStore
from tests.pipeline.shop import RUN_DATE, hivemill, make_shop
from tests.support import s3_server

pytestmark = pytest.mark.slow


def test_a_run_whose_bucket_is_behind_fails_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    config = make_shop(tmp_path, rows_per_day=1_000)
    objects, refusing = {}, [403]
    with s3_server.serving(objects, before_write=lambda method, keys: refusing[0]) as port:
        url = f"s3://bucket/models?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
        run = ("run", "--date", RUN_DATE, "--set", f"store.mirror='{url}'")
        assert hivemill(config, *run) == 6
        store = ModelStore(tmp_path / "root" / "models", "shop")
        (version,) = store.versions()
        told = capsys.readouterr().err
        assert f"version {version} is in the store, but store.mirror s3://bucket/models/shop/{version}/" in told
        assert "`hivemill models sync`" in told
        refusing[0] = None
        assert hivemill(config, *run) == 0
    assert store.versions() == [version]
    there = {file.relative_to(store.path).as_posix() for file in store.path_of(version).rglob("*") if file.is_file()}
    assert there <= {key.removeprefix("bucket/models/") for key in objects}
    assert f"s3://bucket/models/{store.model}".encode() in objects["bucket/models/models.config"]
