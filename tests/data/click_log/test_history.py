"""What was known before each impression, against a reference that reads the rows one by one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hivemill.data.click_log.history import past_clicks, recent_items

LOGS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 5), st.integers(0, 1)), max_size=30)


def _columns(log):
    log = sorted(log, key=lambda row: row[2])
    users, items, times, clicks = (np.array([row[i] for row in log], np.int64) for i in range(4))
    return log, users, items, times, clicks


@given(LOGS)
def test_past_clicks_count_strictly_earlier_rows(log):
    log, users, _, times, clicks = _columns(log)
    shown, clicked = past_clicks(users, times, clicks)
    for index, (user, _, time, _) in enumerate(log):
        earlier = [row for row in log if row[0] == user and row[2] < time]
        assert (shown[index], clicked[index]) == (len(earlier), sum(row[3] for row in earlier))


@given(LOGS, st.integers(1, 3))
def test_recent_items_are_earlier_clicks_the_newest_first(log, length):
    log, users, items, times, clicks = _columns(log)
    found = list(recent_items(users, items, times, clicks, length))
    for index, (user, _, time, _) in enumerate(log):
        earlier = [row[1] for row in log if row[0] == user and row[2] < time and row[3]]
        assert found[index] == earlier[::-1][:length]
