"""Texts that are shown."""

from hivemill.common.text import did_you_mean, nearest, shortened


def test_long_texts_are_cut_with_a_sign_of_it():
    assert shortened("abcdef", 4) == "abc…"
    assert shortened("abcd", 4) == "abcd"


def test_the_nearest_name_keeps_its_case():
    assert nearest("PRISE", ["colour", "Price"]) == "Price"
    assert nearest("x", ["colour", "Price"]) is None


def test_the_end_of_a_message_about_a_name():
    assert did_you_mean("prise", ["price", "colour"]) == "did you mean `price`?"
    assert did_you_mean("x", ["price", "colour"]) == "known: price, colour"
    assert did_you_mean("x", []) == "none are known"
