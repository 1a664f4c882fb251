"""The dev server over TLS: both protocols, whom it lets in, and what it refuses to start with."""

import json
import ssl
import urllib.error
import urllib.request

import grpc
import pytest

from hivemill.pipeline.cli import main
from hivemill.serving import tls
from hivemill.serving.client import PredictionClient, PredictionError
from hivemill.serving.experiment.assignment import Split
from tests.serving.certificates import Authority
from tests.serving.server.click_model import rows, save
from tests.serving.server.server_kit import Store, running


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    store = Store(folder / "store", save(folder / "model"))
    store.folder.mkdir()
    store.add(1)
    store.write([1], stable=1)
    return store


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "ours")


def rest(server, authority, pair=None):
    """The states of the model, over HTTPS."""
    context = ssl.create_default_context(cafile=str(authority.file))
    if pair:
        context.load_cert_chain(*pair)
    url = f"https://127.0.0.1:{server.rest_port}/v1/models/shop"
    with urllib.request.urlopen(url, timeout=10, context=context) as answer:
        return json.loads(answer.read())["model_version_status"][0]["state"]


def predictions(server, *files):
    credentials = tls.channel_credentials(*files)
    nobody = Split.at_percent("salt", 0)
    with PredictionClient(
        f"127.0.0.1:{server.port}", "shop", nobody, timeout_seconds=10, credentials=credentials
    ) as one:
        return len(one.predict(rows(2)).click_probabilities)


def test_both_protocols_are_encrypted(store, authority, tmp_path):
    files = tls.server_tls(*authority.issue("server"))
    other = Authority(tmp_path / "theirs")
    with running(store, tls=files) as client:
        server = client.server
        assert predictions(server, authority.file) == 2
        assert rest(server, authority) == "AVAILABLE"
        with pytest.raises(PredictionError, match="CERTIFICATE_VERIFY_FAILED"):
            predictions(server, other.file)
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            rest(server, other)
        with pytest.raises(grpc.RpcError):
            client.states()  # in plain text
        with pytest.raises((OSError, urllib.error.URLError)):
            client.rest("/v1/models/shop")


def test_only_clients_with_a_certificate_come_in(store, authority):
    with running(store, tls=tls.server_tls(*authority.issue("server"), authority.file)) as client:
        pair = authority.issue("client")
        assert predictions(client.server, authority.file, *pair) == 2
        assert rest(client.server, authority, pair) == "AVAILABLE"
        with pytest.raises(PredictionError):
            predictions(client.server, authority.file)
        with pytest.raises((OSError, urllib.error.URLError)):
            rest(client.server, authority)
        assert rest(client.server, authority, pair) == "AVAILABLE"  # who was refused took nothing along


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tls-cert", "server.pem"], "TLS needs --tls-cert and --tls-key"),
        (["--client-ca", "ca.pem"], "TLS needs --tls-cert and --tls-key"),
        (["--tls-cert", "server.pem", "--tls-key", "absent"], "absent cannot be read"),
        (["--tls-cert", "ca.pem", "--tls-key", "server.key"], "must be a certificate and its own private key"),
        (["--ssl-config-file", "server.pem", "--tls-key", "server.key"], "leave the other options out"),
        (["--ssl-config-file", "server.pem"], "must be a tensorflow.serving.SSLConfig as text"),
    ],
)
def test_options_that_are_wrong(authority, store, monkeypatch, capsys, words, said):
    authority.issue("server")
    monkeypatch.chdir(authority.folder)
    assert main.main(["serve", "--model-config", str(store.config), *words]) == 2
    assert said in capsys.readouterr().err
