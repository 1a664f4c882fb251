"""The values of partition columns as their types say: `hour=00` stays '00' or becomes 0."""

import datetime

import pyarrow as pa
import pytest

from hivemill.common.errors import DataNotReadyError
from hivemill.components.hive_example_gen.options import SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning.window import plan_window
from hivemill.components.hive_example_gen.table.columns import with_partition_values

DAY = datetime.date(2026, 11, 15)


def _value(tmp_path, folder, kind):
    column = folder.partition("=")[0]
    for day in (DAY - datetime.timedelta(days=1), DAY):
        path = tmp_path / f"dt={day}" / folder
        path.mkdir(parents=True)
        (path / "f").write_bytes(b"1\n")
    source = SourceOptions(table=str(tmp_path), columns={"id": "int"}, partition_columns={"dt": "string", column: kind})
    plan = plan_window(source, WindowOptions(train_days=1, validation_days=0), DAY, str(tmp_path / "converted"))
    (partition,) = plan.splits["eval"]
    batch = pa.record_batch({"id": [1]})
    return with_partition_values(batch, partition.name, partition.values, partition.spec).to_pylist()[0][column]


@pytest.mark.parametrize(
    ("folder", "kind", "value"),
    [
        ("hour=00", "string", "00"),
        ("hour=00", "int", 0),
        ("hour=0", "int", 0),
        ("hour=07", "tinyint", 7),
        ("n=-1", "bigint", -1),
        ("day=2026-11-15", "date", DAY),
        ("on=true", "boolean", True),
        ("share=0.5", "double", 0.5),
        ("place=a%3Ab%2Fc%3Dd e%25f", "string", "a:b/c=d e%f"),
        ("place=__HIVE_DEFAULT_PARTITION__", "string", None),
        ("hour=__HIVE_DEFAULT_PARTITION__", "int", None),
    ],
)
def test_a_value_has_its_columns_type(tmp_path, folder, kind, value):
    assert _value(tmp_path, folder, kind) == value


def test_a_value_that_is_not_of_its_type_is_named(tmp_path):
    with pytest.raises(DataNotReadyError, match=r"partition dt=2026-11-15/hour=x: hour='x' is not a int32"):
        _value(tmp_path, "hour=x", "int")


@pytest.mark.parametrize(("kind", "form"), [("int", "%Y%m%d"), ("date", "%Y-%m-%d"), ("string", "%d.%m.%Y")])
def test_the_date_column_of_any_type(tmp_path, kind, form):
    for day in (DAY - datetime.timedelta(days=1), DAY):
        path = tmp_path / f"dt={day.strftime(form)}"
        path.mkdir()
        (path / "f").write_bytes(b"1\n")
    source = SourceOptions(table=str(tmp_path), columns={"id": "int"}, partition_columns={"dt": kind}, date_format=form)
    plan = plan_window(source, WindowOptions(train_days=1, validation_days=0), DAY, str(tmp_path / "converted"))
    plan.check()
    assert plan.splits["eval"][0].values == (("dt", DAY.strftime(form)),)
