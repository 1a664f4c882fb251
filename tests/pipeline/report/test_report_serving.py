"""The section of the report page on the serving check."""

from tests.pipeline.report import run_folders
from tests.pipeline.report.test_report_page import text_of


def section(folder) -> str:
    text = text_of(folder)
    start = text.index("Serving check", text.index("Best reachable values"))
    return text[start : text.index("Window and completeness", start)]


def test_it_says_which_server_what_differed_latency_and_memory(tmp_path):
    text = section(run_folders.green(tmp_path / "r"))
    assert "✓ passed Hivemill's dev server (0.1.0)" in text and "256 rows of the eval split" in text
    assert "Largest difference 2.2e-08, peak memory 485 MiB" in text
    assert "1 246 2.2 15.3" in text and "64 409 2.3 5.2" in text
    assert "not asked: TensorFlow Serving's APIs cannot carry its sparse outputs" in text


def test_a_red_check_names_what_value_and_bound(tmp_path):
    rule = "largest difference (signature `predict`, named columns): 0.25 > 1e-05"
    bound = {"name": "max_difference", "value": 0.25, "limit": 1e-5, "rule": rule, "passed": False}
    serving = run_folders.serving_section(state="failed", reason=rule, bounds=[bound])
    serving["differences"][1]["difference"] = None
    server = {"kind": "tensorflow_model_server", "version": "2.19", "path": "/usr/bin/x"}
    verdict = run_folders.verdict_document(colour="red", exit_code=6, serving={**serving, "server": server})
    text = section(run_folders.green(tmp_path / "r", verdict=verdict))
    assert "✕ failed tensorflow_model_server (2.19)" in text and f"✕ fail {rule}" in text
    assert "predict named columns 256 another shape or value" in text
    assert "Largest difference no number" in text


def test_a_model_that_was_not_checked_is_said_to_be(tmp_path):
    skipped = run_folders.serving_section(
        state="skipped", reason="the model is not blessed, so there is nothing to push"
    )
    verdict = run_folders.verdict_document(serving=skipped)
    assert "Not checked: the model is not blessed" in section(run_folders.green(tmp_path / "a", verdict=verdict))
    verdict = run_folders.verdict_document(serving=None)
    assert "serving_check.enabled is false" in section(run_folders.green(tmp_path / "b", verdict=verdict))
    assert "The run stopped at Transform" in section(run_folders.failed_node(tmp_path / "c"))
