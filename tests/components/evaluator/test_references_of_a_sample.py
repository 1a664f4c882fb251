"""Reference models that learn from a sample of the negatives are judged on all rows, corrected as the candidate is."""

import numpy as np
import pytest

from hivemill.components.evaluator.options import ReferenceOptions
from hivemill.components.evaluator.references.compare import Samples, compare


class Model:
    """A candidate that says the same of every row; without a transform there is no regression."""

    signatures = {}  # noqa: RUF012


@pytest.mark.parametrize(("kept", "is_corrected"), [(0.1, True), (1.0, False)])
def test_the_click_rate_of_a_sample_is_corrected(kept, is_corrected):
    evaluation = np.zeros(2000)
    evaluation[:100] = 1
    train = np.zeros(390)
    train[:100] = 1  # 290 negatives, a tenth of 2,900: one click in 30 rows of the whole log
    records = np.array([b""] * 2000, object)
    samples = Samples((train, train), None, (records, evaluation), kept)
    found = compare(Model(), samples, np.full(2000, 0.05), ReferenceOptions())
    (click_rate,) = found["models"]
    value = click_rate["metrics"]["normalized_entropy"]
    assert (value < 1.05) if is_corrected else (value > 1.5)
