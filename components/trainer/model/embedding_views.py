"""Embeddings for TensorBoard: histograms by feature and epoch, and the files of its projector. Both by option.

train/projector_config.pbtxt         which files there are (tensorboard.plugins.projector's own message)
train/projector/<feature>.tsv        one embedding per line
train/projector/<feature>.terms.tsv  metadata: term and rank, in the same order
"""

from __future__ import annotations

import itertools
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from hivemill.components.features import FeatureSet
from hivemill.components.trainer.model.deepfm import DeepFM, IdField, MultivalentField
from hivemill.components.trainer.model.fields import vocabulary_path
from hivemill.components.transform import layout as layout_lib

MAX_HISTOGRAM_ROWS = 8_192  # TensorBoard's summary makes 30 float64 of each value: 20 MB at embedding size 10
PROJECTOR_FOLDER = "projector"


class EmbeddingViews:
    """The embeddings of a model by the names of its features. Numeric features have one row each: they are left out.

    `features` in the order of the model's fields (components/trainer/model/fields.py).
    """

    def __init__(self, model: DeepFM, features: FeatureSet):
        self._model, self._features = model, features
        named = zip(features.features, model.fields, strict=True)
        self._fields = {name: field for name, field in named if isinstance(field, IdField | MultivalentField)}

    def histograms(self) -> Mapping[str, tf.Tensor]:
        """Tag -> values: `embeddings/<feature>` and `first_order/<feature>`."""
        found = {}
        for name, field in self._fields.items():
            rows = self._model.embedding_rows(field, every=-(-field.num_ids // MAX_HISTOGRAM_ROWS))
            found[f"embeddings/{name}"], found[f"first_order/{name}"] = rows[:, :-1], rows[:, -1]
        return found

    def write_projector(self, folder: Path, transform_output: tft.TFTransformOutput, max_terms: int) -> None:
        """Writes the first `max_terms` terms of each vocabulary below `folder`, TensorBoard's folder of one run.

        Features without a vocabulary (hashed ones, crosses, buckets) have no terms to show. Raises OSError.
        """
        from tensorboard.plugins import projector

        config = projector.ProjectorConfig()
        (folder / PROJECTOR_FOLDER).mkdir(parents=True, exist_ok=True)
        for name, field in self._fields.items():
            if not layout_lib.uses_vocabulary(self._features.features[name]):
                continue
            terms = list(itertools.islice(_terms(vocabulary_path(name, transform_output)), max_terms))
            stem = f"{PROJECTOR_FOLDER}/{urllib.parse.quote(name, safe='')}"
            rows = self._model.embedding_rows(field).numpy()[: len(terms), :-1]
            np.savetxt(folder / f"{stem}.tsv", rows, fmt="%.5g", delimiter="\t")
            lines = ["term\trank", *(f"{term}\t{rank}" for rank, term in enumerate(terms, start=1))]
            (folder / f"{stem}.terms.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
            config.embeddings.add(
                tensor_name=name, tensor_path=f"{stem}.tsv", metadata_path=f"{stem}.terms.tsv", tensor_shape=rows.shape
            )
        projector.visualize_embeddings(str(folder), config)


def _terms(path: str) -> Iterator[str]:
    """The tokens of a vocabulary file, the most frequent first, each fit for one cell of a table."""
    with tf.io.gfile.GFile(path, "rb") as file:
        for line in file:
            text = line.rstrip(b"\n").decode("utf-8", "replace")
            yield "".join(character if character.isprintable() else " " for character in text)
