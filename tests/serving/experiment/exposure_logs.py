"""Made exposure logs for the tests of the A/B report."""

from __future__ import annotations

import numpy as np
import pandas as pd

from hivemill.serving.experiment.assignment import Split, variants

START = np.datetime64("2026-11-01", "us")
DAY_MICROSECONDS = 86_400 * 10**6


def exposures(
    users: int = 2000, days: int = 3, lift: float = 0.0, percent: float = 50, seed: int = 1, visits: float = 3.0
) -> pd.DataFrame:
    """Canary of `percent` has `lift` times more clicks; users differ, and come back. Time order."""
    random = np.random.default_rng(seed)
    split = Split.at_percent("shop-7", percent)
    shown = random.poisson(visits, (days, users))
    day, user = np.nonzero(shown)
    day, user = np.repeat(day, shown[day, user]), np.repeat(user, shown[day, user])
    rows = len(user)
    variant = np.array(variants(split, user.tolist()))
    treated = variant == "canary"
    rate = random.beta(4, 36, users)[user] * np.where(treated, 1 + lift, 1.0)
    share = split.canary_buckets / 10_000
    frame = pd.DataFrame(
        {
            "request_time": START
            + (day * DAY_MICROSECONDS + random.integers(0, DAY_MICROSECONDS, rows)).astype("timedelta64[us]"),
            "user_id": user,
            "request_id": [f"r{number}" for number in range(rows)],
            "model_version": np.where(treated, 1764000000, 1763000000),
            "variant": variant,
            "propensity": np.where(treated, share, 1 - share),
            "click": (random.random(rows) < rate).astype(int),
            "prediction": np.clip(rate, 0, 1),
            "latency_seconds": random.gamma(2, 0.004, rows),
            "error": random.random(rows) < 0.001,
            "device": random.choice(["phone", "desktop"], rows),
            "past_clicks": random.poisson(5, users)[user].astype(float),
        }
    )
    return frame.sort_values("request_time", kind="stable", ignore_index=True)
