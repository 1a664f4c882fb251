"""Checkpoints that outlive the process in an object store. No TensorFlow: files as its manager writes them."""

import pytest

from hivemill.common.storage import object_store
from hivemill.components.trainer.loop.checkpoint_storage import kept_at
from tests.support.object_stores import KINDS, bucket


@pytest.fixture(params=KINDS)
def url(request, monkeypatch, tmp_path):
    with bucket(request.param, tmp_path, monkeypatch) as (_, place):
        yield f"{place}/checkpoints/abc"


def save(folder, step):
    """As max_to_keep=1 leaves it."""
    state = folder / "state"
    state.mkdir(exist_ok=True)
    for old in state.glob("ckpt-*"):
        old.unlink()
    (state / f"ckpt-{step}.index").write_text("i")
    (state / f"ckpt-{step}.data-00000-of-00001").write_text(str(step))
    (state / "checkpoint").write_text(f"ckpt-{step}")


def test_next_process_finds_the_newest_one(url):
    with kept_at(url) as kept:
        assert not list(kept.folder.iterdir())
        for step in (1, 2):
            save(kept.folder, step)
            kept.put()
    assert not kept.folder.exists()
    assert sorted(object_store.sizes(url)) == [
        "state/checkpoint",
        "state/ckpt-2.data-00000-of-00001",
        "state/ckpt-2.index",
    ]
    with kept_at(url) as again:
        assert (again.folder / "state" / "checkpoint").read_text() == "ckpt-2"
        again.remove()
    assert object_store.sizes(url) == {}


def test_half_a_checkpoint_of_a_killed_process_is_written_over(url):
    """Its index without its data: an index fits its own data only."""
    object_store.write_bytes(f"{url}/state/ckpt-1.index", b"of the one that was killed")
    with kept_at(url) as kept:
        save(kept.folder, 1)
        kept.put()
    assert object_store.read_bytes(f"{url}/state/ckpt-1.index") == b"i"


def test_only_what_changed_is_put(tmp_path, monkeypatch):
    changes = []
    told = lambda method, keys: changes.extend(key.rpartition("/")[2] for key in keys)  # noqa: E731
    with bucket("s3", tmp_path, monkeypatch, before_write=told) as (_, place), kept_at(f"{place}/x") as kept:
        save(kept.folder, 1)
        kept.put()
        changes.clear()
        (kept.folder / "best").mkdir()
        (kept.folder / "best" / "epoch-1.index").write_text("i")
        kept.put()
    assert [name for name in changes if name] == ["epoch-1.index"]


def test_what_names_the_newest_comes_after_it_and_the_old_one_goes_last(tmp_path, monkeypatch):
    changes = []
    told = lambda method, keys: changes.extend((method, key.rpartition("/")[2]) for key in keys)  # noqa: E731
    with bucket("s3", tmp_path, monkeypatch, before_write=told) as (_, place), kept_at(f"{place}/x") as kept:
        save(kept.folder, 1)
        kept.put()
        changes.clear()
        save(kept.folder, 2)
        kept.put()
    written = [change for change in changes if change[1]]
    assert written.index(("PUT", "checkpoint")) > written.index(("PUT", "ckpt-2.index"))
    assert next(name for method, name in written if method == "DELETE").startswith("ckpt-1")
    assert written.index(("PUT", "checkpoint")) < written.index(("DELETE", "ckpt-1.index"))


def test_folder_on_a_disk_stays_where_it_is(tmp_path):
    with kept_at(str(tmp_path / "x")) as kept:
        kept.folder.mkdir()
        kept.put()
    assert kept.folder == tmp_path / "x" and kept.folder.is_dir()
    kept.remove()
    assert not kept.folder.exists()
