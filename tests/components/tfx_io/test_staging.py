"""Executors with artifacts in an object store: fetched before, put after, and the scratch folder gone."""

import json
import os
import tempfile
from pathlib import Path

import pytest
from tfx.components.statistics_gen.component import StatisticsGen
from tfx.dsl.component.experimental import executor_specs
from tfx.dsl.components.base import base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.proto.orchestration import execution_result_pb2
from tfx.types import channel_utils, standard_artifacts
from tfx.utils import import_utils

from hivemill.common.errors import ConfigError
from hivemill.common.storage import object_store
from hivemill.components.tfx_io import staged_executor
from tests.support.object_stores import KINDS, bucket


class Copier(base_executor.BaseExecutor):
    """Its output has the input's files, and what it saw."""

    def Do(self, input_dict, output_dict, exec_properties):
        (source,), (target,) = input_dict["examples"], output_dict["model"]
        baseline = exec_properties["baseline_path"]
        seen = {
            "source": source.uri,
            "again": [one.uri for one in input_dict["same"]],
            "baseline": Path(baseline).read_text() if baseline else None,
            "true": staged_executor.true_place(f"{source.uri}/Split-train/a"),
            "temporary": self._get_tmp_dir(),
        }
        for name in object_store.files_below(Path(source.uri)):
            copy = Path(target.uri) / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((Path(source.uri) / name).read_bytes())
        (Path(target.uri) / "seen.json").write_text(json.dumps(seen))
        target.set_string_custom_property("made_from", f"{source.uri}/Split-train")
        if exec_properties.get("fails"):
            raise ValueError("no")
        if exec_properties.get("tells"):  # as TFX's ExampleValidator does
            told = execution_result_pb2.ExecutorOutput()
            told.output_artifacts["model"].artifacts.append(target.mlmd_artifact)
            return told
        return None


@pytest.fixture(params=KINDS)
def url(request, monkeypatch, tmp_path):
    with bucket(request.param, tmp_path, monkeypatch) as (_, place):
        yield f"{place}/artifacts"


@pytest.fixture
def run(tmp_path, monkeypatch, url):
    """Runs the staged executor; returns its output artifact and what the executor saw."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    os.mkdir(tmp_path / "scratch")

    def once(**properties):
        source, same, target = standard_artifacts.Examples(), standard_artifacts.Examples(), standard_artifacts.Model()
        source.uri, same.uri, target.uri = f"{url}/in", f"{url}/in", f"{url}/out/7"
        context = base_executor.BaseExecutor.Context(tmp_dir=f"{url}/.temp", unique_id="7")
        executor = staged_executor.staged(f"{__name__}.Copier")(context)
        given = {"examples": [source], "same": [same]}
        try:
            told = executor.Do(given, {"model": [target]}, {"baseline_path": None} | properties)
        finally:
            assert [source.uri, same.uri, target.uri] == [f"{url}/in", f"{url}/in", f"{url}/out/7"]
            assert not list((tmp_path / "scratch").iterdir())
        if told is not None:
            (published,) = told.output_artifacts["model"].artifacts
            assert published == target.mlmd_artifact
        return target, json.loads(object_store.read_bytes(f"{url}/out/7/seen.json"))

    for name in ("Split-train/a", "Split-eval/b"):
        object_store.write_bytes(f"{url}/in/{name}", name.encode())
    return once


def test_inputs_are_fetched_outputs_put_and_uris_kept(run, url):
    _, seen = run()
    there = object_store.sizes(f"{url}/out/7")
    assert there.keys() == {"Split-train/a", "Split-eval/b", "seen.json"}
    assert object_store.read_bytes(f"{url}/out/7/Split-train/a") == b"Split-train/a"
    assert seen["again"] == [seen["source"]]  # one artifact in two places is fetched once
    assert not seen["temporary"].startswith(url)


def test_places_in_the_scratch_folder_are_named_by_their_urls(run, url):
    target, seen = run()
    assert target.get_string_custom_property("made_from") == f"{url}/in/Split-train"
    assert seen["true"] == f"{url}/in/Split-train/a"
    assert staged_executor.true_place(seen["source"]) == seen["source"]  # forgotten with the node


def test_what_an_executor_gives_back_for_publishing_has_urls(run, url):
    target, _ = run(tells=True)
    assert target.uri == f"{url}/out/7"


def test_file_that_a_property_names_is_fetched(run, url):
    object_store.write_bytes(f"{url}/runs/one/baseline.json", b"the bar")
    _, seen = run(baseline_path=f"{url}/runs/one/baseline.json")
    assert seen["baseline"] == "the bar"


def test_failed_node_puts_nothing(run, url):
    with pytest.raises(ValueError, match="no"):
        run(fails=True)
    assert object_store.sizes(f"{url}/out") == {}


def test_component_is_compiled_with_an_executor_that_tfx_finds_again():
    component = StatisticsGen(examples=channel_utils.as_channel([standard_artifacts.Examples()]))
    before = component.executor_spec.class_path
    staged_executor.stage(component)
    spec = component.executor_spec
    assert (
        spec.class_path
        == "hivemill.components.tfx_io.staged_executor.tfx__components__statistics_gen__executor__Executor"
    )
    found = import_utils.import_class_by_path(spec.encode().python_executor_spec.class_path)
    assert found.__mro__[2] is import_utils.import_class_by_path(before)
    assert StatisticsGen.EXECUTOR_SPEC.class_path == before
    assert isinstance(spec, executor_spec.BeamExecutorSpec)


def test_node_without_a_python_executor_is_refused():
    component = StatisticsGen(examples=channel_utils.as_channel([standard_artifacts.Examples()]))
    component.executor_spec = executor_specs.TemplatedExecutorContainerSpec(image="image", command=["statistics"])
    told = "node StatisticsGen: its executor is TemplatedExecutorContainerSpec, which knows no object store"
    with pytest.raises(ConfigError, match=told):
        staged_executor.stage(component)


def test_tfx_file_operations_on_an_object_store(url):
    with fileio.open(f"{url}/a/x.txt", "w") as file:
        file.write("größe")
    with fileio.open(f"{url}/a/b/y", "wb") as file:
        file.write(b"\0")
    assert fileio.open(f"{url}/a/x.txt").read() == "größe"
    assert fileio.open(f"{url}/a/b/y", "rb").read() == b"\0"
    assert fileio.exists(f"{url}/a") and fileio.isdir(f"{url}/a") and not fileio.isdir(f"{url}/a/x.txt")
    status = fileio.stat(f"{url}/a/x.txt")
    assert status.st_size == status.length == len("größe".encode()) and status.mtime_nsec == status.st_mtime * 1e9
    assert fileio.listdir(f"{url}/a") == ["b", "x.txt"]
    assert fileio.glob(f"{url}/a/*") == [f"{url}/a/x.txt"] and fileio.glob(f"{url}/a/*/*") == [f"{url}/a/b/y"]
    assert list(fileio.walk(f"{url}/a")) == [(f"{url}/a", ["b"], ["x.txt"]), (f"{url}/a/b", [], ["y"])]
    fileio.copy(f"{url}/a/x.txt", f"{url}/c")
    with pytest.raises(OSError, match="exists already"):
        fileio.copy(f"{url}/a/x.txt", f"{url}/c")
    fileio.rename(f"{url}/c", f"{url}/d")
    assert not fileio.exists(f"{url}/c") and fileio.exists(f"{url}/d")
    fileio.remove(f"{url}/d")
    fileio.rmtree(f"{url}/a")
    assert object_store.sizes(url) == {}
    fileio.makedirs(f"{url}/empty")
    assert fileio.isdir(f"{url}/empty") and fileio.exists(f"{url}/empty")
    fileio.rmtree(f"{url}/empty")
    assert not fileio.exists(f"{url}/empty")
    for missing in (fileio.open, fileio.listdir, fileio.remove, fileio.rmtree, fileio.stat):
        with pytest.raises(fileio.NotFoundError):
            missing(f"{url}/none")
