"""A run that was killed after its push is not judged against its own version."""

import pytest

from hivemill.pipeline.config import loader as config_module
from hivemill.pipeline.runs import plan
from hivemill.serving.store.model_store import ModelStore
from tests.support.small_config import small_config

CONFIG = small_config()


@pytest.fixture
def config(tmp_path):
    (tmp_path / "hivemill.yaml").write_text(CONFIG)
    return config_module.load(tmp_path / "hivemill.yaml").config


@pytest.fixture
def publish(config, tmp_path):
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "saved_model.pb").write_bytes(b"graph")
    store = ModelStore(config.places().store, "shop")

    def published(run_id, baseline_version=None):
        record = {"run_id": run_id, "baseline_version": baseline_version}
        version = store.publish(tmp_path / "exported", record, run_id)
        store.set_label("stable", version)
        return version

    return published


def test_bar_is_the_stable_version(config, publish):
    assert plan.baseline(config) == (None, None)
    version = publish("a")
    path, number = plan.baseline(config, "b")
    assert number == version and path.endswith(f"models/shop/{version}")


def test_bar_of_a_run_whose_own_version_is_stable_is_the_one_before(config, publish):
    first = publish("a")
    assert plan.baseline(config, "a") == (None, None)
    publish("b", baseline_version=first)
    assert plan.baseline(config, "b")[1] == first
    publish("c", baseline_version=5)  # that one has been removed since
    assert plan.baseline(config, "c") == (None, None)
