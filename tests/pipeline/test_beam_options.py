"""The Beam options of docs/clusters.md, up to submission: Beam knows each of them, and finds no fault with them."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
import yaml
from apache_beam.options.pipeline_options import FlinkRunnerOptions, PipelineOptions, PortableOptions, StandardOptions
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator

PAGE = Path(__file__).parents[2] / "docs" / "clusters.md"
LINES = {
    arguments[0].removeprefix("--runner="): arguments
    for block in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for arguments in [yaml.safe_load(block)["runner"]["beam_args"]]
}


def _unknown(caplog, arguments: list[str]) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        PipelineOptions(arguments).get_all_options()
    return [record.getMessage() for record in caplog.records if "unparseable" in record.getMessage()]


@pytest.mark.parametrize("runner", ["PortableRunner", "FlinkRunner", "SparkRunner"])
def test_beam_takes_the_options_of_the_page(caplog, runner):
    arguments = LINES[runner]
    assert _unknown(caplog, arguments) == []
    options = PipelineOptions(arguments)
    assert PipelineOptionsValidator(options, None).validate() == []
    assert options.view_as(StandardOptions).runner == runner
    assert options.view_as(PortableOptions).environment_config == "localhost:50000"


def test_an_option_that_beam_does_not_know_is_seen(caplog):
    assert "--flink_mastr" in "".join(_unknown(caplog, [*LINES["FlinkRunner"], "--flink_mastr=x"]))


def test_an_environment_without_its_address_is_seen():
    arguments = [each for each in LINES["FlinkRunner"] if "environment_config" not in each]
    options = PipelineOptions([*arguments, "--environment_option=process_command=x"])
    assert PipelineOptionsValidator(options, None).validate() != []
    assert options.view_as(FlinkRunnerOptions).flink_master == "flink-jobmanager:8081"
