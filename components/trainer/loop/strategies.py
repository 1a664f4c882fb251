"""tf.distribute strategies by config. Neither the model nor the input knows which one it runs under."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import tensorflow as tf

from hivemill.common.errors import ConfigError, InfrastructureError


def make_strategy(name: str) -> tf.distribute.Strategy:
    """`none`: this process, one device; `mirrored`: all its GPUs; `multi_worker`: the workers that TF_CONFIG lists.

    Raises ConfigError without TF_CONFIG, InfrastructureError where the process has used TensorFlow already: collectives
    must be set up first, so a multi-worker training needs a process per worker that does nothing else.
    """
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if name == "multi_worker":
        return _multi_worker()
    return tf.distribute.get_strategy()


def _multi_worker() -> tf.distribute.Strategy:
    if "TF_CONFIG" not in os.environ:
        raise ConfigError(
            "training.strategy is `multi_worker`, but TF_CONFIG is not set",
            hint="set TF_CONFIG on every worker (see tf.distribute's guide), or use `none` or `mirrored`",
        )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise InfrastructureError(
            f"multi-worker training could not be set up: {error}",
            hint="each worker must run the Trainer node in a process of its own (`hivemill node --node Trainer`)",
        ) from error


@contextlib.contextmanager
def lost_workers_told(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Raises InfrastructureError where another worker of the training went away: none can go on without it."""
    try:
        yield
    except tf.errors.OpError as error:
        is_lost = isinstance(error, tf.errors.UnavailableError) or "Collective ops is aborted" in str(error)
        if not is_lost or not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            raise
        raise InfrastructureError(
            f"another worker of this training was lost: {str(error).splitlines()[0]}",
            hint="Start all of its workers again: the training goes on from its checkpoint.",
        ) from error


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the model: the only one, the task `chief`, or worker 0 where the cluster has none.

    Kubeflow's Training Operator makes clusters of both kinds.
    """
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    if resolver.task_type == "worker":
        return resolver.task_id == 0 and "chief" not in resolver.cluster_spec().jobs
    return resolver.task_type == "chief"
