"""A/B tests between the versions that serve: who sees what, the log of it, and what the clicks say.

    assignment.py   user id -> bucket 0..9999 -> variant; the same in SQL
    exposure.py     the exposure log: readers, and rows that are left out (exposure_files.py, exposure_values.py)
    users.py        impressions and clicks per user and day: what all statistics work on
    ratio.py        CTR with users as the unit: delta method, lift by Fieller, CUPED, bootstrap
    sequential.py   intervals and p-values that stay valid under daily peeking
    split.py         rows under the last split of a ramp
    history.py      covariates from the log's time before the test
    srm.py          sample-ratio mismatch
    guardrails.py   errors, latency, calibration and the CTR interval of each variant
    power.py        sample size and smallest detectable lift
    judgement.py    what is concluded
    analysis.py     the whole report as one JSON document

Needs numpy, scipy, pandas and pyarrow; imports no TensorFlow.
"""
