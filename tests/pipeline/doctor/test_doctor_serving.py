"""`doctor` on serving: who has a port, whether rollout.server serves what the store says, whether the mirror is up."""

import os
import socket

import pytest
import yaml

from hivemill.pipeline.config import loader
from hivemill.pipeline.doctor import serving
from hivemill.serving import tls
from hivemill.serving.rollout.model_server import ModelServers
from tests.pipeline.shop import CONFIG
from tests.serving.certificates import Authority
from tests.serving.rollout.rollouts import make_store
from tests.serving.rollout.test_model_server import Servicer, serve  # noqa: F401  (a fixture)
from tests.serving.test_tls import serve as serve_tls  # noqa: F401
from tests.support import s3_server


def findings(folder, **sections):
    (folder / "hivemill.yaml").write_text(yaml.safe_dump({**CONFIG, **sections}))
    loaded = loader.load(folder / "hivemill.yaml").config
    return {finding.name: finding for finding in serving.findings(loaded)}


def test_a_free_port_and_one_that_this_process_has():
    with socket.socket() as mine, socket.socket() as other:
        mine.bind(("127.0.0.1", 0))
        mine.listen()
        other.bind(("127.0.0.1", 0))
        free, taken = other.getsockname()[1], mine.getsockname()[1]
        other.close()
        found = list(serving.ports({"gRPC": free, "REST": taken}))
    assert (found[0].state, found[0].message) == ("ok", "gRPC of `hivemill serve`: free at 127.0.0.1")
    assert found[1].state == "note" and found[1].exit_code == 0 and "--rest-port N" in found[1].fix
    assert f"{taken} is taken (process {os.getpid()}, " in found[1].message


def test_ports_are_those_that_serve_takes():
    from hivemill.pipeline.cli import main

    arguments = main._parse(["serve"])
    assert (arguments.port, arguments.rest_port) == (serving.GRPC_PORT, serving.REST_PORT)


def test_without_a_server_there_is_a_note(tmp_path):
    found = findings(tmp_path)["model server"]
    assert (found.state, found.message) == ("note", "rollout.server is not set; rollouts need it, or --without-server")


def test_a_server_that_is_not_there(tmp_path):
    found = findings(tmp_path, rollout={"server": "127.0.0.1:1"})["model server"]
    assert (found.state, found.exit_code) == ("failed", 6) and "127.0.0.1:1" in found.message and found.fix


def test_a_server_that_serves_the_store_or_lacks_a_version(tmp_path, serve):  # noqa: F811
    address = serve(Servicer())
    sections = {"rollout": {"server": address}}
    assert "has no version in the store yet" in findings(tmp_path, **sections)["model server"].message
    store = make_store(tmp_path / "root", 2)
    old, new = store.versions()
    lacking = findings(tmp_path, **sections)["model server"]
    assert lacking.state == "failed" and f"must have {old} of shop AVAILABLE; it has: no version" in lacking.message
    with ModelServers([address]) as servers:
        servers.reload(store.server_config())
    good = findings(tmp_path, **sections)["model server"]
    assert (good.state, good.message) == ("ok", f"{address} serves shop: {old} AVAILABLE")
    store.set_label("canary", new)
    assert f"must have {new} of shop" in findings(tmp_path, **sections)["model server"].message


def test_a_server_with_tls_is_asked_over_tls(tmp_path, serve_tls):  # noqa: F811
    authority, others = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    address = serve_tls(tls.server_tls(*authority.issue("server")))
    good = findings(tmp_path, rollout={"server": address, "tls_ca_file": "ca/ca.pem"})["model server"]
    assert good.state == "note" and f"{address} answers" in good.message
    wrong = findings(tmp_path, rollout={"server": address, "tls_ca_file": str(others.file)})["model server"]
    assert wrong.state == "failed" and "CERTIFICATE_VERIFY_FAILED" in wrong.message and "tls_ca_file" in wrong.fix
    absent = findings(tmp_path, rollout={"server": address, "tls_ca_file": "absent.pem"})["model server"]
    assert (absent.state, absent.exit_code) == ("failed", 2) and "absent.pem cannot be read" in absent.message


@pytest.fixture
def bucket(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    with s3_server.serving({}) as port:
        yield f"s3://bucket/folder?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"


def test_a_mirror_that_is_behind(tmp_path, bucket):
    from hivemill.serving.store.mirror import StoreMirror

    assert findings(tmp_path, store={"mirror": bucket})["mirror"].state == "ok"  # nothing is pushed yet
    store = make_store(tmp_path / "root", 2)
    behind = findings(tmp_path, store={"mirror": bucket})["mirror"]
    assert (behind.state, behind.exit_code) == ("failed", 6) and "hivemill models sync" in behind.fix
    StoreMirror(store, bucket).sync()
    good = findings(tmp_path, store={"mirror": bucket})["mirror"]
    assert (good.state, good.message) == ("ok", "s3://bucket/folder answers, and is as the store")
    store.set_label("canary", store.versions()[-1])
    assert findings(tmp_path, store={"mirror": bucket})["mirror"].state == "failed"
