"""Executor of DataVerdictGate: reads what TFDV wrote, profiles the examples, runs the checks, stops on red."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from absl import logging
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2
from tfx import types
from tfx.components.example_validator import executor as example_validator
from tfx.components.statistics_gen import executor as statistics_gen
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils

from hivemill.common.errors import DataVerdictError
from hivemill.common.storage.atomic import write_json_atomically, write_text_atomically
from hivemill.components.data_verdict.checks.registry import DataFinding, WindowEvidence, run_checks
from hivemill.components.data_verdict.comparison.reference import Baseline, read_baseline
from hivemill.components.data_verdict.document import data_section
from hivemill.components.data_verdict.options import DataVerdictOptions
from hivemill.components.data_verdict.profile import row_sample, serving_profile
from hivemill.components.data_verdict.profile.builder import profile_of
from hivemill.components.data_verdict.profile.column_roles import ColumnRoles
from hivemill.components.data_verdict.profile.window_profile import Profile
from hivemill.components.hive_example_gen.summary import split_summary
from hivemill.components.hive_example_gen.summary.request import SummaryRequest
from hivemill.components.hive_example_gen.summary.row_sample import limit_of

PROFILE_FILE = "profile.json"
_FINDINGS_IN_MESSAGE = 10


class DataVerdictExecutor(base_executor.BaseExecutor):
    """Inputs examples, manifest, statistics, schema, anomalies; output verdict (verdict.json, profile.json).

    Raises DataVerdictError when a finding is red.
    """

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
        if evidence.profile is not None:
            write_text_atomically(os.path.join(verdict.uri, PROFILE_FILE), evidence.profile.to_json())
        section = data_section(findings, evidence)
        write_json_atomically(os.path.join(verdict.uri, "verdict.json"), section)
        num_rows = sum(int(statistics.num_examples) for statistics in evidence.statistics.values())
        verdict.set_int_custom_property("num_rows", num_rows)
        for finding in findings:
            logging.warning("%s: %s", finding.severity, finding.message)
        raise_if_red(findings, section)


def raise_if_red(findings: Sequence[DataFinding], section: dict[str, Any] | None = None) -> None:
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
        details=section or data_section(findings),
        hint="Correct the partitions and run again. If the data changed on purpose: a schema "
        "(data_verdict.schema_path) and the features for new columns, `data_verdict.columns` for the bounds of one "
        "column; `data_verdict.on_anomaly: amber` lets schema findings pass, `data_verdict.on_drift: amber` everything "
        "that was found by comparing with the last good window.",
    )


def _read_evidence(input_dict: dict[str, list[types.Artifact]], exec_properties: dict[str, Any]) -> WindowEvidence:
    statistics = artifact_utils.get_single_instance(input_dict["statistics"])
    anomalies = artifact_utils.get_single_instance(input_dict["anomalies"])
    schema_folder = artifact_utils.get_single_uri(input_dict["schema"])
    options = DataVerdictOptions.model_validate_json(exec_properties["options"])
    roles = ColumnRoles.model_validate_json(exec_properties["roles"])
    manifest = _manifest(input_dict)
    return WindowEvidence(
        statistics={split: _statistics(statistics, split) for split in _splits(statistics)},
        anomalies={split: _anomalies(anomalies, split) for split in _splits(anomalies)},
        schema=io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(schema_folder)),
        roles=roles,
        options=options,
        profile=_profile(input_dict, manifest, roles, options),
        baseline=_baseline(exec_properties),
        serving=serving_profile.profile_of_serving(
            options, roles, _date(manifest), exec_properties.get("partitions_path") or ""
        ),
        manifest=manifest,
    )


def _profile(
    input_dict: dict[str, list[types.Artifact]],
    manifest: dict[str, Any],
    roles: ColumnRoles,
    options: DataVerdictOptions,
) -> Profile | None:
    if not manifest:
        return None
    examples = artifact_utils.get_single_instance(input_dict["examples"])
    facts = row_sample.window_facts(manifest, roles)
    num_rows = sum(sum(hours.values()) for hours in facts.rows.values())
    rows, hashes = _sample(examples, num_rows, options.sample_rows)
    return profile_of(rows, roles, facts, hashes)


def _sample(examples: types.Artifact, num_rows: int, sample_rows: int) -> tuple[pa.Table, np.ndarray]:
    """From the summaries that the examples carry, where their samples are large enough; else by reading all rows."""
    splits = sorted(_splits(examples))  # the order of the files below
    summary = split_summary.carried(examples.uri, splits, SummaryRequest(sample_rows=1))
    kept = summary.sample(limit_of(sample_rows, num_rows)) if summary else None
    return kept or row_sample.read_sample(row_sample.files_of_splits(examples.uri, splits), num_rows, sample_rows)


def _manifest(input_dict: dict[str, list[types.Artifact]]) -> dict[str, Any]:
    if not input_dict.get("manifest"):
        return {}
    uri = artifact_utils.get_single_uri(input_dict["manifest"])
    with fileio.open(os.path.join(uri, "manifest.json"), "rb") as file:
        return json.loads(file.read())


def _baseline(exec_properties: dict[str, Any]) -> Baseline | None:
    path = exec_properties.get("baseline_path")
    return read_baseline(path) if path else None


def _date(manifest: dict[str, Any]) -> datetime.date | None:
    return datetime.date.fromisoformat(manifest["date"]) if manifest else None


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
