"""The files that tensorflow_model_server is started with: models.config, batching.config and monitoring.config.

models.config is TensorFlow Serving's own ModelServerConfig (its proto, text format). The protos of the other two are
not in the package tensorflow-serving-api; they are constant texts, field names as in session_bundle_config.proto and
monitoring_config.proto of TensorFlow Serving.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from hivemill.serving import protos

MODELS_FILE = "models.config"
BATCHING_FILE = "batching.config"
MONITORING_FILE = "monitoring.config"
METRICS_PATH = "/monitoring/prometheus/metrics"

STATIC_FILES = {
    BATCHING_FILE: """\
# tensorflow_model_server --enable_batching --batching_parameters_file=batching.config
# Only for callers of `serving_default`. With multivalent columns, requests of the signature `predict` have inputs of
# unlike first dimensions, which TensorFlow Serving refuses once batching is on.
max_execution_batch_size { value: 256 }
# A request of more rows is split into such batches; above max_batch_size it is refused (INVALID_ARGUMENT).
enable_large_batch_splitting { value: true }
max_batch_size { value: 8192 }
# How long the first request of a batch waits for others, in microseconds.
batch_timeout_micros { value: 1000 }
# Past this many waiting batches requests are refused (UNAVAILABLE) instead of answered late.
max_enqueued_batches { value: 100 }
# num_batch_threads is left to the server: as many as it has cores.
""",
    MONITORING_FILE: f"""\
# tensorflow_model_server --monitoring_config_file=monitoring.config (needs --rest_api_port)
prometheus_config {{
  enable: true
  path: "{METRICS_PATH}"
}}
""",
}


def models_config(models: Mapping[Path, tuple[Mapping[str, int], Sequence[int]]], base_path: str | None = None) -> str:
    """ModelServerConfig as text.

    Args:
        models: folder of each model to its labels (version by label) and the versions that are served without one.
            Exactly these versions are served; a model without any is left out.
        base_path: what stands before a model's name where the server reads; the folder's parent if left out.
    """
    config = protos.load("config.model_server_config_pb2").ModelServerConfig()
    config.model_config_list.SetInParent()
    for folder, (labels, also_served) in models.items():
        versions = sorted({*labels.values(), *also_served})
        if versions:
            place = f"{base_path}/{folder.name}" if base_path else str(folder)
            one = config.model_config_list.config.add(name=folder.name, base_path=place, model_platform="tensorflow")
            one.model_version_policy.specific.versions.extend(versions)
            one.version_labels.update(labels)
    return text_format.MessageToString(config)


def parse_models_config(text: str) -> Any:
    """The ModelServerConfig of a models.config. Raises google.protobuf.text_format.ParseError."""
    return text_format.Parse(text, protos.load("config.model_server_config_pb2").ModelServerConfig())
