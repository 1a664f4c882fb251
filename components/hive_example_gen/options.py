"""Options of the source and the window (`source:` and `window:` in hivemill.yaml)."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from hivemill.common.options import Options
from hivemill.components.hive_example_gen.table.path_format import level_patterns
from hivemill.components.hive_example_gen.table.serdes import Serde

_DAY_RULE = (
    "it must write a whole day and nothing finer, like %Y-%m-%d. For hours, or a day spread over several folders, use "
    "source.path_format; a table that is partitioned by week or month must be loaded by day first"
)


class TextOptions(Options):
    """How a Hive TEXTFILE of LazySimpleSerDe is written; the defaults are Hive's own."""

    field_delimiter: Annotated[str, Field(min_length=1, max_length=1)] = Field("\x01", description="Between columns.")
    collection_delimiter: Annotated[str, Field(min_length=1, max_length=1)] = Field(
        "\x02", description="Between elements of an array, fields of a struct, items of a map."
    )
    map_key_delimiter: Annotated[str, Field(min_length=1, max_length=1)] = Field(
        "\x03", description="Between key and value of a map item."
    )
    escape_char: Annotated[str, Field(min_length=1, max_length=1)] | None = Field(
        None, description="ESCAPED BY: the character after it is taken as it is. None: nothing is escaped."
    )
    null_text: str = Field("\\N", description="What a NULL is written as.")


class BadRowOptions(Options):
    """What happens to rows that do not fit the table."""

    max_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.001, description="More bad rows than this share of a split stop the run (exit code 3); they are named."
    )
    values: Literal["quarantine", "null"] = Field(
        "quarantine",
        description="A number or date that does not parse: quarantine leaves its row out and keeps it aside; null "
        "reads NULL as Hive does, and counts it.",
    )
    column_count: Literal["hive", "quarantine"] = Field(
        "hive",
        description="A row with too few or too many columns: hive fills with NULL or cuts, and counts it; quarantine "
        "leaves the row out.",
    )


class HiveOptions(Options):
    """How to log in to a Hive metastore or HiveServer2."""

    auth: Literal["none", "password", "kerberos", "nosasl"] = Field(
        "none",
        description="password: HIVE_USER and HIVE_PASSWORD of the environment (LDAP, PLAIN); kerberos: the ticket of "
        "the process (kinit); nosasl: a HiveServer2 with hive.server2.authentication=NOSASL.",
    )
    kerberos_service: str = Field("hive", description="First part of the server's principal.")
    tls: bool = Field(False, description="Encrypt the connection; the server's certificate is checked.")
    ca_file: str | None = Field(None, description="Certificates to trust with `tls`, PEM; the system's if none.")
    timeout_seconds: PositiveInt = Field(300, description="How long one answer of the server may take.")
    settings: dict[str, str] = Field(
        {}, description="SET in each session of HiveServer2, e.g. mapreduce.job.queuename: nightly."
    )


class SamplingOptions(Options):
    """Negatives left out of training. The exported model corrects its probabilities for it (He et al. 2014)."""

    negatives: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="Share of the rows with label 0 that is kept in the splits train and validation, e.g. 0.1. The "
        "split eval keeps all."
    )
    key: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="Columns whose hash decides, e.g. [user_id, item_id, request_time]: rows of equal values are kept "
        "or left out together. Integer, text, boolean, date or timestamp; partition columns too."
    )
    salt: str = Field("", description="Part of the hash: another salt keeps other rows.")


class SourceOptions(Options):
    """Where the click log lies and how its columns are typed."""

    table: str | None = Field(
        None,
        description="Directory of the table, the folder that holds dt=.../, local or s3://, gs://, hdfs://; or a "
        "table of a Hive metastore, hive://host:9083/db.table (several hosts: hive://a:9083,b:9083/db.table).",
    )
    query: str | None = Field(
        None,
        description="Instead of `table`: a SELECT that gives the rows of one day, with {start_date} (the day) and "
        "{end_date} (the day after) as `date_format` writes them; asked once per day.",
    )
    server: str | None = Field(None, description="Who is asked the `query`: hiveserver2://host:10000/database.")
    query_refresh_days: NonNegativeInt = Field(
        1,
        description="The rows of a query's newest so many days are asked for again by every run date, and once more "
        "when they are older; after that they are kept, and later changes in the table are not seen.",
    )
    query_revision: int = Field(0, description="Any other number than before: every day of the query is asked again.")
    hive: HiveOptions = Field(HiveOptions(), description="How to log in to the metastore or HiveServer2.")
    format: Literal["auto", "text", "sequence_file", "rcfile", "parquet", "orc", "avro"] = Field(
        "auto", description="As in STORED AS. auto: as the DDL or metastore says, else by each file's magic bytes."
    )
    serde: Serde | None = Field(
        None,
        description="How columns lie in a row of a text file, SequenceFile or RCFile; the format's default if none.",
    )
    serde_properties: dict[str, str] = Field(
        {}, description="WITH SERDEPROPERTIES, and table properties such as skip.header.line.count, under Hive's keys."
    )
    ddl: str | None = Field(None, description="A .hql file with CREATE TABLE: columns, partition columns, delimiters.")
    columns: dict[str, str] | None = Field(
        None, description="Name: Hive type. Needed for text without `ddl`; Parquet and ORC carry their own."
    )
    partition_columns: dict[str, str] = Field(
        {"dt": "string"}, description="Name: Hive type, in path order. A DDL's PARTITIONED BY goes first."
    )
    date_column: str = Field("dt", description="Partition column that holds the date.")
    date_format: str = Field("%Y-%m-%d", description="How the date is written in the path (strftime).")
    path_format: str | None = Field(
        None,
        description="Instead of partition_columns and date_format, where the day is spread over the path or has no "
        "column name: year=%Y/month=%m/day=%d/hour=%H, %Y/%m/%d/%H, dt=%Y%m%d%H. Rows get the columns `date_column` "
        "(2026-11-15) and, with %H, `hour`.",
    )
    hour_column: str | None = Field(None, description="Partition column that holds the hour, 0 to 23, if there is one.")
    success_file: str | None = Field(
        None, description="Marker that says a partition is finished, e.g. _SUCCESS; without it the partition is late."
    )
    exclude_columns: tuple[str, ...] = Field((), description="Columns left out of the conversion.")
    deduplicate_by: tuple[str, ...] = Field(
        (),
        description="Of the rows of a partition with equal values in these columns only the first is kept, in the "
        "order of file names and rows. A row with a NULL among them is kept. Partitions are not compared.",
    )
    sampling: SamplingOptions | None = Field(None, description="Leaves out negatives of the training days.")
    text: TextOptions = Field(TextOptions(), description="Delimiters of LazySimpleSerDe.")
    bad_rows: BadRowOptions = Field(BadRowOptions(), description="What happens to rows that do not fit the table.")

    @model_validator(mode="after")
    def _one_place(self) -> SourceOptions:
        if (self.table is None) == (self.query is None):
            raise ValueError("needs either `table`, or `query` and `server`")
        if (self.query is None) != (self.server is None):
            raise ValueError("`query` and `server` belong together: one is missing")
        if self.path_format is not None and (self.table or "hive://").startswith("hive://"):
            raise ValueError("`path_format` is for a `table` that is a folder; a metastore says its partitions")
        if self.query is not None and "{start_date}" not in self.query:
            raise ValueError("`query` must hold {start_date}: it is asked once for every day")
        return self

    @field_validator("path_format")
    @classmethod
    def _path_names_a_day(cls, value: str | None) -> str | None:
        if value is not None:
            level_patterns(value)
        return value

    @field_validator("date_format")
    @classmethod
    def _names_a_day(cls, value: str) -> str:
        """Each day must have a text of its own, and a text must name one day: no months, weeks, hours or minutes."""
        finer = datetime.datetime(2026, 11, 5, 23, 59, 58)
        for day in (datetime.datetime(2026, 11, 5), datetime.datetime(2027, 2, 5), datetime.datetime(2027, 2, 6)):
            try:
                read = datetime.datetime.strptime(day.strftime(value), value)
            except ValueError as error:
                raise ValueError(f"is no format that can be read back ({error}); {_DAY_RULE}") from error
            if read.date() != day.date():
                raise ValueError(f"does not name a day: {day:%Y-%m-%d} is written {day.strftime(value)!r}; {_DAY_RULE}")
        if finer.strftime(value) != datetime.datetime(2026, 11, 5).strftime(value):
            raise ValueError(f"holds more than a day: {finer} is written {finer.strftime(value)!r}; {_DAY_RULE}")
        return value

    @model_validator(mode="after")
    def _columns_of_the_path(self) -> SourceOptions:
        """With `path_format`, the partition columns are those that it makes."""
        if self.path_format is None:
            return self
        if self.date_format != SourceOptions.model_fields["date_format"].default:
            raise ValueError(f"`path_format` and `date_format` exclude each other; remove {self.date_format!r}")
        hour = (self.hour_column or "hour") if "%H" in self.path_format else None
        made = {self.date_column: "string", **({hour: "int"} if hour else {})}
        if "partition_columns" in self.model_fields_set and self.partition_columns != made:
            raise ValueError(f"`path_format` and `partition_columns` exclude each other; it makes the columns {made}")
        object.__setattr__(self, "partition_columns", made)  # options are frozen once they are made
        object.__setattr__(self, "hour_column", hour)
        return self

    @property
    def place(self) -> str:
        """Where the rows come from: `table`, or the server of the query."""
        return self.table or self.server or ""


class CompletenessOptions(Options):
    """When a day counts as complete, besides being there with all its hours and its `source.success_file`."""

    min_share_of_median: Annotated[float, Field(gt=0, le=1)] | None = Field(
        0.5,
        description="A day with fewer bytes, or rows where the files say them (Parquet, ORC), than this share of the "
        "median of earlier days is too small; null: sizes are not judged.",
    )
    median_weeks: PositiveInt = Field(
        4,
        description="The median is of the same weekday in the so many weeks before a day where 3 such days are there, "
        "else of all days in them; with fewer than 3 the day is not judged.",
    )
    wait_limit_minutes: PositiveInt = Field(360, description="With `incomplete: wait`: then it fails after all.")
    wait_interval_seconds: PositiveInt = Field(60, description="With `incomplete: wait`: time between two looks.")


class WindowOptions(Options):
    """Which days are read for run date D: eval = the last `eval_days` up to and with D, train = the days before."""

    train_days: PositiveInt = Field(28, description="Days before the eval days, the validation days among them.")
    validation_days: NonNegativeInt = Field(
        1, description="The last so many of the train days are held out for early stopping; 0 for none."
    )
    eval_days: PositiveInt = Field(1, description="The last days, the ones the gates judge.")
    incomplete: Literal["fail", "wait", "shrink"] = Field(
        "fail",
        description="What a missing, late, empty or too small partition does. fail: exit code 3. wait: until it is "
        "there, at most `completeness.wait_limit_minutes`. shrink: goes on without it, and says so everywhere.",
    )
    completeness: CompletenessOptions = Field(
        CompletenessOptions(), description="When a day counts as complete, and how long is waited for it."
    )

    @property
    def leaves_out(self) -> bool:
        """Whether a run goes on without what is incomplete."""
        return self.incomplete == "shrink"

    def as_planned(self) -> WindowOptions:
        """Without what only concerns the time before the run: a node never waits, and is not run again because the
        limit of the wait is another one."""
        waits = {"wait_limit_minutes", "wait_interval_seconds"}
        completeness = CompletenessOptions(**self.completeness.model_dump(exclude=waits))
        policy = "shrink" if self.leaves_out else "fail"
        return self.model_copy(update={"incomplete": policy, "completeness": completeness})
