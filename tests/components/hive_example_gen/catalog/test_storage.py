"""Files on filesystems with a URL: Arrow's own S3 client against an S3 server in this process."""

import datetime
import gzip
import io

import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet
import pytest

from hivemill.common.errors import ConfigError, HivemillError, InfrastructureError
from hivemill.components.hive_example_gen.catalog import directory, table_files
from hivemill.components.hive_example_gen.convert import convert_partition
from hivemill.components.hive_example_gen.formats import reader
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.options import BadRowOptions, SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning.window import plan_window
from hivemill.components.hive_example_gen.table.spec import resolve_spec
from tests.support import s3_server

DAY = datetime.date(2026, 11, 15)
BEFORE = DAY - datetime.timedelta(days=1)


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def _table(path="logs/clicks", days=(BEFORE, DAY)):
    return {f"bucket/{path}/dt={day}/place=a%3Ab/000000_0": b"1\n2\n" for day in days}


def _url(port, path="bucket/logs/clicks"):
    return f"s3://{path}?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"


def test_a_table_on_s3_is_planned_and_converted(tmp_path):
    with s3_server.serving(_table()) as port:
        source = SourceOptions(
            table=_url(port), columns={"id": "bigint"}, partition_columns={"dt": "string", "place": "string"}
        )
        plan = plan_window(source, WindowOptions(train_days=1, validation_days=0), DAY, str(tmp_path / "converted"))
        plan.check()
        (partition,) = plan.splits["eval"]
        assert partition.values == (("dt", "2026-11-15"), ("place", "a:b"))
        assert convert_partition(partition, source.place, BadRowOptions(), str(tmp_path / "converted")).rows == 2


def _parquet(table):
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out)
    return out.getvalue()


def _orc(table):
    out = io.BytesIO()
    pyarrow.orc.write_table(table, out)
    return out.getvalue()


def _gzip(table):
    return gzip.compress("".join(f"{row['id']}\x01{row['name']}\n" for row in table.to_pylist()).encode())


@pytest.mark.parametrize(("name", "written"), [("f", _parquet), ("f", _orc), ("f.gz", _gzip)])
def test_files_on_s3_are_read_as_local_ones(name, written):
    table = pa.table({"id": pa.array(range(20_000), pa.int64()), "name": [f"user {n}" for n in range(20_000)]})
    source = SourceOptions(table="unused", columns={"id": "bigint", "name": "string"})
    with s3_server.serving({f"bucket/logs/clicks/dt=2026-11-15/{name}": written(table)}) as port:
        file = DataFile.of(_url(port), f"dt=2026-11-15/{name}")
        batches = list(reader.read_batches(file, resolve_spec(source), BadRows()))
    assert pa.Table.from_batches(batches).equals(table)


def test_only_the_days_asked_for_are_listed():
    listed = []
    days = [DAY - datetime.timedelta(days=back) for back in range(400)]
    with s3_server.serving(_table(days=days), listed) as port:
        listing = directory.list_days(SourceOptions(table=_url(port)), ("dt", "place"), (BEFORE, DAY))
    assert [len(found) for found in listing.partitions.values()] == [1, 1]
    below = {prefix for prefix in listed if "dt=" in prefix}
    assert below == {f"logs/clicks/dt={day}/{rest}" for day in (BEFORE, DAY) for rest in ("", "place=a%3Ab/")}


def test_folder_markers_of_hadoop_are_no_files():
    objects = {
        **_table(),
        "bucket/logs/clicks/dt=2026-11-15/place=a%3Ab_$folder$": b"",
        "bucket/logs/clicks/dt=2026-11-15/": b"",
    }
    with s3_server.serving(objects) as port:
        (partition,) = directory.list_days(SourceOptions(table=_url(port)), ("dt", "place"), [DAY]).partitions[DAY]
    assert [file.path for file in partition.files] == ["dt=2026-11-15/place=a%3Ab/000000_0"]


def test_the_time_of_a_file_is_the_same_in_a_listing_and_alone():
    with s3_server.serving(_table()) as port:
        folder = table_files.joined(_url(port), "dt=2026-11-15/place=a%3Ab")
        (listed,) = table_files.entries(folder)
        assert listed == table_files.status(table_files.joined(folder, "000000_0"))
        assert listed.num_bytes == 4
        assert listed.modified_ns == 1_794_704_523 * 10**9


@pytest.mark.parametrize(
    ("path", "problem"), [("bucket/nothing", "is no directory"), ("other/logs", "is no directory")]
)
def test_no_table_there(path, problem):
    with s3_server.serving(_table()) as port, pytest.raises(ConfigError, match=f"s3://{path} {problem}"):
        directory.list_days(SourceOptions(table=_url(port, path)), ("dt",), [DAY])


def test_nobody_answers():
    with s3_server.serving({}) as port:
        pass
    with pytest.raises(InfrastructureError, match=r"s3://bucket/logs/clicks cannot be read: .*NETWORK_CONNECTION"):
        directory.list_days(SourceOptions(table=_url(port)), ("dt",), [DAY])


@pytest.mark.parametrize(
    "url", ["s3://KEY:SECRET@bucket/logs", "s3://bucket/logs?secret_key=SECRET", "s3://bucket/l?access_key=SECRET"]
)
def test_credentials_in_a_url_are_refused_and_not_shown(url):
    with pytest.raises(ConfigError, match="holds credentials") as raised:
        directory.list_days(SourceOptions(table=url), ("dt",), [DAY])
    assert "SECRET" not in str(raised.value).replace("AWS_SECRET_ACCESS_KEY", "")
    assert "AWS_SECRET_ACCESS_KEY" in raised.value.hint


@pytest.mark.parametrize(
    ("url", "problem"), [("nfs://host/logs", "cannot be opened"), ("viewfs://nn/x", "cannot be opened")]
)
def test_filesystems_that_arrow_does_not_know(url, problem):
    with pytest.raises(HivemillError, match=problem) as raised:
        directory.list_days(SourceOptions(table=url), ("dt",), [DAY])
    assert "s3://, gs:// and hdfs://" in raised.value.hint


def test_names_below_a_url_keep_its_query():
    url = "s3://bucket/logs?region=eu-west-1&scheme=http"
    assert table_files.joined(url, "dt=1/f") == "s3://bucket/logs/dt=1/f?region=eu-west-1&scheme=http"
    assert table_files.joined("s3://bucket/logs", "dt=1/what?") == "s3://bucket/logs/dt=1/what?"
    assert table_files.joined(url, "hdfs://nn/x") == "hdfs://nn/x"
    assert table_files.joined(url, "file:/x/y") == "/x/y"


def test_what_messages_show_of_a_url():
    assert table_files.shown("s3://KEY:SECRET@bucket/logs?token=SECRET") == "s3://bucket/logs"
    assert table_files.shown("file:///logs/a?b=c") == "/logs/a?b=c"


def test_local_names(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b?region=x").write_bytes(b"12")
    assert [(entry.name, entry.is_folder) for entry in table_files.entries(f"file://{tmp_path}")] == [
        ("a", True),
        ("b?region=x", False),
    ]
    assert table_files.status(f"{tmp_path}/b?region=x").num_bytes == 2
    assert table_files.is_folder(f"file:{tmp_path}/a")


def test_a_link_to_nothing_is_not_left_out(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(FileNotFoundError):
        table_files.entries(str(tmp_path))
