"""Click rates for a training: counted, written beside the rows of both splits, and as a layer for the export."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hivemill.components.trainer.input import InputSource
from hivemill.components.trainer.model.deepfm import Field, IdField, MultivalentField
from hivemill.components.trainer.options import RateOptions
from hivemill.components.trainer.rates.files import write_training_rates, write_validation_rates
from hivemill.components.trainer.rates.fitting import FittedRates, fit
from hivemill.components.trainer.rates.layer import ClickRates
from hivemill.components.trainer.rates.rows import click_rate, read_rows
from hivemill.components.transform import layout as layout_lib


@dataclasses.dataclass(frozen=True)
class PreparedRates:
    """`layer` is None where no rate tells more than `prior`, the click rate of all rows; the sources are as they came.

    `document` is what history.json says.
    """

    prior: float
    layer: ClickRates | None
    train: InputSource
    validation: InputSource
    document: dict[str, Any]

    @property
    def width(self) -> int:
        return self.layer.width if self.layer is not None else 0


def prepare(
    options: RateOptions,
    fields: Sequence[Field],
    train: InputSource,
    validation: InputSource,
    rows_of_files: Sequence[int],
    folder: Path,
) -> PreparedRates:
    """Counts the training split and writes the rates of both splits below `folder`, which must exist."""
    if options.use == "off":
        prior = click_rate(train)
        return PreparedRates(prior, None, train, validation, {"use": "off", "prior": prior, "tables": []})
    by_position = sorted((field for field in fields if isinstance(field, IdField)), key=lambda field: field.position)
    bags = {field.ids_key: field.num_ids for field in fields if isinstance(field, MultivalentField)}
    bag_ids = {name: bags[layout_lib.ids_key(name)] for name in train.layout.multivalent_fields}
    num_ids = [field.num_ids for field in by_position]
    rows = read_rows(train, sum(rows_of_files), num_ids, bag_ids, options.max_rows)
    fitted = fit(rows, options.max_pairs, options.strict, folder)
    document = {"use": "auto", "rows": rows.num_rows, "prior": fitted.prior, "tables": _described(fitted, train.layout)}
    if not fitted.tables:
        return PreparedRates(fitted.prior, None, train, validation, document)
    layer = ClickRates(fitted.tables, fitted.boundaries, bag_ids)
    of_train = write_training_rates(train, rows_of_files, fitted.training_numbers, layer, folder)
    of_validation = write_validation_rates(validation, layer, folder) if validation.files else None
    return PreparedRates(
        fitted.prior,
        layer,
        dataclasses.replace(train, rates=of_train),
        dataclasses.replace(validation, rates=of_validation),
        document,
    )


def _described(fitted: FittedRates, layout: layout_lib.FieldLayout) -> list[Mapping[str, Any]]:
    """What history.json says of each table."""
    names = [*layout.id_fields, *layout.value_fields]
    return [
        {
            "fields": [names[column] for column in table.columns] or [table.bag],
            "keys": len(table.keys),
            "smoothing": table.smoothing.strength,
            "logloss_gain": round(table.smoothing.gain, 6),
        }
        for table in fitted.tables
    ]
