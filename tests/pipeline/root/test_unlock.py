"""`hivemill status` and `unlock` where an owner is dead, or is not."""

import json
import os
import time

import pytest

from hivemill.pipeline.root import lock
from tests.pipeline.shop import hivemill
from tests.support.small_config import small_config

CONFIG = small_config()
CARD = {
    "run_id": "2026-11-15-1a2b3c4d",
    "host": "node-17",
    "pid": 7,
    "since_utc": "2026-11-16T05:00:00+00:00",
    "beat": 9,
}


@pytest.fixture
def config(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "hivemill.yaml").write_text(CONFIG)
    return tmp_path / "hivemill.yaml"


@pytest.fixture
def left(config):
    """The card of an owner on another host that has not beaten for ten minutes."""
    path = config.parent / "root" / lock.LOCK_NAME
    path.write_text(json.dumps(CARD))
    os.utime(path, (0, time.time() - 600))
    return path


def test_status_tells_a_dead_owner_from_a_living_one(config, left, capsys):
    assert hivemill(config, "status") == 0
    said = capsys.readouterr().out
    assert "Nothing runs" in said and "A dead owner left its lock: 2026-11-15-1a2b3c4d, process 7 on node-17" in said
    os.utime(left)  # it beats
    assert hivemill(config, "--json", "status") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["stale_lock"] is None
    assert document["lock"]["host"] == "node-17" and document["lock"]["age_seconds"] > 0


def test_unlock_of_a_host_that_is_known_to_be_dead(config, left, capsys):
    assert hivemill(config, "unlock", "--dead-host", "node-18") == 7
    assert "node-17, not on node-18" in capsys.readouterr().err
    assert hivemill(config, "unlock", "--dead-host", "node-17") == 0
    assert "Removed the lock of 2026-11-15-1a2b3c4d" in capsys.readouterr().out
    assert hivemill(config, "unlock") == 0
    assert "Nothing is locked" in capsys.readouterr().out


def test_unlock_leaves_a_living_owner_alone(config, capsys):
    with lock.run_lock(config.parent / "root", "mine"):
        assert hivemill(config, "unlock") == 7
        assert hivemill(config, "unlock", "--dead-host", lock.socket.gethostname()) == 7
        assert lock.owner(config.parent / "root")["run_id"] == "mine"
