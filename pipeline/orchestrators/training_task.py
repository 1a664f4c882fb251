"""What TF_CONFIG says of this process: alone, the chief of a training on several machines, or one of its other workers.

Kubeflow's Training Operator sets it in every pod of a TFJob: {"cluster": {"chief": [address], "worker": [address, …]},
"task": {"type": "worker", "index": 0}, "environment": "cloud"}; a TFJob without a Chief has workers only, and worker 0
is the chief (https://www.kubeflow.org/docs/components/training/tftraining). Imports no TensorFlow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from hivemill.common.errors import ConfigError

VARIABLE = "TF_CONFIG"
_KINDS = ("chief", "worker")
_HINT = 'It is like {"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}.'


def other_worker(environment: Mapping[str, str]) -> str | None:
    """`worker-1` where this process only helps the chief of a training; None where it is the chief, or alone.

    Raises ConfigError for a TF_CONFIG that cannot be read, or a task that DeepFM's training has no use for.
    """
    text = environment.get(VARIABLE)
    if not text:
        return None
    try:
        document = json.loads(text)
        cluster, task = document["cluster"], document["task"]
        kind, index = task["type"], int(task["index"])
        has_chief = bool(cluster.get("chief"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{VARIABLE} cannot be read: {text!r}", hint=_HINT) from error
    if kind not in _KINDS:
        raise ConfigError(f"{VARIABLE}: a task is of type chief or worker; received {kind!r}", hint=_HINT)
    is_chief = kind == "chief" or (index == 0 and not has_chief)
    return None if is_chief else f"{kind}-{index}"
