"""Options of the model store (`store:` in hivemill.yaml)."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from hivemill.common.options import Options


class StoreOptions(Options):
    path: str = Field(
        "models", description="Folder of the model store, relative to `root`, on a POSIX file system (no URL)."
    )
    mirror: str | None = Field(
        None,
        description="s3://bucket/folder or gs://bucket/folder that gets a copy of the whole store, in an order that "
        "readers can rely on (docs/rollout.md). Credentials come from the environment, never from here.",
    )
    model: str | None = Field(None, description="Name of the model in the store; `name` when left out.")
    keep_versions: int | None = Field(
        10,
        ge=1,
        description="After a push, versions older than the newest so many are removed, but never one with a label, one "
        "of a rollout or one younger than `grace_hours`. null keeps all.",
    )
    grace_hours: float = Field(24, ge=0, description="Age below which a version is not removed, in hours.")
    warm_up_rows: int = Field(
        64,
        ge=0,
        le=1000,
        description="Rows of the eval split that become warm-up requests of the version: TensorFlow Serving runs them "
        "before it says AVAILABLE, so the first users do not wait. 0 for none.",
    )

    warm_up_signatures: tuple[Literal["serving_default", "predict"], ...] = Field(
        ("serving_default", "predict"),
        description="What the warm-up requests ask. Leave `predict` out where the server batches (--enable_batching) "
        "and the model has multivalent columns: TensorFlow Serving refuses such requests then, and with them the "
        "version.",
    )

    @field_validator("mirror")
    @classmethod
    def _bucket(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"(s3|gs)://[^/?@:]", value):
            raise ValueError("must be s3://BUCKET/FOLDER or gs://BUCKET/FOLDER")
        return value

    @field_validator("path")
    @classmethod
    def _folder(cls, value: str) -> str:
        if "://" in value:
            raise ValueError("must be a folder, not a URL: a bucket has neither rename nor lock; `mirror` has a copy")
        return value
