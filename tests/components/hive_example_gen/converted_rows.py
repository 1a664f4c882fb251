"""The rows of a converted partition, decoded from its shards without TensorFlow."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder


def examples_of(cache: Path, record) -> list[dict]:
    """feature -> list of values, None for an absent one, of each row in order."""
    found = []
    for shard in record.shards:
        data = gzip.decompress((cache / record.fingerprint / shard.name).read_bytes())
        while data:
            (length,) = struct.unpack_from("<Q", data)
            found.append(data[12 : 12 + length])
            data = data[16 + length :]
    return ExamplesToRecordBatchDecoder().DecodeBatch(found).to_pylist() if found else []
