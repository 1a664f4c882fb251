"""What a model must know of the sample that it was trained on."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import Field

from hivemill.common.options import Options


class NegativeSample(Options):
    """Negatives kept with the probability `negatives`, whatever their features and weights.

    Odds in the sample are those of the whole log over `negatives`. Example weights do not change that: they weigh kept
    negatives as they weigh all of them.
    """

    negatives: Annotated[float, Field(gt=0, lt=1)]

    @property
    def logit_correction(self) -> float:
        """What is added to the logits of the sample to have those of the whole log."""
        return math.log(self.negatives)

    def document(self) -> dict[str, Any]:
        """What history.json says: its metrics are those of the sample, before the correction."""
        return {"negatives": self.negatives, "logit_correction": self.logit_correction, "metrics_are": "of the sample"}
