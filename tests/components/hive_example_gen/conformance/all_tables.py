"""All tables of the conformance suite. Standard library only: Spark's interpreter imports this too."""

from __future__ import annotations

from tests.components.hive_example_gen.conformance.changed_tables import CHANGED, PARTITIONED
from tests.components.hive_example_gen.conformance.conformance_tables import WRITTEN, Table
from tests.components.hive_example_gen.conformance.handwritten_tables import HANDWRITTEN

UNPARTITIONED: list[Table] = [*WRITTEN, *HANDWRITTEN, *CHANGED]
ALL: list[Table] = [*UNPARTITIONED, *PARTITIONED]
