"""Options of ML Metadata (`metadata:` in hivemill.yaml). The password is read from the environment, never from here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hivemill.common.options import Options

PASSWORD_VARIABLE = "HIVEMILL_METADATA_PASSWORD"
_SERVER_ONLY = ("host", "user", "tls_ca_file")


class MetadataOptions(Options):
    backend: Literal["sqlite", "mysql"] = Field(
        "sqlite",
        description="sqlite: the file metadata.db below `root`; mysql: a MySQL or MariaDB server, which several "
        f"machines can share. Its password comes from the environment variable {PASSWORD_VARIABLE}.",
    )
    host: str | None = Field(None, description="Name or address of the server; mysql only.", min_length=1)
    port: int = Field(3306, ge=1, le=65535, description="Its port.")
    database: Annotated[str, Field(pattern=r"^[A-Za-z0-9_$]+$", max_length=64)] = Field(
        "hivemill", description="Its database, which exists, in utf8mb4; the tables in it are made by ML Metadata."
    )
    user: str | None = Field(None, description="The user that logs in; mysql only.", min_length=1)
    tls_ca_file: str | None = Field(
        None,
        description="PEM file of certificates; given, the connection is encrypted. ML Metadata's client does not check "
        "the server's certificate against it (docs/metadata.md).",
    )
    retries: int = Field(
        10,
        ge=1,
        le=100,
        description="How often a call is repeated while the server does not answer. The pauses are 0.5, 1, 2, 4, 8 and "
        "then 15 seconds each, so 10 of them bridge a minute and a half.",
    )

    @model_validator(mode="after")
    def _server_has_an_address(self):
        if self.backend == "mysql" and not (self.host and self.user):
            raise ValueError("backend mysql needs host and user")
        if self.backend == "sqlite" and any(getattr(self, key) for key in _SERVER_ONLY):
            raise ValueError("host, user and tls_ca_file are for backend mysql")
        return self
