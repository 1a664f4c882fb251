"""Shared by all tests: the Keras that the project runs on is chosen before any TensorFlow import."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import hypothesis

from hivemill.common import runtime

runtime.prepare_tensorflow()

# A busy machine must not fail a property: hypothesis' own deadline of 200 ms per example is a timed test.
hypothesis.settings.register_profile("hivemill", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("hivemill")
