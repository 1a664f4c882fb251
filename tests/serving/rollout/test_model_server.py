"""ModelServers against a real gRPC server with TensorFlow Serving's ModelService; the protos without TensorFlow."""

import subprocess
import sys
import threading
import time
from concurrent import futures
from pathlib import Path

import pytest

from hivemill.common.errors import InfrastructureError
from hivemill.serving import protos
from hivemill.serving.rollout.controller import RolloutMachine
from hivemill.serving.rollout.model_server import ModelServers, VersionState, wait_until_available
from tests.serving.rollout.rollouts import NO_WAIT, make_store

ROOT = Path(__file__).parents[3]


class Servicer(protos.load("apis.model_service_pb2_grpc").ModelServiceServicer):
    """Loads a version `load_seconds` after the config that names it; refuses labels of versions that are not loaded."""

    def __init__(self, load_seconds=0.0, broken=()):
        self.load_seconds, self.broken = load_seconds, broken
        self.ready, self.labels, self.lock = {}, {}, threading.Lock()

    def HandleReloadConfigRequest(self, request, context):
        response = protos.load("apis.model_management_pb2").ReloadConfigResponse()
        (config,) = request.config.model_config_list.config
        with self.lock:
            missing = [v for v in config.version_labels.values() if self.ready.get(v, 1e99) > time.monotonic()]
            if missing and self.ready:
                response.status.error_code = 9
                response.status.error_message = f"version {missing[0]} is not currently available for inference"
                return response
            wanted = config.model_version_policy.specific.versions
            now = time.monotonic()
            self.ready = {v: self.ready.get(v, now + (self.load_seconds if self.ready else 0)) for v in wanted}
            self.labels = dict(config.version_labels)
        return response

    def GetModelStatus(self, request, context):
        messages = protos.load("apis.get_model_status_pb2")
        response = messages.GetModelStatusResponse()
        if request.model_spec.name != "shop":
            import grpc

            context.abort(grpc.StatusCode.NOT_FOUND, "Could not find any versions of model")
        for version, ready in self.ready.items():
            one = response.model_version_status.add(version=version, state=30 if ready <= time.monotonic() else 20)
            if version in self.broken:
                one.state, one.status.error_code, one.status.error_message = 50, 3, "bad graph"
        return response


@pytest.fixture
def serve():
    import grpc

    started = []

    def start(servicer):
        server = grpc.server(futures.ThreadPoolExecutor(4))
        protos.load("apis.model_service_pb2_grpc").add_ModelServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        started.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in started:
        server.stop(None)


def test_a_rollout_and_its_rollback_over_grpc(serve, tmp_path):
    store = make_store(tmp_path)
    old, new = store.versions()
    servicer = Servicer(load_seconds=0.3)
    with ModelServers([serve(servicer)]) as servers:
        servers.reload(store.server_config())
        machine = RolloutMachine(store, NO_WAIT, servers)
        machine.start()
        assert servicer.labels == {"stable": old, "canary": new}
        machine.rollback()
    assert servicer.labels == {"stable": old, "canary": old} and set(servicer.ready) == {old}


def test_all_replicas_must_have_the_version(serve, tmp_path):
    store = make_store(tmp_path)
    old, new = store.versions()
    quick, slow = Servicer(), Servicer(load_seconds=1.0)
    with ModelServers([serve(quick), serve(slow)]) as servers:
        servers.reload(store.server_config())
        started = time.monotonic()
        RolloutMachine(store, NO_WAIT, servers).start()
        assert time.monotonic() - started >= 0.9
        assert quick.labels == slow.labels == {"stable": old, "canary": new}
        slow.broken = (new,)
        assert servers.states("shop") == {old: VersionState("AVAILABLE"), new: VersionState("END", "bad graph")}
        assert servers.states("other") == {}


def test_a_version_that_cannot_be_loaded(serve, tmp_path):
    store = make_store(tmp_path)
    new = store.versions()[1]
    servicer = Servicer(broken=(new,))
    with ModelServers([serve(servicer)]) as servers:
        servers.reload(store.server_config())
        with pytest.raises(InfrastructureError, match=f"the server cannot load shop {new}: bad graph"):
            RolloutMachine(store, NO_WAIT.model_copy(update={"load_timeout_seconds": 30}), servers).start()
    assert "canary" not in servicer.labels and store.state().pending is None


def test_a_label_that_is_refused(serve, tmp_path):
    store = make_store(tmp_path)
    old, new = store.versions()
    with ModelServers([serve(Servicer(load_seconds=60))]) as servers:
        servers.reload(store.server_config())
        store.set_label("stable", new)
        with pytest.raises(InfrastructureError, match=f"version {new} is not currently available"):
            servers.reload(store.server_config())
        with pytest.raises(InfrastructureError, match=rf"AVAILABLE within 0.2 s; version {new} is unknown"):
            wait_until_available(servers, "shop", [old, new], 0.2)


def test_one_replica_that_is_away_does_not_keep_the_others_from_going_back(serve, tmp_path):
    store = make_store(tmp_path)
    old, new = store.versions()
    servicer = Servicer()
    address = serve(servicer)
    with ModelServers([address]) as servers:
        servers.reload(store.server_config())
        RolloutMachine(store, NO_WAIT, servers).start()
    assert servicer.labels["canary"] == new
    with ModelServers(["127.0.0.1:1", address], timeout_seconds=5) as servers:
        with pytest.raises(InfrastructureError, match=r"127\.0\.0\.1:1 took no new config"):
            RolloutMachine(store, NO_WAIT, servers).rollback()
        assert servicer.labels == {"stable": old, "canary": old}
    with ModelServers([address]) as servers:  # the dead one was taken out of rollout.server
        RolloutMachine(store, NO_WAIT, servers).rollback()
    assert set(servicer.ready) == {old} and store.state().pending is None


def test_nobody_there():
    with ModelServers(["127.0.0.1:1"], timeout_seconds=2) as servers:
        with pytest.raises(InfrastructureError, match=r"127\.0\.0\.1:1 tells no state: UNAVAILABLE"):
            servers.states("shop")
        with pytest.raises(InfrastructureError, match=r"127\.0\.0\.1:1 took no new config: UNAVAILABLE"):
            servers.reload("model_config_list {}")


def test_the_protos_come_without_tensorflow():
    code = (
        "import sys; from hivemill.serving import protos; protos.load('apis.model_service_pb2_grpc');"
        "protos.load('apis.prediction_log_pb2'); print([m for m in sys.modules if m.split('.')[0] == 'tensorflow'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_tensorflow_may_come_after_the_protos():
    code = (
        "from hivemill.serving import protos; log = protos.load('apis.prediction_log_pb2').PredictionLog()\n"
        "import tensorflow as tf\n"
        "log.predict_log.request.inputs['a'].CopyFrom(tf.make_tensor_proto([1.0, 2.0]))\n"
        "print(tf.make_ndarray(log.predict_log.request.inputs['a']).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[1.0, 2.0]"


def test_a_module_that_is_not_there():
    with pytest.raises(InfrastructureError, match=r"tensorflow_serving\.apis\.none cannot be imported"):
        protos.load("apis.none")
