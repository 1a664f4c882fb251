"""What a process that loads TensorFlow leaves behind."""

import importlib.util
import sys

from hivemill.common.runtime import remove_generated_files


def test_sources_that_autograph_generated_are_removed_with_their_bytecode(tmp_path, monkeypatch):
    """As TensorFlow's autograph/pyct/loader.py makes them; nothing else in the folder goes."""
    names = ["__autograph_generated_file1", "__autograph_generated_file2", "mine"]
    for name in names:
        file = tmp_path / f"{name}.py"
        file.write_text("VALUE = 1\n")
        spec = importlib.util.spec_from_file_location(name, file)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setattr(sys, "dont_write_bytecode", False)
        spec.loader.exec_module(module)
        monkeypatch.setitem(sys.modules, name, module)
    (tmp_path / "__autograph_generated_file2.py").unlink()  # somebody tidied up
    remove_generated_files()
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert len(left) == 2 and all(name.startswith("mine.") for name in left)
