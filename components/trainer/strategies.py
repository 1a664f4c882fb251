"""tf.distribute strategies by config. Neither the model nor the input knows which one it runs under."""

from __future__ import annotations

import os

import tensorflow as tf

from common.errors import ConfigError, InfrastructureError


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


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the model: the only one, or worker 0."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    return resolver.task_type == "chief" or (resolver.task_type == "worker" and resolver.task_id == 0)
