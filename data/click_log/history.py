"""What was known of a user or an item before each impression: the columns that a log gets from a feature store.

Only what happened at a strictly earlier time counts, so that no row sees itself or one of the same second.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator

import numpy as np


def past_clicks(keys: np.ndarray, times: np.ndarray, clicks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Impressions and clicks of the same key at an earlier time, each int64 [rows].

    Args:
        keys: integer [rows]. times: ascending, [rows]. clicks: 0 or 1, [rows].
    """
    order = np.lexsort((np.arange(len(keys)), keys))  # by key, in time order within each
    key, time, click = keys[order], times[order], clicks[order].astype(np.int64)
    row = np.arange(len(key))
    starts_key = np.append(True, key[1:] != key[:-1]) if len(key) else np.zeros(0, bool)
    starts_moment = starts_key | np.append(True, time[1:] != time[:-1]) if len(key) else starts_key
    first_of_key = np.maximum.accumulate(np.where(starts_key, row, 0))
    first_of_moment = np.maximum.accumulate(np.where(starts_moment, row, 0))
    before = np.append(0, np.cumsum(click))
    impressions, earlier = np.empty_like(click), np.empty_like(click)
    impressions[order] = first_of_moment - first_of_key
    earlier[order] = before[first_of_moment] - before[first_of_key]
    return impressions, earlier


def recent_items(
    users: np.ndarray, items: np.ndarray, times: np.ndarray, clicks: np.ndarray, length: int
) -> Iterator[list[int]]:
    """For each row the last `length` items that its user clicked at an earlier time, the newest first."""
    clicked: dict[int, deque[int]] = defaultdict(lambda: deque(maxlen=length))
    waiting: list[tuple[int, int]] = []  # clicks of the current moment, not yet known to anybody
    moment = None
    for user, item, time, click in zip(users.tolist(), items.tolist(), times.tolist(), clicks.tolist(), strict=True):
        if time != moment:
            for known_user, known_item in waiting:
                clicked[known_user].appendleft(known_item)
            waiting, moment = [], time
        yield list(clicked[user])
        if click:
            waiting.append((user, item))
