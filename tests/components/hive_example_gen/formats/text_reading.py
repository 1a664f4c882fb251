"""Reads text of a made-up table, for the tests of the text SerDes."""

from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.formats.text import text_file
from hivemill.components.hive_example_gen.options import BadRowOptions, TextOptions
from hivemill.components.hive_example_gen.table.spec import TableSpec
from hivemill.components.hive_example_gen.table.text_properties import text_options


def spec_for(columns, *, serde=None, properties=None, **options):
    """`properties` as in WITH SERDEPROPERTIES; `options` of the TableSpec."""
    options.setdefault("text", text_options(TextOptions(), properties or {}, serde))
    return TableSpec(
        format="text",
        columns=columns,
        partition_columns={"dt": "string"},
        serde=serde,
        serde_properties=properties or {},
        **options,
    )


def read_text(folder, data, columns, *, name="000000_0", values="quarantine", column_count="hive", **options):
    """The rows as tuples, and the BadRows."""
    (folder / name).write_bytes(data)
    bad = BadRows(BadRowOptions(values=values, column_count=column_count, max_share=1))
    file = DataFile(str(folder / name), f"dt=x/{name}")
    batches = list(text_file.read_batches(file, spec_for(columns, **options), bad))
    for batch in batches:
        batch.validate(full=True)
    return [tuple(row.values()) for batch in batches for row in batch.to_pylist()], bad


def told(bad):
    """(row, cause, column) of each bad row."""
    return [(row.row, row.cause, row.column) for row in bad.kept]
