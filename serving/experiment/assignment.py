"""Which variant a user sees: a pure function of a salt and the user id, the same in Python and in Hive or Spark SQL.

bucket = (first 15 hex digits of SHA-256("<salt>:<user id>"), as a number) mod 10000

SHA-256 is in every language and SQL dialect that may have to repeat this. 15 digits are 60 bits: they fit a signed
64-bit number, and the modulus favours no bucket by more than 1e-14. `canary` has the buckets below its share, so that
a user who is in canary at 1 % still is at 5 %. A new salt shuffles everybody anew.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hivemill.common.errors import ConfigError

if TYPE_CHECKING:  # every command of hivemill loads this module by its config; few need numpy
    import numpy as np

NUM_BUCKETS = 10_000
STABLE, CANARY = "stable", "canary"
_HEX_DIGITS = 15
_SALT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")

UserId = str | int | None
"""A number counts as its decimal digits, as CAST(user_id AS STRING) writes a bigint. None or '' is nobody."""


@dataclass(frozen=True)
class Split:
    """How users are divided. `canary_buckets` of 10,000 see canary; the others, and requests without a user, stable."""

    salt: str
    canary_buckets: int

    def __post_init__(self) -> None:
        check_salt(self.salt)
        if isinstance(self.canary_buckets, bool) or not isinstance(self.canary_buckets, int):
            raise ConfigError(f"canary_buckets must be a whole number; received {self.canary_buckets!r}")
        if not 0 <= self.canary_buckets <= NUM_BUCKETS:
            raise ConfigError(f"canary_buckets must be 0 to {NUM_BUCKETS}; received {self.canary_buckets}")

    @classmethod
    def at_percent(cls, salt: str, percent: float) -> Split:
        """`percent` of the users see canary: 0 to 100 in steps of 0.01. Raises ConfigError."""
        try:
            buckets = round(float(percent) * NUM_BUCKETS / 100)
            is_step = abs(float(percent) * NUM_BUCKETS / 100 - buckets) < 1e-6
        except (ValueError, OverflowError, TypeError):
            is_step, buckets = False, -1
        if not is_step or not 0 <= buckets <= NUM_BUCKETS:
            raise ConfigError(
                f"the percentage of canary must be 0 to 100 in steps of 0.01; received {percent!r}",
                hint="One bucket is 0.01 % of the users.",
            )
        return cls(salt, buckets)

    def variant(self, user: UserId) -> str:
        """`canary` or `stable`. Raises ConfigError for an id that is neither text nor a whole number."""
        if user is None or user == "":
            return STABLE
        return CANARY if bucket(self.salt, user) < self.canary_buckets else STABLE

    def propensity(self, user: UserId) -> float:
        """The probability, before the salt was drawn, that the user sees the variant that they see."""
        if user is None or user == "":
            return 1.0
        share = self.canary_buckets / NUM_BUCKETS
        return share if self.variant(user) == CANARY else 1.0 - share


def bucket(salt: str, user: str | int) -> int:
    """0 to 9999. Raises ConfigError for a bad salt or an id that is neither text nor a whole number."""
    check_salt(salt)
    return _bucket(salt.encode() + b":", user)


def buckets(salt: str, users: Iterable[str | int]) -> np.ndarray:
    """`bucket` of each user as int64 [users]; equal ids are hashed once. Raises ConfigError as `bucket` does."""
    import numpy as np

    check_salt(salt)
    prefix = salt.encode() + b":"
    known: dict[str | int, int] = {}
    found = []
    for user in users:
        if isinstance(user, np.generic):
            user = user.item()
        # True == 1 and 1.0 == 1 as keys of a dict: only ids of the right type may be looked up.
        kept = known.get(user) if type(user) in (str, int) else None
        if kept is None:
            kept = known[user] = _bucket(prefix, user)
        found.append(kept)
    return np.asarray(found, dtype=np.int64)


def variants(split: Split, users: Iterable[UserId]) -> list[str]:
    """`split.variant` of each user; equal ids are hashed once."""
    import numpy as np

    ids = [user.item() if isinstance(user, np.generic) else user for user in users]
    somebody = [user for user in ids if user is not None and user != ""]
    is_canary = iter((buckets(split.salt, somebody) < split.canary_buckets).tolist())
    return [STABLE if user is None or user == "" else CANARY if next(is_canary) else STABLE for user in ids]


def bucket_sql(salt: str, column: str = "user_id") -> str:
    """The bucket as an expression of Hive (1.3 and later) and Spark SQL; NULL where the column is."""
    check_salt(salt)
    if not _COLUMN.fullmatch(column):
        raise ConfigError(f"a column in SQL must be a name of letters, digits and `_`; received {column!r}")
    digest = f"sha2(concat('{salt}:', cast({column} as string)), 256)"
    return f"cast(conv(substr({digest}, 1, {_HEX_DIGITS}), 16, 10) as bigint) % {NUM_BUCKETS}"


def variant_sql(split: Split, column: str = "user_id") -> str:
    """The variant as an expression of Hive and Spark SQL."""
    is_canary = f"cast({column} as string) <> '' and {bucket_sql(split.salt, column)} < {split.canary_buckets}"
    return f"case when {is_canary} then '{CANARY}' else '{STABLE}' end"


def check_salt(salt: str) -> None:
    """Raises ConfigError for a salt that needs quoting somewhere."""
    if not isinstance(salt, str) or not _SALT.fullmatch(salt):
        raise ConfigError(
            f"a salt must be 1 to 100 letters, digits, `.`, `_`, `-`, the first a letter or digit; received {salt!r}",
            hint="Take one salt for each experiment, such as the model's name and the new version.",
        )


def _bucket(prefix: bytes, user: str | int) -> int:
    if isinstance(user, int) and not isinstance(user, bool):
        user = str(user)
    if not isinstance(user, str):
        raise ConfigError(
            f"a user id must be text or a whole number; received {type(user).__name__} {user!r}",
            hint="Other types are written differently by different languages, which would split one user in two.",
        )
    try:
        digest = hashlib.sha256(prefix + user.encode("utf-8")).hexdigest()
    except UnicodeEncodeError:
        raise ConfigError(f"a user id must be valid Unicode; received {user!r}") from None
    return int(digest[:_HEX_DIGITS], 16) % NUM_BUCKETS
