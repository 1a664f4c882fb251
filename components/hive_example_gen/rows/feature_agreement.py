"""Without declared columns each file has its own. They may come and go, but a feature must be one thing in all of them.

Names are compared without regard to case, as Hive compares them: `userId` and `userid` would be two features, each of
them missing in half of the rows. So are the columns' own types: a timestamp and a bigint are both int64 in tf.Example.
"""

from __future__ import annotations

from hivemill.common.errors import DataNotReadyError
from hivemill.components.hive_example_gen.rows.flatten import FeatureKind

_HINT = "Declare the columns (source.columns or source.ddl), or write the file or partition again."


class FeatureAgreement:
    """What was seen of each feature so far, and where first."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, FeatureKind, str]] = {}

    def add(self, name: str, kind: FeatureKind, where: str) -> None:
        """Raises DataNotReadyError where an earlier file or partition has another spelling or type of the feature."""
        first_name, first, place = self._known.setdefault(name.lower(), (name, kind, where))
        if first_name != name:
            rule = "Hive takes them for one column"
            raise DataNotReadyError(
                f"feature {name!r} of {where} is spelled {first_name!r} in {place}: {rule}", hint=_HINT
            )
        if (first.dtype, first.multivalent) != (kind.dtype, kind.multivalent):
            found, known = _described(kind), _described(first)
            raise DataNotReadyError(f"feature {name!r} is {found} in {where} and {known} in {place}", hint=_HINT)
        if first.meaning and kind.meaning and first.meaning != kind.meaning:
            types = f"type {kind.meaning} in {where} and {first.meaning} in {place}"
            raise DataNotReadyError(f"feature {name!r} comes from a column of {types}", hint=_HINT)


def _described(kind: FeatureKind) -> str:
    return f"a list of {kind.dtype}" if kind.multivalent else kind.dtype
