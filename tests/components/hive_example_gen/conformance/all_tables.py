"""All tables of the conformance suite. Standard library only: Spark's interpreter imports this too."""

from __future__ import annotations

from changed_tables import CHANGED, PARTITIONED
from conformance_tables import WRITTEN, Table
from handwritten_tables import HANDWRITTEN

UNPARTITIONED: list[Table] = [*WRITTEN, *HANDWRITTEN, *CHANGED]
ALL: list[Table] = [*UNPARTITIONED, *PARTITIONED]
