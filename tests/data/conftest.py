"""Small logs, made once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from hivemill.data.click_log.generator import click_log_options, generate

SMALL = {"start_date": "2026-11-13", "days": 2, "rows_per_day": 600, "num_users": 300, "num_items": 200}


@pytest.fixture(scope="session")
def small_logs(tmp_path_factory) -> dict[str, Path]:
    """The same log in each format, hourly partitions."""
    folder = tmp_path_factory.mktemp("logs")
    for name in ("text", "parquet", "orc"):
        generate(click_log_options(**SMALL, format=name), folder / name)
    return {name: folder / name for name in ("text", "parquet", "orc")}
