"""What a test needs that runs Spark: Java, and a Python with pyspark (`make spark-env`)."""

import os
import shutil

import pytest

PYTHON = os.environ.get("HIVEMILL_SPARK_PYTHON")
MARKS = [
    pytest.mark.spark,
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="HIVEMILL_SPARK_PYTHON names no Python with pyspark"),
    pytest.mark.skipif(not shutil.which("java"), reason="Spark needs java"),
]
