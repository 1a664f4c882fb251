"""The Beam runner on a DAG of light nodes: which of Beam's runners it takes, and that the config's options arrive."""

from __future__ import annotations

import pytest
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.direct import direct_runner
from apache_beam.runners.portability import portable_runner

from hivemill.pipeline.metadata.options import MetadataOptions
from hivemill.pipeline.orchestrators.beam.beam_pipeline import BeamRunner
from hivemill.pipeline.orchestrators.beam.options import with_runner
from hivemill.pipeline.runs.records import RunFolder
from tests.pipeline import light_nodes


@pytest.mark.parametrize(
    ("arguments", "runner"),
    [
        ((), "FnApiRunner"),
        (("--direct_num_workers=2",), "FnApiRunner"),
        (("--runner=PortableRunner", "--job_endpoint=embed"), "PortableRunner"),
        (("--runner", "FlinkRunner"), "FlinkRunner"),
    ],
)
def test_a_runner_of_the_config_is_taken_and_else_the_one_in_this_process(arguments, runner):
    chosen = with_runner(arguments)
    assert PipelineOptions(chosen).view_as(StandardOptions).runner == runner
    assert set(arguments) <= set(chosen)


@pytest.fixture(autouse=True)
def quiet():
    light_nodes.CALLS.clear()
    yield
    light_nodes.CALLS.clear()


def run(folder, arguments=()):
    states = {}
    runner = BeamRunner(lambda _: None, lambda record: states.update({record.node_id: record.state}), arguments)
    (folder / "runs" / "one").mkdir(parents=True)
    runner.run(light_nodes.compiled(folder, MetadataOptions(), "one"), RunFolder(folder, "one"))
    return states


def test_without_options_no_binary_is_looked_for(tmp_path, monkeypatch):
    """Beam's default would first run Prism, which it downloads."""

    def default_runner(*_):
        raise AssertionError("Beam's default runner was taken")

    monkeypatch.setattr(direct_runner.SwitchingDirectRunner, "run_pipeline", default_runner)
    assert run(tmp_path) == dict.fromkeys(("Start", "Middle", "Last"), "succeeded")
    assert light_nodes.CALLS == ["Start", "Middle", "Last"]


def test_options_of_the_config_reach_the_pipeline_that_orders_the_nodes(tmp_path, monkeypatch):
    seen = []
    real = portable_runner.PortableRunner.run_pipeline

    def noted(self, pipeline, options):
        seen.append(options.get_all_options(drop_default=True))
        return real(self, pipeline, options)

    monkeypatch.setattr(portable_runner.PortableRunner, "run_pipeline", noted)
    arguments = ("--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK")
    assert run(tmp_path, arguments) == dict.fromkeys(("Start", "Middle", "Last"), "succeeded")
    assert seen[0]["job_endpoint"] == "embed" and seen[0]["environment_type"] == "LOOPBACK"
    assert light_nodes.CALLS == ["Start", "Middle", "Last"]
