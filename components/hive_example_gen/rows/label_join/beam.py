"""The Beam part: builds the indexes that partitions wait for. Imports no TensorFlow and no TFX."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from hivemill.common.errors import HivemillError
from hivemill.components.hive_example_gen.cache.worker_errors import Failures
from hivemill.components.hive_example_gen.rows.label_join import build
from hivemill.components.hive_example_gen.rows.label_join.build import DayIndex
from hivemill.components.hive_example_gen.rows.label_join.labels import PartitionJoin


class AfterIndexes(beam.PTransform):
    """PCollection of anything -> the same, once all indexes of `joins` are there: clicks first, impressions then."""

    def __init__(self, joins: Iterable[PartitionJoin], partitions_path: str, failures: Failures):
        super().__init__()
        joins = list(joins)
        self._clicks = list({index.fingerprint: index for join in joins for index in _clicks(join)}.values())
        self._impressions = list({i.fingerprint: i for join in joins for i in join.impressions}.values())
        self._build = _Build(partitions_path, failures)

    def expand(self, waiting: beam.PCollection) -> beam.PCollection:
        pipeline = waiting.pipeline
        clicks = self._built(pipeline, "Clicks", self._clicks)
        impressions = self._built(pipeline, "Impressions", self._impressions, beam.pvalue.AsList(clicks))
        return waiting | "Wait" >> beam.Map(_first, beam.pvalue.AsList(clicks), beam.pvalue.AsList(impressions))

    def _built(
        self, pipeline: beam.Pipeline, name: str, indexes: list[DayIndex], *after: beam.pvalue.AsList
    ) -> beam.PCollection:
        created = pipeline | f"{name}Days" >> beam.Create(indexes, reshuffle=False)
        return created | f"{name}Spread" >> beam.Reshuffle() | f"{name}Build" >> beam.ParDo(self._build, *after)


def _clicks(join: PartitionJoin) -> Iterable[DayIndex]:
    yield from join.clicks
    for index in join.impressions:
        yield from index.clicks


def _first(element: Any, *_: Any) -> Any:
    return element


class _Build(beam.DoFn):
    def __init__(self, partitions_path: str, failures: Failures):
        self.partitions_path = partitions_path
        self.failures = failures

    def process(self, plan: DayIndex, *_) -> list[str]:
        if self.failures.any():
            return []
        try:
            record = build.ensure(plan, self.partitions_path)
        except HivemillError as error:
            self.failures.add(plan.name, plan.fingerprint, error)
            return []
        Metrics.counter("hivemill", f"indexed_{plan.table}").inc(record.pairs)
        return [plan.fingerprint]
