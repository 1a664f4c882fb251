"""Files of click rates beside the files of a split: the n-th row's numbers for the n-th row (`input.RateFiles`)."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from hivemill.components.trainer.input import InputSource, RateFiles
from hivemill.components.trainer.rates.layer import ClickRates
from hivemill.components.trainer.rates.rows import in_time_order, places_in_time
from hivemill.components.transform.layout import BLOCK_ROWS


def write_training_rates(
    source: InputSource, rows_of_files: Sequence[int], of_newest: np.ndarray, rates: ClickRates, folder: Path
) -> RateFiles:
    """`of_newest` float16 [N, R]: the numbers of the newest rows. Older ones are looked up; they were not counted."""
    places = places_in_time(rows_of_files)
    num_older = len(places) - len(of_newest)
    older = in_time_order(source).take(num_older).batch(BLOCK_ROWS).map(source.parse) if num_older else ()
    looked_up = (rates(inputs).numpy().astype(np.float16) for inputs, _, _ in older)
    starts = range(0, len(of_newest), BLOCK_ROWS)
    known = (of_newest[start : start + BLOCK_ROWS] for start in starts)
    files = _files(folder, "train", len(rows_of_files))
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(file.open("wb")) for file in files]
        start = 0
        for numbers in itertools.chain(looked_up, known):
            of_file = places[start : start + len(numbers)]
            for number in np.unique(of_file):
                opened[number].write(numbers[of_file == number].tobytes())
            start += len(numbers)
    return RateFiles(tuple(map(str, files)), rates.width)


def write_validation_rates(source: InputSource, rates: ClickRates, folder: Path) -> RateFiles:
    """The numbers that serving gives to each row."""
    files = _files(folder, "validation", len(source.files))
    lookup = tf.function(
        lambda serialized: tf.cast(rates(source.parse(serialized)[0]), tf.float16), reduce_retracing=True
    )
    for name, file in zip(source.files, files, strict=True):
        with file.open("wb") as opened:
            for batch in tf.data.TFRecordDataset(name, "GZIP").batch(BLOCK_ROWS):
                opened.write(lookup(batch).numpy().tobytes())
    return RateFiles(tuple(map(str, files)), rates.width)


def _files(folder: Path, split: str, count: int) -> list[Path]:
    return [folder / f"{split}-{number}.float16" for number in range(count)]
