"""The profile of what serving saw: from a table of requests, or from data-validation's statistics."""

from __future__ import annotations

import datetime

import numpy as np
from tensorflow_metadata.proto.v0 import statistics_pb2

from hivemill.common.errors import ConfigError
from hivemill.common.storage import object_store
from hivemill.components.data_verdict.options import DataVerdictOptions
from hivemill.components.data_verdict.profile import row_sample
from hivemill.components.data_verdict.profile.builder import profile_of
from hivemill.components.data_verdict.profile.column_roles import ColumnRoles, Kind
from hivemill.components.data_verdict.profile.serving_log_plan import plan_of_serving
from hivemill.components.data_verdict.profile.window_profile import Distribution, Profile, ProfiledColumn, buckets_of
from hivemill.components.hive_example_gen import convert
from hivemill.components.hive_example_gen.cache.entries import store_at
from hivemill.components.hive_example_gen.options import SourceOptions

_STATISTICS_DAY = "1970-01-01"  # statistics do not say which day they are of


def profile_of_serving(
    options: DataVerdictOptions, roles: ColumnRoles, date: datetime.date | None, partitions_path: str
) -> Profile | None:
    """None where the options name neither a log nor statistics.

    Raises DataNotReadyError where days of the log are missing, ConfigError where the statistics cannot be read.
    """
    if options.serving_statistics is not None:
        return profile_of_statistics(_read_statistics(options.serving_statistics), roles)
    if options.serving_log is None or date is None:
        return None
    return _profile_of_log(options, options.serving_log, roles, date, partitions_path)


def _profile_of_log(
    options: DataVerdictOptions, source: SourceOptions, roles: ColumnRoles, date: datetime.date, partitions_path: str
) -> Profile:
    """Converts the newest days as training data is converted, into the same cache, and samples them."""
    partitions = plan_of_serving(source, options, date, partitions_path).splits["eval"]
    records = [convert.convert_partition(one, source.place, source.bad_rows, partitions_path) for one in partitions]
    own_roles = roles.model_copy(
        update={"date": source.date_column, "date_format": source.date_format, "hour": source.hour_column}
    )
    shards = [(record.fingerprint, shard.name) for record in records for shard in record.shards]
    with store_at(partitions_path).local(shards) as files:
        num_rows = sum(record.rows for record in records)
        rows, hashes = row_sample.read_sample(list(map(str, files)), num_rows, options.sample_rows)
    return profile_of(rows, own_roles, None, hashes)


def profile_of_statistics(statistics: statistics_pb2.DatasetFeatureStatistics, roles: ColumnRoles) -> Profile:
    """Quantile histograms as numbers, rank histograms as values; one day, for comparisons of distributions only."""
    columns = {}
    for feature in statistics.features:
        name = feature.name or ".".join(feature.path.step)
        if name != roles.label and not roles.is_partition(name):
            columns[name] = _column_of(feature, roles.kinds.get(name))
    rows = {_STATISTICS_DAY: {-1: int(statistics.num_examples)}}
    return Profile(splits={"all": (_STATISTICS_DAY,)}, columns=columns, rows=rows, sampled=rows, clicks={})


def _column_of(feature: statistics_pb2.FeatureNameStatistics, kind: Kind | None) -> ProfiledColumn:
    stats = getattr(feature, feature.WhichOneof("stats") or "num_stats")
    common = stats.common_stats
    rows = int(common.num_non_missing + common.num_missing)
    if feature.WhichOneof("stats") == "num_stats":
        counts, other, kind = _numbers(feature.num_stats), 0, kind if kind == "value" else "number"
        counts = {str(key): count for key, count in counts.items()} if kind == "value" else counts
    else:
        counts = {bucket.label: round(bucket.sample_count) for bucket in feature.string_stats.rank_histogram.buckets}
        other, kind = max(0, int(common.tot_num_values) - sum(counts.values())), kind or "value"
    one = Distribution(rows, int(common.num_missing), counts, other, len(counts))
    return ProfiledColumn(kind, {_STATISTICS_DAY: one})


def _numbers(stats: statistics_pb2.NumericStatistics) -> dict[int, int]:
    """The histogram of quantiles, each of its bins spread evenly over a hundred points."""
    chosen = [one for one in stats.histograms if one.type == statistics_pb2.Histogram.QUANTILES] or stats.histograms
    counts: dict[int, int] = {}
    for bin_ in chosen[0].buckets if chosen else ():
        points = np.linspace(bin_.low_value, bin_.high_value, 100)
        for bucket, number in zip(*np.unique(buckets_of(points), return_counts=True), strict=True):
            counts[int(bucket)] = counts.get(int(bucket), 0) + round(bin_.sample_count * number / 100)
    return counts


def _read_statistics(path: str) -> statistics_pb2.DatasetFeatureStatistics:
    try:
        datasets = statistics_pb2.DatasetFeatureStatisticsList.FromString(object_store.file_bytes(path))
    except Exception as error:  # protobuf's DecodeError is not the same class in all of its implementations
        raise ConfigError(
            f"data_verdict.serving_statistics: {path} cannot be read: {error}",
            hint="It must be a DatasetFeatureStatisticsList, as StatisticsGen writes it (FeatureStats.pb).",
        ) from error
    if not datasets.datasets:
        raise ConfigError(f"data_verdict.serving_statistics: {path} holds no statistics")
    return datasets.datasets[0]
