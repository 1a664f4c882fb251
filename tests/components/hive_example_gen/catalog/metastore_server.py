"""A Hive metastore in this process: the real protocol over a real socket, the few calls that planning makes."""

import re

from pymetastore.hive_metastore import ThriftHiveMetastore, ttypes

from tests.support import thrift_serving

TEXT = ("org.apache.hadoop.mapred.TextInputFormat", "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe")
PARQUET = (
    "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
    "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
)


def descriptor(columns, location, stored=TEXT, properties=None):
    input_format, serde = stored
    return ttypes.StorageDescriptor(
        cols=[ttypes.FieldSchema(name=name, type=kind) for name, kind in columns.items()],
        location=str(location) if location is not None else None,
        inputFormat=input_format,
        serdeInfo=ttypes.SerDeInfo(serializationLib=serde, parameters=properties or {"serialization.format": "1"}),
    )


def table(sd, keys, parameters=None, kind="EXTERNAL_TABLE", name="clicks"):
    return ttypes.Table(
        dbName="logs",
        tableName=name,
        sd=sd,
        partitionKeys=[ttypes.FieldSchema(name=key, type=of) for key, of in keys.items()],
        parameters=parameters or {},
        tableType=kind,
    )


class Handler:
    """Knows one table; `calls` holds what was asked, in order."""

    def __init__(self, made, partitions=(), refuses_filters=False):
        self.made = made
        self.keys = [key.name for key in made.partitionKeys or ()]
        self.partitions = {self._name(values): ttypes.Partition(values=values, sd=sd) for values, sd in partitions}
        self.refuses_filters = refuses_filters
        self.calls = []

    def _name(self, values):
        escaped = [re.sub(r"[:/=%]", lambda found: f"%{ord(found[0]):02X}", value) for value in values]
        return "/".join(f"{key}={value}" for key, value in zip(self.keys, escaped, strict=True))

    def get_table(self, dbname, tbl_name):
        self.calls.append("get_table")
        if (dbname, tbl_name) != (self.made.dbName, self.made.tableName):
            raise ttypes.NoSuchObjectException(f"{dbname}.{tbl_name} table not found")
        return self.made

    def get_partitions_by_filter(self, db_name, tbl_name, filter, max_parts):
        self.calls.append(filter)
        if self.refuses_filters:
            raise ttypes.MetaException("Filtering is supported only on partition keys of type string")
        wanted = [re.fullmatch(r'(\w+) = "([^"]*)"', each).groups() for each in filter.split(" or ")]
        return [
            partition
            for partition in self.partitions.values()
            if any(partition.values[self.keys.index(key)] == value for key, value in wanted)
        ]

    def get_partition_names(self, db_name, tbl_name, max_parts):
        self.calls.append("get_partition_names")
        return list(self.partitions)

    def get_partition_names_ps(self, db_name, tbl_name, part_vals, max_parts):
        self.calls.append("get_partition_names_ps")
        return [
            name
            for name, partition in self.partitions.items()
            if all(wanted in ("", value) for wanted, value in zip(part_vals, partition.values, strict=True))
        ]

    def get_partitions_by_names(self, db_name, tbl_name, names):
        self.calls.append(list(names))
        return [self.partitions[name] for name in names if name in self.partitions]


def serving(handler, **options):
    """Yields the port."""
    return thrift_serving.serving(ThriftHiveMetastore.Processor(handler), **options)
