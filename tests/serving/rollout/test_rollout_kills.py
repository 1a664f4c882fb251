"""kill -9 at every line of a rollout's calls: the next call ends or takes back what was begun, and all files agree.

The lines are found by running each call once under a trace, so a line that is added is covered without being listed.
Where a line runs many times, its first and its last time are taken; lines that write (common/storage/atomic.py and
serving/store/audit.py) every time. The default run takes a part of the writing lines; `slow` has all of them, of all
calls.
A kill loses nothing that was written, synced or not, so the folders lie in memory where they can.
"""

import collections
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest

from hivemill.serving.store.model_store import ModelStore
from hivemill.serving.store.server_config import parse_models_config
from tests.serving.rollout.rollouts import FileServer, machine, make_store, metrics, served

ROOT = Path(__file__).parents[3]
WRITING = ("common/storage/atomic.py", "serving/store/audit.py")
OWN = (*WRITING, "serving/")
PRODUCT = str(ROOT / "src" / "hivemill")


def _green(store):
    return metrics(store, {"impressions": 10_000 * (1 + store.state().rollout["percent"])})


def _to_the_end(store, server):
    machine(store, server).start()
    for _ in range(4):
        machine(store, server).step(_green(store))


def _publish(store, server):
    store.publish(store.path.parent / "export", {"run_id": "new"}, "source-new")


# name: (what was before, the call that is killed)
CALLS = {
    "start": (lambda *_: None, lambda store, server: machine(store, server).start(why="w")),
    "step": (
        lambda store, server: machine(store, server).start(),
        lambda store, server: machine(store, server).step(_green(store), why="w"),
    ),
    "promote": (
        lambda store, server: machine(store, server, percentages=(50, 100)).start(),
        lambda store, server: machine(store, server, percentages=(50, 100)).step(_green(store), why="w"),
    ),
    "abort": (
        lambda store, server: machine(store, server).start(),
        lambda store, server: machine(store, server).abort(why="w"),
    ),
    "rollback": (_to_the_end, lambda store, server: machine(store, server).rollback(why="w")),
    "publish": (lambda *_: None, _publish),
    "retain": (lambda *_: None, lambda store, server: store.retain(1, 0)),
}


class Tracer:
    """Counts the lines of our own code in this process, and dies before the one at `kill_at`."""

    def __init__(self, kill_at=None):
        self.lines, self.kill_at = [], kill_at

    def _line(self, frame, event, _):
        if event == "line":
            if len(self.lines) == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            self.lines.append((self.name_of(frame), frame.f_lineno))
        return self._line

    def _call(self, frame, _event, _arg):
        return self._line if self.name_of(frame).startswith(OWN) else None

    @staticmethod
    def name_of(frame):
        file = frame.f_code.co_filename
        return os.path.relpath(file, PRODUCT) if file.startswith(PRODUCT) else file

    def run(self, call):
        sys.settrace(self._call)
        try:
            call()
        finally:
            sys.settrace(None)


def _in_a_process(work) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Scene:
    """The same beginning again and again: a copy of a folder with a store and a server."""

    def __init__(self, folder: Path, name: str):
        self.work, self._original = folder / "work", folder / "original"
        before, self._call = CALLS[name]
        make_store(self.work, 3)
        before(self.store, served(self.store, self.work))
        shutil.copytree(self.work, self._original)
        self._versions = set(self.store.versions())

    @property
    def store(self):
        return ModelStore(self.work / "models", "shop")

    @property
    def server(self):
        return FileServer(self.work / "server.json")

    def fresh(self):
        shutil.rmtree(self.work)
        shutil.copytree(self._original, self.work)

    def call(self):
        self._call(self.store, self.server)

    def lines(self):
        """Of one whole call, found in a process that runs it."""
        self.fresh()
        file = self.work / "lines.json"

        def work():
            tracer = Tracer()
            tracer.run(self.call)
            file.write_text(json.dumps(tracer.lines))

        assert _in_a_process(work) == 0
        return [tuple(line) for line in json.loads(file.read_text())]

    def outcome(self):
        """What a client and an operator see, without what differs from call to call."""
        state = self.store.state()
        rollout = state.rollout and {key: state.rollout[key] for key in ("canary", "stable", "state", "percent", "why")}
        versions = self.store.versions()  # a new one is numbered by the time
        kept = self._versions & set(versions)
        return state.labels, rollout, state.pending, state.also_served, state.rejected, kept, len(versions)


def _moments(lines, writing_only):
    places = collections.defaultdict(list)
    for index, (name, number) in enumerate(lines):
        places[name, number].append(index)
    chosen = set()
    for (name, _), indexes in places.items():
        if name in WRITING:
            chosen.update(indexes)
        elif not writing_only:
            chosen.update((indexes[0], indexes[-1]))
    return sorted(chosen)


def _assert_all_agree(scene, may_have_begun=False):
    store = scene.store
    state, lines = store.state(), store.audit()
    ids = [line["id"] for line in lines]
    assert len(ids) == len(set(ids))
    changes = [line for line in lines if line["action"] != "publish"]
    assert state.change == changes[-1]
    assert (changes[-1]["labels"], changes[-1]["pending"]) == (state.labels, None)
    assert {line["version"] for line in lines if line["action"] == "publish"} >= set(store.versions())
    written = parse_models_config((store.path / "models.config").read_text())
    assert written == parse_models_config(store.server_config())
    assert set(state.labels.values()) <= set(store.versions())
    leftovers = [path for path in store.path.rglob(".*.tmp") if not (may_have_begun and path.is_dir())]
    assert not leftovers  # a version that a killed publisher has begun goes with the next publisher


def _kill_everywhere(scene, moments):
    scene.fresh()
    before = scene.outcome()
    assert _in_a_process(scene.call) == 0
    after = scene.outcome()
    endings = collections.Counter()
    for moment in moments:
        scene.fresh()
        killed = _in_a_process(lambda moment=moment: Tracer(moment).run(scene.call))
        assert killed == -signal.SIGKILL, moment
        told = scene.server.memory()
        assert set(scene.store.labels().values()) <= set(told["loaded"]), moment  # no client meets a missing version
        machine(scene.store, scene.server).end_interrupted()
        _assert_all_agree(scene, may_have_begun=True)
        outcome = scene.outcome()
        endings["before" if outcome == before else "after" if outcome == after else "else"] += 1
        assert outcome in (before, after), moment
        if outcome == after:
            _assert_the_server_agrees(scene)
        else:
            scene.call()
            _assert_all_agree(scene)
            assert scene.outcome() == after
    return len(moments), endings


def _assert_the_server_agrees(scene):
    memory, labels = scene.server.memory(), scene.store.labels()
    assert memory["labels"] == labels and set(memory["loaded"]) == set(labels.values())


@pytest.fixture
def scene(request):
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="hivemill-kills-", dir=memory) as folder:
        yield Scene(Path(folder), request.param)


def _check(scene, moments):
    num_moments, endings = _kill_everywhere(scene, moments)
    print(f"{num_moments} kills, {dict(endings)}")
    assert num_moments > 20 and endings["before"] and endings["after"], endings


@pytest.mark.parametrize("scene", ["start", "abort"], indirect=True)
def test_killed_at_lines_that_write(scene):
    moments = _moments(scene.lines(), writing_only=True)
    _check(scene, moments[:: len(moments) // 40])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scene", list(CALLS), indirect=True)
def test_killed_at_every_line(scene):
    _check(scene, _moments(scene.lines(), writing_only=False))
