"""How Vertex AI's containers find an artifact's class: by the title in the compiled file.

Of a type that is not TFX's own, the title is TYPE_NAME, of the form `namespace.Title`, and the container imports it as
`from namespace import Title`. Ours have other names in ML Metadata (HivemillWindowManifest), and new ones would cut a
run off from the artifacts of the release before. So they have their title while a file is compiled, and then only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from hivemill.components.artifacts import DataVerdict, ModelVerdict, WindowManifest

TYPES = (DataVerdict, ModelVerdict, WindowManifest)


@contextlib.contextmanager
def importable_titles() -> Iterator[None]:
    """Within, Hivemill's artifact types are called as they are imported. Make components before."""
    names = {kind: kind.TYPE_NAME for kind in TYPES}
    try:
        for kind in TYPES:
            kind.TYPE_NAME = f"hivemill.{kind.__name__}"
        yield
    finally:
        for kind, name in names.items():
            kind.TYPE_NAME = name
