"""`hivemill tune`: a run up to Transform, then TFX's Tuner; the result as a document, a page and a diff."""

from __future__ import annotations

import datetime
import traceback
from pathlib import Path
from typing import Any

from hivemill.common import runtime
from hivemill.common.errors import ConfigError
from hivemill.common.storage import urls
from hivemill.common.storage.atomic import fingerprint, write_json_atomically, write_text_atomically
from hivemill.pipeline.cli.console import Console, library_noise_to
from hivemill.pipeline.config.loader import LoadedConfig
from hivemill.pipeline.config.schema import PipelineConfig
from hivemill.pipeline.history import baseline
from hivemill.pipeline.metadata.root_id import identity
from hivemill.pipeline.root.lock import LockOptions, run_lock
from hivemill.pipeline.runs import plan as planning
from hivemill.pipeline.runs import records
from hivemill.pipeline.runs.records import RunFolder
from hivemill.pipeline.runs.sigterm import stopped_by_sigterm
from hivemill.pipeline.tuning import proposal
from hivemill.pipeline.tuning.page import render_tuning_page

TUNING_JSON, TUNING_HTML, ATTEMPT_JSON = "tuning.json", "tuning.html", "attempt.json"


class TuningFolder(RunFolder):
    """`<root>/tuning/<id>/`: trials, result, page, log."""

    def __init__(self, root: Path, tuning_id: str):
        super().__init__(root, tuning_id)
        self.path = root / "tuning" / tuning_id


def tune(loaded: LoadedConfig, date: datetime.date, console: Console, lock_options: LockOptions) -> dict[str, Any]:
    """Searches on the window of `date`, and returns the document of tuning.json with its `page`.

    Trials that an earlier search of the same inputs has ended are kept: a search that was killed resumes, and one with
    more trials continues. Holds the lock of the root, as a run does. Raises what stops a node; ConfigError where the
    config has no validation days, or its root is no folder.
    """
    config = loaded.config
    _check(config)
    with stopped_by_sigterm() as stop:
        plan = planning.make_plan(loaded, date)
        plan.window.check()
        root = config.root_path()
        tuning_id = _tuning_id(config, plan)
        with run_lock(root, f"tune-{tuning_id}", lock_options, console.line, stop.now):
            records.check_no_other_job(root, None)
            folder = TuningFolder(root, tuning_id)
            console.line(f"Tuning {tuning_id}: {_budget_words(config)}. Log: {folder.file(records.LOG_TXT)}")
            with library_noise_to(folder.file(records.LOG_TXT)) as real_error:
                console.rebind(real_error)
                try:
                    made = _launched(config, plan, folder, console)
                except Exception:
                    traceback.print_exc()  # to the log
                    raise
                finally:
                    console.rebind(None)
            return _concluded(made, loaded, folder)


def accept(loaded: LoadedConfig, document: dict[str, Any], which: str) -> bool:
    """Writes a proposal (`best` or `mean`) into the config's file; False where that proposes nothing."""
    values = document[which]["values"]
    if not values:
        return False
    text = loaded.path.read_text(encoding="utf-8")
    write_text_atomically(loaded.path, proposal.changed_text(text, values, loaded.path.name))
    return True


def _check(config: PipelineConfig) -> None:
    if config.window.validation_days < 1:
        raise ConfigError(
            f"window.validation_days is {config.window.validation_days}: trials are judged by validation days only",
            hint="Set it to 1 or more; the eval split judges the model that a run trains then.",
        )
    if config.members:
        raise ConfigError(
            f"the config has {len(config.members)} members: `hivemill tune` searches options of one model",
            hint="Tune without them: --set 'members=[]'. What it proposes may be new members.",
        )
    if urls.is_url(config.root):
        raise ConfigError(
            f"root is {urls.shown(config.root)}: `hivemill tune` keeps its trials in a folder",
            hint="Tune with another root: --set root=FOLDER. The log is converted once more there.",
        )


def _tuning_id(config: PipelineConfig, plan: planning.RunPlan) -> str:
    """The same for more trials or more time: they continue the search."""
    drawn = [list(config.tuning.space.items()), config.tuning.seed]
    key = fingerprint(plan.config_fingerprint, plan.window.fingerprint, planning.project_code_fingerprint(), drawn)
    return f"{plan.date.isoformat()}-{key[:8]}"


def _budget_words(config: PipelineConfig) -> str:
    options = config.tuning
    time = f", {options.minutes:g} minutes at most" if options.minutes is not None else ""
    return f"{options.trials} trials at most{time}, {options.workers} at a time"


def _launched(config: PipelineConfig, plan: planning.RunPlan, folder: TuningFolder, console: Console) -> dict[str, Any]:
    """Runs the nodes; what the Tuner left."""
    attempt = (records.read_json(folder.file(ATTEMPT_JSON)) or {"attempt": 0})["attempt"] + 1
    write_json_atomically(folder.file(ATTEMPT_JSON), {"attempt": attempt})
    ir = _compiled(config, plan, folder, attempt, console)
    from hivemill.components.tuner.executor import TUNING_JSON as MADE
    from hivemill.pipeline.metadata import cancelled
    from hivemill.pipeline.orchestrators.local import LocalRunner
    from hivemill.pipeline.runs import collect_artifacts

    cancelled.settle(ir, f"tune-{folder.run_id}", attempt, config.places().artifacts)
    LocalRunner(console.node_starts, console.node_ended).run(ir, folder)
    results = collect_artifacts.outputs(ir)[("Tuner", "tuner_results")]
    made = records.read_json(Path(results.uri) / MADE)
    if made is None:
        raise ConfigError(
            f"{results.uri}: the result of this search is gone", hint="Tune again: --set runner.cache=false"
        )
    return dict(made)


def _compiled(
    config: PipelineConfig, plan: planning.RunPlan, folder: TuningFolder, attempt: int, console: Console
) -> Any:
    console.line("Loading TensorFlow and TFX …")
    with runtime.quick_imports():
        from tfx.dsl.compiler import compiler, constants
        from tfx.orchestration.portable import runtime_parameter_utils

        from hivemill.pipeline import dag

    own = identity(config.root_path()) if config.metadata.backend == "mysql" else None
    data_baseline = baseline.write_baseline(config, folder, plan.date)
    inputs = dag.RunInputs(plan.date, folder.run_id, plan.window.fingerprint, None, None, data_baseline, own)
    ir = compiler.Compiler().compile(dag.create_tuning_pipeline(config, inputs, str(folder.path.absolute())))
    run_id = f"tune-{folder.run_id}.{attempt}"
    runtime_parameter_utils.substitute_runtime_parameter(ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id})
    return ir


def _concluded(made: dict[str, Any], loaded: LoadedConfig, folder: TuningFolder) -> dict[str, Any]:
    """Adds to `best` and `mean` the values that they propose for the config, and the diff."""
    text, name = loaded.path.read_text(encoding="utf-8"), loaded.path.name
    document = {**made, "tuning_id": folder.run_id, "page": str(folder.file(TUNING_HTML))}
    for which, values in (("best", _best_values(made)), ("mean", _mean_values(made))):
        diff = proposal.diff(text, proposal.changed_text(text, values, name), name) if values else ""
        document[which] = {**made[which], "values": values, "diff": diff}
        write_text_atomically(folder.file(f"{which}.diff"), diff)
    write_json_atomically(folder.file(TUNING_JSON), document)
    write_text_atomically(folder.file(TUNING_HTML), render_tuning_page(document))
    return document


def _best_values(made: dict[str, Any]) -> dict[str, Any]:
    return _changed(made, made["best"]["trial"]) if made["best"]["is_beyond_chance"] else {}


def _mean_values(made: dict[str, Any]) -> dict[str, Any]:
    """Nothing for one trial alone, nor where the members would need other click rates."""
    members = [_changed(made, number) for number in made["mean"]["trials"]]
    is_possible = len(members) > 1 and not any(key.startswith("rates.") for one in members for key in one)
    return {"members": members} if made["mean"]["is_beyond_chance"] and is_possible else {}


def _changed(made: dict[str, Any], number: int) -> dict[str, Any]:
    """The values of a trial that differ from the config's."""
    trials = {one["trial"]: one["values"] for one in made["trials"]}
    return {key: value for key, value in trials[number].items() if value != trials[0][key]}
