"""Model, optimizer and strategy put together: what a training step and an evaluation do, on any number of replicas."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras

from hivemill.components.trainer.input import InputSource
from hivemill.components.trainer.loop.optimizers import LazyAdam
from hivemill.components.trainer.loop.streaming_auc import LogitAUC

Iterator = Any


class TrainingSteps:
    """Compiled steps of a model under a strategy. Create it under `strategy.scope()`.

    A loop of its own rather than `Model.fit`: a training must be able to stop after any step and go on from it
    (docs/decisions), and no step should pass through Python.
    """

    def __init__(
        self, model: tf_keras.Model, optimizer: tf_keras.optimizers.Optimizer, strategy: tf.distribute.Strategy
    ):
        self.model, self.optimizer, self.strategy = model, optimizer, strategy
        self.loss = tf_keras.metrics.Mean(name="loss")
        self.auc = LogitAUC()
        self.num_bad_inputs = tf_keras.metrics.Sum(name="num_bad_inputs")

    def build(self, source: InputSource) -> None:
        """Creates all variables, so that a checkpoint can be restored into them before the first step."""
        inputs, _, _ = source.parse_nothing()
        self.model(inputs)
        self.optimizer.build(self.model.trainable_variables)

    def embedding_norms(self) -> dict[str, float]:
        return {"embedding_norm": float(self.model.embedding_norm())}

    def train(self, batches: Iterator, num_steps: int) -> None:
        """Runs `num_steps` training steps; `loss` and `auc` accumulate over them."""
        if self.strategy.num_replicas_in_sync == 1:
            self._train(batches, tf.constant(num_steps))
            return
        # One by one: within a call TensorFlow's collectives insist on the shapes of the first step, but the number of
        # rows that a gradient of multivalent fields touches differs from step to step.
        for _ in range(num_steps):
            self._train(batches, tf.constant(1))

    @tf.function(reduce_retracing=True)
    def _train(self, batches: Iterator, num_steps: tf.Tensor) -> None:
        for _ in tf.range(num_steps):
            self.strategy.run(self._train_step, args=next(batches))

    def catch_up(self) -> None:
        """Brings rows that the optimizer has left behind to where they belong, before anyone uses the weights."""
        if isinstance(self.optimizer, LazyAdam):
            self.optimizer.catch_up()

    def evaluate(self, batches: tf.data.Dataset) -> dict[str, float]:
        """Mean loss and AUC over a finite dataset. Every worker reads all of it, so all of them agree on the result."""
        self.reset_metrics()
        self._evaluate(self.strategy.experimental_distribute_dataset(batches))
        return self.metrics()

    @tf.function
    def _evaluate(self, batches: Any) -> None:
        for batch in batches:
            self.strategy.run(self._evaluation_step, args=batch)

    def metrics(self) -> dict[str, float]:
        return {"loss": float(self.loss.result()), "auc": float(self.auc.result())}

    def reset_metrics(self) -> None:
        self.loss.reset_state()
        self.num_bad_inputs.reset_state()
        self.auc.reset_state()

    def _train_step(self, inputs: Any, labels: tf.Tensor, weights: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = self.model(inputs, training=True)
            losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
            objective = tf.reduce_mean(losses * weights) + tf.add_n([*self.model.losses, tf.zeros([])])
            # Gradients are summed over the replicas, so each brings its share.
            objective /= self.strategy.num_replicas_in_sync
        variables = self.model.trainable_variables
        gradients = tape.gradient(objective, variables)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        self._update_metrics(losses, labels, logits, weights)
        floats = [labels, weights, *(x for x in inputs.values() if isinstance(x, tf.Tensor) and x.dtype.is_floating)]
        bad = [tf.reduce_sum(tf.cast(~tf.math.is_finite(x), tf.float32)) for x in floats]
        self.num_bad_inputs.update_state(tf.add_n(bad))

    def _evaluation_step(self, inputs: Any, labels: tf.Tensor, weights: tf.Tensor) -> None:
        logits = self.model(inputs, training=False)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
        self._update_metrics(losses, labels, logits, weights)

    def _update_metrics(self, losses: tf.Tensor, labels: tf.Tensor, logits: tf.Tensor, weights: tf.Tensor) -> None:
        self.loss.update_state(losses, sample_weight=weights)
        self.auc.update_state(labels, logits, sample_weight=weights)
