"""What deduplication, sampling and the label's join demand of the rest of the config."""

from __future__ import annotations

from collections.abc import Iterator

from hivemill.components.hive_example_gen.options import SourceOptions
from hivemill.pipeline.config.schema import PipelineConfig
from hivemill.pipeline.config.yaml_source import Path

Found = Iterator[tuple[Path, str]]
# What a second table has no use for: only its keys and times are read.
_IDLE_FOR_CLICKS = ("exclude_columns", "deduplicate_by", "sampling")


def row_rules(config: PipelineConfig) -> Found:
    source = config.source
    if source.query is not None and source.deduplicate_by:
        rule = "rows of source.query cannot be deduplicated here (they are read once); write SELECT DISTINCT"
        yield ("source", "deduplicate_by"), rule
    yield from _twice(("source", "deduplicate_by"), source.deduplicate_by)
    if source.sampling is not None:
        yield from _twice(("source", "sampling", "key"), source.sampling.key)
        if config.label.column in source.sampling.key:
            rule = f"`{config.label.column}` is the label: all negatives share it, so that it tells no row from another"
            yield ("source", "sampling", "key"), rule
    if config.label.join is not None:
        yield from _join(config)


def _join(config: PipelineConfig) -> Found:
    join, path = config.label.join, ("label", "join")
    assert join is not None
    yield from _twice((*path, "keys"), join.keys)
    if join.click_keys is not None:
        yield from _twice((*path, "click_keys"), join.click_keys)
        if len(join.click_keys) != len(join.keys):
            rule = f"must name as many columns as label.join.keys ({len(join.keys)}); received {len(join.click_keys)}"
            yield (*path, "click_keys"), rule
    for name in _IDLE_FOR_CLICKS:
        if getattr(join.clicks, name) != SourceOptions.model_fields[name].default:
            yield (*path, "clicks", name), "has no effect on clicks: only their keys and times are read; remove it"
    if join.clicks.query is not None:
        yield (*path, "clicks", "query"), "clicks come from a table only; join in the query of the impressions instead"
    if config.source.query is not None and join.take != "every":
        rule = f"`{join.take}` reads the impressions twice, which source.query does not allow; set `every`"
        yield (*path, "take"), rule
    if config.label.column in (*join.keys, join.impression_time):
        yield ("label", "column"), f"`{config.label.column}` is read by label.join; name the label otherwise"


def _twice(path: Path, names: tuple[str, ...]) -> Found:
    repeated = [name for index, name in enumerate(names) if name in names[:index]]
    if repeated:
        yield path, f"names `{repeated[0]}` twice"
