"""What Beam workers of other machines demand of the config: Dataflow's above all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from hivemill.common.errors import ConfigError
from hivemill.pipeline.config import loader
from hivemill.pipeline.config.worker_rules import are_here
from tests.pipeline.shop import CONFIG

GOOD = {
    "runner": "DataflowRunner",
    "project": "a-project",
    "region": "europe-west1",
    "temp_location": "gs://bucket/beam",
    "sdk_container_image": "europe-west1-docker.pkg.dev/a-project/images/hivemill-dataflow:1",
}
MYSQL = {"backend": "mysql", "host": "db", "user": "hivemill"}


REPOSITORY = Path(__file__).parents[3]


def load(tmp_path: Path, beam_args: dict[str, str | None], **sections) -> loader.PipelineConfig:
    given = [f"--{name}={value}" for name, value in (GOOD | beam_args).items() if value is not None]
    document = {
        **CONFIG,
        "root": "gs://bucket/hivemill",
        "source": {"table": "gs://bucket/clicks"},
        "metadata": MYSQL,
        "runner": {"beam_args": given},
        **sections,
    }
    path = tmp_path / "hivemill.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return loader.load(path, (), {}).config


@pytest.mark.parametrize(
    ("beam_args", "sections"),
    [
        ({}, {}),
        ({"runner": "dataflow", "staging_location": "gs://bucket/staging"}, {}),
        ({"runner": "apache_beam.runners.dataflow.dataflow_runner.DataflowRunner"}, {"root": "gs://bucket"}),
        ({}, {"source": {"table": "hive://metastore:9083/shop.clicks"}}),
    ],
)
def test_good(tmp_path, beam_args, sections):
    assert load(tmp_path, beam_args, **sections).name == "shop"


def test_block_of_the_page(tmp_path):
    page = (REPOSITORY / "docs" / "clusters.md").read_text(encoding="utf-8")
    (block,) = [each for each in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "--runner=DataflowRunner" in each]
    assert load(tmp_path, {}, **yaml.safe_load(block)).runner.beam_args[0] == "--runner=DataflowRunner"


@pytest.mark.parametrize(
    ("beam_args", "words"),
    [
        ({"project": None}, "runner.beam_args: --runner=DataflowRunner needs --project=ID"),
        ({"region": None}, "runner.beam_args: --runner=DataflowRunner needs --region=NAME"),
        ({"temp_location": None}, "runner.beam_args: --runner=DataflowRunner needs --temp_location=gs://"),
        ({"sdk_container_image": None}, "runner.beam_args: --runner=DataflowRunner needs --sdk_container_image="),
        ({"temp_location": "/tmp"}, "runner.beam_args.3: must be gs://BUCKET/FOLDER; received '/tmp'"),
        ({"temp_location": "gs://bucket"}, "runner.beam_args.3: must be gs://BUCKET/FOLDER; received 'gs://bucket'"),
        ({"staging_location": "s3://b/c"}, "runner.beam_args.5: must be gs://BUCKET/FOLDER; received 's3://b/c'"),
        ({"sdk_container_image": "hivemill"}, "runner.beam_args.4: Dataflow's workers pull the image from a registry"),
        ({"setup_file": "./setup.py"}, "runner.beam_args.5: the image of --sdk_container_image holds the package"),
        ({"job_endpoint": "localhost:8099"}, "runner.beam_args.5: --job_endpoint is for other runners"),
        ({"environment_type": "EXTERNAL"}, "runner.beam_args.5: --environment_type is for other runners"),
    ],
)
def test_option_of_dataflow(tmp_path, beam_args, words):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, beam_args)
    assert words in caught.value.message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"root": "root", "metadata": {}}, "root: must be gs://BUCKET/FOLDER with --runner=DataflowRunner"),
        ({"root": "s3://bucket/x"}, "root: must be gs://BUCKET/FOLDER with --runner=DataflowRunner"),
        ({"source": {"table": "log/clicks"}}, "source.table: must be in gs://, or hive:// with its partitions there"),
        ({"source": {"table": "s3://bucket/clicks"}}, "received 's3://bucket/clicks'"),
    ],
)
def test_place_that_dataflow_does_not_see(tmp_path, sections, words):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {}, **sections)
    assert words in caught.value.message


def test_dataflow_orders_no_nodes(tmp_path):
    runner = {"name": "beam", "orchestrator_args": ["--runner=DataflowRunner"]}
    with pytest.raises(ConfigError, match=r"runner\.orchestrator_args\.0: Dataflow's workers cannot run the nodes"):
        load(tmp_path, {}, runner=runner)


def test_workers_elsewhere_cannot_reach_s3(tmp_path):
    elsewhere = {"beam_args": ["--runner=PortableRunner", "--job_endpoint=localhost:8099"]}
    words = r"runner\.beam_args\.0: workers that are not of this machine .* root is 's3://bucket/x'"
    with pytest.raises(ConfigError, match=words):
        load(tmp_path, {}, root="s3://bucket/x", runner=elsewhere)
    assert load(tmp_path, {}, root="gs://bucket/x", runner=elsewhere).root == "gs://bucket/x"
    assert load(tmp_path, {}, root="root", metadata={}, runner=elsewhere).root.endswith("/root")
    assert load(tmp_path, {}, root="s3://bucket/x", runner={}).root == "s3://bucket/x"


@pytest.mark.parametrize(
    ("runner", "is_here"),
    [
        (None, True),
        ("FnApiRunner", True),
        ("direct", True),
        ("DirectRunner", True),
        ("hivemill.pipeline.orchestrators.beam.worker_processes.WorkerProcesses", True),
        ("PortableRunner", False),
        ("FlinkRunner", False),
        ("spark", False),
        ("DataflowRunner", False),
        ("some.one.else.Runner", False),
    ],
)
def test_where_workers_are(runner, is_here):
    assert are_here([f"--runner={runner}"] if runner else []) is is_here


def test_image_of_the_workers_has_the_boot_program_of_their_beam():
    lock = (REPOSITORY / "requirements" / "requirements.lock").read_text(encoding="utf-8")
    (beam,) = [line.split()[0].removeprefix("apache-beam==") for line in lock.splitlines() if "apache-beam==" in line]
    dockerfile = (REPOSITORY / "deploy" / "beam" / "dataflow.Dockerfile").read_text(encoding="utf-8")
    assert f"ARG BEAM=apache/beam_python3.13_sdk:{beam}\n" in dockerfile  # Debian 13's Python is 3.13
