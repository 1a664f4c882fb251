"""TLS to a model server, with real certificates: who is trusted, who may come, and what is said where it fails."""

from concurrent import futures

import pytest

from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.serving import protos, tls
from hivemill.serving.client import PredictionClient, PredictionError
from hivemill.serving.experiment.assignment import Split
from hivemill.serving.rollout.controller import RolloutMachine
from hivemill.serving.rollout.model_server import ModelServers
from tests.serving.certificates import Authority
from tests.serving.rollout.rollouts import NO_WAIT, make_store
from tests.serving.rollout.test_model_server import Servicer


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "ours")


@pytest.fixture
def others(tmp_path):
    return Authority(tmp_path / "theirs")


@pytest.fixture
def serve():
    import grpc

    started = []

    def start(server_tls):
        server = grpc.server(futures.ThreadPoolExecutor(4))
        protos.load("apis.model_service_pb2_grpc").add_ModelServiceServicer_to_server(Servicer(), server)
        if server_tls is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", server_tls.grpc_credentials())
        server.start()
        started.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in started:
        server.stop(None)


def ask(address, *files):
    credentials = tls.channel_credentials(*files) if files else None
    with ModelServers([address], 5, credentials) as servers:
        return servers.states("shop")


def test_a_rollout_over_tls_with_certificates_on_both_sides(authority, serve, tmp_path):
    address = serve(tls.server_tls(*authority.issue("server"), authority.file))
    store = make_store(tmp_path)
    old, new = store.versions()
    credentials = tls.channel_credentials(authority.file, *authority.issue("rollouts"))
    with ModelServers([address], credentials=credentials) as servers:
        servers.reload(store.server_config())
        RolloutMachine(store, NO_WAIT, servers).start()
        assert {version: one.state for version, one in servers.states("shop").items()} == dict.fromkeys(
            (old, new), "AVAILABLE"
        )


def test_a_server_that_another_authority_signed_is_not_trusted(authority, others, serve):
    address = serve(tls.server_tls(*others.issue("server")))
    with pytest.raises(InfrastructureError, match=rf"{address} .*CERTIFICATE_VERIFY_FAILED") as raised:
        ask(address, authority.file)
    assert "signed by the authority in tls_ca_file" in raised.value.hint


@pytest.mark.parametrize("wrong", [{"days": -1}, {"host": "other.example"}])
def test_a_certificate_that_has_expired_or_is_another_hosts(authority, serve, wrong):
    address = serve(tls.server_tls(*authority.issue("server", **wrong)))
    with pytest.raises(InfrastructureError) as raised:
        ask(address, authority.file)
    assert "be valid today, and name the host" in raised.value.hint


def test_a_client_without_a_certificate_or_with_somebody_elses(authority, others, serve):
    address = serve(tls.server_tls(*authority.issue("server"), authority.file))
    for files in ((), others.issue("client")):
        with pytest.raises(InfrastructureError) as raised:
            ask(address, authority.file, *files)
        assert "tls_cert_file" in raised.value.hint, raised.value.message
    assert ask(address, authority.file, *authority.issue("client")) == {}


def test_one_side_speaks_tls_and_the_other_does_not(authority, serve):
    with pytest.raises(InfrastructureError, match=r"UNAVAILABLE") as raised:
        ask(serve(None), authority.file)
    assert "The server speaks no TLS at that port" in raised.value.hint, raised.value.message
    with pytest.raises(InfrastructureError, match=r"UNAVAILABLE") as raised:
        ask(serve(tls.server_tls(*authority.issue("server"))))
    assert "does it ask for TLS (rollout.tls_ca_file)" in raised.value.hint


def test_the_client_of_predictions_says_what_is_wrong_with_a_certificate(authority, others, serve):
    address = serve(tls.server_tls(*others.issue("server")))
    credentials = tls.channel_credentials(authority.file)
    nobody = Split.at_percent("salt", 0)
    client = PredictionClient(address, "shop", nobody, timeout_seconds=5, credentials=credentials)
    with client, pytest.raises(PredictionError, match=r"CERTIFICATE_VERIFY_FAILED") as raised:
        client.predict([{"hour": 9}])
    assert raised.value.code == "UNAVAILABLE" and "signed by the authority" in raised.value.hint


def write_ssl_config(file, key, certificate, authority=None, verify=False):
    """As tensorflow_model_server takes it: the PEM texts, with line ends escaped."""
    fields = {"server_key": key, "server_cert": certificate, "custom_ca": authority}
    lines = [f'{name}: "{path.read_text()}"'.replace("\n", "\\n") for name, path in fields.items() if path]
    file.write_text("\n".join([*lines, f"client_verify: {str(verify).lower()}"]))
    return file


@pytest.mark.parametrize("verify", [False, True])
def test_the_file_of_tensorflow_serving(authority, serve, tmp_path, verify):
    certificate, key = authority.issue("server")
    config = write_ssl_config(tmp_path / "ssl.config", key, certificate, authority.file, verify)
    address = serve(tls.server_tls_of_config(config))
    assert ask(address, authority.file, *authority.issue("client")) == {}
    if verify:
        with pytest.raises(InfrastructureError):
            ask(address, authority.file)
    else:
        assert ask(address, authority.file) == {}


def test_files_that_are_wrong_are_named(authority, others, tmp_path):
    certificate, key = authority.issue("server")
    _, other_key = others.issue("server")
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    with pytest.raises(ConfigError, match=r"absent.pem cannot be read: No such file"):
        tls.channel_credentials(tmp_path / "absent.pem")
    with pytest.raises(ConfigError, match=r"text.pem must be certificates in PEM"):
        tls.channel_credentials(text)
    with pytest.raises(ConfigError, match=r"server.pem and .*server.key must be a certificate and its own private key"):
        tls.channel_credentials(authority.file, certificate, other_key)
    with pytest.raises(ConfigError, match=r"the server's certificate and key must be a certificate"):
        tls.server_tls(certificate, other_key)
    with pytest.raises(ConfigError, match=r"the clients' authority must be certificates in PEM"):
        tls.server_tls(certificate, key, text)
    with pytest.raises(ConfigError, match=r"text.pem: must be a tensorflow.serving.SSLConfig"):
        tls.server_tls_of_config(text)
    config = write_ssl_config(tmp_path / "ssl.config", key, certificate, verify=True)
    with pytest.raises(ConfigError, match=r"client_verify needs custom_ca"):
        tls.server_tls_of_config(config)


def test_a_private_key_is_not_shown(authority):
    assert b"PRIVATE" not in repr(tls.server_tls(*authority.issue("server"))).encode()
