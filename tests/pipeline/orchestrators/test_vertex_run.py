"""The compiled PipelineJob runs: each of its containers as a process, with everything in a bucket.

Slow: ten processes import TensorFlow and TFX one after the other, then four more, and the local runner beside them.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from hivemill.serving.store.bucket import open_store
from hivemill.serving.store.model_store import STABLE
from tests.pipeline.orchestrators import vertex_ai
from tests.pipeline.shop import CONFIG, RUN_DATE, document, hivemill_command, make_shop, only_run
from tests.support import object_stores

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """The bucket's objects by name, with the shop's table in them, and the URL of a folder beside it."""
    folder = tmp_path_factory.mktemp("bucket")
    make_shop(folder)
    with pytest.MonkeyPatch.context() as patch, object_stores.bucket("gs", folder, patch) as (objects, url):
        for file in (file for file in (folder / "log").rglob("*") if file.is_file()):
            objects[file.relative_to(folder).as_posix()] = file.read_bytes()
        yield objects, url


@pytest.fixture(scope="module")
def config(bucket, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("config") / "hivemill.yaml"
    source = {**CONFIG["source"], "table": "gs://bucket/log/clicks"}
    document = CONFIG | {"root": bucket[1], "source": source, "vertex": {"image": "hivemill"}}
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def compiled(config: Path, *overrides: str) -> dict:
    words = [word for each in overrides for word in ("--set", each)]
    output = config.parent / "job.json"
    command = [*hivemill_command(config, *words), "compile", "--engine", "vertex", "--date", RUN_DATE, "-o", output]
    done = subprocess.run(command, cwd=vertex_ai.REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(output.read_text())


@pytest.fixture(scope="module")
def vertex(bucket, config, tmp_path_factory):
    """After the first job."""
    network = {name: os.environ[name] for name in ("CLOUD_STORAGE_EMULATOR_ENDPOINT", "GOOGLE_APPLICATION_CREDENTIALS")}
    made = vertex_ai.VertexAI(tmp_path_factory.mktemp("vertex"), bucket[0], network)
    state = made.run(compiled(config), "shop-1")
    assert state == "SUCCEEDED", "\n".join(f"{one.task}: {one.log[-3000:]}" for one in made.ended if one.returncode)
    return made


def of_task(objects: dict[str, bytes], job: str, task: str, name: str) -> dict:
    """The one document `name` that a task of a job has written."""
    (found,) = [key for key in objects if f"/{job}/{task}_" in key and key.endswith(f"/{name}")]
    return json.loads(objects[found])


def test_first_version_is_stable_in_the_bucket(vertex, bucket):
    objects, url = bucket
    store = open_store(f"{url}/models", "shop")
    (version,) = store.versions()
    assert store.labels()[STABLE] == version and store.record(version)["run_date"] == RUN_DATE
    assert f"folder/models/shop/{version}/saved_model.pb" in objects


def test_metrics_equal_the_local_runners(vertex, bucket, tmp_path):
    local = make_shop(tmp_path)
    done = subprocess.run(
        hivemill_command(local, "run", "--date", RUN_DATE), cwd=vertex_ai.REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    theirs = document(only_run(local), "verdict.json")["model"]["slices"]
    ours = of_task(bucket[0], "shop-1", "Evaluator", "verdict.json")["slices"]
    assert [one["slice"] for one in ours] == [one["slice"] for one in theirs]
    for one, two in zip(ours, theirs, strict=True):
        assert one["metrics"] == pytest.approx(two["metrics"], rel=1e-5, nan_ok=True)
    window = of_task(bucket[0], "shop-1", "HiveLogExampleGen", "manifest.json")
    assert window["num_rows"] == document(only_run(local), "manifest.json")["num_rows"]


def run_folder(objects: dict[str, bytes], exit_code: int) -> dict[str, bytes]:
    """The files of the one run with this exit code."""
    records = {name: json.loads(text) for name, text in objects.items() if name.endswith("/run.json")}
    (found,) = [name for name, record in records.items() if record["exit_code"] == exit_code]
    folder = found.removesuffix("run.json")
    return {name.removeprefix(folder): text for name, text in objects.items() if name.startswith(folder)}


def test_run_has_record_verdict_and_page_as_any_other(vertex, bucket):
    files = run_folder(bucket[0], 0)
    record, verdict = json.loads(files["run.json"]), json.loads(files["verdict.json"])
    (version,) = open_store(f"{bucket[1]}/models", "shop").versions()
    assert (record["runner"], record["state"], record["model_version"]) == ("vertex", "succeeded", version)
    assert (verdict["colour"], verdict["model"]["version"]) != ("red", None)
    assert {"manifest.json", "profile.json", "history.json", "report.html"} <= set(files)
    assert b"</html>" in files["report.html"]


def test_next_job_is_judged_against_that_version_and_takes_the_rest_from_the_cache(vertex, bucket, config):
    """Its model is refused, so the job has failed, and nothing else has changed."""
    store, num_ended = open_store(f"{bucket[1]}/models", "shop"), len(vertex.ended)
    (first,) = store.versions()
    assert vertex.run(compiled(config, "gates.metrics.auc.min=0.99"), "shop-2") == "FAILED"
    ended = vertex.ended[num_ended:]
    assert [one.task for one in ended] == ["DataVerdict", "Evaluator", "ServingCheck", "Pusher", "Conclusion"]
    assert [one.returncode for one in ended] == [0, 0, 0, 0, 5] and "must be >= 0.99" in ended[-1].log
    verdict = of_task(bucket[0], "shop-2", "Evaluator", "verdict.json")
    assert verdict["baseline_version"] == first and verdict["slices"][0]["baseline_metrics"]
    assert of_task(bucket[0], "shop-2", "DataVerdict", "verdict.json")["baseline"]["model_version"] == first
    assert store.versions() == [first] and store.labels()[STABLE] == first
    assert json.loads(run_folder(bucket[0], 5)["run.json"])["state"] == "failed"


def test_red_data_verdict_fails_its_task_with_words_and_nothing_runs_after_it(vertex, bucket, config):
    """By a curated schema in the bucket, which knows none of the table's columns."""
    objects, url = bucket
    objects["folder/schema.pbtxt"] = b'feature { name: "ghost" type: INT presence { min_fraction: 1.0 min_count: 1 } }'
    models, num_ended = [name for name in objects if "/models/" in name], len(vertex.ended)
    assert vertex.run(compiled(config, f"data_verdict.schema_path={url}/schema.pbtxt"), "shop-3") == "FAILED"
    ended = vertex.ended[num_ended:]
    codes = [("ImportSchemaGen", 0), ("ExampleValidator", 0), ("DataVerdict", 4)]
    assert [(one.task, one.returncode) for one in ended] == codes
    said = ended[-1].log.rpartition("error: data verdict red: ")[2]
    assert "column `" in said.splitlines()[0] and "\n  Correct the partitions and run again." in said
    assert [name for name in objects if "/models/" in name] == models
