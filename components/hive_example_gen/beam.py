"""The Beam part: converts the partitions of a plan that are not in the cache. Imports no TensorFlow and no TFX."""

from __future__ import annotations

import apache_beam as beam
from apache_beam.metrics import Metrics

from hivemill.common.errors import HivemillError
from hivemill.components.hive_example_gen.cache.worker_errors import Failures
from hivemill.components.hive_example_gen.convert import convert_partition
from hivemill.components.hive_example_gen.options import BadRowOptions
from hivemill.components.hive_example_gen.planning.window import PlannedPartition
from hivemill.components.hive_example_gen.summary.request import SummaryRequest

METRICS = "hivemill"


class ConvertPartitions(beam.PTransform):
    """PCollection of PlannedPartition -> PCollection of fingerprints that are in the cache afterwards."""

    def __init__(
        self,
        table: str,
        bad_rows: BadRowOptions,
        partitions_path: str,
        failures: Failures,
        request: SummaryRequest | None = None,
    ):
        """`request`: of the summary that each partition gets; none without it."""
        super().__init__()
        request_json = request.model_dump_json() if request else None
        self._convert = _ConvertPartition(table, bad_rows.model_dump_json(), partitions_path, failures, request_json)

    def expand(self, partitions):
        # Without Reshuffle a runner may fuse Create and ParDo, and one worker would convert everything.
        return partitions | "Spread" >> beam.Reshuffle() | "Convert" >> beam.ParDo(self._convert)


class _ConvertPartition(beam.DoFn):
    """Holds plain values only; what cannot be pickled is made where it is used."""

    def __init__(
        self, table: str, bad_rows_json: str, partitions_path: str, failures: Failures, request_json: str | None
    ):
        self.table = table
        self.bad_rows_json = bad_rows_json
        self.partitions_path = partitions_path
        self.failures = failures
        self.request_json = request_json

    def process(self, partition: PlannedPartition) -> list[str]:
        if self.failures.any():
            return []  # the run fails anyway; what is converted so far is kept
        try:
            bad_rows = BadRowOptions.model_validate_json(self.bad_rows_json)
            request = SummaryRequest.model_validate_json(self.request_json) if self.request_json else None
            record = convert_partition(partition, self.table, bad_rows, self.partitions_path, request)
        except HivemillError as error:
            self.failures.add(partition.name, partition.fingerprint, error)
            return []
        Metrics.counter(METRICS, "partitions_converted").inc()
        Metrics.counter(METRICS, "rows_converted").inc(record.rows)
        Metrics.counter(METRICS, "bytes_written").inc(record.bytes)
        return [record.fingerprint]
