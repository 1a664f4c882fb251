"""Folders of an object store, through Arrow's own clients."""

import pytest

from hivemill.common.errors import InfrastructureError
from hivemill.common.storage import object_store
from tests.support.object_stores import KINDS, bucket


@pytest.fixture(params=KINDS)
def place(request, monkeypatch, tmp_path_factory):
    with bucket(request.param, tmp_path_factory.mktemp("keys"), monkeypatch) as (objects, url):
        yield objects, url


def written(folder, **files):
    for name, content in files.items():
        file = folder / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return folder


def test_put_then_fetch_is_the_same_folder(place, tmp_path):
    _, url = place
    source = written(tmp_path / "source", a="1", b__c="22", b__d__e="")
    object_store.put(source, f"{url}/x")
    assert object_store.sizes(f"{url}/x") == {"a": 1, "b/c": 2, "b/d/e": 0}
    object_store.fetch(f"{url}/x", tmp_path / "copy")
    assert object_store.files_below(tmp_path / "copy") == ["a", "b/c", "b/d/e"]
    assert (tmp_path / "copy" / "b" / "c").read_text() == "22"


def test_a_name_says_nothing_of_the_content(place, tmp_path):
    """Arrow would compress what is called so, and decompress what is read."""
    objects, url = place
    source = written(tmp_path / "source", **{"a.gz": "1"})
    object_store.put(source, f"{url}/x")
    object_store.write_bytes(f"{url}/b.bz2", b"2")
    assert sorted(objects.values()) == [b"1", b"2"]
    assert object_store.read_bytes(f"{url}/x/a.gz") == b"1"
    object_store.fetch(f"{url}/x", tmp_path / "copy")
    assert (tmp_path / "copy" / "a.gz").read_text() == "1"


def test_names_with_hive_escapes_stay_what_they_are(place, tmp_path):
    _, url = place
    name = "dt=a%3Ab%2Fc/größe x/000000_0"
    object_store.write_bytes(f"{url}/{name}", b"1")
    assert object_store.sizes(url) == {name: 1}
    object_store.fetch(url, tmp_path)
    assert (tmp_path / name).read_bytes() == b"1"


def test_nothing_there(place, tmp_path):
    _, url = place
    assert object_store.sizes(f"{url}/none") == {}
    assert object_store.read_bytes(f"{url}/none") is None
    assert not object_store.is_file(f"{url}/none")
    object_store.delete(f"{url}/none")
    object_store.fetch(f"{url}/none", tmp_path)


def test_delete_takes_all_below_and_nothing_beside(place):
    _, url = place
    for name in ("a/1", "a/2/3", "ab"):
        object_store.write_bytes(f"{url}/{name}", b"x")
    object_store.delete(f"{url}/a")
    assert object_store.sizes(url) == {"ab": 1}


def test_copy_within_the_store(place):
    _, url = place
    object_store.write_bytes(f"{url}/a", b"content")
    object_store.copy(f"{url}/a", f"{url}/b/c")
    assert object_store.read_bytes(f"{url}/b/c") == b"content"


def test_last_comes_last(tmp_path, monkeypatch):
    order = []
    source = written(tmp_path / "source", saved_model="x", a__z="x", labels="x")
    with bucket("s3", tmp_path, monkeypatch, before_write=lambda method, keys: order.extend(keys)) as (_, url):
        object_store.put(source, url, last=("saved_model", "labels"))
    assert order[1:] == ["bucket/folder/saved_model", "bucket/folder/labels"]


def test_error_names_the_url_and_no_file_is_taken_for_put(tmp_path, monkeypatch):
    source = written(tmp_path / "source", a="x")
    with bucket("s3", tmp_path, monkeypatch, before_write=lambda method, keys: 403) as (objects, url):
        with pytest.raises(InfrastructureError, match=r"s3://bucket/folder/a cannot be written: .*ACCESS_DENIED"):
            object_store.put(source, url)
        assert objects == {}
