"""What the watcher of benchmarks/kill calls half a version, it finds; what a publication looks like, it lets pass."""

import json
import shutil

import pytest

from benchmarks import _kill_store
from hivemill.serving.store.model_store import ModelStore


@pytest.fixture
def model(tmp_path):
    exported = tmp_path / "exported"
    (exported / "variables").mkdir(parents=True)
    (exported / "saved_model.pb").write_bytes(b"graph")
    (exported / "variables" / "variables.index").write_bytes(b"index")
    return exported


def test_publications_and_labels_are_seen_whole(tmp_path, model):
    with _kill_store.Watcher(tmp_path / "models" / "shop") as watcher:
        store = ModelStore(tmp_path / "models", "shop")
        for number in range(20):
            store.set_label("canary", store.publish(model, {}, str(number)))
    assert watcher.faults() == []
    assert watcher.num_looks() > 5


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda folder: (folder / "7" / "saved_model.pb").unlink(), "without saved_model.pb"),
        (lambda folder: (folder / "7" / "more").write_bytes(b"x"), "files changed"),
        (lambda folder: shutil.rmtree(folder / "7"), "label stable of a version that is not there"),
        (lambda folder: (folder / "labels.json").write_text('{"labels'), "not whole"),
    ],
)
def test_what_is_not_whole_is_found(tmp_path, damage, fault):
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "labels.json").write_text(json.dumps({"labels": {"stable": 7}}))
    seen: dict[str, str] = {}
    assert _kill_store.look(tmp_path, seen) == []
    damage(tmp_path)
    assert [one for one in _kill_store.look(tmp_path, seen) if fault in one]
