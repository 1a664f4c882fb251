"""TensorFlow Serving's services as a protoset, for grpcurl:
python -m hivemill.serving.clients.protoset > serving.protoset

grpcurl needs the messages of a server that has no reflection, and tensorflow_model_server has none. They are in the
package tensorflow-serving-api, so nobody has to check out two repositories for their .proto files.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from hivemill.serving import protos

SERVICES = ("apis/prediction_service", "apis/model_service")


def protoset() -> bytes:
    """A serialised FileDescriptorSet with all that the services import, each file after what it needs."""
    found: dict[str, Any] = {}
    for service in SERVICES:
        # Modules of services are from an older protoc: they register their file, then set what cannot be set any more.
        with contextlib.suppress(AttributeError):
            protos.load(f"{service.replace('/', '.')}_pb2")
        _add(descriptor_pool.Default().FindFileByName(f"tensorflow_serving/{service}.proto"), found)
    made = FileDescriptorSet()
    for descriptor in found.values():
        descriptor.CopyToProto(made.file.add())
    return made.SerializeToString(deterministic=True)


def _add(descriptor: Any, found: dict[str, Any]) -> None:
    if descriptor.name in found:
        return
    for needed in descriptor.dependencies:
        _add(needed, found)
    found[descriptor.name] = descriptor


if __name__ == "__main__":
    sys.stdout.buffer.write(protoset())
