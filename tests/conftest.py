"""Shared by all tests: the Keras that the project runs on is chosen before any TensorFlow import."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import common.runtime

common.runtime.prepare_tensorflow()
