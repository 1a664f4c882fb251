"""Files are complete or absent."""

import os
import pickle

import pytest

from hivemill.common import errors
from hivemill.common.storage import atomic


def test_text_replaces_the_old_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "deep" / "a.json"
    atomic.write_text_atomically(path, "one")
    atomic.write_text_atomically(path, "zwei ü")
    assert path.read_text(encoding="utf-8") == "zwei ü"
    assert os.listdir(path.parent) == ["a.json"]


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    atomic.write_text_atomically(path, "old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        atomic.write_text_atomically(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "folder"
    with pytest.raises(RuntimeError), atomic.folder_published_at(target) as folder:
        (folder / "half").write_text("x")
        raise RuntimeError("killed")
    assert os.listdir(tmp_path) == []
    with atomic.folder_published_at(target) as folder:
        (folder / "whole").write_text("x")
        assert not target.exists()
    assert os.listdir(target) == ["whole"]


def test_second_writer_of_a_folder_is_refused(tmp_path):
    target = tmp_path / "folder"
    with pytest.raises(FileExistsError), atomic.folder_published_at(target) as folder:
        (folder / "mine").write_text("x")
        target.mkdir()
    assert os.listdir(target) == []


def test_two_writers_of_a_folder_that_end_at_once_are_told_apart(tmp_path, monkeypatch):
    """Between the look whether the folder is there and its rename another one may come; that is the same refusal."""
    target = tmp_path / "folder"
    monkeypatch.setattr(atomic.Path, "exists", lambda _: False)
    with pytest.raises(FileExistsError, match="folder exists already"), atomic.folder_published_at(target) as folder:
        (folder / "mine").write_text("x")
        target.mkdir()
        (target / "theirs").write_text("y")
    assert os.listdir(tmp_path) == ["folder"] and os.listdir(target) == ["theirs"]


def test_replaced_folder_is_back_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").write_text("x")
    real, seen = os.rename, []

    def full(source, place):
        seen.append(place)
        if len(seen) == 2:
            raise OSError(28, "No space left on device")
        real(source, place)

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(OSError, match="No space"), atomic.folder_published_at(target, replace=True) as folder:
        (folder / "new").write_text("y")
    assert os.listdir(tmp_path) == ["folder"] and os.listdir(target) == ["old"]
    with atomic.folder_published_at(target, replace=True) as folder:
        (folder / "new").write_text("y")
    assert os.listdir(tmp_path) == ["folder"] and os.listdir(target) == ["new"]


def test_fingerprints_depend_on_content_and_names_only(tmp_path):
    assert atomic.fingerprint({"b": 1, "a": 2}) == atomic.fingerprint({"a": 2, "b": 1})
    assert atomic.fingerprint("a", "b") != atomic.fingerprint("ab")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "m.py").write_text("a = 1")
    before = atomic.code_fingerprint(tmp_path / "x")
    (tmp_path / "x" / "notes.txt").write_text("ignored")
    assert atomic.code_fingerprint(tmp_path / "x") == before
    (tmp_path / "x" / "m.py").write_text("a = 2")
    assert atomic.code_fingerprint(tmp_path / "x") != before


def test_errors_survive_pickling_with_everything_they_carry():
    error = errors.DataNotReadyError("dt=2026-11-15 is missing", hint="Wait.", details={"a": 1})
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.message, again.hint, again.details, again.exit_code) == (
        errors.DataNotReadyError,
        error.message,
        "Wait.",
        {"a": 1},
        3,
    )


def test_exit_codes_are_the_documented_contract():
    codes = {kind.__name__: kind.exit_code for kind in errors.HivemillError.__subclasses__()}
    assert codes == {
        "ConfigError": 2,
        "DataNotReadyError": 3,
        "DataVerdictError": 4,
        "ModelNotBlessedError": 5,
        "InfrastructureError": 6,
        "LockHeldError": 7,
        "RolloutAbortedError": 8,
        "DataCorruptError": 9,
    }
