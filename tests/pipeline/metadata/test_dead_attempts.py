"""What a killed attempt left in ML Metadata is settled by the next one, and nothing else is touched."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from hivemill.pipeline.metadata import cancelled

RUN = "2026-11-15-1a2b3c4d"


class Metadata:
    """A metadata store of its own, with executions as TFX's launcher leaves them."""

    def __init__(self, artifacts):
        self.artifacts = artifacts
        self.store = MetadataStore(mlmd.ConnectionConfig(sqlite=mlmd.SqliteMetadataSourceConfig()))
        self.types = {
            kind: getattr(self.store, f"put_{table}_type")(getattr(mlmd, f"{table.title()}Type")(name=kind))
            for kind, table in {
                "Trainer": "execution",
                "Model": "artifact",
                "pipeline_run": "context",
                "node": "context",
            }.items()
        }

    def add(self, attempt, state, artifact_state, run_id=RUN):
        """One execution with one output; returns their ids."""
        number = len(self.store.get_executions())
        folder = self.artifacts / "Trainer" / "model" / str(number)
        folder.mkdir(parents=True)
        execution = mlmd.Execution(type_id=self.types["Trainer"], last_known_state=state)
        artifact = mlmd.Artifact(type_id=self.types["Model"], uri=str(folder), state=artifact_state)
        event = mlmd.Event(type=mlmd.Event.PENDING_OUTPUT)
        if artifact_state == mlmd.Artifact.LIVE:
            event.type = mlmd.Event.OUTPUT
        contexts = [self._context("pipeline_run", f"{run_id}.{attempt}"), self._context("node", "shop.Trainer")]
        execution_id, (artifact_id,), _ = self.store.put_execution(execution, [(artifact, event)], contexts)
        return execution_id, artifact_id

    def _context(self, kind, name):
        found = self.store.get_context_by_type_and_name(kind, name)
        return found or mlmd.Context(type_id=self.types[kind], name=name)

    def states(self, execution_id, artifact_id):
        (execution,) = self.store.get_executions_by_id([execution_id])
        (artifact,) = self.store.get_artifacts_by_id([artifact_id])
        name = mlmd.Execution.State.Name(execution.last_known_state)
        return name, mlmd.Artifact.State.Name(artifact.state), (self.artifacts.parent / artifact.uri).exists()


@pytest.fixture
def metadata(tmp_path, monkeypatch):
    made = Metadata(tmp_path / "artifacts")
    monkeypatch.setattr(cancelled, "metadata_of", lambda ir: contextlib.nullcontext(SimpleNamespace(store=made.store)))
    return made


def _settle(metadata, attempt):
    return cancelled.settle(None, RUN, attempt, metadata.artifacts)


def test_running_node_of_a_dead_attempt_is_cancelled_and_its_files_go(metadata):
    dead = metadata.add(1, mlmd.Execution.RUNNING, mlmd.Artifact.PENDING)
    done = metadata.add(1, mlmd.Execution.COMPLETE, mlmd.Artifact.LIVE)
    assert _settle(metadata, 2) == ["Trainer"]
    assert metadata.states(*dead) == ("CANCELED", "ABANDONED", False)
    assert metadata.states(*done) == ("COMPLETE", "LIVE", True)
    assert _settle(metadata, 3) == []


def test_other_runs_and_the_attempt_itself_are_left_alone(metadata):
    others = metadata.add(1, mlmd.Execution.RUNNING, mlmd.Artifact.PENDING, run_id="2026-11-08-ffffffff")
    own = metadata.add(2, mlmd.Execution.RUNNING, mlmd.Artifact.PENDING)
    assert _settle(metadata, 2) == []
    assert metadata.states(*others) == metadata.states(*own) == ("RUNNING", "PENDING", True)
    assert _settle(metadata, 1) == []


def test_files_outside_of_the_artifacts_stay(metadata, tmp_path):
    _, artifact = metadata.add(1, mlmd.Execution.RUNNING, mlmd.Artifact.PENDING)
    (tmp_path / "mine").mkdir()
    (found,) = metadata.store.get_artifacts_by_id([artifact])
    found.uri = str(tmp_path / "mine")
    metadata.store.put_artifacts([found])
    assert _settle(metadata, 2) == ["Trainer"]
    assert (tmp_path / "mine").is_dir()
