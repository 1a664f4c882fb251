"""Tables whose files no engine writes any more but many companies have: odd numbers, torn rows, OpenCSV, regex logs.

Standard library only: Spark's interpreter and the tests' own both import this.
"""

from __future__ import annotations

from tests.components.hive_example_gen.conformance.conformance_tables import (
    OPEN_CSV,
    REGEX,
    Table,
    lazy_simple,
    only,
    rows,
)

_NUMBERS = [
    "1", " 1", "1 ", "+1", "-0", "1.0", "1.9", "-1.9", "1.x", "1e3", "0x10", "", "127", "128", "-129", "32768",
    "2147483648", "-2147483649", "9223372036854775807", "9223372036854775808", "1_000", "1,000", "--1", "-", "+",
    ".", "1L", "1f", "1d", "00012", "NULL", "true", "\u0661", ".5", "1.", "NaN", "nan", "Infinity", "-Infinity", "inf",
    "0x1p3", "1e400", "-1e-400", "1e-46", "3.4028236e38", "1E5", "1.005", "-1.005", "12345678.9", "9999999.994",
    "9999999.995", "1e2", "\u00a01", "1\t", "99999999999999999999", "0.1e1", "\\N", "e5", "1e", "1 1", "1.5e-3",
]  # fmt: skip
_BOOLEANS = ["true", "TRUE", "True", "false", "False", "t", "f", "1", "0", "yes", "", " true", "true ", "\\N", "truex"]
_DATES = [
    "2026-02-28", "2026-1-2", "2026-01-02 03:04:05", " 2026-01-02", "2026-01-02 ", "20260102", "2026-13-01",
    "2026-00-10", "2026-02-32", "0001-01-01", "9999-12-31", "2026/01/02", "", "\\N", "today", "26-01-02", "-2026-01-02",
    "2026-02-30",
]  # fmt: skip
_TIMESTAMPS = [
    "2026-01-02 03:04:05", "2026-01-02 03:04:05.1", "2026-01-02 03:04:05.123456789", "2026-01-02 03:04:05.1234567891",
    "2026-01-02 3:4:5", "2026-1-2 03:04:05", "2026-01-02 03:04:05.", " 2026-01-02 03:04:05", "2026-01-02 03:04:05 ",
    "", "\\N", "1262304000", "2026-01-02 03:04:05Z", "2026-01-02 25:00:00", "now", "2026-13-02 03:04:05",
    "9999-12-31 23:59:59.999999", "1969-12-31 23:59:59.5", "2026-02-30 01:02:03", "2026-01-02", "2026-01-02T03:04:05",
]  # fmt: skip
_NUMBER_COLUMNS = {
    "tiny": "tinyint", "small": "smallint", "whole": "int", "big": "bigint", "single": "float", "dbl": "double",
    "price": "decimal(9,2)", "exact": "decimal(38,18)", "told": "string",
}  # fmt: skip

_TEXT = "STORED AS TEXTFILE"
_PIPE = "ROW FORMAT DELIMITED FIELDS TERMINATED BY '|' COLLECTION ITEMS TERMINATED BY ',' MAP KEYS TERMINATED BY ':'"
_STRINGS = {"a": "string", "b": "string"}


def _of_lines(name: str, columns: dict[str, str], stored: str, lines: list[str]) -> Table:
    return Table(name, columns, stored, files={"lines": "".join(line + "\n" for line in lines).encode()})


def _odd_values() -> list[Table]:
    lists = {"big": "array<bigint>", "dbl": "array<double>", "price": "array<decimal(9,2)>"}
    in_lists = ["\x01".join([f"1\x02{text}\x022"] * 3) for text in _NUMBERS if text != "\\N"]
    return [
        _of_lines("odd_numbers", _NUMBER_COLUMNS, _TEXT, ["\x01".join([t] * len(_NUMBER_COLUMNS)) for t in _NUMBERS]),
        _of_lines("odd_numbers_nested", lists, _TEXT, in_lists),
        _of_lines("odd_booleans", {"flag": "boolean"}, _TEXT, _BOOLEANS),
        _of_lines("odd_dates", {"day": "date"}, _TEXT, _DATES),
        _of_lines("odd_timestamps", {"at": "timestamp"}, _TEXT, _TIMESTAMPS),
    ]


def _odd_text() -> list[Table]:
    columns = {
        "a": "int",
        "b": "string",
        "c": "array<string>",
        "d": "map<string,string>",
        "e": "struct<x:int,y:string>",
    }
    torn = b"1\x01b\n\n2\n3\x01b\x01c\x01k\x03v\x015\x02y\x01extra\x01more\n\x01\x01\x01\x01\n4\x01last, without an end"
    ends = {"crlf": b"a|b\r\nc|d\r\n", "cr": b"e|f\rg|h\r\ri|j", "dos_end": b"k|l\r\nm|n\x1a"}
    hidden = {"data": b"a|b\n", "_SUCCESS": b"", "_temporary": b"no|no\n", ".data.crc": b"crc\0", "empty": b""}
    headers = {"t": b"a|b\nint|string\n1|x\n2|y\nrows|2\n", "u": b"a|b\nint|string\n3|z\nrows|1\n"}
    skipped = "TBLPROPERTIES ('skip.header.line.count'='2', 'skip.footer.line.count'='1')"
    takes_rest = lazy_simple({"field.delim": "|", "serialization.last.column.takes.rest": "true"})
    latin = lazy_simple({"field.delim": "|", "serialization.encoding": "ISO-8859-1"})
    formats = lazy_simple({"timestamp.formats": "yyyy-MM-dd'T'HH:mm:ss,yyyy/MM/dd HH:mm:ss.SSS,millis"})
    moments = ["2026-01-02T03:04:05", "2026/01/02 03:04:05.678", "1767322945678", "2026-01-02 03:04:05.5", "x"]
    return [
        Table("torn_rows", columns, _TEXT, files={"t": torn}),
        Table("carriage_returns", _STRINGS, f"{_PIPE} {_TEXT}", files=ends),
        Table("last_takes_rest", _STRINGS, takes_rest, files={"t": b"a|b|c|d\ne|f\ng\n"}),
        Table("latin", _STRINGS, latin, files={"t": "ü|é\n\xa7|ÿ\n".encode("latin-1")}),
        Table("not_utf8", _STRINGS, f"{_PIPE} {_TEXT}", files={"t": b"a|b\n\xff|c\nd|\xc3\ne|\xc3\xbc\n"}),
        Table("headers", {"a": "int", "b": "string"}, f"{_PIPE} {_TEXT} {skipped}", files=headers),
        Table("hidden_files", _STRINGS, f"{_PIPE} {_TEXT}", files=hidden),
        _of_lines("timestamp_formats", {"at": "timestamp"}, formats, moments),
    ]


def _nested() -> list[Table]:
    bounded = {"v": "varchar(3)", "c": "char(3)", "s": "string"}
    bounded_lines = [
        "abc|abc|x", "abcdef|abcdef|x", "ab   |ab   |x", "ü日本x|ü日本x|x", "||", "\\N|\\N|\\N", "  a|  a|x",
        "😀😀😀😀|😀😀😀😀|x",
    ]  # fmt: skip
    nested = {"l": "array<string>", "m": "map<string,int>", "s": "struct<a:int,b:string>", "ll": "array<array<int>>"}
    lines = [
        "a,b|k:1,j:2|1,x|1:2,3", ",|,|,|,", "a,,b|k:1,,j:2|,x|1::2,,3", "a,|k:1,|1,|1,", ",a|,k:1|,x|,1",
        "\\N|\\N|\\N|\\N", "\\N,\\N|\\N:\\N|\\N,\\N|\\N,\\N:\\N", "|||", "a|k|1|1", "a|k:|1,x,extra|:", "a|:1|x,1|1",
        "a|k:x|1|x", "a|k:1,k:2|1|1", "a|k:1:2|1:2|1:2:3", "a,b", "a|k:\\N,\\N:1|\\N,|\\N",
    ]  # fmt: skip
    escaped_lines = [
        r"a\,b,c|k\:1:1|1,x\,y|1", r"\\|\\:1|1,\\|1", r"\\\N|k:1|1,\N|1", r"\a\b|\k:1|1,\x|1", r"\||k:1|1,\||1",
        r"a\n\t\r\0|k:1|1,x|1", "\\", r"a\\,b|k\\:1|1,x\\|1", r"\N,\\N|\N:1|\N,\\N|\N", r"\1|k:\1|\1,x|\1",
        r"a\,|k:1|1,x|1",
    ]  # fmt: skip
    escaped = _PIPE.replace("COLLECTION", "ESCAPED BY '\\\\' COLLECTION")
    return [
        _of_lines("bounded", bounded, f"{_PIPE} {_TEXT}", bounded_lines),
        _of_lines("nested_odd", nested, f"{_PIPE} {_TEXT}", lines),
        _of_lines("nested_escaped", nested, f"{escaped} {_TEXT}", escaped_lines),
    ]


def _open_csv() -> list[Table]:
    columns = {"a": "string", "b": "string", "c": "string"}
    lines = [
        "1,2,3", '"1","2","3"', '"a,b",c,d', '"say ""hi""",x,y', "a\\,b,c,d", '"a\\"b",c,d', ",,", '"","",""',
        "1,2", "1,2,3,4", ' 1, "2" ,3 ', '"open,b,c', 'a"b"c,d,e', '"a"b,c,d', "'a,b',c,d", "\\N,NULL,null",
        "", '"\\\\",x,y', "\\", '"a\\nb",\\t,z', "ü,日本,😀", '"x""",y,z', '"""",y,z', '"""x""",y,z', 'a,"b\tc",d',
        '"",x,""""', 'a""b,c,d',
    ]  # fmt: skip
    properties = "'separatorChar'=';', 'quoteChar'='\\'', 'escapeChar'='!'"
    others = ["1;2;3", "'a;b';c;d", '"a;b";c', "'it!'s';!;;x", "!!;!n;'!!'", "'it''s';b;c"]
    written = only("big", "name", "flag", "day")
    torn = {"name": ["a,b", 'say "hi"', "\\", "line\nfeed", "", "\\N", " x ", '"', ",", "a\\,b"]}
    as_text = [tuple(None if value is None else str(value) for value in row) for row in rows(written, torn, 12)]
    typed = {"a": "int", "b": "double", "c": "date"}
    return [
        _of_lines("csv", columns, f"{OPEN_CSV} {_TEXT}", lines),
        _of_lines("csv_quotes", columns, f"{OPEN_CSV} WITH SERDEPROPERTIES ({properties}) {_TEXT}", others),
        _of_lines("csv_types", typed, f"{OPEN_CSV} {_TEXT}", ['"1","2.5","2026-01-02"', "x,y,z"]),
        Table("csv_sequence", dict.fromkeys(written, "string"), f"{OPEN_CSV} STORED AS SEQUENCEFILE", rows=as_text),
        Table("csv_written", dict.fromkeys(written, "string"), f"{OPEN_CSV} {_TEXT}", rows=as_text),
    ]


def _regex() -> list[Table]:
    columns = {"host": "string", "status": "int", "bytes": "bigint", "share": "double", "agent": "string"}
    pattern = '([^ ]*) ([0-9]*) ([0-9-]*) ([0-9.]*)(?: "([^"]*)")?'
    properties = f"WITH SERDEPROPERTIES ('input.regex'='{pattern}')"
    insensitive = "WITH SERDEPROPERTIES ('input.regex'='GET (.*)', 'input.regex.case.insensitive'='true')"
    lines = [
        '10.0.0.1 200 5120 0.5 "Mozilla/5.0 (ü)"', "host 404 0 1.0", 'h 200 - 0.1 ""', ' 200 1 1 "no host"',
        'h  1 1 "empty status"', 'h 99999999999 1 1 "too large"', "no match",
    ]  # fmt: skip
    return [
        _of_lines("regex", columns, f"{REGEX} {properties} {_TEXT}", lines),
        _of_lines("regex_case", {"path": "string"}, f"{REGEX} {insensitive} {_TEXT}", ["GET /a", "get /b", "Get "]),
    ]


HANDWRITTEN: list[Table] = [*_odd_values(), *_odd_text(), *_nested(), *_open_csv(), *_regex()]
