"""A vocabulary file: one token per line, the most frequent first; the number of the line is the token's id.

A token that holds a backslash or a line end stands there escaped (`\\\\`, `\\n`, `\\r`), the empty one as two quotes.
"""

from __future__ import annotations

import dataclasses
import heapq
import os
import re
from collections.abc import Iterable, Sequence

import tensorflow as tf

from hivemill.components.features import Feature, NumericFeature
from hivemill.components.transform import layout as layout_lib

_EMPTY = b'""'  # the empty string as a line: an empty line would not survive the reader (preprocessing does the same)
_ESCAPES = ((b"\\", b"\\\\"), (b"\n", b"\\n"), (b"\r", b"\\r"))  # in this order
_NO_TOKEN = b"<no token was frequent enough>"  # a lookup table cannot be built from an empty file


@dataclasses.dataclass(frozen=True)
class VocabularyRule:
    """Which tokens of one field are kept: those with `min_count` occurrences, of them the `max_size` most frequent."""

    file_name: str
    min_count: int
    max_size: int | None = None

    @classmethod
    def of(cls, name: str, feature: Feature) -> VocabularyRule:
        assert not isinstance(feature, NumericFeature)  # has no vocabulary
        return cls(layout_lib.vocabulary_file_name(name), feature.min_count, feature.max_size)  # type: ignore[union-attr]


def line_of(token: bytes) -> bytes:
    """The line that stands for a token: itself, or escaped where it holds a line end or looks like something escaped.

    `escaped_tokens` does the same in the graph.
    """
    if not token:
        return _EMPTY
    if token == _EMPTY:
        return b"\\" + token
    if not any(special in token for special, _ in _ESCAPES):
        return token
    for special, escape in _ESCAPES:
        token = token.replace(special, escape)
    return token


def is_escaped(line: bytes) -> bool:
    return b"\\" in line


def escaped_tokens(tokens: tf.Tensor) -> tf.Tensor:
    """`line_of` each token but the empty one, strings of any shape."""
    lines = tokens
    for special, escape in _ESCAPES:
        lines = tf.strings.regex_replace(lines, re.escape(special), escape.replace(b"\\", b"\\\\"))
    return tf.where(tokens == tf.constant(_EMPTY), tf.constant(b"\\" + _EMPTY), lines)


def ordered_tokens(entries: Iterable[tuple[int, bytes]], max_size: int | None) -> list[bytes]:
    """Lines of the (count, token) pairs: by descending count, ties in byte order, so that the same data gives the same
    ids on every runner."""

    def order(entry: tuple[int, bytes]) -> tuple[int, bytes]:
        return -entry[0], entry[1]

    kept = sorted(entries, key=order) if max_size is None else heapq.nsmallest(max_size, entries, key=order)
    return [line_of(token) for _, token in kept]


def write_vocabulary(path: str, lines: Sequence[bytes]) -> None:
    """By TensorFlow's filesystems, since the folder may be remote; it is made."""
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(b"".join(line + b"\n" for line in lines or [_NO_TOKEN]))
