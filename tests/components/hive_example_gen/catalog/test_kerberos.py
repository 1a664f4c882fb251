"""The metastore with Kerberos, end to end: a KDC, a keytab, a ticket; and what is said where one of them is wrong."""

import datetime

import pytest

from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.components.hive_example_gen.catalog import metastore
from hivemill.components.hive_example_gen.catalog.auth import transport as login
from hivemill.components.hive_example_gen.catalog.auth.transport import Address
from hivemill.components.hive_example_gen.options import HiveOptions, SourceOptions
from tests.components.hive_example_gen.catalog import kerberos_realm
from tests.support import spark_needed

pytest.importorskip("pymetastore", reason="the extra `hive` is not installed")
pytest.importorskip("impala", reason="the extra `hive` is not installed")

from pymetastore.hive_metastore import ThriftHiveMetastore, ttypes
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated

pytestmark = spark_needed.MARKS
DAY = datetime.date(2026, 11, 15)
KERBEROS = HiveOptions(auth="kerberos", timeout_seconds=20)
_LAZY_SIMPLE = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"
_TEXT = "org.apache.hadoop.mapred.TextInputFormat"
_TEXT_OUT = "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat"


@pytest.fixture(scope="module", params=["authentication", "privacy"])
def hive(request, tmp_path_factory):
    kerberos_realm.needed()
    made = kerberos_realm.KerberosHive(spark_needed.PYTHON, tmp_path_factory.mktemp("kerberos"), request.param)
    try:
        try:
            made.start()
        except PermissionError as error:
            pytest.skip(f"{error}; the metastore listens on all interfaces and is not started without one")
        with pytest.MonkeyPatch.context() as patch:
            _use_keytab(patch, made, made.folder / "first.cache")
            made.inside(_make_table, made.folder / "warehouse")
        yield made
    finally:
        made.stop()


@pytest.fixture
def cache(hive, tmp_path, monkeypatch):
    """An empty ticket cache of this process."""
    monkeypatch.setenv("KRB5_CONFIG", hive.settings["KRB5_CONFIG"])
    monkeypatch.delenv("KRB5_CLIENT_KTNAME", raising=False)
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path}/cache")
    return f"FILE:{tmp_path}/cache"


def _use_keytab(patch, hive, cache):
    patch.setenv("KRB5_CONFIG", hive.settings["KRB5_CONFIG"])
    patch.setenv("KRB5CCNAME", f"FILE:{cache}")
    patch.setenv("KRB5_CLIENT_KTNAME", hive.keytab("alice"))


def _make_table(warehouse):
    """With Hive's own calls, by the product's own transport."""
    transport = login.open_transport(Address("localhost", 9083), KERBEROS)
    client = ThriftHiveMetastore.Client(TBinaryProtocolAccelerated(transport))
    client.create_database(ttypes.Database(name="logs", locationUri=f"file:{warehouse}/logs"))
    folder = warehouse / "logs/clicks"
    client.create_table(_table(folder))
    (folder / f"dt={DAY}").mkdir(parents=True)
    (folder / f"dt={DAY}/part-0").write_bytes(b"1\n2\n")
    place = _storage(f"{folder}/dt={DAY}")
    client.add_partition(ttypes.Partition(values=[str(DAY)], dbName="logs", tableName="clicks", sd=place))
    transport.close()


def _table(folder):
    keys = [ttypes.FieldSchema(name="dt", type="string")]
    return ttypes.Table(
        tableName="clicks", dbName="logs", owner="alice", sd=_storage(folder), partitionKeys=keys,
        parameters={"EXTERNAL": "TRUE"}, tableType="EXTERNAL_TABLE",
    )  # fmt: skip


def _storage(folder):
    serde = ttypes.SerDeInfo(name="clicks", serializationLib=_LAZY_SIMPLE, parameters={})
    columns = [ttypes.FieldSchema(name="id", type="bigint")]
    return ttypes.StorageDescriptor(
        cols=columns, location=f"file:{folder}", inputFormat=_TEXT, outputFormat=_TEXT_OUT, compressed=False,
        numBuckets=-1, serdeInfo=serde, bucketCols=[], sortCols=[], parameters={},
    )  # fmt: skip


def _listed(hive, host="localhost", **options):
    source = SourceOptions(
        table=f"hive://{host}:9083/logs.clicks", hive=KERBEROS.model_copy(update=options), date_column="dt"
    )
    return hive.inside(metastore.list_days, source, [DAY]).partitions[DAY]


def test_a_keytab_is_enough(hive, cache, monkeypatch):
    monkeypatch.setenv("KRB5_CLIENT_KTNAME", hive.keytab("alice"))
    (partition,) = _listed(hive)
    assert (partition.name, [file.num_bytes for file in partition.files]) == (f"dt={DAY}", [4])
    assert "krbtgt" in hive.tool("klist", cache=cache)


def test_a_ticket_of_kinit(hive, cache):
    hive.tool("kinit", "-kt", hive.keytab("alice"), kerberos_realm.USER, cache=cache)
    assert [partition.name for partition in _listed(hive)] == [f"dt={DAY}"]


def test_without_ticket_it_says_kinit_and_keytab(hive, cache):
    with pytest.raises(ConfigError, match="no ticket for localhost:9083: No Kerberos credentials available") as raised:
        _listed(hive)
    assert "kinit" in raised.value.hint and "keytab" in raised.value.hint


def test_a_service_that_the_realm_does_not_have(hive, cache):
    hive.tool("kinit", "-kt", hive.keytab("alice"), kerberos_realm.USER, cache=cache)
    with pytest.raises(ConfigError, match="does not know the principal impala/HOST") as raised:
        _listed(hive, kerberos_service="impala")
    assert "source.hive.kerberos_service" in raised.value.hint


def test_the_principal_of_another_service(hive, cache):
    hive.tool("kinit", "-kt", hive.keytab("alice"), kerberos_realm.USER, cache=cache)
    with pytest.raises(InfrastructureError, match=r"localhost:9083: .*GSS initiate failed") as raised:
        _listed(hive, kerberos_service="other")
    assert "source.hive" in raised.value.hint


def test_another_login_than_the_servers(hive):
    with pytest.raises(InfrastructureError, match="localhost:9083") as raised:
        _listed(hive, auth="none")
    assert "auth" in raised.value.hint


def test_a_ticket_that_has_expired(hive, cache):
    hive.tool("kinit", "-l", "-1h", "-kt", hive.keytab("alice"), kerberos_realm.USER, cache=cache)
    with pytest.raises(ConfigError, match="has no ticket"):
        _listed(hive)


def test_a_kdc_that_does_not_answer(hive, cache, monkeypatch, tmp_path):
    hive.tool("kinit", "-kt", hive.keytab("alice"), kerberos_realm.USER, cache=cache)
    text = (hive.folder / "krb5.conf").read_text().replace(":88", ":89")
    (tmp_path / "krb5.conf").write_text(text)
    monkeypatch.setenv("KRB5_CONFIG", f"{tmp_path}/krb5.conf")
    with pytest.raises(InfrastructureError, match="Cannot contact any KDC") as raised:
        _listed(hive)
    assert "krb5.conf" in raised.value.hint
