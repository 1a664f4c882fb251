"""RegexSerDe, and Java's patterns in Python's words."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.formats.serde.java_regex import python_pattern
from tests.components.hive_example_gen.formats.text_reading import read_text, told

LOG = {"host": "string", "status": "int", "bytes": "bigint", "agent": "string"}
PATTERN = r'([^ ]*) ([0-9]*) ([0-9-]*)(?: "([^"]*)")?'


def _read(folder, data, columns=LOG, pattern=PATTERN, properties=(), **options):
    given_properties = {"input.regex": pattern, **dict(properties)}
    return read_text(folder, data.encode(), columns, serde="regex", properties=given_properties, **options)


def test_groups_are_columns(tmp_path):
    data = '10.0.0.1 200 5120 "Mozilla (ü)"\nhost 404 0\nh  1 ""\n'
    rows, bad = _read(tmp_path, data)
    assert rows == [("10.0.0.1", 200, 5120, "Mozilla (ü)"), ("host", 404, 0, None), ("h", None, 1, "")]
    assert not bad.total


def test_rows_that_do_not_match(tmp_path):
    data = "no match\nh 200 - \nh 99999999999 1\nh 1 1\n"
    rows, bad = _read(tmp_path, data)
    assert rows == [("h", 1, 1, None)]
    assert told(bad) == [(1, "structure", None), (2, "structure", None), (3, "value", "status")]
    rows, bad = _read(tmp_path, data, values="null")
    assert rows == [(None,) * 4, (None,) * 4, ("h", None, 1, None), ("h", 1, 1, None)]
    assert bad.notes == {"row_as_null": 2, "value_as_null": 1}


def test_the_whole_row_must_match_and_case_may_be_ignored(tmp_path):
    data = "GET /a\nget /b\nxGET /c\n"
    rows, bad = _read(tmp_path, data, {"path": "string"}, "GET (.*)")
    assert (rows, bad.total) == ([("/a",)], 2)
    insensitive = {"input.regex.case.insensitive": "true"}
    assert _read(tmp_path, data, {"path": "string"}, "GET (.*)", insensitive)[0] == [("/a",), ("/b",)]


def test_bytes_that_are_not_utf8(tmp_path):
    rows, bad = read_text(
        tmp_path, b"a\n\xff\n", {"s": "string"}, serde="regex", properties={"input.regex": "(.*)"}, values="null"
    )
    assert (rows, told(bad)) == ([("a",)], [(2, "encoding", None)])


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        (None, "no property input.regex"),
        ("(a)(b)", "input.regex has 2 groups, the table 1 columns"),
        ("(a", "is no regular expression"),
        ("([a)", "never closed"),
        ("(a*+)", "possessive"),
        ("(?>a)(b)", "the group"),
        ("(a(?i)b)", "the group"),
        ("([a-z&&[^b]])", "&& in a class"),
        ("([a[b]])", "a class inside a class"),
        (r"(\p{IsAlphabetic})", "not supported"),
        (r"(\R)", "not supported"),
        ("([]x])", "a class inside a class"),  # Java has it for a ] in the class
        (r"(\01)", "not supported"),
        ("(a{,3})", "a { that begins no quantifier"),
    ],
)
def test_what_is_refused(tmp_path, pattern, problem):
    properties = {"input.regex": pattern} if pattern is not None else {}
    with pytest.raises(ConfigError, match=problem) as raised:
        read_text(tmp_path, b"a\n", {"s": "string"}, serde="regex", properties=properties)
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("java", "matches", "does_not"),
    [
        (r"\Qa.b[\E(x)", "a.b[x", "aXb[x"),
        (r"(?<name>a)\k<name>", "aa", "ab"),
        (r"([\p{Alpha}_]+)", "ab_", "ü"),
        (r"(\p{Digit}+)\P{Digit}", "1a", "11"),
        (r"(\w+)", "ab1", "ü"),
        (r"(\d+)", "12", "\u0661"),
        (r"(\h)", "\u3000", "\n"),
        (r"(a|b)\z", "a", "c"),
        (r"(?i)(get)", "GET", "PUT"),
        (r"([\]x])", "]", "y"),
        (r"(\x41\u0042)", "AB", "ab"),
        (r"(a{2,3})", "aa", "a"),
        (r"([^\]]*)\]", "a]", "]]"),
        (r"(.)", "\n", ""),
        (r"(\-\_\/)", "-_/", "x"),
    ],
)
def test_java_patterns(java, matches, does_not):
    pattern = python_pattern(java, ignore_case=False)
    assert pattern.fullmatch(matches)
    assert not pattern.fullmatch(does_not)


@settings(max_examples=200)
@given(java=st.text(st.sampled_from(r"()[]{}?*+|.^$\-&:<>=!1,abQEpkxiszdw"), max_size=12))
def test_any_pattern_is_compiled_or_refused(java):
    try:
        python_pattern(java, ignore_case=True)
    except ConfigError as error:
        assert "input.regex" in error.message
