"""Executor of DataVerdictGate: reads what TFDV wrote, runs the checks, stops the run on a red finding."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Any

from absl import logging
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2
from tfx import types
from tfx.components.example_validator import executor as example_validator
from tfx.components.statistics_gen import executor as statistics_gen
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils

from common.errors import DataVerdictError
from common.files import write_json_atomically
from components.data_verdict.checks import Evidence, Finding, run_checks
from components.data_verdict.options import DataVerdictOptions

_FINDINGS_IN_MESSAGE = 10


class Executor(base_executor.BaseExecutor):
    """Inputs statistics, schema, anomalies; output verdict. Raises DataVerdictError when a finding is red."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        self._log_startup(input_dict, output_dict, exec_properties)
        evidence = _read_evidence(input_dict, exec_properties)
        findings = run_checks(evidence)
        verdict = artifact_utils.get_single_instance(output_dict["verdict"])
        write_json_atomically(os.path.join(verdict.uri, "verdict.json"), data_section(findings))
        num_rows = sum(int(statistics.num_examples) for statistics in evidence.statistics.values())
        verdict.set_int_custom_property("num_rows", num_rows)
        for finding in findings:
            logging.warning("%s: %s", finding.severity, finding.message)
        raise_if_red(findings)


def data_section(findings: Sequence[Finding]) -> dict[str, Any]:
    """The `data` section of a run's verdict.json."""
    severities = {finding.severity for finding in findings}
    colour = "red" if "red" in severities else "amber" if severities else "green"
    return {"colour": colour, "findings": [dataclasses.asdict(finding) for finding in findings]}


def raise_if_red(findings: Sequence[Finding]) -> None:
    """Raises DataVerdictError that lists the first red findings, the first in a line of its own; `details`: section."""
    red = [finding.message for finding in findings if finding.severity == "red"]
    if not red:
        return
    others = f" (and {len(red) - 1} more)" if len(red) > 1 else ""
    lines = [f"data verdict red: {red[0]}{others}", *(f"  - {message}" for message in red[1:_FINDINGS_IN_MESSAGE])]
    if len(red) > _FINDINGS_IN_MESSAGE:
        lines.append(f"  - and {len(red) - _FINDINGS_IN_MESSAGE} more")
    raise DataVerdictError(
        "\n".join(lines),
        details=data_section(findings),
        hint="Correct the partitions and run again. If the table changed on purpose, change the schema "
        "(data_verdict.schema_path) and the features; `data_verdict.on_anomaly: amber` lets schema findings pass.",
    )


def _read_evidence(input_dict: dict[str, list[types.Artifact]], exec_properties: dict[str, Any]) -> Evidence:
    statistics = artifact_utils.get_single_instance(input_dict["statistics"])
    anomalies = artifact_utils.get_single_instance(input_dict["anomalies"])
    schema_folder = artifact_utils.get_single_uri(input_dict["schema"])
    return Evidence(
        statistics={split: _statistics(statistics, split) for split in _splits(statistics)},
        anomalies={split: _anomalies(anomalies, split) for split in _splits(anomalies)},
        schema=io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(schema_folder)),
        label_column=exec_properties["label_column"],
        options=DataVerdictOptions.model_validate_json(exec_properties["options"]),
        date_columns=frozenset(json.loads(exec_properties.get("date_columns") or "[]")),
    )


def _splits(artifact: types.Artifact) -> list[str]:
    return artifact_utils.decode_split_names(artifact.split_names)


def _statistics(artifact: types.Artifact, split: str) -> statistics_pb2.DatasetFeatureStatistics:
    """An empty split may have a list without a data set: that is no rows."""
    datasets = statistics_pb2.DatasetFeatureStatisticsList()
    datasets.ParseFromString(_read(artifact, split, statistics_gen.DEFAULT_FILE_NAME))
    return datasets.datasets[0] if datasets.datasets else statistics_pb2.DatasetFeatureStatistics()


def _anomalies(artifact: types.Artifact, split: str) -> anomalies_pb2.Anomalies:
    return anomalies_pb2.Anomalies.FromString(_read(artifact, split, example_validator.DEFAULT_FILE_NAME))


def _read(artifact: types.Artifact, split: str, name: str) -> bytes:
    with fileio.open(os.path.join(artifact_utils.get_split_uri([artifact], split), name), "rb") as file:
        return file.read()
