"""Makes Hivemill installable: `pip install .` on a system with glibc >= 2.39 (Debian 13, Ubuntu 24.04) or macOS.

These are the official requirements of TFX 1.21. On older systems its ml-metadata wheel does not load, and
requirements/overrides.txt says which wheels stand in; `make env` installs those from the lock.
"""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="hivemill",
    version=Path(__file__).with_name("VERSION").read_text().strip(),
    description="Turns a partitioned Hive click log into a served DeepFM click model, every week.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    package_dir={"": "src"},
    packages=find_packages("src"),
    package_data={"": ["*.yaml", "*.hql", "*.pbtxt", "*.json", "*.c", "*.java", "templates/*", "py.typed"]},
    install_requires=[
        "tfx>=1.21,<1.22",
        "tf-keras>=2.21,<2.22",
        "tensorboard>=2.20,<2.22",
        "pydantic>=2.10,<3",
        "pyyaml>=6,<7",
        "pyarrow>=18",
        "google-crc32c>=1.5,<2",
        "isal>=1.7,<2",
        "fastavro>=1.9,<2",
        "jinja2>=3.1,<4",
        "psutil",
        "numpy>=1.26,<3",
        "pandas>=2.2,<3",
        "scipy>=1.15,<2",
        "scikit-learn>=1.5,<2",
        "tensorflow-serving-api>=2.19,<3",
        "grpcio>=1.71,<2",
        "grpcio-health-checking>=1.71,<1.82",
        "aiohttp>=3.13.3,<4",
        "cronsim>=2.7,<3",
        "lightgbm>=4.5,<5",
    ],
    extras_require={
        "kubeflow": ["kfp>=2.16,<2.17", "kfp-kubernetes>=2.16,<2.17"],
        # A Hive metastore (hive://) and HiveServer2 (source.query). impyla's column attributes are not documented.
        "hive": [
            "pymetastore>=0.4.2,<0.5",
            "impyla>=0.24,<0.25",
            "thrift>=0.23,<1",
            "thrift-sasl>=0.4.3,<0.5",
            "pure-sasl>=0.6.2,<1",
        ],
        "hive-kerberos": ["kerberos>=1.3,<2"],  # builds against libkrb5-dev
    },
    entry_points={"console_scripts": ["hivemill=hivemill.pipeline.cli.main:entry"]},
)
