"""Options of the model and of its training (`model:` and `training:` in hivemill.yaml)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from hivemill.common.options import Options


class CrossOptions(Options):
    """The cross network of DCN-v2."""

    layers: PositiveInt = Field(3, description="Number of cross layers; terms have this degree plus one at most.")
    rank: PositiveInt | None = Field(
        None, description="Each layer's matrix [D, D] as a product of two [D, rank]; null leaves it whole."
    )


class AttentionOptions(Options):
    """Which multivalent features are sequences, and what DIN compares their values with."""

    sequences: dict[str, str] = Field(
        description="`{recent_items: item_id}`: the values of the multivalent feature `recent_items` are weighted by "
        "their relation to `item_id`, a feature with one value per row and the same embedding_size.",
        min_length=1,
    )
    hidden_units: tuple[PositiveInt, ...] = Field((32,), description="Width of each hidden layer of the attention.")


class ModelOptions(Options):
    """The network over embeddings of the features: first order, interactions, deep part; embeddings shared."""

    type: Literal["deepfm", "dcn_v2", "din"] = Field(
        "deepfm",
        description="deepfm: interactions by a factorisation machine (arXiv 1703.04247); dcn_v2: by a cross network "
        "(arXiv 2008.13535); din: deepfm, with attention over sequences (arXiv 1706.06978).",
    )
    cross: CrossOptions | None = Field(None, description="With `type: dcn_v2` only; null takes its defaults.")
    attention: AttentionOptions | None = Field(None, description="With `type: din` only, which needs it.")
    embedding_size: Annotated[int, Field(ge=1, le=1024)] = Field(
        8, description="Length k of the FM embeddings; fields with another size are projected to it for the FM part."
    )
    hidden_units: tuple[PositiveInt, ...] = Field((256, 128), description="Width of each layer of the deep part.")
    batch_norm: bool = Field(True, description="Batch normalisation before each activation of the deep part.")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.2, description="Share of deep activations dropped in training."
    )
    embedding_l2: NonNegativeFloat = Field(
        1e-3,
        description="L2 penalty on the embedding tables: this much of a weight is added to its gradient at every step, "
        "also where the batch does not hold its id.",
    )
    kernel_l2: NonNegativeFloat = Field(0.0, description="L2 penalty on the kernels of the deep part.")


class RateOptions(Options):
    """Click rates of values and of pairs of values, as inputs of the model. `rates: off` turns all of it off."""

    use: Literal["auto", "off"] = Field(
        "auto", description="auto: those that predict clicks of rows they were not counted on; off: none."
    )
    max_pairs: NonNegativeInt = Field(60, description="Pairs of fields at most, besides each field by itself.")
    strict: bool = Field(
        False,
        description="Training rows see clicks of earlier blocks of rows only; otherwise of all blocks but their own.",
    )
    max_rows: PositiveInt = Field(
        10_000_000, description="The newest rows of the training split that are counted. Bounds the memory."
    )

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        if isinstance(value, bool):  # `off` and `on` are booleans in YAML
            return {"use": "auto" if value else "off"}
        return {"use": value} if isinstance(value, str) else value


class PlateauOptions(Options):
    """When the validation logloss no longer falls: back to the best weights, a smaller step, and in the end a stop."""

    patience: PositiveInt = Field(3, description="Checks without a better logloss before the learning rate falls.")
    min_gain: Annotated[float, Field(ge=0, lt=1)] = Field(
        5e-4, description="Share of the logloss by which it must fall to count as better for the patience."
    )
    factor: Annotated[float, Field(gt=0, lt=1)] = Field(0.3, description="What the learning rate is multiplied by.")
    reductions: NonNegativeInt = Field(2, description="So often it falls; the next plateau ends the training.")


class TensorBoardOptions(Options):
    """What TensorBoard gets besides the curves. Changes no model, but a changed option trains again."""

    histograms: bool = Field(
        False,
        description="After each epoch a histogram of each feature's embeddings and first-order weights, of at most "
        "8,192 rows evenly spread over its ids: about 1.6 kB and 20 ms of CPU a feature and epoch.",
    )
    projector_terms: Annotated[int, Field(ge=0, le=100_000)] = Field(
        0,
        description="So many of the most frequent terms of each vocabulary, with the embeddings of the exported model, "
        "for TensorBoard's projector; 0 writes none. About 120 bytes and 10 µs a term at embedding size 10. The terms "
        "are values from the log: the run folder then holds them in the clear.",
    )


class TrainingOptions(Options):
    epochs: PositiveInt = Field(
        40, description="Passes over the training split, at most; a plateau usually ends the training earlier."
    )
    batch_size: PositiveInt | Literal["auto"] = Field(
        "auto",
        description="Examples per step (global, over all replicas). auto: the power of two nearest to a 64th of the "
        "training rows, from 128 to 4096.",
    )
    learning_rate: PositiveFloat = Field(1e-3, description="Step size of the optimizer, after the warm-up.")
    warmup_steps: NonNegativeInt = Field(50, description="Steps over which the learning rate rises to its value.")
    optimizer: Literal["adam", "adagrad"] = Field(
        "adam", description="adam updates only the embedding rows of the batch (lazy Adam)."
    )
    shuffle_rows: PositiveInt = Field(65_536, description="Rows of the shuffle buffer: bounds the input's memory.")
    plateau: PlateauOptions | None = Field(
        PlateauOptions(),
        description="null trains all epochs and exports the last weights; otherwise the weights of the check with the "
        "lowest validation logloss are exported, which needs window.validation_days >= 1.",
    )
    calibration: Literal["auto", "off"] = Field(
        "auto",
        description="auto: the exported model scales and shifts its logits to fit the validation days, where rows that "
        "were not fitted on gain by more than luck. Without window.validation_days it is off.",
    )
    checkpoint_every_steps: PositiveInt = Field(500, description="A killed training loses at most so many steps.")
    seed: NonNegativeInt = Field(17, description="Same seed, data and code: same metrics.")
    strategy: Literal["none", "mirrored", "multi_worker"] = Field(
        "none", description="tf.distribute strategy; multi_worker reads TF_CONFIG."
    )
    tensorboard: TensorBoardOptions = Field(
        TensorBoardOptions(), description="Histograms and projector of the embeddings."
    )
