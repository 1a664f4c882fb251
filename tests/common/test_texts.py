"""Texts that are shown."""

from common.texts import shortened


def test_long_texts_are_cut_with_a_sign_of_it():
    assert shortened("abcdef", 4) == "abc…"
    assert shortened("abcd", 4) == "abcd"
