"""Executor of TFX's Tuner that adds tuning.json to its results: every trial, the comparison, the mean of the best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tfx.components.tuner import executor
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import json_utils

from hivemill.common.storage.atomic import write_json_atomically
from hivemill.components.tuner import judging
from hivemill.components.tuner.options import TuningOptions
from hivemill.components.tuner.trial import PREDICTIONS, RESULT_JSON, read

TUNING_JSON = "tuning.json"


class TunerExecutor(executor.Executor):
    """TFX's own, without its summaries on standard output."""

    def Do(self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]) -> None:
        tuner = executor.search(input_dict, exec_properties, self._get_tmp_dir(), print_tuning_summary=False)
        executor.write_best_hyperparameters(tuner, output_dict)
        custom = json_utils.loads(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY])
        options = TuningOptions.model_validate_json(custom["tuning"])
        made = document(Path(custom["folder"]) / "trials", options)
        folder = artifact_utils.get_single_uri(output_dict[standard_component_specs.TUNER_RESULTS_KEY])
        write_json_atomically(Path(folder) / TUNING_JSON, made)


def document(trials: Path, options: TuningOptions) -> dict[str, Any]:
    """What the trials below `trials` say (docs/tuning.md, tuning.json). The first one, the config as it is, has ended.

    A pruned trial is listed, but neither wins nor joins the mean: it was stopped for being worse than most.
    """
    files = {file.parent.name: file for file in sorted(trials.glob(f"*/{RESULT_JSON}"))}
    results = {name: read(file) for name, file in files.items() if int(name) < options.trials}
    complete = [name for name, one in results.items() if one["state"] == "complete"]
    ranked = sorted(complete, key=lambda name: results[name]["val_logloss"])
    config = _predictions(trials / "0000")
    others = max(sum(one["state"] != "failed" for one in results.values()) - 1, 1)
    best = judging.comparison(_predictions(trials / ranked[0]), config, others)
    few = ranked[: options.mean_of]
    mean = judging.mean_of([_predictions(trials / name) for name in few])
    return {
        "version": 1,
        "num_validation_rows": len(config.labels),
        "config": {"val_logloss": config.logloss(), "val_auc": config.auc()},
        "best": {"trial": int(ranked[0]), **best},
        "mean": {"trials": [int(name) for name in few], **judging.comparison(mean, config, others)},
        "trials": [{"trial": int(name), **one} for name, one in results.items()],
    }


def _predictions(folder: Path) -> judging.Predictions:
    with np.load(folder / PREDICTIONS) as arrays:
        return judging.Predictions(**{name: arrays[name] for name in arrays.files})
