"""`compile --engine vertex`: what is refused with words, and the compiled file by the types of those who read it."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from hivemill.common.errors import ConfigError
from hivemill.pipeline.cli import main
from hivemill.pipeline.config.loader import LoadedConfig, load
from hivemill.pipeline.orchestrators.vertex import config_limits
from tests.pipeline.shop import CONFIG

ROOT = "gs://bucket/hivemill"
VERTEX = {
    "image": "europe-docker.pkg.dev/project/images/hivemill@sha256:0123",
    "environment": {"TZ": "UTC"},
    "labels": {"team": "ranking"},
    "steps": {
        "default": {"cpu": "4", "memory": "16Gi"},
        "Trainer": {"memory": "64G", "accelerator": "NVIDIA_TESLA_T4", "accelerators": 2},
        "Pusher": {"cpu": "500m"},
    },
}
NODES = [
    *("HiveLogExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "DataVerdict"),
    *("Transform", "Trainer", "Evaluator", "ServingCheck", "Pusher", "Conclusion"),
]


def shop_config(folder: Path, *overrides: str) -> LoadedConfig:
    path = folder / "hivemill.yaml"
    source = {**CONFIG["source"], "table": "gs://bucket/log/clicks"}
    document = CONFIG | {"root": ROOT, "source": source, "vertex": VERTEX}
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return load(path, overrides)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("vertex.image=null", "vertex.image is needed: the image of all containers"),
        (
            "root=/data/hivemill",
            "root must be in gs:// for Vertex AI: containers .* no folder .* received /data/hivemill",
        ),
        ("root=s3://bucket/hivemill", "root must be in gs:// .* received s3://bucket/hivemill"),
        ("source.table=/data/log", "source.table must be a URL for Vertex AI.* received /data/log"),
        ("source.table=hive://localhost:9083/shop.clicks", "source.table names this machine"),
        ("data_verdict.schema_path=schema.pbtxt", "data_verdict.schema_path must be a URL"),
        (
            "serving_check.docker_image=tensorflow/serving:2.20.0",
            "serving_check.docker_image is tensorflow/serving:2.20.0",
        ),
        (
            "runner.beam_args=[--runner=PortableRunner, --job_endpoint=localhost:8099]",
            "runner.beam_args names this machine, .*: --job_endpoint=localhost:8099",
        ),
        (
            "runner.beam_args=[--runner=FlinkRunner, --environment_config=127.0.0.1:50000]",
            "runner.beam_args names this machine, .*127.0.0.1:50000",
        ),
        ("name=7shop", "name: Vertex AI names its jobs by it, and these begin with a letter; received '7shop'"),
    ],
)
def test_what_vertex_cannot_do_is_told_by_key_rule_and_value(tmp_path, override, words):
    with pytest.raises(ConfigError, match=words) as caught:
        config_limits.check(shop_config(tmp_path, override).config)
    assert caught.value.hint


def test_config_that_fits_is_accepted_and_what_has_no_effect_is_told(tmp_path):
    config = shop_config(tmp_path).config
    config_limits.check(config)
    assert config_limits.notes(config) == []
    slack = "alerts.channels=[{type: webhook, preset: slack, url_env: SLACK_URL}]"
    overrides = [
        slack,
        "alerts.max_run_minutes=90",
        "runner.name=beam",
        "runner.beam_args=[--runner=FlinkRunner, --x=flink:1]",
    ]
    server = ["metadata.backend=mysql", "metadata.host=mariadb", "metadata.user=hivemill"]
    other = shop_config(tmp_path, *overrides, *server).config
    config_limits.check(other)
    assert [note.split(":")[0] for note in config_limits.notes(other)] == [
        "alerts.max_run_minutes",
        "alerts",
        "metadata",
        "runner.name, runner.orchestrator_args",
    ]
    given = shop_config(tmp_path, slack, "vertex.environment={SLACK_URL: 'https://example.org/x'}").config
    assert config_limits.notes(given) == []


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("vertex.steps={Trainer: {accelerators: 1}}", "go together"),
        ("vertex.steps={Trainer: {accelerator: nvidia.com/gpu, accelerators: 1}}", "accelerator"),
        ("vertex.labels={Team: x}", "labels"),
        ("vertex.environment={HIVEMILL_METADATA_PASSWORD: x}", "is a secret"),
    ],
)
def test_options_that_cannot_work(tmp_path, override, words):
    with pytest.raises(ConfigError, match=words):
        shop_config(tmp_path, override)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--engine", "vertex", "-o", "shop.json"], "needs --date"),
        (["--engine", "vertex", "--date", "2026-11-15", "-o", "shop.yaml"], "must end with .json"),
        (["--engine", "kubeflow", "--date", "2026-11-15", "-o", "shop.yaml"], "--date is for --engine vertex"),
        (["--engine", "vertex", "--date", "2026-11-31", "-o", "shop.json"], "2026-11-31"),
    ],
)
def test_command_line_that_fits_no_engine(tmp_path, capsys, monkeypatch, words, said):
    shop_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main.main(["compile", *words]) == 2
    assert said in capsys.readouterr().err and [file.name for file in tmp_path.iterdir()] == ["hivemill.yaml"]


@pytest.fixture(scope="module")
def document(tmp_path_factory) -> dict:
    """The PipelineJob of the shop's DAG."""
    from hivemill.pipeline import dag
    from hivemill.pipeline.orchestrators.vertex import job

    config = shop_config(tmp_path_factory.mktemp("config")).config
    inputs = dag.RunInputs(datetime.date(2026, 11, 15), "2026-11-15-1A2b3c4d", "0123", f"{ROOT}/models/shop/3", 3)
    return json.loads(json.dumps(job.job(config, inputs, "2026-11-16T06:00:00Z")))


def test_file_is_a_pipeline_job_by_its_protos(document):
    job = json_format.ParseDict(document, pipeline_spec_pb2.PipelineJob())
    assert (job.display_name, job.labels["team"]) == ("shop 2026-11-15", "ranking")
    assert job.labels["hivemill_run"] == "2026-11-15-1a2b3c4d"
    assert job.runtime_config.gcs_output_directory == f"{ROOT}/artifacts"
    pipeline = json_format.ParseDict(document["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())
    assert (pipeline.pipeline_info.name, pipeline.schema_version) == ("shop", "2.1.0")
    assert set(pipeline.root.dag.tasks) == set(NODES)
    assert "DataVerdict" in pipeline.root.dag.tasks["Transform"].dependent_tasks  # a red verdict stops the run there
    evaluator = pipeline.root.dag.tasks["Evaluator"].inputs.parameters
    assert evaluator["baseline_path"].runtime_value.constant.string_value == f"{ROOT}/models/shop/3"
    assert evaluator["baseline_version"].runtime_value.constant.number_value == 3


def test_every_task_has_image_command_environment_and_its_machine(document):
    deployment = json_format.ParseDict(
        document["pipelineSpec"]["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig()
    )
    assert set(deployment.executors) == {f"{node}_executor" for node in NODES}
    for one in deployment.executors.values():
        assert one.container.image == VERTEX["image"]
        assert list(one.container.command) == ["python", "-m", "hivemill.pipeline.orchestrators.vertex.step"]
        assert {each.name: each.value for each in one.container.env} == {"TZ": "UTC"}
    machines = {name: one.container.resources for name, one in deployment.executors.items()}
    assert machines["Transform_executor"].cpu_limit == 4
    assert machines["Transform_executor"].memory_limit == pytest.approx(17.18, abs=0.01)
    assert (machines["Trainer_executor"].cpu_limit, machines["Trainer_executor"].memory_limit) == (4, 64)
    accelerator = machines["Trainer_executor"].accelerator
    assert (accelerator.type, accelerator.count) == ("NVIDIA_TESLA_T4", 2)
    assert not machines["Evaluator_executor"].HasField("accelerator")
    assert machines["Pusher_executor"].cpu_limit == 0.5


def test_executors_and_artifact_types_are_importable_by_the_names_in_the_file(document):
    from tfx.orchestration.kubeflow.v2 import compiler_utils
    from tfx.utils import import_utils

    executors = document["pipelineSpec"]["deploymentSpec"]["executors"].values()
    for words in (one["container"]["args"] for one in executors):
        path = words[words.index("--executor_class_path") + 1]
        assert callable(import_utils.import_class_by_path(path).Do)
    titles = set()
    for component in document["pipelineSpec"]["components"].values():
        for one in component.get("outputDefinitions", {}).get("artifacts", {}).values():
            titles.add(one["artifactType"]["instanceSchema"].splitlines()[0].removeprefix("title: "))
    ours = {title for title in titles if title not in compiler_utils.TITLE_TO_CLASS_PATH}
    assert ours == {"hivemill.WindowManifest", "hivemill.DataVerdict", "hivemill.ModelVerdict"}
    for title in ours:
        kind = import_utils.import_class_by_path(title)
        assert f"Hivemill{kind.__name__}" == kind.TYPE_NAME  # what ML Metadata elsewhere calls it has not changed


def test_dag_without_a_serving_check_is_concluded_too(tmp_path):
    from hivemill.pipeline import dag
    from hivemill.pipeline.orchestrators.vertex import job

    config = shop_config(tmp_path, "serving_check.enabled=false").config
    made = job.job(config, dag.RunInputs(datetime.date(2026, 11, 15), "any", "any", None, None), "any")
    tasks = made["pipelineSpec"]["root"]["dag"]["tasks"]
    assert set(tasks) == set(NODES) - {"ServingCheck"}
    assert "infra_blessing" not in tasks["Conclusion"]["inputs"]["artifacts"]


def test_step_that_is_no_node(tmp_path):
    from hivemill.pipeline import dag
    from hivemill.pipeline.orchestrators.vertex import job

    config = shop_config(tmp_path, "vertex.steps={Trianer: {cpu: '8'}}").config
    with pytest.raises(ConfigError, match=r"vertex\.steps: there is no node 'Trianer'; did you mean `Trainer`"):
        job.job(config, dag.RunInputs(datetime.date(2026, 11, 15), "any", "any", None, None), "any")


@pytest.mark.slow
def test_googles_client_takes_the_file(document, tmp_path):
    """Without a network: what it makes of the file is what it would send."""
    import google.auth.credentials
    from google.cloud.aiplatform import pipeline_jobs

    path = tmp_path / "shop.json"
    path.write_text(json.dumps(document))
    job = pipeline_jobs.PipelineJob(
        display_name="shop",
        template_path=str(path),
        project="project",
        location="europe-west4",
        credentials=google.auth.credentials.AnonymousCredentials(),
        labels=document["labels"],
    )
    sent = job.to_dict()
    assert sent["pipelineSpec"] == document["pipelineSpec"]
    assert sent["runtimeConfig"]["gcsOutputDirectory"] == f"{ROOT}/artifacts"
    assert sent["labels"]["team"] == "ranking" and job.job_id.startswith("shop-")
