"""A query at HiveServer2: what is asked, how values are typed, what happens when it breaks."""

import datetime
import pickle
import socket
from decimal import Decimal

import pytest

from hivemill.common.errors import ConfigError, DataNotReadyError, InfrastructureError
from hivemill.components.hive_example_gen.catalog.hiveserver2 import query
from hivemill.components.hive_example_gen.options import BadRowOptions, HiveOptions, SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning.window import plan_window
from hivemill.components.hive_example_gen.table.spec import spec_of

pytest.importorskip("impala", reason="the extra `hive` is not installed")

from tests.components.hive_example_gen.catalog import hive_server as hs
from tests.support import thrift_serving

DAY = datetime.date(2026, 11, 15)
DAYS = [DAY - datetime.timedelta(days=back) for back in (2, 1, 0)]
SQL = "SELECT * FROM clicks WHERE dt >= '{start_date}' AND dt < '{end_date}'"
WINDOW = WindowOptions(train_days=2, validation_days=0)
NOSASL = HiveOptions(auth="nosasl", timeout_seconds=5)
COLUMNS = {"id": "BIGINT", "name": "STRING"}
ROWS = [(1, "a"), (None, None), (3, "ü")]


def _source(port, **options):
    return SourceOptions(**{"server": f"hiveserver2://127.0.0.1:{port}/logs", "query": SQL, "hive": NOSASL, **options})


def _read(handler, **options):
    """The rows of the newest day."""
    with hs.serving(handler) as port:
        source = _source(port, **options)
        listing = query.list_days(source, WINDOW, DAYS)
        (partition,) = listing.partitions[DAY]
        batches = query.read_day(partition.query, spec_of(source, listing.definition), partition.name)
        return [row for batch in batches for row in batch.to_pylist()]


def _one(kind, value, declared=None, **options):
    """One value of one column, beside a NULL."""
    handler = hs.Handler({"clicks": hs.Answer({"x": kind}, [(value,), (None,)])}, **options)
    read, null = _read(handler, columns={"x": declared} if declared else None)
    assert null == {"x": None}
    return read["x"]


def test_one_statement_per_day_with_its_dates():
    handler = hs.Handler({"clicks": hs.Answer(COLUMNS, ROWS)})
    assert _read(handler) == [{"id": 1, "name": "a"}, {"id": None, "name": None}, {"id": 3, "name": "ü"}]
    asked = "SELECT * FROM clicks WHERE dt >= '2026-11-15' AND dt < '2026-11-16'"
    assert [call for call in handler.calls if "clicks" in call] == [f"SELECT * FROM ({asked}\n) q LIMIT 0", asked]
    assert handler.calls[0] == "USE `logs`"
    assert "cancel" not in handler.calls


def test_a_result_of_many_fetches_is_whole_and_in_order():
    rows = [(number, str(number)) for number in range(10_001)]
    handler = hs.Handler({"clicks": hs.Answer(COLUMNS, rows)}, rows_per_fetch=1000)
    assert [row["id"] for row in _read(handler)] == [number for number, _ in rows]


def test_a_statement_that_takes_its_time():
    handler = hs.Handler({"clicks": hs.Answer(COLUMNS, ROWS, runs=3)})
    assert len(_read(handler)) == 3


@pytest.mark.parametrize(
    ("kind", "sent", "read"),
    [
        ("BOOLEAN", True, True),
        ("TINYINT", -128, -128),
        ("SMALLINT", 32767, 32767),
        ("INT", -(2**31), -(2**31)),
        ("BIGINT", 2**63 - 1, 2**63 - 1),
        ("FLOAT", 0.5, 0.5),
        ("DOUBLE", 1.7976931348623157e308, 1.7976931348623157e308),
        ("STRING", "", ""),
        ("VARCHAR", "日本 \\N", "日本 \\N"),
        ("BINARY", b"\x00\xff\n", b"\x00\xff\n"),
        ("DECIMAL(8,2)", "-123456.78", Decimal("-123456.78")),
        ("DECIMAL(38,0)", "9" * 38, Decimal("9" * 38)),
        ("DATE", "1600-01-01", datetime.date(1600, 1, 1)),
        ("TIMESTAMP", "2026-11-15 01:02:03.0", datetime.datetime(2026, 11, 15, 1, 2, 3)),
        ("TIMESTAMP", "1969-12-31 23:59:59.123456789", datetime.datetime(1969, 12, 31, 23, 59, 59, 123456)),
    ],
)
def test_values_of_each_type(kind, sent, read):
    assert _one(kind, sent) == read


@pytest.mark.parametrize(
    ("kind", "declared", "sent", "read"),
    [
        ("ARRAY", "array<string>", '["a","b\\"c",null]', ["a", 'b"c', None]),
        ("ARRAY", "array<decimal(4,2)>", "[1.50,2]", [Decimal("1.50"), Decimal("2.00")]),
        ("MAP", "map<string,int>", '{"k":1,"n":null}', [("k", 1), ("n", None)]),
        ("MAP", "map<int,double>", '{"7":1}', [(7, 1.0)]),
        ("STRUCT", "struct<lat:double,day:date>", '{"lat":1.5,"day":"2026-01-02"}',
         {"lat": 1.5, "day": datetime.date(2026, 1, 2)}),
        ("STRING", "array<bigint>", "[1,2]", [1, 2]),
    ],
)  # fmt: skip
def test_nested_values_are_read_as_declared(kind, declared, sent, read):
    assert _one(kind, sent, declared) == read


@pytest.mark.parametrize(
    ("kind", "declared", "sent"),
    [
        ("ARRAY", "array<int>", '["1"]'),
        ("ARRAY", "array<int>", "[1"),
        ("MAP", "map<string,int>", "[]"),
        ("STRING", "array<string>", "a,b"),
        ("STRING", "array<string>", b"\xff"),
        ("STRING", None, b"\xff"),
        ("DATE", None, "15.11.2026"),
        ("DECIMAL(4,2)", None, "123.45"),
    ],
)
def test_a_value_that_is_not_of_its_type(kind, declared, sent):
    with pytest.raises(DataNotReadyError, match=r"the query of dt=2026-11-15: column 'x' has a value that is no "):
        _one(kind, sent, declared)


def test_nested_columns_without_a_declaration_are_refused():
    with pytest.raises(ConfigError, match="is ARRAY, and the server does not say of what"):
        _one("ARRAY", "[]")


def test_nested_text_of_spark_is_refused_because_it_is_ambiguous():
    with pytest.raises(ConfigError, match="which Spark SQL gives as ambiguous text") as raised:
        _one("ARRAY", '["a","b"]', "array<string>", product="Spark SQL")
    assert "to_json(x) AS x" in raised.value.hint


def test_a_column_that_is_left_out_may_be_of_any_type():
    handler = hs.Handler({"clicks": hs.Answer({"id": "INT", "x": "ARRAY"}, [(1, "[]")])})
    assert _read(handler, exclude_columns=("x",)) == [{"id": 1}]


def test_a_declared_type_that_the_query_does_not_give():
    with pytest.raises(ConfigError, match=r"source.columns.x is int, but the query gives bigint"):
        _one("BIGINT", 1, "int")


def test_a_declared_column_that_the_query_does_not_give():
    with pytest.raises(ConfigError, match=r"source.columns names 'y'.*does not give"):
        _read(hs.Handler({"clicks": hs.Answer(COLUMNS)}), columns={"y": "int"})


def test_columns_that_only_differ_by_their_table_are_refused():
    with pytest.raises(ConfigError, match="gives two columns 'id'"):
        _read(hs.Handler({"clicks": hs.Answer({"a.id": "INT", "b.ID": "INT"})}))


def test_hives_table_prefixes_are_dropped_and_the_date_is_no_column():
    handler = hs.Handler({"clicks": hs.Answer({"q.id": "INT", "q.dt": "STRING"}, [(1, "2026-11-15")])})
    assert _read(handler) == [{"id": 1}]


@pytest.mark.parametrize("other", ["2026-11-14", None])
def test_a_row_of_another_day_is_refused(other):
    rows = [(1, "2026-11-15"), (2, other)]
    with pytest.raises(ConfigError, match=f"gives a row of dt={other}"):
        _read(hs.Handler({"clicks": hs.Answer({"id": "INT", "dt": "STRING"}, rows)}))


def test_a_common_table_expression_is_not_wrapped():
    handler = hs.Handler({"clicks": hs.Answer(COLUMNS, ROWS)})
    _read(handler, query="with c as (SELECT * FROM clicks WHERE dt = '{start_date}') SELECT * FROM c;")
    first = next(call for call in handler.calls if "clicks" in call)
    assert first == "with c as (SELECT * FROM clicks WHERE dt = '2026-11-15') SELECT * FROM c\nLIMIT 0"


def test_no_row_is_an_error_unless_the_window_shrinks():
    handler = hs.Handler({"clicks": hs.Answer(COLUMNS)})
    with pytest.raises(DataNotReadyError, match="the query of dt=2026-11-15 gives no row"):
        _read(handler)


def test_a_statement_that_the_server_refuses():
    with pytest.raises(ConfigError, match=r"HiveServer2 127.0.0.1:\d+ fails on source.query: .*SemanticException"):
        _read(hs.Handler({}))


def test_a_statement_that_fails_while_it_runs():
    handler = hs.Handler({"clicks": hs.Answer(COLUMNS, error="Job aborted due to stage failure")})
    with pytest.raises(InfrastructureError, match="fails on the query of dt=2026-11-15: Job aborted"):
        _read(handler)


def test_a_connection_that_breaks_in_mid_stream_leaves_nothing(tmp_path):
    from hivemill.components.hive_example_gen.convert import convert_partition

    rows = [(number, "x") for number in range(3000)]
    handler = hs.Handler({"clicks": hs.Answer(COLUMNS, rows, breaks_after=2000)})
    with hs.serving(handler) as port:
        source = _source(port)
        plan = plan_window(source, WINDOW, DAY, str(tmp_path / "converted"))
        with pytest.raises(InfrastructureError, match="breaks off after 2,000 rows of the query of dt=2026-11-15"):
            convert_partition(plan.splits["eval"][0], source.place, BadRowOptions(), str(tmp_path / "converted"))
    assert list((tmp_path / "converted").iterdir()) == []


def test_an_error_here_cancels_the_statement_there():
    handler = hs.Handler({"clicks": hs.Answer(COLUMNS, [(number, "x") for number in range(3000)])})
    with hs.serving(handler) as port:
        source = _source(port)
        listing = query.list_days(source, WINDOW, DAYS)
        (partition,) = listing.partitions[DAY]
        batches = query.read_day(partition.query, spec_of(source, listing.definition), partition.name)
        next(batches)
        batches.close()
    assert handler.calls[-3:] == ["cancel", "close", "close session"]


def test_a_day_is_converted_and_found_again(tmp_path):
    from hivemill.components.hive_example_gen.convert import convert_partition

    with hs.serving(hs.Handler({"clicks": hs.Answer(COLUMNS, ROWS)})) as port:
        source, place = _source(port), str(tmp_path / "converted")
        plan = plan_window(source, WINDOW, DAY, place)
        plan.check()
        (partition,) = plan.splits["eval"]
        record = convert_partition(partition, source.place, BadRowOptions(), place)
        assert (record.rows, sorted(record.features)) == (3, ["dt", "id", "name"])
        again = plan_window(source, WINDOW, DAY, place)
    assert [each.cached for each in again.partitions] == [False, False, True]
    assert again.fingerprint == plan.fingerprint


def test_a_planned_day_travels_to_workers(tmp_path):
    with hs.serving(hs.Handler({"clicks": hs.Answer(COLUMNS, ROWS)})) as port:
        (partition,) = plan_window(_source(port), WINDOW, DAY, str(tmp_path)).splits["eval"]
    assert pickle.loads(pickle.dumps(partition)) == partition


def test_settings_of_the_session_are_part_of_what_is_asked():
    handler = hs.Handler({"clicks": hs.Answer(COLUMNS), "SET": hs.Answer({})})
    identities = []
    with hs.serving(handler) as port:
        for queue in ("day", "night"):
            hive = HiveOptions(auth="nosasl", settings={"queue.name": queue})
            listing = query.list_days(_source(port, hive=hive), WINDOW, DAYS)
            identities.append(listing.partitions[DAY][0].query.identity)
    assert [call for call in handler.calls if call.startswith("SET")] == ["SET queue.name=day", "SET queue.name=night"]
    assert identities[0] != identities[1]


def _refreshed(source, date, days=4):
    window = WindowOptions(train_days=days - 1, validation_days=0)
    wanted = [date - datetime.timedelta(days=back) for back in reversed(range(days))]
    listing = query.list_days(source, window, wanted)
    return {day.day: str(each[0].query.identity) for day, each in listing.partitions.items()}, listing.notes


def test_which_days_are_asked_for_again():
    with hs.serving(hs.Handler({"clicks": hs.Answer(COLUMNS)})) as port:
        first, notes = _refreshed(_source(port, query_refresh_days=2), DAY)
        second, _ = _refreshed(_source(port, query_refresh_days=2), DAY)
        later, _ = _refreshed(_source(port, query_refresh_days=2), DAY + datetime.timedelta(days=1))
        revised, _ = _refreshed(_source(port, query_refresh_days=2, query_revision=1), DAY)
    assert first == second
    assert "rows of 2 older day(s)" in notes[0]
    assert {day for day in first if day in later and first[day] == later[day]} == {13}
    assert not set(first.values()) & set(revised.values())


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"ddl": "t.hql"}, r"source.ddl and source.query both"),
        ({"hour_column": "hour"}, "are of tables"),
        ({"success_file": "_SUCCESS"}, "are of tables"),
        ({"partition_columns": {"dt": "string", "hour": "int"}}, "must be dt alone"),
        ({"deduplicate_by": ("id",)}, "reads the rows of a day twice"),
        ({"server": "hiveserver2://joe:SECRET@h/db"}, "names a user or a password"),
        ({"server": "http://h:10000"}, "is no server"),
    ],
)
def test_options_that_do_not_go_with_a_query(options, problem):
    with pytest.raises(ConfigError, match=problem) as raised:
        query.list_days(_source(1, **options), WINDOW, DAYS)
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "needs either `table`, or `query` and `server`"),
        ({"table": "t", "query": SQL, "server": "hiveserver2://h"}, "needs either `table`"),
        ({"query": SQL}, "belong together"),
        ({"server": "hiveserver2://h", "query": "SELECT 1"}, r"must hold \{start_date\}"),
    ],
)
def test_a_source_has_one_place(options, problem):
    with pytest.raises(ValueError, match=problem):
        SourceOptions(**options)


def test_password_from_the_environment(monkeypatch):
    monkeypatch.setenv("HIVE_USER", "joe")
    monkeypatch.setenv("HIVE_PASSWORD", "right")
    handler = hs.Handler({"clicks": hs.Answer(COLUMNS, ROWS)})
    source = {"hive": HiveOptions(auth="password", timeout_seconds=5)}
    with hs.serving(handler, sasl=True, password="right") as port:
        query.list_days(_source(port, **source), WINDOW, DAYS)
        assert handler.user == "joe"
        monkeypatch.setenv("HIVE_PASSWORD", "wrong")
        with pytest.raises(InfrastructureError, match=r"lets this process not in: .*validating the login") as raised:
            query.list_days(_source(port, **source), WINDOW, DAYS)
    assert "wrong" not in str(raised.value)


def test_tls_checks_the_certificate(tmp_path):
    certificate = thrift_serving.certificate(tmp_path)
    handler = hs.Handler({"clicks": hs.Answer(COLUMNS, ROWS)})
    trusted = {"auth": "nosasl", "tls": True, "timeout_seconds": 5, "ca_file": certificate[0]}
    with hs.serving(handler, tls=certificate) as port:
        server = f"hiveserver2://localhost:{port}/logs"
        assert query.list_days(_source(port, server=server, hive=HiveOptions(**trusted)), WINDOW, DAYS).definition
        for other, hive in ((server, {**trusted, "ca_file": None}), (f"hiveserver2://127.0.0.1:{port}", trusted)):
            with pytest.raises(InfrastructureError, match=rf"{port} lets this process not in"):
                query.list_days(_source(port, server=other, hive=HiveOptions(**hive)), WINDOW, DAYS)


def test_nobody_listens():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(InfrastructureError, match=rf"no HiveServer2 answers: 127.0.0.1:{port}"):
        query.list_days(_source(port), WINDOW, DAYS)


def test_a_server_that_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(InfrastructureError, match=rf"HiveServer2 127.0.0.1:{port} opens no session"):
            query.list_days(_source(port, hive=HiveOptions(auth="nosasl", timeout_seconds=1)), WINDOW, DAYS)
