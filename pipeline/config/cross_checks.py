"""What one section of the config demands of another, and of the table: checks that no single field can make."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hivemill.common.storage import urls
from hivemill.common.text import did_you_mean
from hivemill.components.features import CategoricalFeature, CrossFeature, MultivalentFeature, NumericFeature
from hivemill.components.hive_example_gen.options import SourceOptions
from hivemill.components.trainer.option_changes import Sections, mistake, sections_of, with_values
from hivemill.components.tuner import space
from hivemill.pipeline.config.network_rules import network_rules, optimizer_rule
from hivemill.pipeline.config.row_rules import row_rules
from hivemill.pipeline.config.schema import PipelineConfig
from hivemill.pipeline.config.worker_rules import worker_rules
from hivemill.pipeline.config.yaml_source import Mistake, Path, Tree

_MORE_IS_BETTER = ("auc", "auc_lower_bound", "auc_precision_recall", "gauc", "clicks", "example_count")
_LESS_IS_BETTER = ("logloss", "normalized_entropy")
_VOCABULARY_KEYS = ("min_count", "max_size", "oov_buckets")
_BUCKET = re.compile(r"(s3|gs)://[^/?@:]+(/[^?]*)?")
_INNER = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)*")
Found = Iterator[tuple[Path, str]]


def consistency(config: PipelineConfig, tree: Tree) -> list[Mistake]:
    """The mistakes between sections, in the order of the sections."""
    found: list[tuple[Path, str]] = []
    checks = (
        _places,
        _source,
        row_rules,
        _window,
        _label,
        _fields,
        _features_without_effect,
        network_rules,
        _members,
        _tuning,
        _gates,
        _store,
        _runner,
        worker_rules,
        _rollout,
    )
    for check in checks:
        found.extend(check(config))
    return [Mistake(tree.place_of(path) or "", path, message) for path, message in found]


def columns(
    config: PipelineConfig, tree: Tree, features: Mapping[str, Any], known: Iterable[tuple[Path, str]] = ()
) -> list[Mistake]:
    """The mistakes against the table, those `known` already first. `features`: flattened name to FeatureKind."""
    table = _Table(features)
    found: list[tuple[Path, str]] = list(known)
    for name, feature in config.features.items():
        found.extend(_feature_columns(("features", name), name, feature, table))
    for role in ("column", "user", "weight"):
        name = getattr(config.label, role)
        if name is not None:
            found.extend(_label_column(role, name, table))
    for path, name in _slice_columns(config):
        found.extend(table.single(path, name, numeric=False, use="slice by"))
    return [Mistake(tree.place_of(path) or "", path, message) for path, message in found]


def columns_of(name: str, feature: Any) -> tuple[str, ...]:
    """The columns that a feature reads: as the user names them, maps not yet taken apart."""
    if isinstance(feature, CrossFeature):
        return feature.columns
    read = (feature.column or name,)
    weights = feature.weights if isinstance(feature, MultivalentFeature) else None
    return (*read, weights) if weights not in (None, "values") else read


def _members(config: PipelineConfig) -> Found:
    sections = sections_of(config.model, config.training, config.rates)
    if len(config.members) == 1:
        yield ("members",), "has one member; put its values into `model` and `training`, or add another"
    for index, values in enumerate(config.members):
        if values in config.members[:index]:
            yield ("members", index), "is the same as one before it, and would add nothing; change training.seed"
        found = [(("members", index, key), message) for key, message in _member(values, sections)]
        if not found and (rule := optimizer_rule(with_values(sections, values))):
            found = [(("members", index), f"training.optimizer {rule}")]
        yield from found


def _member(values: Mapping[str, Any], sections: Sections) -> Iterator[tuple[str, str]]:
    """(key, what is wrong with it)"""
    for key, value in values.items():
        if key.startswith("rates.") or key in ("training.strategy", "training.calibration"):
            yield key, "must be the same for all members; set it in its section"
        elif message := mistake(sections, key, value):
            yield key, message


def _tuning(config: PipelineConfig) -> Found:
    sections = sections_of(config.model, config.training, config.rates)
    for key, message in space.mistakes(config.tuning.space, sections):
        yield ("tuning", "space", key), message


def _places(config: PipelineConfig) -> Found:
    if "://" in config.root and not _BUCKET.fullmatch(config.root):
        rule = "must be a folder, s3://BUCKET/FOLDER or gs://BUCKET/FOLDER (what else the store needs comes from the "
        yield ("root",), f"{rule}environment: docs/object-stores.md); received {urls.shown(config.root)!r}"
    for path, value in ((("root",), config.root), (("store", "path"), config.store.path)):
        if not value.strip():
            yield path, "must not be empty"
    if urls.is_url(config.root) and config.training.strategy == "multi_worker":
        rule = f"is `multi_worker`, whose processes meet in a folder; root is {urls.shown(config.root)}"
        yield ("training", "strategy"), f"{rule}: take `mirrored`, or a root on a volume"
    if urls.is_url(config.root) and not _INNER.fullmatch(config.store.path):
        rule = "must be a name below `root`, which is in an object store"
        yield ("store", "path"), f"{rule}; received {config.store.path!r}"


def _source(config: PipelineConfig) -> Found:
    yield from _one_source(("source",), config.source)
    if config.label.join is not None:
        yield from _one_source(("label", "join", "clicks"), config.label.join.clicks)
    for name in (config.source.date_column, config.label.column, config.label.user, config.label.weight):
        if name is not None and name in config.source.exclude_columns:
            yield ("source", "exclude_columns"), f"`{name}` is needed and cannot be left out"


def _one_source(path: Path, source: SourceOptions) -> Found:
    """Of a table at `path`; the keys named in the messages are below it."""
    above = ".".join(map(str, path))
    if source.ddl and source.columns:
        yield (*path, "columns"), f"{above}.ddl defines the columns too; keep one of the two"
    if source.format == "text" and not source.ddl and not source.columns:
        yield (*path, "format"), f"text files do not name their columns: give {above}.ddl or {above}.columns"
    if source.ddl is None:
        for key, name in (("date_column", source.date_column), ("hour_column", source.hour_column)):
            if name is not None and name not in source.partition_columns:
                rule = f"`{name}` is not in {above}.partition_columns; {did_you_mean(name, source.partition_columns)}"
                yield (*path, key), rule
    if source.hour_column is not None and source.hour_column == source.date_column:
        yield (*path, "hour_column"), f"`{source.hour_column}` is {above}.date_column too"


def _window(config: PipelineConfig) -> Found:
    window = config.window
    if window.validation_days >= window.train_days:
        rule = f"must be less than window.train_days ({window.train_days}), of which they are the last"
        yield ("window", "validation_days"), f"{rule}; received {window.validation_days}"
    if config.training.plateau is not None and window.validation_days == 0:
        rule = "watching the validation split needs window.validation_days of at least 1; received 0"
        yield ("training", "plateau"), f"{rule}. Raise it, or set training.plateau to null"


def _label(config: PipelineConfig) -> Found:
    label = config.label
    for role in ("user", "weight"):
        if getattr(label, role) == label.column:
            yield ("label", role), f"`{label.column}` is the label itself"
    if label.weight is not None and label.weight == label.user:
        yield ("label", "weight"), f"`{label.weight}` is label.user; a weight is a number of its own"
    for name, feature in config.features.items():
        if label.column in columns_of(name, feature):
            rule = f"reads `{label.column}`, the label: the model would see the answer. Remove the feature"
            yield ("features", name), rule


def _fields(config: PipelineConfig) -> Found:
    excluded = set(config.source.exclude_columns)
    seen: dict[str, str] = {}
    for name, feature in config.features.items():
        for column in columns_of(name, feature):
            if column in excluded:
                yield ("features", name), f"reads `{column}`, which source.exclude_columns leaves out"
        if not name.strip():
            yield ("features", name), f"a feature needs a name; received {name!r}"
        if isinstance(feature, CrossFeature) and len(set(feature.columns)) < len(feature.columns):
            yield ("features", name, "columns"), "names a column twice; a cross combines different columns"
        key = _identity(name, feature)
        if key in seen:
            yield ("features", name), f"is the same field as features.{seen[key]}; remove one, or change its settings"
        seen.setdefault(key, name)


def _identity(name: str, feature: Any) -> str:
    settings = feature.model_dump(mode="json", exclude={"column", "columns", "embedding_size"})
    return json.dumps([sorted(columns_of(name, feature)), settings], sort_keys=True)


def _features_without_effect(config: PipelineConfig) -> Found:
    """A setting that does nothing is a misunderstanding, so it is an error."""
    for name, feature in config.features.items():
        if isinstance(feature, NumericFeature) and feature.transform != "quantile_buckets":
            why = f"`transform: {feature.transform}`; use quantile_buckets or remove it"
            yield from _idle(("features", name), feature, ("buckets",), why)
        if getattr(feature, "encoding", None) == "hash":
            yield from _idle(("features", name), feature, _VOCABULARY_KEYS, "`encoding: hash`; remove it")


def _idle(path: Path, feature: Any, keys: tuple[str, ...], why: str) -> Found:
    for key in keys:
        if getattr(feature, key) != type(feature).model_fields[key].default:
            yield (*path, key), f"has no effect with {why}"


def _gates(config: PipelineConfig) -> Found:
    gates = config.gates
    bounds: list[tuple[Path, str, Any]] = [(("gates", "metrics", m), m, bound) for m, bound in gates.metrics.items()]
    for index, each in enumerate(gates.slice_bounds):
        bounds.append((("gates", "slice_bounds", index, "bound"), each.metric, each.bound))
    for path, metric, bound in bounds:
        if metric == "gauc" and config.label.user is None:
            yield path, "gauc is a mean over users: give label.user"
        if bound.min is not None and bound.max is not None and bound.min > bound.max:
            yield path, f"min ({bound.min}) must not be above max ({bound.max})"
        if bound.max_drop is not None and metric not in _MORE_IS_BETTER:
            yield (
                (*path, "max_drop"),
                f"is for metrics where more is better, {metric} is not one; use max_rise, min or max",
            )
        if bound.max_rise is not None and metric not in _LESS_IS_BETTER:
            yield (
                (*path, "max_rise"),
                f"is for metrics where less is better, {metric} is not one; use max_drop, min or max",
            )
        for key in ("max_drop", "max_rise"):
            if (getattr(bound, key) or 0) < 0:
                yield (*path, key), f"must be at least 0; received {getattr(bound, key)}"
    for path, name in _slice_columns(config):
        if name == config.label.column:
            yield path, f"`{name}` is the label: a slice by it has one class only"


def _slice_columns(config: PipelineConfig) -> Iterator[tuple[Path, str]]:
    for index, names in enumerate(config.gates.slices):
        for name in names:
            yield ("gates", "slices", index), name
    for index, each in enumerate(config.gates.slice_bounds):
        for name in each.slice:
            yield ("gates", "slice_bounds", index, "slice"), name


def _store(config: PipelineConfig) -> Found:
    if config.store.mirror is not None and urls.is_url(config.root):
        yield (
            ("store", "mirror"),
            f"is for a store in a folder; root is {urls.shown(config.root)}, where servers read it",
        )
    if config.store.mirror is not None and urls.holds_credentials(config.store.mirror):
        yield (
            ("store", "mirror"),
            f"{urls.shown(config.store.mirror)} holds credentials, which would be in metadata and logs; they belong "
            "into the environment (AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS, a role)",
        )


_REFUSED_BEAM_ARGS = {
    "--direct_running_mode=multi_processing": "the workers that Beam starts with it are not prepared for TensorFlow; "
    "take --runner=hivemill.pipeline.orchestrators.beam.worker_processes.WorkerProcesses with --direct_num_workers=N",
}


def _runner(config: PipelineConfig) -> Found:
    for key in ("beam_args", "orchestrator_args"):
        for index, argument in enumerate(getattr(config.runner, key)):
            if not argument.startswith("--"):
                yield (
                    ("runner", key, index),
                    f"Beam options start with `--`, like --runner=FnApiRunner; received {argument!r}",
                )
    for index, argument in enumerate(config.runner.beam_args):
        if argument in _REFUSED_BEAM_ARGS:
            yield ("runner", "beam_args", index), _REFUSED_BEAM_ARGS[argument]
    if config.runner.orchestrator_args and config.runner.name != "beam":
        yield ("runner", "orchestrator_args"), "has no effect with `name: local`; set runner.name to beam or remove it"


def _rollout(config: PipelineConfig) -> Found:
    if config.rollout.server_reads == "mirror" and config.store.mirror is None:
        yield ("rollout", "server_reads"), "is `mirror`, so store.mirror must say where that is"
    longest = config.alerts.max_rollout_wait_hours
    if longest is not None and longest <= config.rollout.min_hours:
        yield (
            ("alerts", "max_rollout_wait_hours"),
            f"must be more than rollout.min_hours ({config.rollout.min_hours:g}), or every step is told of; "
            f"received {longest:g}",
        )


class _Table:
    """The flattened features of the table, with the map columns that they come from."""

    def __init__(self, features: Mapping[str, Any]):
        self._features = features
        pairs = (name.removesuffix("_keys") for name in features if name.endswith("_keys"))
        self.maps = {
            name
            for name in pairs
            if f"{name}_values" in features and features[f"{name}_keys"].column == features[f"{name}_values"].column
        }
        self._names = [name for name in features if not self._is_part_of_map(name)] + sorted(self.maps)

    def _is_part_of_map(self, name: str) -> bool:
        return any(name in (f"{each}_keys", f"{each}_values") for each in self.maps)

    def kind(self, name: str) -> Any | None:
        return self._features.get(name)

    def absent(self, name: str) -> str:
        inside = [known for known, kind in self._features.items() if kind.column == name]
        if inside:
            return f"the table has no single column `{name}`: it is a struct; use {' or '.join(map(repr, inside))}"
        return f"the table has no column `{name}`; {did_you_mean(name, self._names)}"

    def single(self, path: Path, name: str, numeric: bool, use: str) -> Found:
        """A column with one value per row, of numbers (`numeric`) or of strings and integers (not `numeric`)."""
        kind = self.kind(name)
        if kind is None and name in self.maps:
            yield (
                path,
                f"`{name}` is a map: declare it as `type: multivalent`" if use == "read" else _no_list(name, use),
            )
        elif kind is None:
            yield path, self.absent(name)
        elif kind.multivalent:
            rule = f"`{name}` holds several values per row: declare it as `type: multivalent`"
            yield path, rule if use == "read" else _no_list(name, use)
        elif numeric and kind.dtype == "bytes":
            rule = "holds text, not numbers" + (": declare it as `type: categorical`" if use == "read" else "")
            yield path, f"`{name}` {rule}"
        elif not numeric and kind.dtype == "float":
            rule = "holds fractions, not names"
            rule += ": declare it as `type: numeric` (quantile_buckets gives it ids)" if use == "read" else ""
            yield path, f"`{name}` {rule}"


def _no_list(name: str, use: str) -> str:
    return f"`{name}` holds several values per row; to {use} it, a column needs one"


def _feature_columns(path: Path, name: str, feature: Any, table: _Table) -> Found:
    if isinstance(feature, MultivalentFeature):
        yield from _multivalent(path, feature.column or name, feature, table)
    elif isinstance(feature, CrossFeature):
        for column in feature.columns:
            yield from table.single((*path, "columns"), column, numeric=False, use="cross")
    else:
        place = (*path, "column") if feature.column else path
        numeric = isinstance(feature, NumericFeature)
        yield from table.single(place, feature.column or name, numeric=numeric, use="read")
        kind = table.kind(feature.column or name)
        if isinstance(feature, CategoricalFeature) and kind is not None and kind.dtype == "int64":
            yield from _integer_default((*path, "default"), feature.default)


def _integer_default(path: Path, default: str | int) -> Found:
    text = str(default)
    if text and not text.removeprefix("-").isdecimal():
        yield path, f"the column holds integers, so must be one, or empty for a value of its own; received {text!r}"


def _multivalent(path: Path, column: str, feature: MultivalentFeature, table: _Table) -> Found:
    place = (*path, "column") if feature.column else path
    kind = table.kind(column)
    is_map = kind is None and column in table.maps
    if kind is None and not is_map:
        yield place, table.absent(column)
        return
    if kind is not None and not kind.multivalent:
        better = "numeric` or `type: categorical" if kind.dtype == "int64" else "categorical"
        better = "numeric" if kind.dtype == "float" else better
        yield place, f"`{column}` holds one value per row, not an array or map: declare it as `type: {better}`"
        return
    tokens = table.kind(f"{column}_keys") if is_map else kind
    if tokens.dtype == "float":
        yield place, f"`{column}` holds fractions; a multivalent feature needs strings or integers"
    if not is_map and feature.of == "items":
        yield (*path, "of"), f"is for map columns; `{column}` is an array. Remove it"
    if feature.weights is not None:
        yield from _weights((*path, "weights"), column, feature.weights, is_map, table)


def _weights(path: Path, column: str, weights: str, is_map: bool, table: _Table) -> Found:
    if weights == "values" and not is_map:
        yield path, f"`values` takes the values of a map; `{column}` is an array. Name a parallel array instead"
        return
    name = f"{column}_values" if weights == "values" else weights
    kind = table.kind(name)
    if kind is None:
        yield path, table.absent(name)
    elif not kind.multivalent:
        yield path, f"`{name}` holds one value per row; weights need an array parallel to `{column}`"
    elif kind.dtype == "bytes":
        what = f"the values of `{column}` are" if weights == "values" else f"`{name}` holds"
        yield path, f"{what} text; weights must be numbers"


def _label_column(role: str, name: str, table: _Table) -> Found:
    if role == "user":
        yield from table.single(("label", role), name, numeric=False, use="group by")
    else:
        yield from table.single(("label", role), name, numeric=True, use="train on")
