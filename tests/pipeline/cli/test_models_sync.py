"""`hivemill models sync`, and rollout commands of a store with a mirror, as a user types them."""

import json

import pytest
import yaml

from tests.pipeline.shop import CONFIG, hivemill
from tests.serving.rollout.rollouts import make_store
from tests.support import gs_server, s3_server


@pytest.fixture
def shop(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")

    class Shop:
        objects, refusing = {}, [None]

        def configure(self, **sections):
            (tmp_path / "hivemill.yaml").write_text(yaml.safe_dump({**CONFIG, **sections}))

        def run(self, *words):
            """(exit code, standard output, standard error)."""
            capsys.readouterr()
            code = hivemill(tmp_path / "hivemill.yaml", *words)
            return code, *capsys.readouterr()

    made = Shop()
    with s3_server.serving(made.objects, before_write=lambda method, keys: made.refusing[0]) as port:
        made.url = f"s3://bucket/models?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
        made.configure(store={"mirror": made.url})
        yield made


def test_sync_brings_the_copy_up_and_says_what_it_did(shop, tmp_path):
    code, _, err = shop.run("models", "sync")
    assert code == 2 and "No version of shop" in err
    (version,) = make_store(tmp_path / "root", 1).versions()
    code, out, _ = shop.run("models", "sync")
    assert code == 0 and f"uploaded shop/{version}/saved_model.pb" in out
    assert out.splitlines()[-1] == "s3://bucket/models is as the store."
    assert f"bucket/models/shop/{version}/saved_model.pb" in shop.objects
    code, out, _ = shop.run("models", "sync", "--json")
    assert code == 0 and json.loads(out) == {"mirror": "s3://bucket/models", "uploaded": [], "removed": []}


def test_a_bucket_that_refuses_is_exit_code_6(shop, tmp_path):
    make_store(tmp_path / "root", 1)
    shop.refusing[0] = 403
    code, _, err = shop.run("models", "sync")
    assert code == 6 and "store.mirror s3://bucket/models/shop/" in err and "cannot be written" in err
    assert "credentials must be allowed to list, read, write and delete" in err and "SECRET" not in err


def test_google_storage_that_refuses_says_it_in_words(shop, tmp_path):
    (version,) = make_store(tmp_path / "root", 1).versions()
    objects, refusing = {}, [403]
    with gs_server.serving_here(objects, lambda method, names: refusing[0]) as port:
        url = f"gs://anonymous@bucket/models?endpoint_override=127.0.0.1:{port}&scheme=http&retry_limit_seconds=3"
        shop.configure(store={"mirror": url})
        code, _, err = shop.run("models", "sync")
        assert code == 6 and not objects
        key = f"gs://bucket/models/shop/{version}/hivemill_files.json"
        assert f"store.mirror {key} cannot be written: PERMISSION_DENIED: The fake says 403." in err
        assert "credentials must be allowed to list, read, write and delete" in err and "retry" not in err
        refusing[0] = None
        code, out, _ = shop.run("models", "sync")
        assert code == 0 and out.splitlines()[-1] == "gs://bucket/models is as the store."
        assert f"models/shop/{version}/saved_model.pb" in objects


def test_rollout_commands_keep_the_copy_up(shop, tmp_path):
    old, new = make_store(tmp_path / "root", 2).versions()
    assert shop.run("rollout", "start", "--without-server")[0] == 0
    assert json.loads(shop.objects["bucket/models/shop/labels.json"])["labels"] == {"canary": new, "stable": old}
    shop.refusing[0] = 403
    code, _, err = shop.run("rollback", "--without-server")
    assert code == 6 and f"the store is back at [{old}], but store.mirror" in err
    shop.refusing[0] = None
    assert shop.run("rollback", "--without-server")[0] == 0
    assert json.loads(shop.objects["bucket/models/shop/labels.json"])["labels"] == {"canary": old, "stable": old}


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({}, "store.mirror is not set"),
        (
            {"store": {"mirror": "ftp://bucket/models"}},
            "store.mirror: must be s3://BUCKET/FOLDER or gs://BUCKET/FOLDER",
        ),
        ({"store": {"mirror": "s3://KEY:PASS@bucket/models"}}, "s3://bucket/models holds credentials"),
        ({"rollout": {"server_reads": "mirror"}}, "so store.mirror must say where that is"),
    ],
)
def test_a_config_that_is_wrong_names_the_key(shop, sections, said):
    shop.configure(**sections)
    code, _, err = shop.run("models", "sync")
    assert code == 2 and said in err and "PASS" not in err
