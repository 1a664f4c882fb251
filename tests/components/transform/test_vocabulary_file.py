"""Tokens of any bytes stand in a vocabulary: escaped in the file, and in the graph alike."""

from __future__ import annotations

import pytest
import tensorflow as tf

from hivemill.components.transform.vocabulary_file import (
    escaped_tokens,
    is_escaped,
    line_of,
    ordered_tokens,
    write_vocabulary,
)

TOKENS = [b"a", b"a\nb", b"a\\nb", b"a\rb", b"\r\n", b"\\", b'""', b'\\""', b"x\x00y", b"\xff\xfe", "价".encode(), b" "]


@pytest.mark.parametrize("token", TOKENS)
def test_the_graph_escapes_as_the_file_does(token):
    assert escaped_tokens(tf.constant([token])).numpy().tolist() == [line_of(token)]
    assert b"\n" not in line_of(token) and b"\r" not in line_of(token)


def test_no_two_tokens_share_a_line():
    assert len({line_of(token) for token in [*TOKENS, b""]}) == len(TOKENS) + 1
    assert [token for token in TOKENS if is_escaped(line_of(token))] == [
        b"a\nb", b"a\\nb", b"a\rb", b"\r\n", b"\\", b'""', b'\\""'
    ]  # fmt: skip


def test_every_token_is_found_in_its_file(tmp_path):
    lines = ordered_tokens([(2, token) for token in TOKENS], None)
    write_vocabulary(str(tmp_path / "v"), lines)
    file = tf.lookup.TextFileInitializer(
        str(tmp_path / "v"),
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )
    table = tf.lookup.StaticHashTable(file, -1)
    found = table.lookup(escaped_tokens(tf.constant(TOKENS))).numpy().tolist()
    assert sorted(found) == list(range(len(TOKENS)))
