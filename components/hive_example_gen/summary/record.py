"""`summary.json`: the record of a partition's summary, beside that of the partition, under the same fingerprint."""

from __future__ import annotations

import functools
import importlib.metadata
from dataclasses import dataclass
from typing import Any

from hivemill.components.hive_example_gen.cache.base import Kind
from hivemill.components.hive_example_gen.summary.request import SummaryRequest

RECORD_NAME = "summary.json"
VERSION = 1


@dataclass(frozen=True)
class SummaryRecord:
    """Attributes:
    request: what it answers.
    statistics_version: of the packages that made the accumulators in it; other versions cannot read them.
    """

    fingerprint: str
    file: str
    bytes: int
    rows: int
    request: SummaryRequest
    statistics_version: str

    def answers(self, request: SummaryRequest) -> bool:
        return request.is_met_by(self.request) and (
            not request.statistics or self.statistics_version == statistics_version()
        )


@functools.cache
def statistics_version() -> str:
    packages = ("tensorflow-data-validation", "tfx-bsl")
    return " ".join(f"{package}-{importlib.metadata.version(package)}" for package in packages)


def _parsed(fingerprint: str, document: Any) -> SummaryRecord:
    values = dict(document)
    if values.pop("version") != VERSION or values["fingerprint"] != fingerprint:
        raise ValueError("another version, or another partition's")
    return SummaryRecord(**{**values, "request": SummaryRequest.model_validate(values["request"])})


def _document(record: SummaryRecord) -> dict[str, Any]:
    return {"version": VERSION, **vars(record), "request": record.request.model_dump(mode="json")}


SUMMARY = Kind(RECORD_NAME, _parsed, _document, lambda record: {record.file: record.bytes})
"""How a summary is kept (cache.base)."""
