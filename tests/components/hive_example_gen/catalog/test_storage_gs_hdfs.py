"""Tables on Google Cloud Storage, by Arrow's own client against gs_server; and what HDFS says without its library."""

import datetime
import os
import subprocess
import sys

import pytest

from hivemill.common.errors import DataNotReadyError, InfrastructureError
from hivemill.components.hive_example_gen.catalog import directory, table_files
from hivemill.components.hive_example_gen.convert import convert_partition
from hivemill.components.hive_example_gen.options import BadRowOptions, SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning.window import plan_window
from tests.support import gs_server

DAY = datetime.date(2026, 11, 15)
BEFORE = DAY - datetime.timedelta(days=1)
_HDFS = """
import datetime
from hivemill.common.errors import InfrastructureError
from hivemill.components.hive_example_gen.options import SourceOptions
from hivemill.components.hive_example_gen.catalog import directory
for _ in range(2):
    try:
        directory.list_days(SourceOptions(table="hdfs://nn:8020/logs"), ("dt",), [datetime.date(2026, 11, 15)])
    except InfrastructureError as error:
        print(error)
"""
WINDOW = WindowOptions(train_days=1, validation_days=0)
COLUMNS = {"columns": {"id": "bigint"}, "partition_columns": {"dt": "string", "place": "string"}}


def _url(port, path="logs/clicks"):
    place = f"endpoint_override=127.0.0.1:{port}&scheme=http&retry_limit_seconds=5"
    return f"gs://anonymous@{gs_server.BUCKET}/{path}?{place}"


def _objects(marked):
    """`marked`: with the objects that Hadoop's connector leaves for folders; other writers leave none."""
    rows = {f"logs/clicks/dt={day}/place=a%3Ab/000000_0": b"1\n2\n" for day in (BEFORE, DAY)}
    marks = ["logs/", "logs/clicks/", *(name.removesuffix("000000_0") for name in rows)]
    marks += [name.rsplit("/", 2)[0] + "/" for name in rows]
    return rows | dict.fromkeys(marks if marked else (), b"")


@pytest.mark.parametrize("marked", [True, False])
def test_a_table_is_planned_and_converted(tmp_path, marked):
    with gs_server.serving(_objects(marked)) as port:
        source = SourceOptions(table=_url(port), **COLUMNS)
        plan = plan_window(source, WINDOW, DAY, str(tmp_path / "converted"))
        plan.check()
        (partition,) = plan.splits["eval"]
        assert partition.values == (("dt", "2026-11-15"), ("place", "a:b"))
        assert convert_partition(partition, source.place, BadRowOptions(), str(tmp_path / "converted")).rows == 2


def test_a_day_that_is_not_there_is_missed(tmp_path):
    objects = {name: data for name, data in _objects(marked=False).items() if str(BEFORE) not in name}
    with gs_server.serving(objects) as port, pytest.raises(DataNotReadyError, match=f"dt={BEFORE}"):
        plan_window(SourceOptions(table=_url(port), **COLUMNS), WINDOW, DAY, str(tmp_path / "converted")).check()


def test_what_a_folder_holds():
    objects = {"t/dt=1/": b"", "t/dt=2/f": b"1", "t/dt=2/deep/g": b"2", "t/x": b"33", "t/x/y": b"4"}
    with gs_server.serving(objects) as port:
        listed = [(entry.name, entry.is_folder, entry.num_bytes) for entry in table_files.entries(_url(port, "t"))]
        assert listed == [("dt=1", True, 0), ("dt=2", True, 0), ("x", False, 2), ("x", True, 0)]
        assert table_files.names(_url(port, "t/dt=2")) == ["deep", "f"]
        assert table_files.entries(_url(port, "t/dt=1")) == []
        with pytest.raises(FileNotFoundError):
            table_files.entries(_url(port, "t/none"))


def test_the_table_is_listed_once_for_all_days(monkeypatch):
    asked = []
    listed = table_files.names
    monkeypatch.setattr(table_files, "names", lambda folder: asked.append(folder) or listed(folder))
    with gs_server.serving(_objects(marked=False)) as port:
        source = SourceOptions(table=_url(port))
        found = directory.list_days(source, ("dt", "place"), [BEFORE, DAY, DAY + datetime.timedelta(days=1)])
    assert asked == [_url(port)]
    assert [len(partitions) for partitions in found.partitions.values()] == [1, 1, 0]


def test_credentials_that_are_missing_or_refused_are_told_in_words(tmp_path, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with gs_server.serving_here({}, token="TOKEN") as port:
        anonymous = _url(port)
        for url, said in (
            (anonymous, "UNAUTHENTICATED: The fake says 401.\\n"),
            (anonymous.replace("anonymous@", ""), "Cannot open credentials file .*none.json\\n"),
        ):
            with pytest.raises(InfrastructureError, match=f"gs://bucket/logs/clicks cannot be read: .*{said}") as told:
                directory.list_days(SourceOptions(table=url), ("dt", "place"), [DAY])
            assert "credentials" in told.value.hint


@pytest.mark.parametrize("environment", [{}, {"ARROW_LIBHDFS_DIR": "/nowhere"}])
def test_hdfs_without_its_library_says_what_it_needs(environment):
    """In a process of its own: Arrow looks for the library once per process."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("JAVA_HOME", "HADOOP_HOME")}
    command = [sys.executable, "-c", _HDFS]
    done = subprocess.run(command, env=inherited | environment, capture_output=True, text=True, check=True)
    assert done.stdout.count("hdfs://nn:8020 cannot be opened") == 2, done.stdout
    assert done.stdout.count("ARROW_LIBHDFS_DIR (the folder of libhdfs.so") == 2
