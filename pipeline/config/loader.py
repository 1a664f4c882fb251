"""hivemill.yaml as one typed, checked value: `load` reads it, `check_columns` holds it against the table.

Every mistake names the file, the line, the key, the rule and the value received; all of them are reported at once.
Values come, each over the one before, from the defaults, the file, the environment
(`HIVEMILL__TRAINING__EPOCHS=5`) and `--set training.epochs=5`. Imports no TensorFlow and no TFX.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hivemill.common.errors import ConfigError
from hivemill.pipeline.config import cross_checks, errors, yaml_source
from hivemill.pipeline.config.schema import PipelineConfig
from hivemill.pipeline.config.yaml_source import Mistake, Tree, dotted

ENVIRONMENT_PREFIX = "HIVEMILL__"
DEFAULT_FILE = "hivemill.yaml"
RELATIVE_PATHS = (
    ("root",),
    ("source", "table"),
    ("source", "ddl"),
    ("source", "hive", "ca_file"),
    ("label", "join", "clicks", "table"),
    ("label", "join", "clicks", "ddl"),
    ("label", "join", "clicks", "hive", "ca_file"),
    ("data_verdict", "schema_path"),
    ("data_verdict", "serving_log", "table"),
    ("data_verdict", "serving_log", "ddl"),
    ("data_verdict", "serving_log", "hive", "ca_file"),
    ("data_verdict", "serving_statistics"),
    ("metadata", "tls_ca_file"),
    ("rollout", "metrics"),
    ("rollout", "tls_ca_file"),
    ("rollout", "tls_cert_file"),
    ("rollout", "tls_key_file"),
    ("experiment", "log"),
)
_SECTIONS_THAT_MAY_BE_EMPTY = (
    "window",
    "data_verdict",
    "model",
    "training",
    "gates",
    "serving_check",
    "store",
    "runner",
    "metadata",
    "kubeflow",
    "vertex",
    "alerts",
    "experiment",
    "rollout",
    "schedule",
)


@dataclasses.dataclass(frozen=True)
class LoadedConfig:
    """A config with where each value came from.

    Attributes:
        config: the values; paths are resolved against the folder of `path`.
        origins: dotted key to `default`, `hivemill.yaml:12`, `environment HIVEMILL__...` or `--set`. A list is one key.
        path: the file.
    """

    config: PipelineConfig
    origins: dict[str, str]
    path: Path
    tree: Tree = dataclasses.field(repr=False, compare=False)

    def place_of(self, *key: str | int) -> str:
        """Where `key`, or the section around it, was given: `hivemill.yaml:12`."""
        return self.tree.place_of(key) or self.path.name


def load(
    path: Path,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] = os.environ,
    text: str | None = None,
) -> LoadedConfig:
    """Reads and checks the config.

    Args:
        path: the YAML file.
        overrides: `a.b=value` each, the value in YAML.
        environment: variables named HIVEMILL__A__B override the key a.b.
        text: its content, where the file is not there: what a container was given. Paths are relative to `path`.

    Raises:
        ConfigError: with one line per mistake.
    """
    path = Path(path)
    tree = yaml_source.parse(_read(path) if text is None else text, str(path))
    _stop_on(tree.mistakes, path)
    _override(tree, overrides, environment)
    _stop_on(tree.mistakes, path)
    config = _validated(tree, path)
    _stop_on(cross_checks.consistency(config, tree), path)
    config = _with_resolved_paths(config, path.absolute().parent)
    return LoadedConfig(config, _origins(config, tree), path, tree)


def check_columns(
    loaded: LoadedConfig,
    example_features: Mapping[str, Any],
    found: Sequence[tuple[tuple[str, ...], str]] = (),
) -> None:
    """Raises ConfigError where the config names columns that the table lacks or that hold something else.

    Args:
        loaded: from `load`.
        example_features: flattened name to `FeatureKind`, from hivemill.components.hive_example_gen.table.columns.
        found: mistakes found already, from hivemill.components.hive_example_gen.planning.table_checks.
    """
    _stop_on(cross_checks.columns(loaded.config, loaded.tree, example_features, found), loaded.path)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        hint = "Give it with --config FILE, or write one with `hivemill init DIR`."
        raise ConfigError(f"there is no config file {path}", hint=hint) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: must be UTF-8 text; byte {error.start} is not", hint="Save it as UTF-8.") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def _stop_on(mistakes: Sequence[Mistake], path: Path) -> None:
    if len(mistakes) == 1:
        raise ConfigError(str(mistakes[0]))
    if mistakes:
        raise ConfigError(f"{path}: {len(mistakes)} mistakes\n" + "\n".join(f"  {mistake}" for mistake in mistakes))


def _override(tree: Tree, overrides: Sequence[str], environment: Mapping[str, str]) -> None:
    for variable in sorted(name for name in environment if name.startswith(ENVIRONMENT_PREFIX)):
        key = _key_of_variable(variable, tree.data)
        _set(tree, key, environment[variable], f"environment {variable}")
    for override in overrides:
        key, equals, text = override.partition("=")
        parts = tuple(part.strip() for part in key.split("."))
        if not equals or not all(parts):
            tree.mistakes.append(
                Mistake("--set", (), f"must be KEY=VALUE, like training.epochs=5; received {override!r}")
            )
            continue
        _set(tree, parts, text, "--set")


def _set(tree: Tree, key: tuple[str, ...], text: str, place: str) -> None:
    try:
        tree.set(key, yaml_source.parse_value(text), place)
    except ValueError as error:
        tree.mistakes.append(Mistake(place, key, f"{error}; received {text!r}"))
    except KeyError as error:
        rule = f"`{dotted(error.args[0])}` holds a value, not a section, so nothing in it can be set"
        tree.mistakes.append(Mistake(place, key, rule))


def _key_of_variable(variable: str, data: Any) -> tuple[str, ...]:
    """Variables are upper case by custom: a part is the key that is there but for case, else lower case."""
    key: list[str] = []
    for part in variable.removeprefix(ENVIRONMENT_PREFIX).split("__"):
        known = data if isinstance(data, dict) else {}
        name = next((name for name in known if name.lower() == part.lower()), part.lower())
        key.append(name)
        data = known.get(name)
    return tuple(key)


def _validated(tree: Tree, path: Path) -> PipelineConfig:
    """Strict: `"3"` is no number and 3 no text. As JSON, because strict JSON still takes a list for a tuple."""
    data = {key: _present(key, value) for key, value in tree.data.items()}
    try:
        return PipelineConfig.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        _stop_on(errors.mistakes_of(error, dataclasses.replace(tree, data=data), PipelineConfig), path)
        raise


def _present(key: str, value: Any) -> Any:
    """A section whose lines are all commented out is an empty section."""
    return {} if value is None and key in _SECTIONS_THAT_MAY_BE_EMPTY else value


def _with_resolved_paths(config: PipelineConfig, folder: Path) -> PipelineConfig:
    for path in RELATIVE_PATHS:
        config = _resolved(config, path, folder)
    return config


def _resolved(section: Any, path: tuple[str, ...], folder: Path) -> Any:
    """`section` with the value at `path` resolved against `folder`; a section that is not there has none."""
    name, *rest = path
    value = getattr(section, name)
    if value is None:
        return section
    if rest:
        changed = _resolved(value, tuple(rest), folder)
    else:
        changed = value if "://" in value else os.path.normpath(folder / os.path.expanduser(value))
    return section if changed == value else section.model_copy(update={name: changed})


def _origins(config: PipelineConfig, tree: Tree) -> dict[str, str]:
    origins: dict[str, str] = {}

    def visit(value: Any, given: Any, path: tuple[str, ...], is_given: bool) -> None:
        if isinstance(value, dict) and value:
            for key, child in value.items():
                has = isinstance(given, dict) and key in given
                visit(child, given[key] if has else None, (*path, key), has)
        else:
            origins[dotted(path)] = (tree.place_of(path) if is_given else None) or "default"

    visit(config.model_dump(mode="json"), tree.data, (), True)
    return origins
