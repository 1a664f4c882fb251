"""The search: KerasTuner's oracle draws the trials, worker processes train them, TFX's Tuner records what came of it.

KerasTuner draws the same trials from the same seed, whatever they result in. So its own state is never read back after
a kill (its files are not written atomically): the trials are drawn again, and those that have a result return it.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine import base_tuner
from keras_tuner.engine import trial as kt
from tfx.components.tuner.component import TunerFnResult

from hivemill.common import errors, progress
from hivemill.common.errors import ConfigError, DataNotReadyError, HivemillError, InfrastructureError
from hivemill.components.trainer.option_changes import Sections, sections_of
from hivemill.components.trainer.run_fn import TrainingConfig
from hivemill.components.tuner import space
from hivemill.components.tuner.options import TuningOptions
from hivemill.components.tuner.trial import RESULT_JSON, TrialSpec, read, run_trial, start_worker

OBJECTIVE = "val_logloss"


def tuner_fn(fn_args: Any) -> TunerFnResult:
    """What TFX's Tuner calls. custom_config: the Trainer's, `tuning` and `folder`, where the trials are kept."""
    config = TrainingConfig.of(fn_args.custom_config)
    options = TuningOptions.model_validate_json(fn_args.custom_config["tuning"])
    if not fn_args.eval_files:
        raise DataNotReadyError("there is no validation split to judge trials by", hint="set window.validation_days")
    first = TrialSpec(
        folder=Path(fn_args.custom_config["folder"]) / "trials",
        values={},
        train_files=tuple(fn_args.train_files),
        eval_files=tuple(fn_args.eval_files),
        transform_output=fn_args.transform_graph_path,
        custom_config=dict(fn_args.custom_config),
        is_config=False,
    )
    sections = sections_of(config.model, config.training, config.rates)
    return TunerFnResult(TrialTuner(options, sections, first), {})


class _ConfigFirst(keras_tuner.oracles.RandomSearchOracle):
    """Random search whose first trial is the config as it is."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        if not self.start_order:
            values = {one.name: one.default for one in self.hyperparameters.space}
            return {"status": kt.TrialStatus.RUNNING, "values": values}
        return super().populate_space(trial_id)


class TrialTuner(base_tuner.BaseTuner):
    """Trains the trials that the oracle draws, `options.workers` at a time."""

    def __init__(self, options: TuningOptions, sections: Sections, spec: TrialSpec):
        """`spec`: what all trials have in common; its folder holds one folder for each trial."""
        self._options, self._spec = options, spec
        hyperparameters = keras_tuner.HyperParameters()
        for key, texts in space.choices(options.space, sections).items():
            hyperparameters.Choice(key, texts, default=texts[0], ordered=False)
        oracle = _ConfigFirst(
            objective=keras_tuner.Objective(OBJECTIVE, "min"),
            max_trials=options.trials,
            seed=options.seed,
            hyperparameters=hyperparameters,
            allow_new_entries=False,
            tune_new_entries=False,
            max_consecutive_failed_trials=options.trials + 1,  # one that diverges says nothing of the next
        )
        oracle.verbose = 0
        super().__init__(oracle=oracle, directory=str(spec.folder.parent), project_name="oracle", overwrite=True)

    def search(self) -> None:
        """Runs trials until their number or the time is reached. Raises what would end every trial."""
        cores = os.cpu_count() or 1
        workers = min(self._options.workers, self._options.trials)
        pool = concurrent.futures.ProcessPoolExecutor(
            workers,
            multiprocessing.get_context("spawn"),
            initializer=start_worker,
            initargs=(os.getpid(), max(1, cores // workers)),
        )
        try:
            self._run_all(pool, [f"worker-{number}" for number in range(workers)], self._deadline())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():  # a trial may go on for an hour: it resumes another time
                process.kill()
            raise
        pool.shutdown()

    def _run_all(self, pool: Any, free: list[str], deadline: float | None) -> None:
        """`free`: names of the workers, which the oracle knows them by."""
        running: dict[concurrent.futures.Future[dict[str, Any]], tuple[str, kt.Trial]] = {}
        while True:
            self._fill(pool, running, free, deadline)
            if not running:
                return
            done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in done:
                worker, trial = running.pop(future)
                free.append(worker)
                self._report(trial, _result_of(future))

    def _fill(self, pool: Any, running: dict[Any, Any], free: list[str], deadline: float | None) -> None:
        while free and (deadline is None or time.monotonic() < deadline or not self.oracle.start_order):
            trial = self.oracle.create_trial(free[-1])
            if trial.status != kt.TrialStatus.RUNNING:
                return  # all are drawn, or the space has no more
            number = len(self.oracle.start_order) - 1
            spec = dataclasses.replace(
                self._spec,
                folder=self._spec.folder / f"{number:04d}",
                values={key: json.loads(text) for key, text in trial.hyperparameters.values.items()},
                is_config=number == 0,
                deadline=deadline,
            )
            spec.folder.mkdir(parents=True, exist_ok=True)
            running[pool.submit(run_trial, spec)] = (free.pop(), trial)

    def _report(self, trial: kt.Trial, result: dict[str, Any]) -> None:
        """Tells the oracle. The trial of the config must have a result: without it there is nothing to compare with."""
        state, number = result["state"], self.oracle.start_order.index(trial.trial_id)
        if state == "refused":
            kind = getattr(errors, result["kind"], HivemillError)
            raise kind(result["error"], hint=result["hint"])
        if number == 0 and state == "failed":
            raise ConfigError(f"the config as it is: {result['error']}", hint="`hivemill run` must work before tuning")
        if state in ("complete", "pruned"):
            self.oracle.update_trial(trial.trial_id, {OBJECTIVE: result[OBJECTIVE]})
            trial.status = kt.TrialStatus.COMPLETED
            progress.note(f"trial {number}: logloss {result[OBJECTIVE]:.5f}, {state}, {result['seconds']:.0f} s")
        else:
            trial.status, trial.message = kt.TrialStatus.FAILED, result.get("error") or state
            progress.note(f"trial {number}: {trial.message}")
        self.oracle.end_trial(trial)
        progress.report(len(self.oracle.end_order), self._options.trials, "trials")

    def _deadline(self) -> float | None:
        """Trials that ended before a kill have used their part of the time."""
        if self._options.minutes is None:
            return None
        ended = [read(file) for file in self._spec.folder.glob(f"*/{RESULT_JSON}")]
        used = sum(one["seconds"] for one in ended) / self._options.workers
        return time.monotonic() + 60 * self._options.minutes - used


def _result_of(future: concurrent.futures.Future[dict[str, Any]]) -> dict[str, Any]:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise InfrastructureError(
            "a trial's process was killed, most likely for lack of memory",
            hint="lower tuning.workers or the largest values of tuning.space, and tune again: ended trials are kept",
        ) from error
