"""The executor of one machine against the one on Beam: the same artifacts from the same rows."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow_model_analysis as tfma

from hivemill.common.errors import InfrastructureError
from hivemill.components.evaluator.example_sample import EvenSample
from hivemill.components.evaluator.metrics.click_metrics import REPLICATES_NAME
from hivemill.components.evaluator.one_machine import summaries
from hivemill.components.evaluator.options import GateOptions, ReferenceOptions
from tests.components.evaluator import evaluator_kit as kit

ROWS = 5_000
GATES = GateOptions(
    slices=(("device",), ("device", "hour"), ("tags",)),
    references=ReferenceOptions(importance_predictions=0, train_rows=0),
)


@pytest.fixture(scope="module", params=["with a baseline", "alone"])
def both(request, tmp_path_factory):
    """Evaluation folders of one machine and of Beam."""
    folder = tmp_path_factory.mktemp("evaluator")
    log = {name: list(values) for name, values in kit.click_log(ROWS).items()}
    log["device"][:100] = [None] * 100
    log["tags"] = [[["new"], ["new", "été", "new"], [], None][i % 4] for i in range(ROWS)]
    kit.write_examples(folder / "examples", log, ROWS)
    kit.save_model(folder / "model", slope=1.2, offset=-2.0)
    kit.save_model(folder / "stable", slope=-1.0, offset=-2.0)
    found = []
    for on_beam in (False, True):
        baseline = folder / "stable" if request.param == "with a baseline" else None
        run = kit.run_evaluator(folder, GATES, baseline=baseline, on_beam=on_beam)
        found.append((folder / "evaluation").rename(folder / f"evaluation_{on_beam}"))
        assert run["verdict"]["slices"]
    return found


def by_slice(records):
    return {str(record.slice_key): record for record in records}


def test_metrics_are_equal_by_slice_model_and_difference(both):
    mine, beams = (by_slice(tfma.load_metrics(str(folder))) for folder in both)
    assert set(mine) == set(beams) and len(mine) == 1 + 3 + 3 * 24 + 2
    for key, record in mine.items():
        ours, theirs = ({str(one.key): one for one in each.metric_keys_and_values} for each in (record, beams[key]))
        assert set(ours) == set(theirs)
        for name, one in ours.items():
            assert values(one) == pytest.approx(values(theirs[name]), rel=1e-5, abs=1e-7, nan_ok=True), name


def values(one) -> list[float]:
    if one.key.name == REPLICATES_NAME:
        return list(one.value.array_value.float32_values)
    return [one.value.double_value.value]


def test_plots_attributions_and_validation_are_equal(both):
    mine, beams = (by_slice(tfma.load_plots(str(folder))) for folder in both)
    assert set(mine) == set(beams)
    for key, record in mine.items():
        ours, theirs = (each.plot_keys_and_values for each in (record, beams[key]))
        assert [str(one.key) for one in ours] == [str(one.key) for one in theirs]
        for one, other in zip(ours, theirs, strict=True):
            buckets, others = (each.value.calibration_histogram_buckets.buckets for each in (one, other))
            assert [b.num_weighted_examples.value for b in buckets] == [b.num_weighted_examples.value for b in others]
    attributions = [by_slice(tfma.load_attributions(str(folder))) for folder in both]
    assert attributions[0] == attributions[1]
    validations = [tfma.load_validation_result(str(folder)) for folder in both]
    assert validation(validations[0]) == validation(validations[1])


def validation(result):
    return (
        (result.validation_ok, result.missing_thresholds, result.rubber_stamp),
        sorted(str(one) for one in result.metric_validations_per_slice),
        sorted(str(one) for one in result.validation_details.slicing_details),
    )


def test_tfma_reads_the_configuration_and_the_result(both):
    (mine, *_), (beams, *_) = (tfma.load_eval_results([str(folder)])._results for folder in both)
    assert mine.config == beams.config and mine.model_location == beams.model_location
    assert mine.data_location == beams.data_location and mine.file_format == beams.file_format
    assert {str(key) for key, _ in mine.slicing_metrics} == {str(key) for key, _ in beams.slicing_metrics}
    assert sorted(path.name for path in both[0].iterdir()) == sorted(path.name for path in both[1].iterdir())


def test_rows_of_a_user_stay_together_when_the_split_is_summed_in_parts(tmp_path, monkeypatch):
    log = kit.click_log(3_000)
    kit.write_examples(tmp_path / "examples", {name: list(values) for name, values in log.items()}, 3_000)
    kit.save_model(tmp_path / "model", slope=1.2, offset=-2.0)
    whole = kit.run_evaluator(tmp_path, GATES)["verdict"]["slices"]
    monkeypatch.setattr(summaries, "ROWS_AT_ONCE", 400)
    parts = kit.run_evaluator(tmp_path, GATES)["verdict"]["slices"]
    assert len(whole) == len(parts)
    for one, other in zip(whole, parts, strict=True):
        assert one["slice"] == other["slice"]
        for name, value in one["metrics"].items():
            expected = other["metrics"][name]
            assert value == (None if expected is None else pytest.approx(expected, rel=1e-9)), name


def test_a_model_without_the_signature_is_named(tmp_path):
    import tensorflow as tf

    kit.write_examples(tmp_path / "examples", {"click": [0, 1]}, 2)
    kit.save_model(tmp_path / "model")
    tf.saved_model.save(tf.Module(), str(tmp_path / "stable" / "Format-Serving"))
    with pytest.raises(InfrastructureError, match="the stable model has no signature `serving_default`"):
        kit.run_evaluator(tmp_path, GATES, user_column=None, baseline=tmp_path / "stable")


@pytest.mark.parametrize("batch", [1, 7, 64, 1_000])
def test_an_even_sample_is_spread_whatever_the_batches(batch):
    sample = EvenSample(50)
    records, labels = np.array([b"%d" % i for i in range(1_000)], object), np.arange(1_000) % 2
    for start in range(0, 1_000, batch):
        rows = slice(start, start + batch)
        sample.add(records[rows], labels[rows].astype(float), np.arange(1_000)[rows] / 1_000)
    (taken, found), predictions = sample.taken()
    places = [int(one) for one in taken]
    assert len(places) == 50 and places[0] == 0 and places[-1] > 960 and max(np.diff(places)) <= 32
    assert [place % 2 for place in places] == found.tolist() and (predictions * 1_000).round().tolist() == places


def test_a_sample_of_no_rows_is_empty():
    sample = EvenSample(0)
    sample.add(np.array([b"a"], object), np.ones(1), np.ones(1))
    assert len(sample.taken()[0][1]) == 0
