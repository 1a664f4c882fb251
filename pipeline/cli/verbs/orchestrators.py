"""The verbs `compile` and `submit`: the DAG for Kubeflow Pipelines and Vertex AI, a run of it, a training by TFJob."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hivemill.common.errors import ConfigError
from hivemill.pipeline.cli.output import DATE_HELP, Output, add_verb

if TYPE_CHECKING:
    from hivemill.pipeline.config.loader import LoadedConfig

_HINT_EXTRA = "Install the extra: pip install 'hivemill[kubeflow]'."


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    verb = add_verb(
        verbs,
        "compile",
        compile_dag,
        "write the DAG as a pipeline of containers for an orchestrator",
        "hivemill compile --engine kubeflow -o shop.yaml",
        common,
    )
    verb.add_argument(
        "--engine",
        choices=("kubeflow", "vertex", "tfjob"),
        required=True,
        help="kubeflow: IR YAML of Kubeflow Pipelines 2; vertex: the run of --date as a PipelineJob of Vertex AI; "
        "tfjob: the training of --pipeline on several machines",
    )
    help_output = "file to write: *.yaml, with vertex *.json"
    verb.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=help_output)
    verb.add_argument("--date", metavar="D", help=f"with vertex: {DATE_HELP}")
    verb.add_argument("--pipeline", metavar="FILE", help="with tfjob: pipeline.json of the run, as containers see it")
    verb.add_argument("--workers", type=int, metavar="N", help="with tfjob: how many machines, the chief's too (2)")
    submit_verb = verbs.add_parser("submit", help="start one run on a cluster", parents=[common], allow_abbrev=False)
    engines = submit_verb.add_subparsers(title="engines", metavar="ENGINE", dest="engine", required=True)
    verb = add_verb(
        engines,
        "kubeflow",
        submit,
        "start one run on Kubeflow Pipelines (kubeflow.endpoint)",
        "hivemill submit kubeflow --date 2026-11-15 --wait",
        common,
    )
    verb.add_argument("--date", required=True, metavar="D", help="run date, like 2026-11-15, or `yesterday`")
    verb.add_argument("--wait", action="store_true", help="follow it to its end; exit code 6 unless it succeeds")


def compile_dag(arguments: argparse.Namespace, output: Output) -> int:
    path, engine = arguments.output, arguments.engine
    _check_options(arguments)
    document = {"path": str(path)}
    if engine == "vertex":
        document = _write_vertex_job(_loaded(arguments), arguments.date, path)
    elif engine == "tfjob":
        _write_training_job(_loaded(arguments), arguments, path)
    else:
        write_package(_loaded(arguments), path)
    output.show(document, str(path))
    return 0


def _check_options(arguments: argparse.Namespace) -> None:
    path, engine = arguments.output, arguments.engine
    if engine == "vertex" and path.suffix != ".json":
        raise ConfigError(f"--output must end with .json for vertex; received {path}", hint="A PipelineJob is JSON.")
    if engine != "vertex" and path.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--output must end with .yaml; received {path}", hint="Kubeflow Pipelines reads IR YAML.")
    if engine != "tfjob" and (arguments.pipeline is not None or arguments.workers is not None):
        raise ConfigError("--pipeline and --workers are for --engine tfjob")
    if engine != "vertex" and arguments.date is not None:
        raise ConfigError("--date is for --engine vertex", hint="`submit kubeflow --date D` gives a run its date.")
    if engine == "vertex" and arguments.date is None:
        raise ConfigError(
            "--engine vertex needs --date: its file is one run, with the window and the bar of that day",
            hint="Like --date 2026-11-15, or `yesterday`.",
        )


def _write_vertex_job(loaded: LoadedConfig, date: str, path: Path) -> dict[str, Any]:
    from hivemill.pipeline.cli.console import Console
    from hivemill.pipeline.orchestrators.vertex import compiling
    from hivemill.pipeline.scheduling import dates

    say = Console().line
    return compiling.write(loaded, dates.resolve(date, loaded, say), path, say)


def submit(arguments: argparse.Namespace, output: Output) -> int:
    from hivemill.pipeline.cli.console import Console
    from hivemill.pipeline.scheduling import dates

    loaded, say = _loaded(arguments), Console().line
    if arguments.date not in (dates.SCHEDULED, dates.YESTERDAY, dates.LAST_COMPLETE):
        dates.day(arguments.date)
    _need_kfp()
    from hivemill.pipeline.orchestrators.kubeflow.service import Service

    service = Service(loaded.config)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "pipeline.yaml"
        write_package(loaded, package)
        run_id = service.submit(package, arguments.date)
    say(f"Kubeflow's run {run_id} has started.")
    if arguments.wait:
        service.wait(run_id, say)
    output.show({"run_id": run_id}, run_id)
    return 0


def write_package(loaded: LoadedConfig, path: Path) -> None:
    """Writes the IR YAML to `path`, whole or not at all. `--set` and the environment of now are in it."""
    _need_kfp()
    from hivemill.common.storage.atomic import write_text_atomically
    from hivemill.pipeline.orchestrators.kubeflow import nodes, spec

    spec.check(spec.config_inside(loaded).config)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "pipeline.yaml"
        spec.write(loaded, nodes.node_ids(loaded.config), package)
        write_text_atomically(path, package.read_text(encoding="utf-8"))


def _write_training_job(loaded: LoadedConfig, arguments: argparse.Namespace, path: Path) -> None:
    import yaml

    from hivemill.common.storage.atomic import write_text_atomically
    from hivemill.pipeline.orchestrators.kubeflow import inside, training_job

    if arguments.pipeline is None:
        raise ConfigError("--engine tfjob needs --pipeline", hint="`hivemill node --begin` prints it.")
    workers = 2 if arguments.workers is None else arguments.workers
    made = training_job.manifest(inside.config_inside(loaded).config, arguments.pipeline, workers)
    write_text_atomically(path, yaml.safe_dump(made, sort_keys=False, width=120))


def _need_kfp() -> None:
    try:
        import kfp.kubernetes  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"kfp and kfp-kubernetes are needed: {error}", hint=_HINT_EXTRA) from error


def _loaded(arguments: argparse.Namespace) -> LoadedConfig:
    from hivemill.pipeline.config import loader

    return loader.load(arguments.config, arguments.set)
