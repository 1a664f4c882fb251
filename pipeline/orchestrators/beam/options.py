"""Which of Beam's runners is taken where the config names none."""

from __future__ import annotations

from collections.abc import Sequence

IN_THIS_PROCESS = "--runner=FnApiRunner"
"""Beam's default, DirectRunner, would first look for Prism, a binary that it downloads; this is the same engine without
it."""


def with_runner(arguments: Sequence[str]) -> list[str]:
    """Beam options that name a runner: their own, or the one in this process."""
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

    named = PipelineOptions(list(arguments)).view_as(StandardOptions).runner
    return [*arguments] if named else [IN_THIS_PROCESS, *arguments]
