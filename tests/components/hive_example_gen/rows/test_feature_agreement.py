"""Columns that are not declared: one spelling and one type in all files, nested ones too."""

from __future__ import annotations

import pyarrow as pa
import pytest

from hivemill.common.errors import DataNotReadyError
from hivemill.components.hive_example_gen.rows.feature_agreement import FeatureAgreement
from hivemill.components.hive_example_gen.rows.flatten import feature_kinds


def _agree(*fields: pa.Field) -> None:
    agreement = FeatureAgreement()
    for number, field in enumerate(fields):
        for name, kind in feature_kinds(pa.schema([field])).items():
            agreement.add(name, kind, f"file {number}")


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (("userId", pa.int64()), ("userid", pa.int64()), "'userid' of file 1 is spelled 'userId' in file 0"),
        (
            ("geo", pa.struct([("Lat", pa.float64())])),
            ("geo", pa.struct([("lat", pa.float64())])),
            "'geo_lat' of file 1 is spelled 'geo_Lat'",
        ),
        (("t", pa.timestamp("us")), ("t", pa.int64()), "type integer in file 1 and timestamp in file 0"),
        (("d", pa.date32()), ("d", pa.string()), "type text in file 1 and date in file 0"),
        (("a", pa.list_(pa.timestamp("ms"))), ("a", pa.list_(pa.int32())), "type integer in file 1 and timestamp"),
        (("c", pa.int64()), ("c", pa.string()), "'c' is bytes in file 1 and int64 in file 0"),
        (("c", pa.string()), ("c", pa.list_(pa.string())), "a list of bytes in file 1 and bytes in file 0"),
    ],
)
def test_what_two_files_do_not_agree_on_is_refused(one, other, message):
    with pytest.raises(DataNotReadyError, match=message):
        _agree(pa.field(*one), pa.field(*other))


def test_widths_and_columns_of_nulls_agree():
    _agree(
        pa.field("c", pa.int32()), pa.field("c", pa.int64()), pa.field("d", pa.float32()), pa.field("d", pa.float64())
    )
    _agree(pa.field("s", pa.string()), pa.field("s", pa.null()), pa.field("s", pa.dictionary(pa.int32(), pa.string())))
