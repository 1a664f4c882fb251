"""DeepFM (Guo et al. 2017, arXiv 1703.04247) over fused embedding tables. Keras only; no TFX.

    click_logit = linear_logit + fm_logit + deep_logit

where click rates (components/trainer/rates), if there are any, enter the linear term and the deep part.

All fields of one embedding size share one variable [num_ids, size + 1]: a field's ids start at its offset, and the last
column holds the first-order weights, so that one gather serves the first order, the FM part and the deep part.

Shapes, for the fields of one table: B batch, S single-valued id fields, M multivalent fields, N numeric fields,
F = S + M + N, K embedding size, V ids looked up in total, D length of the deep part's input.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from hivemill.components.trainer.model.sequence_attention import SequenceAttention

Tensors = Mapping[str, Any]
LookedUp = Sequence[tuple[tf.Tensor, tf.Tensor]]  # field_embeddings_BFK and linear_terms_BF of each table
EMBEDDING_STDDEV = 0.01
RATES_KEY = "rates"
_ROWS_PER_PART = 1_000_000


@dataclasses.dataclass(frozen=True)
class IdField:
    """A single-valued field: column `position` of `field_ids`, with ids 0 .. num_ids - 1."""

    position: int
    num_ids: int
    embedding_size: int


@dataclasses.dataclass(frozen=True)
class ValueField:
    """A numeric field: column `position` of `field_values`."""

    position: int
    embedding_size: int


@dataclasses.dataclass(frozen=True)
class MultivalentField:
    """Any number of ids per row under `ids_key`, weighted where there is a `weights_key`.

    Pooled by mean. With a `target`, the position of an IdField, the embeddings are pooled by SequenceAttention instead.
    """

    ids_key: str
    num_ids: int
    embedding_size: int
    weights_key: str | None = None
    target: int | None = None


Field = IdField | ValueField | MultivalentField
_FIELD_KINDS: dict[str, type] = {kind.__name__: kind for kind in (IdField, ValueField, MultivalentField)}


def fields_to_config(fields: Sequence[Field]) -> list[dict[str, Any]]:
    return [{"kind": type(field).__name__, **dataclasses.asdict(field)} for field in fields]


def fields_from_config(config: Sequence[Mapping[str, Any]]) -> tuple[Field, ...]:
    return tuple(_FIELD_KINDS[c["kind"]](**{k: v for k, v in c.items() if k != "kind"}) for c in config)


@tf_keras.utils.register_keras_serializable("hivemill")
class FusedEmbedding(tf_keras.layers.Layer):
    """Embeddings and first-order terms of all fields that share one embedding size K.

    Call with the packed tensors; returns (field_embeddings_BFK, linear_terms_BF), F in the order id fields, multivalent
    fields, numeric fields. A numeric field's embedding is its value times its row, as in the paper; a multivalent field
    without values, or with weights that sum to 0, has a zero embedding. `attention_units` are the hidden units of the
    SequenceAttention of each multivalent field with a target, which must be an id field of the same table.
    """

    def __init__(
        self,
        fields: Sequence[Field | Mapping[str, Any]],
        stddev: float = EMBEDDING_STDDEV,
        attention_units: Sequence[int] = (),
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.fields = fields_from_config([f if isinstance(f, Mapping) else fields_to_config([f])[0] for f in fields])
        self.stddev, self.attention_units = stddev, tuple(attention_units)
        sizes = {field.embedding_size for field in self.fields}
        if len(sizes) != 1:
            raise ValueError(f"the fields of one table must have one embedding_size; got {sorted(sizes)}")
        (self.embedding_size,) = sizes
        self._ids = [f for f in self.fields if isinstance(f, IdField)]
        self._values = [f for f in self.fields if isinstance(f, ValueField)]
        self._multivalent = [f for f in self.fields if isinstance(f, MultivalentField)]
        self._offsets: list[int] = []
        rows = 0
        for field in [*self._ids, *self._multivalent]:
            self._offsets.append(rows)
            rows += field.num_ids
        self.num_rows = rows
        self._target_places = [self._target_place(field) for field in self._multivalent]
        self.attention = {
            str(place): SequenceAttention(self.attention_units, name=f"attention_{place}")
            for place, target in enumerate(self._target_places)
            if target is not None
        }

    def _target_place(self, field: MultivalentField) -> int | None:
        """Which of the table's id fields the sequence is compared with."""
        if field.target is None:
            return None
        positions = [one.position for one in self._ids]
        if field.target not in positions:
            raise ValueError(
                f"the target of a sequence must be an id field with its embedding_size ({self.embedding_size}); got "
                f"position {field.target} for {field.ids_key}"
            )
        return positions.index(field.target)

    def build(self, input_shape: Any) -> None:
        if self.num_rows:
            self.table = self._add_rows("table", self.num_rows)
        if self._values:
            self.numeric = self._add_rows("numeric", len(self._values))
        super().build(input_shape)

    def rows_of(self, field: IdField | MultivalentField, every: int = 1) -> tf.Tensor:
        """[ids, K + 1] of every n-th id of a field: the embedding, and in the last column the first-order weight.

        Raises ValueError for a field of another table.
        """
        offset = self._offsets[[*self._ids, *self._multivalent].index(field)]
        return self.table[offset : offset + field.num_ids : every]

    def embedding_tables(self) -> list[tf.Variable]:
        """The variables of K + 1 columns."""
        return [*([self.table] if self.num_rows else []), *([self.numeric] if self._values else [])]

    def _add_rows(self, name: str, rows: int) -> tf.Variable:
        """Embeddings normal(0, stddev); first-order weights 0, so that training starts from the bias."""

        def initialise(shape: Sequence[int], dtype: Any = None, **_: Any) -> tf.Tensor:
            normal = tf_keras.initializers.RandomNormal(stddev=self.stddev)
            return tf.concat([normal([shape[0], shape[1] - 1], dtype), tf.zeros([shape[0], 1], dtype)], axis=1)

        return self.add_weight(name, shape=[rows, self.embedding_size + 1], initializer=initialise, trainable=True)

    def call(self, inputs: Tensors) -> tuple[tf.Tensor, tf.Tensor]:
        parts = self._looked_up(inputs) if self.num_rows else []
        if self._values:
            values_BN = tf.gather(inputs["field_values"], [f.position for f in self._values], axis=1)
            parts.append(values_BN[:, :, tf.newaxis] * self.numeric)
        terms_BFK1 = parts[0] if len(parts) == 1 else tf.concat(parts, axis=1)
        return terms_BFK1[:, :, :-1], terms_BFK1[:, :, -1]

    def _looked_up(self, inputs: Tensors) -> list[tf.Tensor]:
        """One gather for the id fields [B, S, K+1] and the multivalent ones [B, M, K+1], each if there is one."""
        num_ids = len(self._ids)
        offsets = tf.constant(self._offsets, tf.int64)
        flat = []
        if self._ids:
            flat.append(tf.reshape(self._field_ids(inputs["field_ids"]) + offsets[:num_ids], [-1]))
        bags = [inputs[field.ids_key] for field in self._multivalent]
        flat += [bag.values + offset for bag, offset in zip(bags, self._offsets[num_ids:], strict=True)]
        rows_VK1 = tf.gather(self.table, flat[0] if len(flat) == 1 else tf.concat(flat, axis=0))
        if not bags:
            return [tf.reshape(rows_VK1, [-1, num_ids, self.embedding_size + 1])]
        if not self._ids:
            return [self._pooled(rows_VK1, bags, inputs)]
        num_single = tf.size(flat[0])
        single_BSK1 = tf.reshape(rows_VK1[:num_single], [-1, num_ids, self.embedding_size + 1])
        return [single_BSK1, self._pooled(rows_VK1[num_single:], bags, inputs, single_BSK1)]

    def _field_ids(self, field_ids: tf.Tensor) -> tf.Tensor:
        positions = [field.position for field in self._ids]
        if positions == list(range(field_ids.shape[1] or -1)):
            return field_ids
        return tf.gather(field_ids, positions, axis=1)

    def _pooled(
        self,
        rows_VK1: tf.Tensor,
        bags: Sequence[tf.RaggedTensor],
        inputs: Tensors,
        single_BSK1: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Weighted mean per row and field, [B, M, K+1], as one segment sum over all fields together."""
        num_bags, batch = len(bags), bags[0].nrows()
        segments = tf.concat([bag.value_rowids() * num_bags + place for place, bag in enumerate(bags)], axis=0)
        weights = tf.concat(
            [self._bag_weights(f, b, inputs) for f, b in zip(self._multivalent, bags, strict=True)], axis=0
        )
        sums = tf.math.unsorted_segment_sum(rows_VK1 * weights[:, tf.newaxis], segments, batch * num_bags)
        totals = tf.math.unsorted_segment_sum(weights, segments, batch * num_bags)
        means = tf.math.divide_no_nan(sums, totals[:, tf.newaxis])
        means_BMK1 = tf.reshape(means, [-1, num_bags, self.embedding_size + 1])
        return self._attended(means_BMK1, rows_VK1, weights, bags, single_BSK1) if self.attention else means_BMK1

    def _attended(
        self,
        means_BMK1: tf.Tensor,
        rows_VK1: tf.Tensor,
        weights_V: tf.Tensor,
        bags: Sequence[tf.RaggedTensor],
        single_BSK1: tf.Tensor,
    ) -> tf.Tensor:
        """`means_BMK1` with the embeddings of the sequences pooled by attention; the first-order terms stay means."""
        sizes = [tf.size(bag.values) for bag in bags]
        items = tf.split(rows_VK1[:, :-1], sizes, num=len(bags))
        weights = tf.split(weights_V, sizes, num=len(bags))
        fields = tf.unstack(means_BMK1, axis=1)
        for place, target in enumerate(self._target_places):
            if target is not None:
                targets_BK = single_BSK1[:, target, :-1]
                attention = self.attention[str(place)]
                interest_BK = attention(items[place], bags[place].value_rowids(), targets_BK, weights[place])
                fields[place] = tf.concat([interest_BK, fields[place][:, -1:]], axis=1)
        return tf.stack(fields, axis=1)

    def _bag_weights(self, field: MultivalentField, bag: tf.RaggedTensor, inputs: Tensors) -> tf.Tensor:
        if field.weights_key is None:
            return tf.ones_like(bag.values, dtype=self.compute_dtype)
        return inputs[field.weights_key].values

    def get_config(self) -> dict[str, Any]:
        mine = {"fields": fields_to_config(self.fields), "stddev": self.stddev}
        return {**super().get_config(), **mine, "attention_units": list(self.attention_units)}


@tf_keras.utils.register_keras_serializable("hivemill")
class FactorizationMachine(tf_keras.layers.Layer):
    """Second-order interactions of all pairs of fields: field_embeddings_BFK -> fm_logit [B, 1].

    sum over i < j of <e_i, e_j> = ((sum_f e_f)^2 - sum_f e_f^2) / 2, summed over K: O(F K) (Rendle 2010, eq. 5).
    """

    def call(self, field_embeddings_BFK: tf.Tensor) -> tf.Tensor:
        square_of_sum_BK = tf.square(tf.reduce_sum(field_embeddings_BFK, axis=1))
        sum_of_squares_BK = tf.reduce_sum(tf.square(field_embeddings_BFK), axis=1)
        return 0.5 * tf.reduce_sum(square_of_sum_BK - sum_of_squares_BK, axis=1, keepdims=True)


@tf_keras.utils.register_keras_serializable("hivemill")
class ResumableDropout(tf_keras.layers.Layer):
    """Dropout whose generator is part of the checkpoint, so that a training that goes on draws the masks to come.

    Keras's Dropout leaves its generator out of checkpoints. The first seed follows tf_keras.utils.set_random_seed.
    """

    def __init__(self, rate: float, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate

    def build(self, input_shape: Any) -> None:
        self.generator = tf.random.Generator.from_seed(random.randint(1, 2**31 - 1))
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training:
            return inputs
        return tf.nn.experimental.general_dropout(inputs, self.rate, uniform_sampler=self.generator.uniform)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


@tf_keras.utils.register_keras_serializable("hivemill")
class DeepFM(tf_keras.Model):
    """Packed tensors (`components.transform.layout`; multivalent ids and weights ragged) -> click_logit [B, 1].

    Args:
      fields: in any order; their embedding sizes decide the tables.
      embedding_size: K of the FM part. Fields of another size are projected to it there, by a matrix without bias; the
        deep part sees all embeddings at their own size.
      hidden_units, batch_norm, dropout, kernel_l2: of the deep part (ReLU).
      attention_units: hidden units of the attention over multivalent fields with a target (SequenceAttention).
      num_rates: length R of the input `rates`, float32 [B, R], which a linear term and the deep part take; 0 for none.
      prior_logit: log-odds of a click before anything is known: the model starts from them.
    """

    def __init__(
        self,
        fields: Sequence[Field | Mapping[str, Any]],
        embedding_size: int,
        hidden_units: Sequence[int],
        batch_norm: bool = False,
        dropout: float = 0.0,
        kernel_l2: float = 0.0,
        attention_units: Sequence[int] = (),
        num_rates: int = 0,
        prior_logit: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not fields:
            raise ValueError("DeepFM needs at least one field; got none")
        self.fields = fields_from_config([f if isinstance(f, Mapping) else fields_to_config([f])[0] for f in fields])
        self.embedding_size, self.hidden_units = embedding_size, tuple(hidden_units)
        self.batch_norm, self.dropout, self.kernel_l2 = batch_norm, dropout, kernel_l2
        self.attention_units = tuple(attention_units)
        self.num_rates, self.prior_logit = num_rates, prior_logit
        sizes = sorted({field.embedding_size for field in self.fields})
        self.tables = [
            FusedEmbedding(
                [f for f in self.fields if f.embedding_size == size],
                attention_units=self.attention_units,
                name=f"embedding_{size}",
            )
            for size in sizes
        ]
        self.projections = {
            str(size): tf_keras.layers.Dense(embedding_size, use_bias=False, name=f"project_{size}")
            for size in sizes
            if size != embedding_size
        }
        self.factorization_machine = FactorizationMachine(name="fm")
        self.deep = self._deep_layers()
        self.rates_term = (
            tf_keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", name="rates") if num_rates else None
        )

    def _deep_layers(self) -> list[tf_keras.layers.Layer]:
        regularizer = tf_keras.regularizers.L2(self.kernel_l2) if self.kernel_l2 else None
        layers: list[tf_keras.layers.Layer] = []
        for number, units in enumerate(self.hidden_units):
            layers.append(
                tf_keras.layers.Dense(
                    units,
                    use_bias=not self.batch_norm,
                    kernel_initializer="he_uniform",
                    kernel_regularizer=regularizer,
                    name=f"deep_{number}",
                )
            )
            if self.batch_norm:
                layers.append(tf_keras.layers.BatchNormalization(momentum=0.97, name=f"norm_{number}"))
            layers.append(tf_keras.layers.ReLU(name=f"relu_{number}"))
            if self.dropout:
                layers.append(ResumableDropout(self.dropout, name=f"dropout_{number}"))
        prior = tf_keras.initializers.Constant(self.prior_logit)  # the last bias is the model's
        return [*layers, tf_keras.layers.Dense(1, bias_initializer=prior, name="deep_logit")]

    def call(self, inputs: Tensors, training: bool = False) -> tf.Tensor:
        looked_up = [table(inputs) for table in self.tables]
        linear_logit = sum(tf.reduce_sum(terms_BF, axis=1, keepdims=True) for _, terms_BF in looked_up)
        if self.rates_term is not None:
            linear_logit += self.rates_term(inputs[RATES_KEY])
        return linear_logit + self._interaction_logit(looked_up) + self._deep_logit(looked_up, inputs, training)

    def _interaction_logit(self, looked_up: LookedUp) -> tf.Tensor:
        """fm_logit [B, 1]; other networks put their own term in its place."""
        projected = []
        for table, (field_embeddings_BFK, _) in zip(self.tables, looked_up, strict=True):
            project = self.projections.get(str(table.embedding_size))
            projected.append(project(field_embeddings_BFK) if project else field_embeddings_BFK)
        return self.factorization_machine(projected[0] if len(projected) == 1 else tf.concat(projected, axis=1))

    def _flat_embeddings(self, looked_up: LookedUp) -> tf.Tensor:
        """All embeddings of a row, each at its own size, one after the other: [B, D]."""
        flat = [
            tf.reshape(embeddings, [-1, len(table.fields) * table.embedding_size])
            for table, (embeddings, _) in zip(self.tables, looked_up, strict=True)
        ]
        return flat[0] if len(flat) == 1 else tf.concat(flat, axis=1)

    def _deep_logit(self, looked_up: LookedUp, inputs: Tensors, training: bool) -> tf.Tensor:
        deep_BD = self._flat_embeddings(looked_up)
        if self.num_rates:
            deep_BD = tf.concat([deep_BD, inputs[RATES_KEY]], axis=1)
        for layer in self.deep:
            changes = isinstance(layer, ResumableDropout | tf_keras.layers.BatchNormalization)
            deep_BD = layer(deep_BD, training=training) if changes else layer(deep_BD)
        return deep_BD

    def embedding_rows(self, field: IdField | MultivalentField, every: int = 1) -> tf.Tensor:
        """As FusedEmbedding.rows_of, of the table that holds the field."""
        table = next(table for table in self.tables if field in table.fields)
        return table.rows_of(field, every)

    def embedding_norm(self) -> tf.Tensor:
        """Root mean square length of the rows of the embedding tables: a scalar to watch, for regularisation."""
        tables = [rows for table in self.tables for rows in table.embedding_tables()]
        squares = sum(_sum_of_squares(table) for table in tables)
        return tf.sqrt(squares / sum(table.shape[0] for table in tables))

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "fields": fields_to_config(self.fields),
            "embedding_size": self.embedding_size,
            "hidden_units": list(self.hidden_units),
            "batch_norm": self.batch_norm,
            "dropout": self.dropout,
            "kernel_l2": self.kernel_l2,
            "attention_units": list(self.attention_units),
            "num_rates": self.num_rates,
            "prior_logit": self.prior_logit,
        }


def _sum_of_squares(table: tf.Variable) -> tf.Tensor:
    """Of the embeddings, without the first-order column. By parts, since a copy of a table may not fit into memory.

    By gather: a slice of a variable reads, and after a sparse update copies, the whole of it.
    """
    rows = table.shape[0]
    parts = (tf.range(start, min(start + _ROWS_PER_PART, rows)) for start in range(0, rows, _ROWS_PER_PART))
    return sum(tf.reduce_sum(tf.square(tf.gather(table, part)[:, :-1])) for part in parts)
