"""ML Metadata on SQLite and on MariaDB: the same launches, cache, lineage and reruns; a server that goes away."""

from __future__ import annotations

import threading
import time

import pytest
from google.protobuf import json_format

from hivemill.common.errors import InfrastructureError
from hivemill.pipeline.metadata import lineage
from hivemill.pipeline.metadata.client import metadata_of
from hivemill.pipeline.metadata.options import PASSWORD_VARIABLE, MetadataOptions
from hivemill.pipeline.orchestrators.local import LocalRunner
from hivemill.pipeline.runs.records import RunFolder
from tests.pipeline import light_nodes, mariadb

TEXT = "größer 大 😀 " + "x" * 70_000  # beyond the 64 KiB of MySQL's TEXT, and beyond its three-byte utf8


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory):
    server = mariadb.server(tmp_path_factory.mktemp("mariadb"))
    yield server
    server.kill()


@pytest.fixture
def server(shared_server, monkeypatch):
    monkeypatch.setenv(PASSWORD_VARIABLE, mariadb.PASSWORD)
    yield shared_server
    shared_server.kill()
    shared_server.start()


@pytest.fixture(params=["sqlite", "mysql"])
def options(request) -> MetadataOptions:
    if request.param == "sqlite":
        return MetadataOptions()
    return of_server(request.getfixturevalue("server"))


def of_server(server: mariadb.MariaDb, **values) -> MetadataOptions:
    return MetadataOptions(backend="mysql", host="127.0.0.1", port=server.port, user="hivemill", **values)


@pytest.fixture(autouse=True)
def quiet():
    light_nodes.CALLS.clear()
    light_nodes.DURING.clear()
    yield
    light_nodes.DURING.clear()


def run(folder, options, name, text="text") -> dict[str, str]:
    """Runs the three nodes; returns their states."""
    states: dict[str, str] = {}
    runner = LocalRunner(lambda node_id: None, lambda record: states.update({record.node_id: record.state}))
    runner.run(light_nodes.compiled(folder, options, name, text), RunFolder(folder, name))
    return states


def test_nodes_run_and_lineage_tells_what_fed_what(tmp_path, options):
    assert set(run(tmp_path, options, "one", TEXT).values()) == {"succeeded"}
    nodes = lineage.of_run(light_nodes.compiled(tmp_path, options, "one", TEXT))["nodes"]
    start, middle, last = nodes
    assert [node["state"] for node in nodes] == ["complete"] * 3
    assert middle["inputs"]["examples"] == start["outputs"]["examples"] == last["inputs"]["examples"]
    assert last["inputs"]["model"] == middle["outputs"]["model"]
    with metadata_of(light_nodes.compiled(tmp_path, options, "one", TEXT)) as handle:
        (artifact,) = handle.store.get_artifacts_by_id([start["outputs"]["examples"][0]["id"]])
    assert artifact.custom_properties["text"].string_value == TEXT


def test_second_run_takes_all_from_the_cache_and_other_inputs_do_not(tmp_path, options):
    run(tmp_path, options, "one")
    assert set(run(tmp_path, options, "two").values()) == {"cached"}
    assert light_nodes.CALLS == ["Start", "Middle", "Last"]
    assert run(tmp_path, options, "three", "other")["Start"] == "succeeded"


def test_run_that_failed_goes_on_where_it_stopped(tmp_path, options):
    def fail():
        raise ValueError("once")

    light_nodes.DURING["Middle"] = fail
    with pytest.raises(ValueError, match="once"):
        run(tmp_path, options, "one.1")
    light_nodes.DURING.clear()
    assert run(tmp_path, options, "one.2") == {"Start": "cached", "Middle": "succeeded", "Last": "succeeded"}
    assert light_nodes.CALLS == ["Start", "Middle", "Middle", "Last"]


def test_node_that_failed_is_launched_again_in_the_same_run(tmp_path, options):
    """An orchestrator starts a container again, without a new attempt of the run."""

    def fail():
        raise ValueError("once")

    light_nodes.DURING["Middle"] = fail
    with pytest.raises(ValueError, match="once"):
        run(tmp_path, options, "one.1")
    light_nodes.DURING.clear()
    assert set(run(tmp_path, options, "one.1").values()) == {"succeeded"}
    assert light_nodes.CALLS == ["Start", "Middle", "Middle", "Last"]
    nodes = lineage.of_run(light_nodes.compiled(tmp_path, options, "one.1"))["nodes"]
    assert [(one["node_id"], one["state"]) for one in nodes] == [
        (name, "complete") for name in ("Start", "Middle", "Last")
    ]


@pytest.mark.parametrize("node", ["Start", "Middle", "Last"])
def test_server_that_is_killed_in_a_node_and_comes_back_loses_nothing(tmp_path, server, node):
    def away_for_a_moment():
        server.kill()
        threading.Timer(1.0, server.start).start()

    light_nodes.DURING[node] = away_for_a_moment
    options = of_server(server)
    assert set(run(tmp_path, options, "one", node).values()) == {"succeeded"}
    assert light_nodes.CALLS == ["Start", "Middle", "Last"]
    nodes = lineage.of_run(light_nodes.compiled(tmp_path, options, "one", node))["nodes"]
    assert [one["node_id"] for one in nodes] == ["Start", "Middle", "Last"]


def test_server_that_stays_away_ends_with_6_in_bounded_time_and_a_rerun_goes_on(tmp_path, server):
    options = of_server(server, retries=2)
    light_nodes.DURING["Middle"] = server.kill
    started = time.monotonic()
    with pytest.raises(
        InfrastructureError, match=rf"127.0.0.1:{server.port} does not answer .*refused.*3 times"
    ) as caught:
        run(tmp_path, options, "one.1")
    assert caught.value.exit_code == 6
    assert "goes on where it stopped" in caught.value.hint
    assert time.monotonic() - started < 30
    again = time.monotonic()
    with pytest.raises(InfrastructureError, match="tried once"):
        lineage.of_run(light_nodes.compiled(tmp_path, options, "one.1"))
    assert time.monotonic() - again < 1  # the pauses are 0.5 + 1 s
    light_nodes.DURING.clear()
    server.start()
    assert run(tmp_path, options, "one.2") == {"Start": "cached", "Middle": "succeeded", "Last": "succeeded"}


def test_refused_login_is_told_soon_without_the_password(tmp_path, server, monkeypatch):
    monkeypatch.setenv(PASSWORD_VARIABLE, "not this one")
    with pytest.raises(InfrastructureError, match="refuses user 'hivemill' for database 'hivemill'") as caught:
        run(tmp_path, of_server(server, retries=100), "one")
    assert "not this one" not in str(caught.value)
    monkeypatch.delenv(PASSWORD_VARIABLE)
    with pytest.raises(InfrastructureError, match=f"{PASSWORD_VARIABLE} is not set"):
        run(tmp_path, of_server(server), "one")


def test_compiled_pipeline_holds_no_password(tmp_path, server):
    text = json_format.MessageToJson(light_nodes.compiled(tmp_path, of_server(server), "one"))
    assert "127.0.0.1" in text and mariadb.PASSWORD not in text


def test_server_that_cannot_write_is_no_defect_of_ours(tmp_path, server):
    options = of_server(server)
    run(tmp_path, options, "one")
    server.kill()
    server.start("--read-only")
    with pytest.raises(InfrastructureError, match="read-only"):
        run(tmp_path, options, "two")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"backend": "mysql"}, "needs host and user"),
        ({"backend": "mysql", "host": "db"}, "needs host and user"),
        ({"host": "db"}, "are for backend mysql"),
        ({"backend": "mysql", "host": "db", "user": "u", "database": "a b"}, "pattern"),
        ({"retries": 0}, "greater than or equal to 1"),
        ({"password": "secret"}, "not permitted"),
    ],
)
def test_options_that_cannot_work(values, words):
    with pytest.raises(ValueError, match=words):
        MetadataOptions(**values)
