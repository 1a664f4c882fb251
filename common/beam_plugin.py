"""Named by `--beam_plugins`: Beam's worker processes import it before any step, as Hivemill's own processes prepare.

Without it a worker process that loads data-validation 1.16.1 (StatisticsGen) ends with
`cannot import name 'sql_util'`. Beam's own worker pool does not read the option: pipeline/runners/worker_pool.py does.
"""

import common.runtime

common.runtime.prepare_tensorflow()
