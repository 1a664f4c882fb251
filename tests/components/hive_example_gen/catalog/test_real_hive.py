"""Tables of a real metastore, and queries at a real HiveServer2. Spark makes the tables; see real_hive.py."""

import datetime
import os
import resource
import shutil
import signal

import pytest

from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.components.hive_example_gen.catalog.hiveserver2 import query
from hivemill.components.hive_example_gen.convert import convert_partition
from hivemill.components.hive_example_gen.formats import reader
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.options import BadRowOptions, HiveOptions, SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning.window import plan_window
from hivemill.components.hive_example_gen.table.spec import spec_of
from tests.support import spark_needed

pytest.importorskip("pymetastore", reason="the extra `hive` is not installed")
pytest.importorskip("impala", reason="the extra `hive` is not installed")

from pymetastore.hive_metastore import ttypes

from tests.components.hive_example_gen.catalog import real_hive

pytestmark = spark_needed.MARKS
DAY = datetime.date(2026, 11, 15)
DAYS = [DAY - datetime.timedelta(days=1), DAY]
WINDOW = WindowOptions(train_days=1, validation_days=0)
NUM_ROWS = 200_000


@pytest.fixture(scope="module")
def hive(tmp_path_factory):
    made = real_hive.RealHive(spark_needed.PYTHON, tmp_path_factory.mktemp("hive"))
    try:
        made.start()
    except PermissionError as error:
        made.stop()
        pytest.skip(f"{error}; the metastore listens on all interfaces and is not started without one")
    try:
        made.run("CREATE DATABASE logs")
        yield made
    finally:
        made.stop()


def _plan(hive, table, **options):
    source = SourceOptions(table=f"hive://127.0.0.1/logs.{table}", **options)
    return hive.inside(plan_window, source, WINDOW, DAY, str(hive.folder / "converted"))


def _rows(partitions):
    return [
        row
        for partition in partitions
        for file in partition.files
        for batch in reader.read_batches(DataFile.of("", file.path), partition.spec, BadRows())
        for row in batch.to_pylist()
    ]


def _text_table(hive, name):
    hive.run(
        f"""CREATE TABLE logs.{name} (id bigint, tags array<string>, ctx map<string,int>)
        PARTITIONED BY (dt string) ROW FORMAT DELIMITED FIELDS TERMINATED BY ','
        COLLECTION ITEMS TERMINATED BY ';' MAP KEYS TERMINATED BY ':' STORED AS TEXTFILE""",
        *(
            f"INSERT INTO logs.{name} PARTITION (dt='{day}') SELECT {day.day}, array('a', 'b'), map('k', 1)"
            for day in DAYS
        ),
    )


def _row(number, **more):
    return {"id": number, "tags": ["a", "b"], "ctx": [("k", 1)], **more}


def test_a_text_table_with_its_delimiters(hive):
    _text_table(hive, "delimited")
    plan = _plan(hive, "delimited")
    plan.check()
    assert (plan.spec.text.field_delimiter, plan.spec.text.collection_delimiter) == (",", ";")
    assert _rows(plan.partitions) == [_row(14), _row(15)]


def test_a_column_added_without_cascade_is_null_in_older_partitions(hive):
    _text_table(hive, "added")
    hive.run(
        "ALTER TABLE logs.added ADD COLUMNS (extra string)",
        "INSERT OVERWRITE TABLE logs.added PARTITION (dt='2026-11-15') SELECT 15, array('a', 'b'), map('k', 1), 'new'",
    )
    hive.metastore(lambda client: _set_columns(client, "added", "2026-11-15", extra="string"))
    plan = _plan(hive, "added")
    assert [partition.spec.file_columns is None for partition in plan.partitions] == [False, True]
    assert _rows(plan.partitions) == [_row(14, extra=None), _row(15, extra="new")]


def test_a_column_added_with_cascade(hive):
    _text_table(hive, "cascaded")

    def cascade(client):
        table = client.get_table("logs", "cascaded")
        table.sd.cols.append(ttypes.FieldSchema(name="extra", type="int", comment=None))
        client.alter_table_with_cascade("logs", "cascaded", table, True)

    hive.metastore(cascade)
    plan = _plan(hive, "cascaded")
    assert [partition.spec.file_columns for partition in plan.partitions] == [None, None]
    assert _rows(plan.partitions) == [_row(14, extra=None), _row(15, extra=None)]


def _set_columns(client, table, day, **columns):
    partition = client.get_partition("logs", table, [day])
    known = {column.name for column in partition.sd.cols}
    partition.sd.cols += [
        ttypes.FieldSchema(name=name, type=kind, comment=None) for name, kind in columns.items() if name not in known
    ]
    client.alter_partition("logs", table, partition)


def test_a_partition_elsewhere_in_another_format(hive):
    _text_table(hive, "mixed")
    elsewhere = hive.folder / "else where" / "2026"
    hive.run(
        f"""INSERT OVERWRITE DIRECTORY '{elsewhere}' USING parquet
        SELECT CAST(99 AS bigint) AS id, array('x') AS tags, map('k', 1) AS ctx""",
        "ALTER TABLE logs.mixed DROP PARTITION (dt='2026-11-15')",
        f"ALTER TABLE logs.mixed ADD PARTITION (dt='2026-11-15') LOCATION '{elsewhere}'",
    )

    def to_parquet(client):
        partition = client.get_partition("logs", "mixed", ["2026-11-15"])
        package = "org.apache.hadoop.hive.ql.io.parquet"
        partition.sd.inputFormat = f"{package}.MapredParquetInputFormat"
        partition.sd.outputFormat = f"{package}.MapredParquetOutputFormat"
        partition.sd.serdeInfo.serializationLib = f"{package}.serde.ParquetHiveSerDe"
        client.alter_partition("logs", "mixed", partition)

    hive.metastore(to_parquet)
    plan = _plan(hive, "mixed")
    assert [partition.spec.format for partition in plan.partitions] == ["text", "parquet"]
    assert plan.partitions[1].files[0].path.startswith(str(elsewhere))
    assert _rows(plan.partitions) == [_row(14), {"id": 99, "tags": ["x"], "ctx": [("k", 1)]}]


@pytest.mark.parametrize(
    ("kind", "form", "written"), [("int", "%Y%m%d", "20261115"), ("date", "%Y-%m-%d", "DATE'2026-11-15'")]
)
def test_date_columns_of_other_types(hive, kind, form, written):
    table = f"by_{kind}"
    hive.run(
        f"CREATE TABLE logs.{table} (id bigint) PARTITIONED BY (dt {kind}, hour int) STORED AS ORC",
        f"INSERT INTO logs.{table} PARTITION (dt={written}, hour=0) SELECT 7",
    )
    plan = _plan(hive, table, date_format=form)
    (partition,) = plan.splits["eval"]
    assert partition.values == (("dt", DAY.strftime(form)), ("hour", "0"))
    assert plan.missing == (f"dt={DAYS[0].strftime(form)}",)
    assert _rows([partition]) == [{"id": 7}]


def test_a_date_column_that_is_a_word_of_the_filter_language(hive):
    hive.run(
        "CREATE TABLE logs.by_word (id bigint) PARTITIONED BY (`date` string) STORED AS PARQUET",
        *(f"INSERT INTO logs.by_word PARTITION (`date`='{day}') SELECT {day.day}" for day in DAYS),
    )
    plan = _plan(hive, "by_word", date_column="date")
    plan.check()
    assert _rows(plan.partitions) == [{"id": 14}, {"id": 15}]


def test_values_of_partitions_are_decoded(hive):
    hive.run(
        "CREATE TABLE logs.places (id bigint) PARTITIONED BY (dt string, place string) STORED AS PARQUET",
        "INSERT INTO logs.places PARTITION (dt='2026-11-15', place='a:b/c=d e%f') SELECT 1",
        "INSERT INTO logs.places PARTITION (dt='2026-11-15', place) SELECT 2, CAST(NULL AS string)",
        "INSERT INTO logs.places PARTITION (dt, place) SELECT 3, CAST(NULL AS string), 'x'",
    )
    plan = _plan(hive, "places")
    null, escaped = plan.splits["eval"]
    assert escaped.values == (("dt", "2026-11-15"), ("place", "a:b/c=d e%f"))
    assert null.values == (("dt", "2026-11-15"), ("place", None))
    assert _rows([null, escaped]) == [{"id": 2}, {"id": 1}]
    assert any("holds rows without a date" in note for note in plan.notes)


def test_the_metastore_is_the_truth(hive):
    _text_table(hive, "registered")
    folder = hive.folder / "warehouse" / "logs.db" / "registered"
    hive.metastore(lambda client: client.drop_partition("logs", "registered", ["2026-11-14"], False))
    assert (folder / "dt=2026-11-14").is_dir()
    shutil.rmtree(folder / "dt=2026-11-15")
    plan = _plan(hive, "registered")
    assert (plan.missing, plan.empty) == (("dt=2026-11-14",), ("dt=2026-11-15",))


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("CREATE VIEW logs.{} AS SELECT 1 AS id, '2026-11-15' AS dt", "is a view"),
        ("CREATE TABLE logs.{} (id bigint) STORED AS PARQUET", "has no partitions"),
        ("CREATE TABLE logs.{} (id bigint, dt string) USING json PARTITIONED BY (dt)", "where only Spark reads them"),
        (
            "CREATE TABLE logs.{} (id bigint) PARTITIONED BY (dt string) STORED AS PARQUET "
            "TBLPROPERTIES ('table_type'='ICEBERG')",
            "is an Iceberg table",
        ),
    ],
)
def test_what_is_refused(hive, request, statement, problem):
    name = f"refused_{request.node.callspec.indices['statement']}"
    hive.run(statement.format(name))
    with pytest.raises(ConfigError, match=f"logs.{name} .*{problem}"):
        _plan(hive, name)


def test_a_transactional_table_is_refused(hive):
    _text_table(hive, "acid")

    def create(client):
        table = client.get_table("logs", "acid")
        table.tableName, table.sd.location = "acid_really", None
        table.sd.inputFormat = "org.apache.hadoop.hive.ql.io.orc.OrcInputFormat"
        table.sd.outputFormat = "org.apache.hadoop.hive.ql.io.orc.OrcOutputFormat"
        table.sd.serdeInfo.serializationLib = "org.apache.hadoop.hive.ql.io.orc.OrcSerde"
        table.sd.bucketCols, table.sd.numBuckets = ["id"], 2
        table.parameters = {"transactional": "true"}
        client.create_table(table)

    hive.metastore(create)
    with pytest.raises(ConfigError, match=r"logs.acid_really is transactional \(ACID\)"):
        _plan(hive, "acid_really")


def _big(hive):
    hive.run(
        "CREATE TABLE IF NOT EXISTS logs.big (id bigint, name string, price double, tags array<string>) "
        "PARTITIONED BY (dt string) STORED AS PARQUET",
        f"INSERT OVERWRITE TABLE logs.big PARTITION (dt='2026-11-15') SELECT id, concat('user \\\\', id), id / 7.0D, "
        f"array('a\"', cast(id AS string)) FROM range({NUM_ROWS})",
    )
    return SourceOptions(
        server="hiveserver2://127.0.0.1/logs",
        query="SELECT id, name, price, to_json(tags) AS tags, dt FROM big "
        "WHERE dt >= '{start_date}' AND dt < '{end_date}'",
        columns={"tags": "array<string>"},
    )


def test_a_query_streams_its_rows(hive):
    source = _big(hive)

    def read():
        listing = query.list_days(source, WINDOW, DAYS)
        spec = spec_of(source, listing.definition)
        (partition,) = listing.partitions[DAY]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        numbers, first = [], None
        for batch in query.read_day(partition.query, spec, partition.name):
            first = first or batch.slice(7, 1).to_pylist()
            numbers += batch.column("id").to_pylist()
        return numbers, first, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    numbers, first, kib = hive.inside(read)
    assert sorted(numbers) == list(range(NUM_ROWS))
    assert first == [{"id": 7, "name": "user \\7", "price": 1.0, "tags": ['a"', "7"]}]
    print(f"peak memory grew by {kib / 1024:.0f} MiB")
    assert kib < 100 * 1024


def test_a_query_is_converted_and_kept(hive):
    source, place = _big(hive), str(hive.folder / "answers")

    def convert():
        plan = plan_window(source, WINDOW, DAY, place)
        return convert_partition(plan.splits["eval"][0], source.place, BadRowOptions(), place)

    assert hive.inside(convert).rows == NUM_ROWS
    again = hive.inside(plan_window, source, WINDOW, DAY, place)
    assert again.splits["eval"][0].cached


def test_types_of_a_real_server(hive):
    hive.run(
        "CREATE TABLE logs.types (id tinyint, flag boolean, ratio float, exact decimal(8,2), short varchar(4), "
        "day date, at timestamp, raw binary) PARTITIONED BY (dt string) STORED AS PARQUET",
        "INSERT INTO logs.types PARTITION (dt='2026-11-15') SELECT -128, true, 0.5, -123456.78, 'ü', "
        "DATE'1969-12-31', TIMESTAMP'2026-11-15 01:02:03.456789', X'00FF'",
        "INSERT INTO logs.types PARTITION (dt='2026-11-15') SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL",
    )
    through_query = SourceOptions(
        server="hiveserver2://127.0.0.1/logs", query="SELECT * FROM types WHERE dt = '{start_date}'"
    )

    def read():
        listing = query.list_days(through_query, WINDOW, DAYS)
        (partition,) = listing.partitions[DAY]
        batches = query.read_day(partition.query, spec_of(through_query, listing.definition), partition.name)
        return [row for batch in batches for row in batch.to_pylist()]

    answered, in_files = hive.inside(read), _rows(_plan(hive, "types").splits["eval"])
    assert len(answered) == 2
    assert sorted(answered, key=str) == sorted(in_files, key=str)


def test_settings_of_the_session(hive):
    """The same instant in another time zone is another text, and another value."""
    source = SourceOptions(
        server="hiveserver2://127.0.0.1/logs",
        query="SELECT timestamp_seconds(0) AS at, '{start_date}' AS day",
        hive=HiveOptions(settings={"spark.sql.session.timeZone": "Asia/Tokyo"}),
    )

    def read():
        listing = query.list_days(source, WINDOW, DAYS)
        (partition,) = listing.partitions[DAY]
        batches = query.read_day(partition.query, spec_of(source, listing.definition), partition.name)
        return [row for batch in batches for row in batch.to_pylist()]

    assert hive.inside(read) == [{"at": datetime.datetime(1970, 1, 1, 9), "day": "2026-11-15"}]


def test_a_query_that_the_server_refuses(hive):
    source = SourceOptions(server="hiveserver2://127.0.0.1/logs", query="SELECT * FROM nope WHERE dt='{start_date}'")
    with pytest.raises(ConfigError, match="nope"):
        hive.inside(plan_window, source, WINDOW, DAY, str(hive.folder / "converted"))


def test_a_server_that_dies_in_mid_stream(hive):
    """The last test of the module: the server is gone after it."""
    source, place = _big(hive), str(hive.folder / "broken")

    def read():
        listing = query.list_days(source, WINDOW, DAYS)
        (partition,) = listing.partitions[DAY]
        batches = query.read_day(partition.query, spec_of(source, listing.definition), partition.name)
        next(batches)
        os.killpg(hive.server.pid, signal.SIGKILL)
        hive.server.wait()
        return list(batches)

    with pytest.raises(InfrastructureError, match=r"HiveServer2 127.0.0.1:10000 breaks off after [\d,]+ rows"):
        hive.inside(read)
    with pytest.raises(InfrastructureError, match="no HiveServer2 answers"):
        hive.inside(plan_window, source, WINDOW, DAY, place)
