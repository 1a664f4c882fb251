"""CREATE TABLE statements, as SHOW CREATE TABLE and people write them."""

import pytest

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.table.ddl import parse_ddl, read_ddl

FULL = r"""
-- the log; one partition an hour
SET hive.exec.dynamic.partition = true;
CREATE EXTERNAL TABLE IF NOT EXISTS `shop`.`click_log`(
  `user_id` bigint COMMENT 'who, hashed (it''s private)',
  Price decimal(10,2),
  /* nested
     ones */
  `tags` array<string> COMMENT "a, b; c) d",
  context map<string,array<int>>,
  geo struct<lat:double COMMENT 'north', lon:double>
)
COMMENT 'impressions'
PARTITIONED BY (dt string COMMENT 'day', `hour` int)
CLUSTERED BY (user_id) SORTED BY (price DESC) INTO 8 BUCKETS
ROW FORMAT DELIMITED
  FIELDS TERMINATED BY '\t'
  COLLECTION ITEMS TERMINATED BY '\002'
  MAP KEYS TERMINATED BY '3'
  LINES TERMINATED BY '\n'
  NULL DEFINED AS '\\N'
STORED AS TEXTFILE
LOCATION 'hdfs://nowhere/click_log'
TBLPROPERTIES ('transient_lastDdlTime'='1')
;
"""


def test_a_full_statement():
    table = parse_ddl(FULL)
    assert table.name == "click_log"
    assert table.columns == {
        "user_id": "bigint",
        "price": "decimal(10,2)",
        "tags": "array<string>",
        "context": "map<string,array<int>>",
        "geo": "struct<lat:double,lon:double>",
    }
    assert table.partition_columns == {"dt": "string", "hour": "int"}
    assert table.format == "text"
    assert table.serde_properties == {
        "field.delim": "\t",
        "colelction.delim": "\x02",
        "mapkey.delim": "3",  # a decimal number is the byte's code, as in Hive
        "serialization.null.format": "\\N",
    }
    assert table.table_properties == {"transient_lastDdlTime": "1"}


@pytest.mark.parametrize(
    ("clause", "expected"),
    [
        ("STORED AS PARQUET", "parquet"),
        ("STORED AS orc", "orc"),
        ("", None),
        ("ROW FORMAT SERDE 'org.apache.hadoop.hive.ql.io.orc.OrcSerde'", "orc"),
        (
            "ROW FORMAT SERDE 'org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe' STORED AS INPUTFORMAT "
            "'org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat' OUTPUTFORMAT 'x'",
            "parquet",
        ),
    ],
)
def test_formats(clause, expected):
    assert parse_ddl(f"create table t (a int) {clause}").format == expected


def test_serde_properties_with_hives_misspelling():
    table = parse_ddl(
        "CREATE TABLE t (a int) ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe' "
        r"WITH SERDEPROPERTIES ('field.delim'=',', 'colelction.delim'='\u0004', 'serialization.format'=',')"
    )
    assert (table.format, table.serde) == (None, "lazy_simple")  # a SequenceFile may have this SerDe, too
    assert table.serde_properties == {"field.delim": ",", "colelction.delim": "\x04", "serialization.format": ","}


@pytest.mark.parametrize(
    ("clause", "file_format", "serde", "properties"),
    [
        (
            "ROW FORMAT DELIMITED FIELDS TERMINATED BY ',' ESCAPED BY '\\\\' STORED AS TEXTFILE",
            "text",
            None,
            {"field.delim": ",", "escape.delim": "\\"},
        ),
        (
            "ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.OpenCSVSerde' WITH SERDEPROPERTIES ('separatorChar'=';') "
            "STORED AS TEXTFILE",
            "text",
            "open_csv",
            {"separatorChar": ";"},
        ),
        ("ROW FORMAT SERDE 'org.apache.hive.hcatalog.data.JsonSerDe'", None, "json", {}),
        ("ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.JsonSerDe' STORED AS TEXTFILE", "text", "json", {}),
        ("ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe' STORED AS TEXTFILE", "text", "json", {}),
        (
            "ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.RegexSerDe' WITH SERDEPROPERTIES "
            "('input.regex'='([^ ]*) (\\\\d+)') STORED AS TEXTFILE",
            "text",
            "regex",
            {"input.regex": r"([^ ]*) (\d+)"},
        ),
        ("STORED AS JSONFILE", "text", "json", {}),
        ("STORED AS SEQUENCEFILE", "sequence_file", None, {}),
        ("STORED AS RCFILE", "rcfile", None, {}),
        ("STORED AS AVRO", "avro", None, {}),
    ],
)
def test_row_formats(clause, file_format, serde, properties):
    table = parse_ddl(f"CREATE TABLE t (a int) {clause}")
    assert (table.format, table.serde, table.serde_properties) == (file_format, serde, properties)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("CREATE TABLE t (\n a int,\n b strng)", "line 3: column 'b': .*no supported type"),
        ("CREATE TABLE t (\n a int,\n A int)", "line 3: column 'a' is defined twice"),
        ("CREATE TABLE t (a int) PARTITIONED BY (a int)", "'a' is also a partition column"),
        (
            "CREATE TABLE t (a int)\nROW FORMAT DELIMITED FIELDS TERMINATED BY '||'",
            "line 2: FIELDS: a delimiter must be one byte",
        ),
        ("CREATE TABLE t (a int) ROW FORMAT DELIMITED LINES TERMINATED BY ';'", "line 1: LINES TERMINATED BY"),
        ("CREATE TABLE t (a int)\n\nSTORED AS KUDU", "line 3: KUDU is not supported"),
        ("CREATE TABLE t (a int)\nSTORED BY 'x.HBaseStorageHandler'", "line 2: STORED BY .* is not supported"),
        ("CREATE TABLE t (a int) ROW FORMAT SERDE 'x.ThriftSerDe'", "'x.ThriftSerDe' is not supported"),
        ("CREATE TABLE t (a int) STORED AS INPUTFORMAT 'x.LzoTextInputFormat' OUTPUTFORMAT 'y'", "Lzo.* not supported"),
        ("CREATE TABLE t (a int", "line 1: the statement ends too early"),
        ("CREATE TABLE t\n(a int) FOO", "line 2: unexpected 'FOO'"),
        ("CREATE TABLE t (a int COMMENT 'never closed)", "line 1: a quote ' is never closed"),
        ("SELECT 1", "0 CREATE TABLE statements"),
        ("CREATE TABLE a (x int); CREATE TABLE b (x int)", "2 CREATE TABLE statements"),
        ("CREATE TABLE b LIKE a", r"expected \(, found 'LIKE'"),
    ],
)
def test_what_cannot_be_honoured_is_refused(text, problem):
    with pytest.raises(ConfigError, match=problem) as raised:
        parse_ddl(text, "t.hql")
    assert "t.hql" in raised.value.message
    assert raised.value.exit_code == 2


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"source.ddl: cannot read .*none.hql"):
        read_ddl(tmp_path / "none.hql")
