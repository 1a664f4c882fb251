"""One line of what `hivemill doctor` says."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from hivemill.common.errors import HivemillError, InfrastructureError


@dataclasses.dataclass(frozen=True)
class DoctorFinding:
    """One line of the examination. `exit_code` is that of a failed finding."""

    name: str
    state: Literal["ok", "note", "failed"]
    message: str
    fix: str | None = None
    exit_code: int = 0

    def document(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def failed(name: str, message: str, fix: str, kind: type[HivemillError] = InfrastructureError) -> DoctorFinding:
    return DoctorFinding(name, "failed", message, fix, kind.exit_code)
