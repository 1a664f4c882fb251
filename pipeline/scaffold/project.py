"""A new user's start: a folder with a commented hivemill.yaml and the click log that it reads.

The configs are the templates beside this file; a `$name` in one is filled in here.
"""

from __future__ import annotations

import datetime
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.common.storage.atomic import write_text_atomically

CONFIG_FILE = "hivemill.yaml"
TABLE = "log/clicks"
DEMO_DAYS, DEMO_ROWS_PER_DAY = 8, 30_000
DEMO_LAST_DAY = datetime.date(2026, 11, 15)
MIN_DEMO_DAYS = 3  # one each for training, validation and the gates
_TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class DemoSize:
    """Days up to DEMO_LAST_DAY, and impressions a day. Raises ConfigError for what cannot make a window."""

    days: int = DEMO_DAYS
    rows_per_day: int = DEMO_ROWS_PER_DAY

    def __post_init__(self) -> None:
        if self.days < MIN_DEMO_DAYS:
            rule = f"--days must be at least {MIN_DEMO_DAYS}: one each for training, validation and the gates"
            raise ConfigError(f"{rule}; received {self.days}")


def write_demo(folder: Path, size: DemoSize, file_format: str, with_data: bool = True) -> dict[str, Any]:
    """Writes FOLDER/hivemill.yaml, and the log that it reads unless `with_data` is false; returns what was written.

    The log comes first: a config that is there is the sign of a folder that is complete. Raises ConfigError where a
    config exists.
    """
    from hivemill.data import columns
    from hivemill.data.click_log import generator

    config = new_config(folder)
    values = {
        "name": name_of(folder),
        "format": file_format,
        "columns": _filled(columns.columns_of(hours=True)),
        "train_days": size.days - 1,
        "first_date": DEMO_LAST_DAY - datetime.timedelta(days=size.days - 1),
        "last_date": DEMO_LAST_DAY,
    }
    document = {"config": str(config), "table": None, "rows": 0, "last_date": DEMO_LAST_DAY.isoformat()}
    if with_data:
        options = generator.click_log_options(
            start_date=values["first_date"], days=size.days, rows_per_day=size.rows_per_day, format=file_format
        )
        truth = generator.generate(options, folder / TABLE)
        document |= {"table": str(folder / TABLE), "rows": truth["all"]["rows"]}
    _write(config, "demo.yaml", values)
    return document


def write_import(
    data_set: str,
    source: Path,
    folder: Path,
    file_format: str,
    pseudo_days: int | None = None,
    campaign: str | None = None,
) -> dict[str, Any]:
    """Writes a public data set below FOLDER/log and FOLDER/hivemill.yaml that reads it; returns what was written.

    Args:
        data_set: `movielens`, `criteo` or `open-bandit`.
        pseudo_days: MovieLens and Criteo: so many equal parts in time order instead of days.
        campaign: Open Bandit only.

    Raises ConfigError where a config exists, or the options or the files do not fit the data set.
    """
    from hivemill.data.importers import public_logs

    config = new_config(folder)
    importer, imported, given = {
        "movielens": (public_logs.import_movielens, public_logs.MOVIELENS, {"partitions": pseudo_days}),
        "criteo": (public_logs.import_criteo, public_logs.CRITEO, {"days": pseudo_days}),
        "open-bandit": (public_logs.import_open_bandit, public_logs.OPEN_BANDIT, {"campaign": campaign}),
    }[data_set]
    _check_import_options(data_set, pseudo_days, campaign)
    table = f"log/{data_set.replace('-', '_')}"
    options = {name: value for name, value in given.items() if value is not None}
    rows_by_day = importer(source, folder / table, format=file_format, **options)
    window = _window(rows_by_day)
    columns = _filled(imported.columns)
    values = {"name": name_of(folder), "table": table, "format": file_format, "columns": columns, **window}
    _write(config, f"{data_set.replace('-', '_')}.yaml", values)
    return {
        "config": str(config),
        "table": str(folder / table),
        "rows": sum(rows_by_day.values()),
        "days": len(rows_by_day),
        "last_date": window["last_date"],
    }


def _check_import_options(data_set: str, pseudo_days: int | None, campaign: str | None) -> None:
    if pseudo_days is not None and data_set == "open-bandit":
        raise ConfigError("--pseudo-days is for movielens and criteo; open-bandit has days of its own")
    if pseudo_days is not None and pseudo_days < MIN_DEMO_DAYS:
        raise ConfigError(f"--pseudo-days must be at least {MIN_DEMO_DAYS}; received {pseudo_days}")
    if campaign is not None and data_set != "open-bandit":
        raise ConfigError(f"--campaign is for open-bandit; {data_set} has none")


def _window(rows_by_day: Mapping[str, int]) -> dict[str, Any]:
    """All days: about a tenth each for validation and the gates; days without a row are no mistake in such data."""
    first, last = (datetime.date.fromisoformat(day) for day in (min(rows_by_day), max(rows_by_day)))
    span = (last - first).days + 1
    tenth = max(1, span // 10)
    return {
        "first_date": first.isoformat(),
        "last_date": last.isoformat(),
        "train_days": span - tenth,
        "validation_days": tenth,
        "eval_days": tenth,
        "incomplete": "shrink" if len(rows_by_day) < span else "fail",
    }


def new_config(folder: Path) -> Path:
    """FOLDER/hivemill.yaml, which is not there yet. Raises ConfigError where it is."""
    config = folder / CONFIG_FILE
    if config.exists():
        hint = "Choose another folder, or remove the file if you do not need it."
        raise ConfigError(f"{config} exists and is not overwritten", hint=hint)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; a folder is needed")
    return config


def _write(config: Path, template: str, values: Mapping[str, Any]) -> None:
    text = string.Template((_TEMPLATES / template).read_text(encoding="utf-8")).substitute(values)
    try:
        write_text_atomically(config, text)
    except OSError as error:
        hint = "Choose a folder that can be written."
        raise InfrastructureError(f"{config} cannot be written: {error.strerror}", hint=hint) from error


def name_of(folder: Path) -> str:
    """The folder's name as a pipeline's name: letters, digits, `_`, `.` and `-`, the first a letter or digit."""
    name = "".join(
        each if each.isascii() and (each.isalnum() or each in "_.-") else "_" for each in folder.resolve().name
    )
    return name.lstrip("_.-")[:63] or "hivemill"


def _filled(columns: Mapping[str, str]) -> str:
    """`name: type` pairs as indented lines of a YAML section; types with commas or brackets in quotes."""
    return "\n".join(f"    {name}: {_quoted(hive_type)}" for name, hive_type in columns.items())


def _quoted(hive_type: str) -> str:
    return hive_type if hive_type.isalnum() else f'"{hive_type}"'
