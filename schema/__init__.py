"""The table contract of the generated click log: its DDL (click_log.hql) and its curated schema (schema.pbtxt)."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
DDL_PATH = FOLDER / "click_log.hql"
SCHEMA_PATH = FOLDER / "schema.pbtxt"
