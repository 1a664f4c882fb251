"""Rows that have broken readers: extremes, NULL and empty at every level, delimiters and control characters in text.

Standard library only: Spark's interpreter and the tests' own both import this. Values by column; dates, timestamps and
decimals are text that Spark casts, structs are tuples.
"""

NAN, INF = float("nan"), float("inf")

COLUMNS = {
    "id": "int",
    "tiny": "tinyint",
    "small": "smallint",
    "whole": "int",
    "big": "bigint",
    "single": "float",
    "dbl": "double",
    "price": "decimal(9,2)",
    "exact": "decimal(38,18)",
    "huge": "decimal(38,0)",
    "flag": "boolean",
    "name": "string",
    "short": "varchar(5)",
    "code": "char(5)",
    "raw": "binary",
    "day": "date",
    "at": "timestamp",
    "words": "array<string>",
    "recent": "array<bigint>",
    "prices": "array<decimal(20,6)>",
    "seen": "array<timestamp>",
    "flags": "array<boolean>",
    "query": "map<string,string>",
    "weights": "map<int,double>",
    "geo": "struct<lat:double,place:string,zoom:int>",
    "grid": "array<array<int>>",
    "carts": "map<string,array<struct<item:int,name:string>>>",
    "page": "struct<params:map<string,array<string>>,view:struct<sizes:array<int>,inner:struct<note:string>>>",
    "steps": "array<map<string,struct<marks:array<int>>>>",
}

VALUES = {
    "tiny": [-128, 127, 0, -1],
    "small": [-32768, 32767, 0, 255],
    "whole": [-(2**31), 2**31 - 1, 0, 65536],
    "big": [-(2**63), 2**63 - 1, 0, 2**53 + 1],
    "single": [NAN, INF, -INF, -0.0, 1.401298464324817e-45, 3.4028234663852886e38, 0.1, 16777217.0],
    "dbl": [-0.0, 5e-324, 1.7976931348623157e308, NAN, INF, -INF, 0.1, 2.2250738585072014e-308, 1e21, 123456789.125],
    "price": ["9999999.99", "-9999999.99", "0.00", "-0.01", "1.10"],
    "exact": [
        "99999999999999999999.999999999999999999",
        "-99999999999999999999.999999999999999999",
        "0.000000000000000001",
        "0",
        "1.500000000000000000",
    ],
    "huge": ["99999999999999999999999999999999999999", "-1", "0", "-99999999999999999999999999999999999999"],
    "flag": [True, False],
    "name": [
        "",
        "ü 日本 😀 e\u0301 \u200b\ufeff",
        " leading and trailing ",
        "'\"`\\",
        "tab\tbell\x07nul\x00del\x7f",
        "\\n \\t \\x41 \\",
        "NULL",
        "null",
        "x" * 70_000,
        "\u2028\u0085\x0b\x0c\x1c",
        "-",
        "true",
    ],
    "short": ["", "abcde", "üüüüü", " a", "😀"],
    "code": ["", "abcde", "ab", "üü", " x"],
    "raw": [b"", bytes(range(256)), b"plain", b"\x00", b"\xff\xfe\x01\x02\x03\n\r\t\\N", b"YWJj"],
    "day": ["1970-01-01", "1969-12-31", "9999-12-31", "1900-02-28", "2024-02-29", "1582-10-15", "2026-03-08"],
    "at": [
        "1970-01-01 00:00:00",
        "1969-12-31 23:59:59.999999",
        "9999-12-31 23:59:59.999999",
        "2026-03-08 03:30:00.000001",
        "2026-11-01 01:30:00.1",
        "1900-01-01 00:00:00.5",
        "1883-11-18 12:04:00",
        "2026-02-28 12:34:56.789",
    ],
    "words": [[], [""], ["a", None, "", "b"], [None], ["rote", "schuhe", "ü 😀"], ["x"] * 300],
    "recent": [[], [2**63 - 1, -(2**63)], [None, 0, None], [None], [1]],
    "prices": [[], ["1.500000", None, "-99999999999999.999999"], ["0.000001"]],
    "seen": [[], ["2026-01-01 00:00:00.000001", None], ["1969-12-31 23:59:59.5"]],
    "flags": [[], [True, None, False]],
    "query": [{}, {"k": "v", "empty": ""}, {"": "no key"}, {"k": None, "z": "ü"}, {"utm": "a b"}],
    "weights": [{}, {1: 0.5, -2: NAN}, {0: None}, {2**31 - 1: -0.0}],
    "geo": [(1.5, "x", 3), (None, None, None), (-0.0, "", None), (NAN, "ü", 0)],
    "grid": [[], [[]], [[1, 2], [], None, [None, 3]], [None], [[4]]],
    "carts": [{}, {"a": []}, {"a": [(1, "x"), None, (None, "")]}, {"b": None, "c": [(None, None)]}],
    "page": [
        ({}, ([], ("",))),
        ({"p": ["1", None, ""], "q": []}, ([1, None], ("deep",))),
        (None, (None, None)),
        ({"r": None}, None),
        (None, None),
    ],
    "steps": [[], [{}], [{"a": ([1, 2],)}, None, {"b": None}], [{"c": ([],), "d": (None,)}]],
}


def rows(columns, values=None, count=24, *, id_column="id"):
    """The rows of these columns: all NULL, then each column's values in turn, as often as it takes.

    The first half of the rows walks through every value of every column; a column with few values repeats them, so
    that each row has neighbours of all kinds.
    """
    values = VALUES if values is None else {**VALUES, **values}
    made = [tuple(0 if name == id_column else None for name in columns)]
    for row in range(count):
        made.append(tuple(row + 1 if name == id_column else values[name][row % len(values[name])] for name in columns))
    return made
