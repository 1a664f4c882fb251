"""Executor of HiveLogExampleGen: plans again, converts what is not kept, hands out the splits, writes the manifest."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from tfx.dsl.components.base import base_beam_executor
from tfx.types import Artifact, artifact_utils

from hivemill.common import progress as progress_lib
from hivemill.common.errors import DataNotReadyError, InfrastructureError
from hivemill.common.storage import object_store, urls
from hivemill.common.storage.atomic import write_text_atomically
from hivemill.components.artifacts import NUM_ROWS_PROPERTY, SAMPLED_NEGATIVES_PROPERTY
from hivemill.components.hive_example_gen import manifest, progress
from hivemill.components.hive_example_gen.beam import ConvertPartitions
from hivemill.components.hive_example_gen.cache import partition_record, quarantine
from hivemill.components.hive_example_gen.cache.entries import store_at
from hivemill.components.hive_example_gen.cache.partition_record import PartitionRecord
from hivemill.components.hive_example_gen.cache.worker_errors import failures_below
from hivemill.components.hive_example_gen.catalog import table_files
from hivemill.components.hive_example_gen.options import SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning import converted_completeness, table_checks
from hivemill.components.hive_example_gen.planning.window import PlannedPartition, WindowPlan, plan_window
from hivemill.components.hive_example_gen.rows import manifest_entries
from hivemill.components.hive_example_gen.rows.feature_agreement import FeatureAgreement
from hivemill.components.hive_example_gen.rows.flatten import FeatureKind
from hivemill.components.hive_example_gen.rows.label_join.beam import AfterIndexes
from hivemill.components.hive_example_gen.rows.label_join.options import LabelRules
from hivemill.components.hive_example_gen.summary import kept, split_summary
from hivemill.components.hive_example_gen.summary.request import SummaryRequest
from hivemill.components.hive_example_gen.table.columns import example_features

EXAMPLES_KEY = "examples"
MANIFEST_KEY = "manifest"
# As tfx.components.util.examples_utils sets them; its import would load TensorFlow, 0.5 GiB without a use here.
FORMAT_PROPERTIES = {"payload_format": "FORMAT_TF_EXAMPLE", "file_format": "tfrecords_gzip"}


class HiveExampleGenExecutor(base_beam_executor.BaseBeamExecutor):
    """See component.HiveLogExampleGen for the execution properties."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Raises DataNotReadyError, ConfigError, InfrastructureError."""
        self._log_startup(input_dict, output_dict, exec_properties)
        source = SourceOptions.model_validate_json(exec_properties["source"])
        partitions_path = exec_properties["partitions_path"]
        plan = _plan_again(source, exec_properties)
        table_checks.check(source, plan)
        example_features(source, plan)  # a wrong column is found before anything is converted
        store_at(partitions_path).remove_leftovers()
        given = exec_properties.get("summary")
        request = SummaryRequest.model_validate_json(given).of_partition(len(plan.partitions)) if given else None
        self._convert(source, plan, partitions_path, request)
        records = _records(plan, partitions_path)
        _check_agreement(plan, records)
        quarantine.check_shares(plan, records, source.bad_rows.max_share, partitions_path)
        window = WindowOptions.model_validate_json(exec_properties["window"])
        plan = converted_completeness.judged(plan, records, source, window)
        rows = manifest.num_rows(plan, records)
        _check_rows(plan, rows)
        examples = artifact_utils.get_single_instance(output_dict[EXAMPLES_KEY])
        _assemble(examples, plan, records, partitions_path)
        if request is not None:
            _hand_out_summaries(examples, plan, partitions_path)
        _describe(examples, rows, plan)
        document = manifest.build_manifest(plan, records) | manifest_entries.facts(plan, records, partitions_path)
        _write_manifest(artifact_utils.get_single_instance(output_dict[MANIFEST_KEY]), document)

    def _convert(
        self, source: SourceOptions, plan: WindowPlan, partitions_path: str, request: SummaryRequest | None
    ) -> None:
        """Converts what is not in the cache, summarises what has no such summary. No pipeline is made where that is
        nothing."""
        lacking = _without_summary(plan, partitions_path, request)
        todo = list({p.fingerprint: p for p in plan.partitions if not p.cached or p.fingerprint in lacking}.values())
        if not todo:
            return
        with failures_below(partitions_path) as failures:
            with progress.reported(todo, partitions_path), self._make_beam_pipeline() as pipeline:
                partitions = pipeline | "Partitions" >> beam.Create(todo)
                joins = [partition.rules.join for partition in todo if partition.rules.join]
                if joins:
                    partitions |= "AfterIndexes" >> AfterIndexes(joins, partitions_path, failures)
                _ = partitions | "ConvertPartitions" >> ConvertPartitions(
                    source.place, source.bad_rows, partitions_path, failures, request
                )
            failures.raise_first()


def _plan_again(source: SourceOptions, exec_properties: Mapping[str, Any]) -> WindowPlan:
    """The plan as the files are now. Raises DataNotReadyError where it is not the one that the run was started for."""
    window = WindowOptions.model_validate_json(exec_properties["window"])
    date = datetime.date.fromisoformat(exec_properties["date"])
    given = exec_properties.get("label")
    label = LabelRules.model_validate_json(given) if given else None
    plan = plan_window(source, window, date, exec_properties["partitions_path"], label)
    plan.check()
    if plan.fingerprint != exec_properties["plan_fingerprint"]:
        raise DataNotReadyError(
            f"the partitions of the window for {date} changed between the plan and the run (fingerprint "
            f"{plan.fingerprint[:12]}, planned {exec_properties['plan_fingerprint'][:12]})",
            hint="Run again: the new plan takes the files as they are then.",
        )
    return plan


def _without_summary(plan: WindowPlan, partitions_path: str, request: SummaryRequest | None) -> set[str]:
    """Converted partitions that need another pass: an older version kept them, or a new feature asks for more."""
    converted = [partition.fingerprint for partition in plan.partitions if partition.cached]
    if request is None or not converted:
        return set()
    found = kept.lacking(store_at(partitions_path), converted, request)
    if found:
        progress_lib.note(
            f"{len(found)} kept partitions lacked a summary of what is asked now: one more pass over them"
        )
    return found


def _hand_out_summaries(examples: Artifact, plan: WindowPlan, partitions_path: str) -> None:
    """Puts the summaries of each split beside its shards, as `_assemble` puts those."""
    store = store_at(partitions_path)
    keys = {split: [partition.fingerprint for partition in parts] for split, parts in plan.splits.items()}
    files = kept.files_of(store, [key for several in keys.values() for key in several])
    targets = split_summary.targets(examples.uri, {split: len(several) for split, several in keys.items()})
    for places in targets.values():
        _make_folder(places[0].rpartition("/")[0])
    store.hand_out(
        [
            (key, files[key], target)
            for split, several in keys.items()
            for key, target in zip(several, targets[split], strict=True)
        ]
    )


def _records(plan: WindowPlan, partitions_path: str) -> dict[str, PartitionRecord]:
    records = partition_record.find_all(partitions_path, [partition.fingerprint for partition in plan.partitions])
    lost = [partition.name for partition in plan.partitions if partition.fingerprint not in records]
    if lost:
        raise InfrastructureError(
            f"partition {lost[0]} was converted, but {urls.shown(partitions_path)} does not hold it",
            hint="Beam's workers must write to the same filesystem as this process; set `root` to a shared place.",
        )
    store_at(partitions_path).remember(partition_record.PARTITION, records)
    return records


def _check_agreement(plan: WindowPlan, records: Mapping[str, PartitionRecord]) -> None:
    """Without declared columns every partition has its own."""
    agreement = FeatureAgreement()
    for partition in plan.partitions:
        record = records[partition.fingerprint]
        for name, (dtype, multivalent) in record.features.items():
            kind = FeatureKind(dtype, multivalent, name, record.meanings.get(name, ""))
            agreement.add(name, kind, partition.name)


def _check_rows(plan: WindowPlan, rows: Mapping[str, int]) -> None:
    empty = [split for split, count in rows.items() if not count]
    if empty:
        days = plan.days[empty[0]]
        raise DataNotReadyError(
            f"split {empty[0]!r} has no row: the files of {days[0]} to {days[-1]} hold none",
            hint="Load these days again, or choose another date.",
        )


def _assemble(
    examples: Artifact, plan: WindowPlan, records: Mapping[str, PartitionRecord], partitions_path: str
) -> None:
    """Puts the shards of each split into its folder: hard links where the filesystem has them, copies elsewhere; from
    an object store to itself they do not pass through this machine."""
    examples.split_names = artifact_utils.encode_split_names(list(plan.splits))
    handed_out = []
    for split, partitions in plan.splits.items():
        folder = table_files.joined(examples.uri, f"Split-{split}")  # as artifact_utils.get_split_uri
        _make_folder(folder)
        shards = _shards(partitions, records)
        for index, (key, name) in enumerate(shards):
            target = table_files.joined(folder, f"data_tfrecord-{index:05d}-of-{len(shards):05d}.gz")
            handed_out.append((key, name, target))
    store_at(partitions_path).hand_out(handed_out)


def _make_folder(folder: str) -> None:
    """An object store needs none."""
    if not urls.is_url(folder):
        Path(folder).mkdir(parents=True, exist_ok=True)


def _shards(partitions: Sequence[PlannedPartition], records: Mapping[str, PartitionRecord]) -> list[tuple[str, str]]:
    """Fingerprint and name of each."""
    keys = [partition.fingerprint for partition in partitions]
    return [(key, shard.name) for key in keys for shard in records[key].shards]


def _describe(examples: Artifact, rows: Mapping[str, int], plan: WindowPlan) -> None:
    """What TFX's own components read from an Examples artifact, and the rows and the sample for Hivemill's."""
    for name, value in FORMAT_PROPERTIES.items():
        examples.set_string_custom_property(name, value)
    examples.set_int_custom_property(NUM_ROWS_PROPERTY, sum(rows.values()))
    for split, count in rows.items():
        examples.set_int_custom_property(f"{NUM_ROWS_PROPERTY}_{split}", count)
    sampling = manifest_entries.sampling_of(plan)
    if sampling:
        examples.set_float_custom_property(SAMPLED_NEGATIVES_PROPERTY, sampling.negatives)


def _write_manifest(artifact: Artifact, document: Mapping[str, Any]) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if urls.is_url(artifact.uri):
        object_store.write_bytes(table_files.joined(artifact.uri, manifest.FILE_NAME), text.encode())
    else:
        write_text_atomically(Path(artifact.uri) / manifest.FILE_NAME, text)
    artifact.set_int_custom_property(NUM_ROWS_PROPERTY, sum(document["num_rows"].values()))
