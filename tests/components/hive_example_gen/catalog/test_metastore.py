"""Finding partitions through a Hive metastore: descriptors, locations, what is refused, what is asked."""

import datetime
import socket
import sys

import pytest

from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.components.hive_example_gen.catalog import metastore
from hivemill.components.hive_example_gen.catalog.auth import transport as login
from hivemill.components.hive_example_gen.catalog.auth.transport import Address
from hivemill.components.hive_example_gen.formats import reader
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.options import HiveOptions, SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning.window import plan_window

pytest.importorskip("pymetastore", reason="the extra `hive` is not installed")

from thrift.Thrift import TApplicationException

from tests.components.hive_example_gen.catalog import metastore_server as ms
from tests.support import thrift_serving

DAY = datetime.date(2026, 11, 15)
BEFORE = DAY - datetime.timedelta(days=1)
COLUMNS = {"user_id": "bigint", "name": "string"}
KEYS = {"dt": "string"}


def _folder(path, data=b"1\x01a\n"):
    path.mkdir(parents=True)
    (path / "000000_0").write_bytes(data)
    return path


def _made(tmp_path, keys=KEYS, **options):
    return ms.table(ms.descriptor(COLUMNS, tmp_path / "clicks", **options.pop("sd", {})), keys, **options)


def _handler(tmp_path, days=(BEFORE, DAY), **options):
    partitions = [
        ([str(day)], ms.descriptor(COLUMNS, f"file:{_folder(tmp_path / 'clicks' / f'dt={day}')}")) for day in days
    ]
    return ms.Handler(_made(tmp_path), partitions, **options)


def _source(port, **options):
    return SourceOptions(table=f"hive://127.0.0.1:{port}/logs.clicks", **options)


def _list(handler, days=(BEFORE, DAY), **options):
    with ms.serving(handler) as port:
        return metastore.list_days(_source(port, **options), days)


def _plan(handler, tmp_path, incomplete="fail", **options):
    window = WindowOptions(train_days=1, validation_days=0, incomplete=incomplete)
    with ms.serving(handler) as port:
        return plan_window(_source(port, **options), window, DAY, str(tmp_path / "converted"))


def _rows(plan, split="eval"):
    (partition,) = plan.splits[split]
    return [
        row
        for file in partition.files
        for batch in reader.read_batches(DataFile.of(plan.table, file.path), partition.spec, BadRows())
        for row in batch.to_pylist()
    ]


def test_a_window_is_planned_and_read(tmp_path):
    plan = _plan(_handler(tmp_path), tmp_path)
    plan.check()
    assert [partition.name for partition in plan.partitions] == ["dt=2026-11-14", "dt=2026-11-15"]
    assert plan.spec.columns == COLUMNS
    assert _rows(plan) == [{"user_id": 1, "name": "a"}]


def test_only_the_days_asked_for_are_fetched(tmp_path):
    days = [DAY - datetime.timedelta(days=back) for back in range(30)]
    handler = _handler(tmp_path, days)
    listing = _list(handler, days[:9])
    assert sorted(listing.partitions) == sorted(days[:9])
    assert all(len(each) == 1 for each in listing.partitions.values())
    filters = [call for call in handler.calls if "=" in call]
    assert [len(each.split(" or ")) for each in filters] == [7, 2]
    assert "get_partition_names" not in handler.calls


def test_names_are_asked_where_filters_are_refused(tmp_path):
    handler = _handler(tmp_path, refuses_filters=True)
    listing = _list(handler, (DAY,))
    assert [partition.name for partition in listing.partitions[DAY]] == ["dt=2026-11-15"]
    assert handler.calls[-2:] == [["dt=2026-11-15"], "get_partition_names_ps"]


@pytest.mark.parametrize(("kind", "form", "text"), [("int", "%Y%m%d", "20261115"), ("date", "%Y-%m-%d", "2026-11-15")])
def test_a_date_column_that_is_no_string(tmp_path, kind, form, text):
    keys = {"dt": kind, "hour": "int"}
    sd = ms.descriptor(COLUMNS, _folder(tmp_path / "x"))
    handler = ms.Handler(_made(tmp_path, keys), [([text, "00"], sd), (["19990101", "00"], sd)])
    (partition,) = _list(handler, (DAY,), date_format=form).partitions[DAY]
    assert partition.values == (("dt", text), ("hour", "00"))
    assert handler.calls[2] == [f"dt={text}/hour=00"]


def test_a_partition_elsewhere(tmp_path):
    elsewhere = _folder(tmp_path / "other place" / "x", b"7\x01there\n")
    handler = _handler(tmp_path, (BEFORE,))
    handler.partitions["dt=2026-11-15"] = ms.ttypes.Partition(
        values=["2026-11-15"], sd=ms.descriptor(COLUMNS, f"file://{elsewhere}")
    )
    plan = _plan(handler, tmp_path)
    assert [file.path for file in plan.splits["eval"][0].files] == [str(elsewhere / "000000_0")]
    assert _rows(plan) == [{"user_id": 7, "name": "there"}]


def test_a_partition_with_its_own_format_and_columns(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet

    handler = _handler(tmp_path, (BEFORE,))
    folder = tmp_path / "clicks" / "dt=2026-11-15"
    folder.mkdir()
    pyarrow.parquet.write_table(pa.table({"user_id": pa.array([9], pa.int32())}), folder / "f")
    handler.partitions["dt=2026-11-15"] = ms.ttypes.Partition(
        values=["2026-11-15"], sd=ms.descriptor({"user_id": "int"}, folder, ms.PARQUET)
    )
    plan = _plan(handler, tmp_path)
    (own,), (table,) = plan.splits["eval"], plan.splits["train"]
    assert (own.spec.format, own.spec.columns, own.spec.file_columns) == ("parquet", COLUMNS, {"user_id": "int"})
    assert (table.spec.format, table.spec.file_columns) == ("text", None)
    assert _rows(plan) == [{"user_id": 9, "name": None}]


def test_a_column_that_is_excluded_may_be_younger_than_a_partition(tmp_path):
    handler = _handler(tmp_path)
    handler.partitions["dt=2026-11-15"].sd.cols = handler.made.sd.cols[:1]
    plan = _plan(handler, tmp_path, exclude_columns=("name",))
    assert _rows(plan) == [{"user_id": 1}]
    assert plan.splits["eval"][0].spec.file_columns == {"user_id": "bigint"}


def test_serde_properties_of_table_and_partition(tmp_path):
    handler = _handler(tmp_path, ())
    handler.made.sd.serdeInfo.parameters = {"field.delim": ",", "colelction.delim": ";", "serialization.format": ","}
    handler.made.parameters = {
        "skip.header.line.count": "1",
        "transient_lastDdlTime": "1",
        "serialization.null.format": "-",
    }
    folder = tmp_path / "a"
    _folder(folder, b"1|-\n")
    own = ms.descriptor(COLUMNS, folder, properties={"serialization.format": "|"})
    handler.partitions["dt=2026-11-15"] = ms.ttypes.Partition(values=["2026-11-15"], sd=own)
    plan = _plan(handler, tmp_path, incomplete="shrink")
    text = plan.spec.text
    assert (text.field_delimiter, text.collection_delimiter, text.null_text) == (",", ";", "-")
    assert plan.spec.serde_properties["skip.header.line.count"] == "1"
    assert "transient_lastDdlTime" not in plan.spec.serde_properties
    (partition,) = plan.splits["eval"]
    assert partition.spec.text.field_delimiter == "|"
    assert partition.spec.serde_properties["skip.header.line.count"] == "1"


def test_what_changes_daily_in_a_descriptor_changes_no_fingerprint(tmp_path):
    handler = _handler(tmp_path)
    first = _plan(handler, tmp_path).fingerprint
    handler.made.parameters = {"numRows": "7", "transient_lastDdlTime": "8", "loaded_by": "etl-9"}
    assert _plan(handler, tmp_path).fingerprint == first
    handler.made.parameters = {"skip.header.line.count": "1"}
    assert _plan(handler, tmp_path).fingerprint != first


def test_a_folder_that_is_not_registered_is_not_read(tmp_path):
    handler = _handler(tmp_path, (BEFORE,))
    _folder(tmp_path / "clicks" / "dt=2026-11-15")
    assert _plan(handler, tmp_path).missing == ("dt=2026-11-15",)


def test_a_registered_partition_without_its_folder_is_empty(tmp_path):
    handler = _handler(tmp_path)
    (tmp_path / "clicks" / "dt=2026-11-15" / "000000_0").unlink()
    (tmp_path / "clicks" / "dt=2026-11-15").rmdir()
    plan = _plan(handler, tmp_path)
    assert plan.empty == ("dt=2026-11-15",)
    assert plan.notes == (f"dt=2026-11-15 is registered, but its folder {tmp_path}/clicks/dt=2026-11-15 is not there",)


def test_registration_is_the_marker_unless_one_is_named(tmp_path):
    handler = _handler(tmp_path)
    assert _plan(handler, tmp_path).late == ()
    (tmp_path / "clicks" / "dt=2026-11-15" / "_SUCCESS").touch()
    assert _plan(handler, tmp_path, success_file="_SUCCESS").late == ("dt=2026-11-14",)


def test_rows_without_a_date_are_noted(tmp_path):
    handler = _handler(tmp_path)
    handler.partitions["dt=x"] = ms.ttypes.Partition(
        values=["__HIVE_DEFAULT_PARTITION__"], sd=ms.descriptor(COLUMNS, tmp_path)
    )
    assert _list(handler).notes == (
        "dt=__HIVE_DEFAULT_PARTITION__ holds rows without a date; they belong to no window and are left out",
    )


def test_values_are_decoded_and_null(tmp_path):
    sd = ms.descriptor(COLUMNS, _folder(tmp_path / "x"))
    keys = {"place": "string", "dt": "string", "hour": "int"}
    handler = ms.Handler(
        _made(tmp_path, keys),
        [(["a:b/c=d e%f", "2026-11-15", "00"], sd), (["__HIVE_DEFAULT_PARTITION__", "2026-11-15", "1"], sd)],
    )
    null, escaped = _list(handler, (DAY,)).partitions[DAY]
    assert escaped.values == (("place", "a:b/c=d e%f"), ("dt", "2026-11-15"), ("hour", "00"))
    assert escaped.name == "place=a%3Ab%2Fc%3Dd e%25f/dt=2026-11-15/hour=00"
    assert null.values[0] == ("place", None)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"kind": "VIRTUAL_VIEW"}, "is a view"),
        ({"kind": "MATERIALIZED_VIEW"}, "is a view"),
        ({"parameters": {"transactional": "TRUE"}}, r"transactional \(ACID\)"),
        ({"parameters": {"table_type": "ICEBERG"}}, "is an Iceberg table"),
        ({"parameters": {"spark.sql.sources.provider": "delta"}}, "is a Delta table"),
        ({"parameters": {"spark.sql.sources.provider": "hudi"}}, "is a Hudi table"),
        ({"parameters": {"storage_handler": "org.apache.hadoop.hive.hbase.HBaseStorageHandler"}}, "storage handler"),
        ({"keys": {}}, "has no partitions"),
        ({"sd": {"stored": ("org.apache.hudi.hadoop.HoodieParquetInputFormat", ms.PARQUET[1])}}, "is a Hudi table"),
        (
            {"sd": {"stored": ("org.apache.hadoop.hive.ql.io.SymlinkTextInputFormat", ms.TEXT[1])}},
            "SymlinkTextInputFormat",
        ),
        ({"sd": {"stored": (ms.TEXT[0], "com.example.MySerDe")}}, "has the SerDe com.example.MySerDe"),
        ({"sd": {"stored": (ms.TEXT[0], ms.PARQUET[1])}}, "ParquetHiveSerDe with the input format"),
    ],
)
def test_what_cannot_be_read_rightly_is_refused(tmp_path, options, problem):
    with pytest.raises(ConfigError, match=rf"source.table: logs.clicks .*{problem}") as raised:
        _list(ms.Handler(_made(tmp_path, **{"keys": KEYS, **options})))
    assert raised.value.hint


def test_columns_that_only_spark_reads_are_refused(tmp_path):
    made = ms.table(ms.descriptor({"col": "array<string>"}, tmp_path), KEYS, {"spark.sql.sources.provider": "json"})
    with pytest.raises(ConfigError, match="keeps its columns where only Spark reads them"):
        _list(ms.Handler(made))


@pytest.mark.parametrize("columns", [{}, {"error_error": "string", "cannot_determine_schema": "string"}])
def test_columns_that_only_the_serde_knows_are_refused(tmp_path, columns):
    with pytest.raises(ConfigError, match="has no columns in the metastore"):
        _list(ms.Handler(ms.table(ms.descriptor(columns, tmp_path), KEYS)))


def test_columns_of_a_schema_file_are_noted(tmp_path):
    handler = _handler(tmp_path)
    handler.made.parameters = {"avro.schema.url": "hdfs:///schemas/clicks.avsc"}
    (note,) = _list(handler).notes
    assert "has its columns in avro.schema.url" in note


def test_folders_of_a_transactional_table_are_refused(tmp_path):
    handler = _handler(tmp_path)
    _folder(tmp_path / "clicks" / "dt=2026-11-15" / "delta_0000001_0000001_0000")
    with pytest.raises(ConfigError, match=r"delta_0000001.*transactional \(ACID\)"):
        _list(handler)


def test_no_such_table_and_no_such_date_column(tmp_path):
    with ms.serving(_handler(tmp_path)) as port:
        with pytest.raises(ConfigError, match=r"has no table logs.nothing") as raised:
            metastore.list_days(SourceOptions(table=f"hive://127.0.0.1:{port}/logs.nothing"), [DAY])
        assert "SHOW TABLES IN logs" in raised.value.hint
        with pytest.raises(ConfigError, match=r"source\.date_column is 'day', which is no partition column"):
            metastore.list_days(_source(port, date_column="day"), [DAY])


@pytest.mark.parametrize("key", [{"columns": COLUMNS}, {"ddl": "t.hql"}])
def test_columns_are_defined_in_one_place(key):
    with pytest.raises(ConfigError, match=r"and the metastore of source\.table both define the columns"):
        metastore.list_days(SourceOptions(table="hive://h/db.t", **key), [DAY])


def _closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_first_host_that_answers_is_asked(tmp_path):
    with ms.serving(_handler(tmp_path)) as port:
        source = SourceOptions(table=f"hive://127.0.0.1:{_closed_port()},127.0.0.1:{port}/logs.clicks")
        assert metastore.list_days(source, [DAY]).partitions[DAY]


def test_nobody_answers():
    first, second = _closed_port(), _closed_port()
    with pytest.raises(InfrastructureError) as raised:
        metastore.list_days(SourceOptions(table=f"hive://127.0.0.1:{first},127.0.0.1:{second}/db.t"), [DAY])
    assert f"127.0.0.1:{first}" in raised.value.message
    assert f"127.0.0.1:{second}" in raised.value.message


def test_a_server_that_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(InfrastructureError, match=rf"metastore 127.0.0.1:{port}: get_table of logs.clicks failed"):
            metastore.list_days(_source(port, hive=HiveOptions(timeout_seconds=1)), [DAY])


def test_a_server_that_speaks_something_else():
    import threading

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        def answer():
            connection, _ = other.accept()
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(InfrastructureError, match=rf"127.0.0.1:{port}: get_table"):
            metastore.list_days(_source(port, hive=HiveOptions(timeout_seconds=2)), [DAY])


@pytest.mark.parametrize("url", ["hive://h:9083/table", "hive://h:0/db.t", "hive:///db.t", "hive://h:x/db.t"])
def test_urls_that_name_no_table(url):
    with pytest.raises(ConfigError, match=r"source\.table: "):
        metastore.list_days(SourceOptions(table=url), [DAY])


def test_credentials_in_the_url_are_refused_and_not_shown():
    with pytest.raises(ConfigError) as raised:
        metastore.list_days(SourceOptions(table="hive://joe:SECRET@h:9083/db.t"), [DAY])
    assert "SECRET" not in str(raised.value)
    assert "HIVE_PASSWORD" in raised.value.hint


def test_hosts_without_port_and_with_ipv6():
    assert login.addresses("k", "a,[::1]:99", 9083) == (Address("a", 9083), Address("::1", 99))
    assert str(Address("::1", 99)) == "[::1]:99"


def test_kerberos_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kerberos", None)
    monkeypatch.setattr(login.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="package kerberos is not installed") as raised:
        _list(_handler(tmp_path), hive=HiveOptions(auth="kerberos"))
    assert "hive-kerberos" in raised.value.hint


def test_user_and_password_come_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("HIVE_PASSWORD", raising=False)
    monkeypatch.setenv("HIVE_USER", "joe")
    with pytest.raises(ConfigError, match="the environment has no HIVE_PASSWORD"):
        _list(_handler(tmp_path), hive=HiveOptions(auth="password"))


def test_password_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("HIVE_USER", "jöe")
    monkeypatch.setenv("HIVE_PASSWORD", "pässword")
    options = {"hive": HiveOptions(auth="password", timeout_seconds=5)}
    with ms.serving(_handler(tmp_path), sasl=True, password="pässword") as port:
        assert metastore.list_days(_source(port, **options), [DAY]).partitions[DAY]
        monkeypatch.setenv("HIVE_PASSWORD", "wrong one")
        with pytest.raises(InfrastructureError, match="Error validating the login") as raised:
            metastore.list_days(_source(port, **options), [DAY])
    assert "wrong one" not in str(raised.value)


def test_kerberos_names_the_services_principal(monkeypatch):
    monkeypatch.setattr(login.importlib.util, "find_spec", lambda name: object())
    hive = HiveOptions(auth="kerberos", kerberos_service="metastore")
    transport = login._wrapped(object(), Address("hive.example.org", 9083), hive)
    client = transport.sasl_client_factory()
    assert (transport.mechanism, client.service, client.host) == ("GSSAPI", "metastore", "hive.example.org")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return thrift_serving.certificate(tmp_path_factory.mktemp("tls"))


def test_tls_checks_the_certificate(tmp_path, certificate):
    with ms.serving(_handler(tmp_path), tls=certificate) as port:
        trusted = HiveOptions(tls=True, ca_file=certificate[0], timeout_seconds=5)
        source = SourceOptions(table=f"hive://localhost:{port}/logs.clicks", hive=trusted)
        assert metastore.list_days(source, [DAY]).partitions[DAY]
        for host, hive in (("localhost", HiveOptions(tls=True, timeout_seconds=5)), ("127.0.0.1", trusted)):
            source = SourceOptions(table=f"hive://{host}:{port}/logs.clicks", hive=hive)
            with pytest.raises(InfrastructureError, match=f"no Hive metastore answers: {host}:{port}"):
                metastore.list_days(source, [DAY])


def test_a_table_that_a_metastore_does_not_show(tmp_path):
    handler = _handler(tmp_path)

    def get_table(*_):
        raise ms.ttypes.MetaException("Your client does not appear to support insert-only tables.")

    handler.get_table = get_table
    with pytest.raises(ConfigError, match="does not appear to support insert-only tables") as raised:
        _list(handler)
    assert "source.query" in raised.value.hint


def test_a_metastore_with_the_newer_call_alone(tmp_path):
    handler = _handler(tmp_path)
    table = handler.get_table

    def get_table(*_):
        raise TApplicationException(TApplicationException.UNKNOWN_METHOD, "Invalid method name: 'get_table'")

    handler.get_table_req = lambda req: ms.ttypes.GetTableResult(table(req.dbName, req.tblName))
    handler.get_table = get_table
    assert _list(handler).partitions[DAY]


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymetastore.hive_metastore.ThriftHiveMetastore", None)
    with pytest.raises(ConfigError, match="pymetastore is not installed") as raised:
        metastore.list_days(SourceOptions(table="hive://h/db.t"), [DAY])
    assert "hivemill[hive]" in raised.value.hint
