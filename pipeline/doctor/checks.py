"""`hivemill doctor`: what a run needs, checked before it costs anything. Imports no TensorFlow.

Each check gives one or more findings; a failed one names its fix.
"""

from __future__ import annotations

import datetime
import os
import platform
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hivemill.common.errors import ConfigError, HivemillError
from hivemill.common.storage import object_store, urls
from hivemill.pipeline.doctor import serving
from hivemill.pipeline.doctor.findings import DoctorFinding, failed

if TYPE_CHECKING:
    from hivemill.pipeline.config.schema import PipelineConfig
    from hivemill.pipeline.metadata.options import MetadataOptions

PYTHONS = ((3, 10), (3, 13))
NEEDED = {
    "tfx": "1.21",
    "tensorflow-transform": "1.21",
    "tfx-bsl": "1.21",
    "tensorflow-model-analysis": "0.52",
    "tf-keras": "2.21",
    "tensorboard": "",
    "apache-beam": "",
    "pyarrow": "",
    "pydantic": "2",
}
TENSORFLOWS = ("tensorflow-cpu", "tensorflow")
GLIBC_BOUND = {"ml-metadata": "1.17.1", "tensorflow-data-validation": "1.16.1"}
"""Libraries whose newest wheels need GLIBC_OF_NEW_WHEELS, with the last version that loads on older systems."""
GLIBC_OF_NEW_WHEELS = (2, 39)
LOW_DISK_BYTES = 2 * 2**30
_INSTALL = "Install what requirements/requirements.lock names: `make env`."


def examine(config_path: Path, overrides: Sequence[str] = ()) -> list[DoctorFinding]:
    """All findings, in the order in which to repair them."""
    return [*_python(), *_libraries(), *_glibc(), *_java(), *_of_config(config_path, overrides)]


def exit_code(findings: Sequence[DoctorFinding]) -> int:
    """That of the first failed finding; 0 without one."""
    return next((finding.exit_code for finding in findings if finding.state == "failed"), 0)


def _python() -> Iterator[DoctorFinding]:
    version = platform.python_version()
    lowest, highest = PYTHONS
    if lowest <= sys.version_info[:2] <= highest:
        yield DoctorFinding("python", "ok", version)
    else:
        rule = f"{lowest[0]}.{lowest[1]} to {highest[0]}.{highest[1]} are supported; this is {version}"
        yield failed("python", rule, "Make the environment with Python 3.11: `make env`.")


def _libraries() -> Iterator[DoctorFinding]:
    for name, wanted in NEEDED.items():
        installed = _version_of(name)
        if installed is None:
            yield failed(name, "is not installed", _INSTALL)
        elif wanted and not f"{installed}.".startswith(f"{wanted}."):
            yield failed(name, f"{wanted} is needed; {installed} is installed", _INSTALL)
        else:
            yield DoctorFinding(name, "ok", installed)
    tensorflows = {name: _version_of(name) for name in TENSORFLOWS}
    found = [f"{name} {version}" for name, version in tensorflows.items() if version]
    if found:
        yield DoctorFinding("tensorflow", "ok", ", ".join(found))
    else:
        yield failed("tensorflow", "neither tensorflow-cpu nor tensorflow is installed", _INSTALL)


def _glibc() -> Iterator[DoctorFinding]:
    glibc = _glibc_version()
    for name, last_for_old in GLIBC_BOUND.items():
        installed = _version_of(name)
        if installed is None:
            yield failed(name, "is not installed", _INSTALL)
        elif glibc is not None and glibc < GLIBC_OF_NEW_WHEELS and _numbers(installed) > _numbers(last_for_old):
            wanted = ".".join(map(str, GLIBC_OF_NEW_WHEELS))
            rule = f"{installed} needs glibc {wanted}, this system has {'.'.join(map(str, glibc))}"
            fix = f"Take {last_for_old} (requirements/overrides.txt; `make env` does), or Debian 13 or Ubuntu 24.04."
            yield failed(name, rule, fix)
        else:
            system = f"glibc {'.'.join(map(str, glibc))}" if glibc else f"{platform.system()}, no glibc"
            yield DoctorFinding(name, "ok", f"{installed} ({system})")


def _java() -> Iterator[DoctorFinding]:
    java = shutil.which("java")
    if java is None:
        yield DoctorFinding("java", "note", "not found; only Spark and Flink as Beam runners need it")
        return
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=False).stderr
    except (OSError, subprocess.SubprocessError) as error:
        yield DoctorFinding("java", "note", f"{java} does not answer ({error}); only Beam on Spark and Flink needs it")
        return
    yield DoctorFinding("java", "ok", (said.splitlines() or [java])[0])


def _of_config(path: Path, overrides: Sequence[str]) -> Iterator[DoctorFinding]:
    from hivemill.pipeline.config import loader as config

    try:
        loaded = config.load(path, overrides)
        loaded.config.semantic_fingerprint()  # reads the DDL and the curated schema
    except ConfigError as error:
        yield failed("config", error.message, error.hint or f"Correct {path}.", ConfigError)
        return
    yield DoctorFinding("config", "ok", f"{path}: {len(loaded.config.features)} features")
    yield from _bucket(loaded.config) if urls.is_url(loaded.config.root) else _root(loaded.config.root_path())
    yield from _metadata(loaded.config.metadata)
    yield from _source(loaded.config.source)
    yield from _worker_pools((*loaded.config.runner.beam_args, *loaded.config.runner.orchestrator_args))
    yield from serving.findings(loaded.config)


def _worker_pools(beam_args: Sequence[str]) -> Iterator[DoctorFinding]:
    from hivemill.pipeline.doctor import worker_python

    pool = worker_python.pool_address(beam_args)
    if pool is None:
        return
    told, wanted = worker_python.ask(pool), worker_python.wanted()
    if told is None:
        yield _silent_pool(pool, beam_args)
    elif told == wanted:
        yield DoctorFinding("worker pool", "ok", f"{pool}: Hivemill's, Python {told[0]}, Apache Beam {told[1]}")
    elif told:
        fix = "Start it with this environment's Python (docs/clusters.md)."
        yield failed("worker pool", f"{pool}: Python and Apache Beam are {told}; {wanted} are needed", fix)
    else:
        yield _pool_of_beam(pool)


def _silent_pool(pool: str, beam_args: Sequence[str]) -> DoctorFinding:
    port = pool.rpartition(":")[2]
    start = f"Start `python -m hivemill.pipeline.orchestrators.beam.worker_pool --service_port={port}` there."
    if "--job_endpoint=embed" in beam_args:
        return failed("worker pool", f"{pool} does not answer as a worker pool does", start)
    # A pool beside each task manager: what this machine sees says nothing about theirs.
    return DoctorFinding(
        "worker pool", "note", f"{pool} does not answer from here; workers of a cluster need it there", start
    )


def _pool_of_beam(pool: str) -> DoctorFinding:
    from hivemill.pipeline.doctor.worker_python import is_local, why_wrong

    if not is_local(pool):
        message = f"{pool}: Beam's own, which starts `python` from a PATH that cannot be seen from here"
        return DoctorFinding("worker pool", "note", message, "Run `hivemill doctor` there.")
    wrong = why_wrong()
    if wrong is None:
        return DoctorFinding(
            "worker pool", "ok", f"{pool}: Beam's own; `python` on PATH has this version and Apache Beam"
        )
    fix = "Put this environment's bin folder first in PATH, and start the pool again (docs/clusters.md)."
    return failed("worker pool", f"{pool}: {wrong}", fix)


def _metadata(options: MetadataOptions) -> Iterator[DoctorFinding]:
    """Of a server. Its file lies below the root, which is examined anyway."""
    if options.backend == "sqlite":
        return
    from hivemill.pipeline.metadata.options import PASSWORD_VARIABLE
    from hivemill.pipeline.metadata.probe import why_silent

    place = f"{options.host}:{options.port}"
    silent = why_silent(options.host, options.port)
    if silent is not None:
        yield failed("metadata", f"{place} does not answer: {silent}", "Start the server, or correct metadata.host.")
    elif not os.environ.get(PASSWORD_VARIABLE):
        yield failed("metadata", f"the environment has no {PASSWORD_VARIABLE}", f"Set it for user {options.user}.")
    else:
        yield DoctorFinding("metadata", "ok", f"{place} answers; the first run tries the login")


def _bucket(config: PipelineConfig) -> Iterator[DoctorFinding]:
    """Of a root in an object store: writes, lists, reads and removes one object, which nobody looks for."""
    place = urls.shown(config.root)
    if config.metadata.backend != "mysql":
        fix = "Set metadata.backend to mysql, and host and user (only `compile --engine vertex` needs none)."
        yield failed("metadata", f"root is {place}, and a SQLite file cannot be there", fix, ConfigError)
    probe = object_store.join(config.root, "locks", "doctor", uuid.uuid4().hex)
    try:
        object_store.write_bytes(probe, b"doctor")
        is_right = object_store.read_bytes(probe) == b"doctor" and bool(object_store.sizes(probe.rpartition("/")[0]))
        object_store.delete(probe)
    except HivemillError as error:
        yield failed("root", error.message, error.hint or "Correct `root`.", type(error))
        return
    if is_right:
        yield DoctorFinding("root", "ok", f"{place} can be written, listed and read")
    else:
        fix = "Locks need a store whose listings show finished writes at once (S3 and Cloud Storage do)."
        yield failed("root", f"{place}: an object that was just written was not found", fix)


def _root(root: Path) -> Iterator[DoctorFinding]:
    """Looks at the nearest folder that exists: a check must leave nothing behind."""
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    fix = "Set `root` to a folder that this user may write."
    if not existing.is_dir():
        yield failed("root", f"{existing} is a file", fix)
        return
    if not os.access(existing, os.W_OK | os.X_OK):
        yield failed("root", f"{existing} cannot be written", fix)
        return
    yield DoctorFinding("root", "ok", f"{root} can be written")
    free = shutil.disk_usage(existing).free
    message = f"{free / 2**30:.1f} GiB free below {existing}"
    if free < LOW_DISK_BYTES:
        rule = f"{message}; a run should have {LOW_DISK_BYTES / 2**30:.0f} GiB"
        yield failed("disk", rule, "Free some space, or set `root` to another disk.")
    else:
        yield DoctorFinding("disk", "ok", message)


def _source(source: Any) -> Iterator[DoctorFinding]:
    if source.query is None and "://" not in source.place:
        yield from _folder(source)
        return
    try:
        yield DoctorFinding("source", "ok", _answer(source))
    except HivemillError as error:
        yield failed("source", error.message, error.hint or "Correct `source`.", type(error))


def _answer(source: Any) -> str:
    """What the metastore, HiveServer2 or filesystem says when it is really asked. Raises HivemillError."""
    if source.query is not None:
        from hivemill.components.hive_example_gen.catalog.hiveserver2 import query

        columns = query.result_definition(source, datetime.date.today()).columns
        return f"{source.server}: answers, and gives {len(columns)} columns for source.query"
    if source.place.startswith("hive://"):
        from hivemill.components.hive_example_gen.catalog import metastore

        _, names = metastore.all_partitions(source)
    else:
        from hivemill.components.hive_example_gen.catalog import directory

        names = [name for name in directory.table_folders(source) if "=" in name]
    from hivemill.components.hive_example_gen.catalog import table_files

    if not names:
        raise ConfigError(
            f"{table_files.shown(source.place)} answers, and has no partition", hint="Load it, or correct source.table."
        )
    return f"{table_files.shown(source.place)}: {len(names)} of {min(names)} to {max(names)}"


def _folder(source: Any) -> Iterator[DoctorFinding]:
    table = Path(source.table)
    if not table.is_dir():
        rule = f"{table} is not a folder"
        yield failed("source", rule, "Correct source.table: the folder that holds the partitions.", ConfigError)
        return
    try:
        partition_columns = _partition_columns(source)
    except HivemillError as error:
        yield failed("source", error.message, error.hint or "Correct source.ddl.", ConfigError)
        return
    partitions = sorted(each.name for each in table.glob(f"{partition_columns[0]}=*") if each.is_dir())
    if partitions:
        yield DoctorFinding("source", "ok", f"{table}: {len(partitions)} of {partitions[0]} to {partitions[-1]}")
        return
    there = ", ".join(sorted(each.name for each in table.iterdir())[:3]) or "nothing"
    rule = f"{table} has no partition {partition_columns[0]}=...; it holds: {there}"
    yield failed("source", rule, "Correct source.table or source.partition_columns.", ConfigError)


def _partition_columns(source: Any) -> list[str]:
    if source.ddl:
        from hivemill.components.hive_example_gen.table.spec import resolve_spec

        return list(resolve_spec(source).partition_columns)
    return list(source.partition_columns)


def _version_of(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _glibc_version() -> tuple[int, ...] | None:
    name, version = platform.libc_ver()
    return _numbers(version)[:2] if name == "glibc" else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
