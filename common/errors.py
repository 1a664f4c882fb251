"""Every error a user can meet, and the exit code that it ends a run with.

HivemillError                 1  a defect of ours (also any exception that is not in this tree)
├── ConfigError               2  usage or configuration
├── DataNotReadyError         3  missing, late, empty or too small partitions: later they may be there
├── DataVerdictError          4  the data breaks the schema, or has drifted
├── ModelNotBlessedError      5  a gate refused the model
├── InfrastructureError       6  disk, permissions, metadata, serving check
│   └── BaselineMovedError    6  `stable` changed while a model was judged against it; a run judges again by itself
├── LockHeldError             7  another run holds the lock
├── RolloutAbortedError       8  a rollout was stopped
└── DataCorruptError          9  a data file is damaged or cannot be read: trying again changes nothing

A message names the thing (file, partition, row, column or config key), states the rule and the value received;
`hint` says what to do about it.
"""

from __future__ import annotations

from typing import Any


class HivemillError(Exception):
    """Base of the tree. `exit_code` is the contract of the command line (docs/cli.md)."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None, details: dict[str, Any] | None = None):
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details  # a JSON-serialisable account for the verdict and the report

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.hint, self.details)


def _rebuild(
    kind: type[HivemillError], message: str, hint: str | None, details: dict[str, Any] | None
) -> HivemillError:
    return kind(message, hint=hint, details=details)


class ConfigError(HivemillError):
    exit_code = 2


class DataNotReadyError(HivemillError):
    exit_code = 3


class DataVerdictError(HivemillError):
    exit_code = 4


class ModelNotBlessedError(HivemillError):
    exit_code = 5


class InfrastructureError(HivemillError):
    exit_code = 6


class BaselineMovedError(InfrastructureError):
    """The model was never compared with the version that is stable now."""


class LockHeldError(HivemillError):
    exit_code = 7


class RolloutAbortedError(HivemillError):
    exit_code = 8


class DataCorruptError(HivemillError):
    exit_code = 9
