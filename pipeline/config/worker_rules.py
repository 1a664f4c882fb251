"""What the Beam workers of `runner.beam_args` demand of the rest of the config.

Workers of other machines reach a root in an object store by the clients of TensorFlow and Beam, which both know gs://
alone. Dataflow's mount no folder at all, and their code comes in a container image. Beam says what is missing only when
the first node starts, and fills in some of it from `gcloud`; here it is said before, and comes from the config alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from hivemill.common.storage import urls
from hivemill.pipeline.config.schema import PipelineConfig
from hivemill.pipeline.config.yaml_source import Path

# Beam runners whose workers are this process or its children; Beam's default is one of them.
_HERE = ("", "fnapirunner", "fnapi", "directrunner", "direct", "switchingdirectrunner", "switchingdirect")
_HERE += (
    "bundlebaseddirectrunner",
    "bundlebaseddirect",
    "hivemill.pipeline.orchestrators.beam.worker_processes.workerprocesses",
)
_NEEDED = {
    "project": "--project=ID, the Google Cloud project that runs and pays the jobs",
    "region": "--region=NAME, like europe-west1: near the bucket",
    "temp_location": "--temp_location=gs://BUCKET/FOLDER, for the files of running jobs",
    "sdk_container_image": "--sdk_container_image=REGISTRY/hivemill-dataflow:TAG (deploy/beam/dataflow.Dockerfile)",
}
_PACKAGES = ("setup_file", "requirements_file", "extra_package", "extra_packages", "files_to_stage")
_OF_OTHER_RUNNERS = ("job_endpoint", "environment_type", "environment_config", "flink_master", "spark_master_url")
_IN_CLOUD_STORAGE = ("temp_location", "staging_location")


def are_here(arguments: Sequence[str]) -> bool:
    """Whether the workers of these Beam options see every folder that a node's own process sees."""
    return _runner(arguments).lower() in _HERE


def is_dataflow(arguments: Sequence[str]) -> bool:
    """Whether the workers are Dataflow's: its runner is named in one of the ways that Beam understands."""
    name = _runner(arguments)
    return name.lower() in ("dataflow", "dataflowrunner") or name.rpartition(".")[2] == "DataflowRunner"


def worker_rules(config: PipelineConfig) -> Iterator[tuple[Path, str]]:
    """What is missing or wrong, by the place in the config."""
    options = _given(config.runner.beam_args)
    if is_dataflow(config.runner.orchestrator_args):
        index = _given(config.runner.orchestrator_args)["runner"][0]
        rule = "Dataflow's workers cannot run the nodes themselves, only the steps of their Beam pipelines: name it in "
        yield ("runner", "orchestrator_args", index), f"{rule}runner.beam_args"
    if is_dataflow(config.runner.beam_args):
        yield from _places_of_dataflow(config)
        yield from _options_of_dataflow(options)
    elif urls.is_url(config.root) and not are_here(config.runner.beam_args) and not config.root.startswith("gs://"):
        rule = "workers that are not of this machine read and write below `root`, by clients that know a folder or"
        yield (
            ("runner", "beam_args", options["runner"][0]),
            f"{rule} gs:// only; root is {urls.shown(config.root)!r}",
        )


def _runner(arguments: Sequence[str]) -> str:
    return _given(arguments).get("runner", (0, ""))[1]


def _given(arguments: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Position and value of each `--name=value`; the last one counts, as in Beam."""
    found = {}
    for index, argument in enumerate(arguments):
        name, _, value = argument.removeprefix("--").partition("=")
        found[name] = (index, value)
    return found


def _places_of_dataflow(config: PipelineConfig) -> Iterator[tuple[Path, str]]:
    why = "Dataflow's workers mount no folder (docs/clusters.md)"
    if not config.root.startswith("gs://"):
        yield ("root",), f"must be gs://BUCKET/FOLDER with --runner=DataflowRunner: {why}; received {config.root!r}"
    sources = {("source",): config.source}
    if config.label.join is not None:
        sources["label", "join", "clicks"] = config.label.join.clicks
    for path, source in sources.items():
        if source.table is not None and not source.table.startswith(("gs://", "gcs://", "hive://")):
            rule = "must be in gs://, or hive:// with its partitions there, with --runner=DataflowRunner"
            yield (*path, "table"), f"{rule}: {why}; received {urls.shown(source.table)!r}"


def _options_of_dataflow(options: Mapping[str, tuple[int, str]]) -> Iterator[tuple[Path, str]]:
    for name, what in _NEEDED.items():
        if not options.get(name, (0, ""))[1]:
            yield ("runner", "beam_args"), f"--runner=DataflowRunner needs {what}"
    for name in _IN_CLOUD_STORAGE:
        index, value = options.get(name, (0, ""))
        if value and not _is_in_cloud_storage(value):
            yield ("runner", "beam_args", index), f"must be gs://BUCKET/FOLDER; received {value!r}"
    index, image = options.get("sdk_container_image", (0, ""))
    if image and "/" not in image:
        rule = "Dataflow's workers pull the image from a registry, so name it like HOST/PROJECT/hivemill-dataflow:TAG"
        yield ("runner", "beam_args", index), f"{rule}; received {image!r}"
    for name in _PACKAGES:
        if name in options:
            rule = "the image of --sdk_container_image holds the package; a second one beside it may be another version"
            yield ("runner", "beam_args", options[name][0]), f"{rule}. Remove --{name}"
    for name in _OF_OTHER_RUNNERS:
        if name in options:
            rule = f"--{name} is for other runners and has no effect with --runner=DataflowRunner; remove it"
            yield ("runner", "beam_args", options[name][0]), rule


def _is_in_cloud_storage(place: str) -> bool:
    """gs://BUCKET/FOLDER; Beam refuses a bucket alone."""
    scheme, _, rest = place.partition("://")
    bucket, _, folder = rest.partition("/")
    return scheme == "gs" and bool(bucket and folder.strip("/"))
