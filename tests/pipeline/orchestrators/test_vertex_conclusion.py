"""The last task on Vertex AI: from the artifacts of the others to verdict, page and record, and the job's end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from kfp.pipeline_spec import pipeline_spec_pb2 as spec

from hivemill.common.errors import HivemillError, ModelNotBlessedError
from hivemill.components.artifacts import DataVerdict, ModelVerdict, WindowManifest
from hivemill.pipeline.config.loader import load
from hivemill.pipeline.orchestrators.vertex import conclusion
from hivemill.pipeline.runs.records import RunFolder, list_runs
from tests.pipeline.report import run_folders, verdict2
from tests.pipeline.shop import CONFIG

from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils  # isort: skip
from tfx.types import standard_artifacts  # isort: skip

RUN = {
    "run_id": "2026-11-15-1a2b3c4d",
    "date": "2026-11-15",
    "started_utc": "2026-11-16T06:00:00+00:00",
    "config_fingerprint": "c0ffee",
    "plan_fingerprint": "facade",
    "baseline_version": None,
    "lateness": {"policy": "wait", "waited_seconds": 60},
}


def artifact(folder: Path, kind: type, **documents: dict):
    made = kind()
    made.uri = str(folder / kind.__name__)
    Path(made.uri).mkdir(parents=True)
    for name, document in documents.items():
        (Path(made.uri) / f"{name}.json").write_text(json.dumps(document))
    return made


def inputs_of(folder: Path, blessed: bool) -> dict:
    """What the other tasks have left."""
    verdict = verdict2.verdict()
    reason = [
        {"severity": "red", "kind": "auc", "message": "auc is 0.6, below the minimum 0.7", "slice": {}, "rank": 1}
    ]
    model = verdict["model"] | ({} if blessed else {"blessed": False, "findings": reason})
    return {
        "manifest": [artifact(folder, WindowManifest, manifest=run_folders.manifest_document())],
        "data_verdict": [artifact(folder, DataVerdict, verdict=verdict["data"], profile={"columns": {}})],
        "model_run": [artifact(folder, standard_artifacts.ModelRun)],
        "model_verdict": [artifact(folder, ModelVerdict, verdict=model)],
        "pushed_model": pushed_model({"pushed": 1, "pushed_version": "1763262180"} if blessed else {"pushed": 0}),
    }


def pushed_model(metadata: dict) -> list:
    """As TFX's entry point makes it of what Vertex AI hands on: custom properties are JSON values."""
    kind = spec.ArtifactTypeSchema(instance_schema="title: tfx.PushedModel")
    handed_on = spec.RuntimeArtifact(uri="gs://bucket/any", type=kind)
    handed_on.metadata.update(metadata)
    lists = {"pushed_model": spec.ArtifactList(artifacts=[handed_on])}
    return kubeflow_v2_entrypoint_utils.parse_raw_artifact_dict(lists)["pushed_model"]


def conclude(root: Path, folder: Path, blessed: bool, **changed: list) -> None:
    path = root.with_name("hivemill.yaml")
    path.write_text(yaml.safe_dump(CONFIG | {"root": str(root)}, sort_keys=False))
    properties = {"config": load(path).config.to_yaml(), "run": json.dumps(RUN)}
    conclusion.ConclusionExecutor().Do(inputs_of(folder, blessed) | changed, {}, properties)


def test_record_verdict_page_and_profile_are_there_as_after_any_run(tmp_path):
    root = tmp_path / "root"
    conclude(root, tmp_path / "first", blessed=True)
    folder = RunFolder(root, RUN["run_id"])
    record = folder.read()
    assert record.items() >= (RUN | {"state": "succeeded", "exit_code": 0, "attempt": 1, "runner": "vertex"}).items()
    assert (record["model_version"], record["error"]) == (1763262180, None)
    assert json.loads(folder.file("verdict.json").read_text())["model"]["version"] == 1763262180
    assert json.loads(folder.file("manifest.json").read_text())["lateness"] == RUN["lateness"]
    assert json.loads(folder.file("profile.json").read_text()) == {"columns": {}}
    page = folder.file("report.html").read_text()
    assert "1763262180" in page and "vertex" in page
    assert [one["state"] for one in list_runs(root)] == ["succeeded"]
    conclude(root, tmp_path / "second", blessed=True)
    assert folder.read()["attempt"] == 2


def test_refused_model_fails_the_task_after_all_is_written(tmp_path):
    root = tmp_path / "root"
    with pytest.raises(ModelNotBlessedError, match=r"0\.6") as caught:
        conclude(root, tmp_path / "first", blessed=False)
    record = RunFolder(root, RUN["run_id"]).read()
    assert (record["state"], record["exit_code"], record["model_version"]) == ("failed", 5, None)
    assert record["error"]["message"] == caught.value.message and caught.value.hint
    assert "below the minimum" in RunFolder(root, RUN["run_id"]).file("report.html").read_text()


def test_blessed_model_that_was_not_pushed_is_no_success(tmp_path):
    with pytest.raises(HivemillError, match="without a model") as caught:
        conclude(tmp_path / "root", tmp_path / "first", blessed=True, pushed_model=pushed_model({"pushed": 0}))
    assert caught.value.exit_code == RunFolder(tmp_path / "root", RUN["run_id"]).read()["exit_code"] == 1
