"""A real metastore service and a real HiveServer2 (Spark's Thrift server), both from the pyspark wheel.

The metastore listens on all interfaces, so the services live in a network namespace of their own, in which they have
their usual ports; only `inside` reaches them.
"""

import concurrent.futures
import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated

from hivemill.components.hive_example_gen.catalog.auth import transport as login
from hivemill.components.hive_example_gen.catalog.auth.transport import Address
from hivemill.components.hive_example_gen.options import HiveOptions

METASTORE_PORT, SERVER_PORT = 9083, 10000
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_SET_FLAGS, _UP_AND_RUNNING = 0x8914, 0x41
_START_SECONDS = 180


class RealHive:
    """`inside` runs a function where the services can be reached; `server` is the Thrift server's process."""

    def __init__(self, python, folder):
        self.folder = Path(folder)
        self.home = _output(python, "import os, pyspark; print(os.path.dirname(pyspark.__file__))")
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._started = []
        self.server = None

    def inside(self, function, *arguments, **options):
        return self._thread.submit(function, *arguments, **options).result()

    def start(self):
        """Raises PermissionError where this process may not make a namespace."""
        self.inside(_enter_new_network)
        self._start("metastore", self._metastore(), METASTORE_PORT)
        self.server = self._start("server", self._thrift_server(), SERVER_PORT)

    def stop(self):
        for process in reversed(self._started):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._thread.shutdown()

    def run(self, *statements):
        """Runs statements at the server."""
        self.inside(_run, statements)

    def metastore(self, change):
        """Calls `change` with a client of the metastore."""
        return self.inside(_changed, change)

    def _metastore(self):
        settings = [
            "-Dhive.async.log.enabled=false",
            f"-Dderby.system.home={self.folder}",
            f"-Djavax.jdo.option.ConnectionURL=jdbc:derby:;databaseName={self.folder}/db;create=true",
            "-Ddatanucleus.schema.autoCreateAll=true",
            "-Dhive.metastore.schema.verification=false",
            f"-Dhive.metastore.warehouse.dir={self.folder}/warehouse",
        ]
        main = "org.apache.hadoop.hive.metastore.HiveMetaStore"
        return [f"{self.home}/bin/spark-class", *settings, main, "-p", str(METASTORE_PORT)]

    def _thrift_server(self):
        settings = {
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.sql.session.timeZone": "UTC",
            "spark.driver.extraJavaOptions": f"-Duser.timezone=UTC -Dderby.system.home={self.folder}",
            "spark.sql.warehouse.dir": f"{self.folder}/warehouse",
            "spark.sql.thriftServer.incrementalCollect": "true",
            "spark.hadoop.hive.metastore.uris": f"thrift://127.0.0.1:{METASTORE_PORT}",
            "spark.hadoop.hive.server2.thrift.bind.host": "127.0.0.1",
            "spark.hadoop.hive.server2.thrift.port": SERVER_PORT,
            "spark.hadoop.hive.exec.dynamic.partition.mode": "nonstrict",
        }
        said = [part for key, value in settings.items() for part in ("--conf", f"{key}={value}")]
        main = "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2"
        return [
            f"{self.home}/bin/spark-submit", "--master", "local[2]", "--driver-memory", "1g",
            "--class", main, *said, "spark-internal",
        ]  # fmt: skip

    def _start(self, name, command, port):
        log = self.folder / f"{name}.log"
        process = self.inside(_launched, command, self.folder, log, self.home)
        self._started.append(process)
        deadline = time.monotonic() + _START_SECONDS
        while not self.inside(_listens, port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the {name} does not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.5)
        return process


def _enter_new_network():
    """For this thread, and the processes that it starts. Its loopback interface begins switched off."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_NETWORK):
        raise PermissionError(ctypes.get_errno(), "this process may not make a network namespace")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh", b"lo", _UP_AND_RUNNING))


def _launched(command, folder, log, home):
    environment = {**os.environ, "SPARK_HOME": home, "TZ": "UTC"}
    with open(log, "wb") as out:
        return subprocess.Popen(command, stdout=out, stderr=out, cwd=folder, env=environment, start_new_session=True)


def _listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _output(python, code):
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def _run(statements):
    import impala.dbapi

    connection = impala.dbapi.connect("127.0.0.1", SERVER_PORT, auth_mechanism="PLAIN")
    cursor = connection.cursor()
    for statement in statements:
        cursor.execute(statement)
    cursor.close()
    connection.close()


def _changed(change):
    from pymetastore.hive_metastore import ThriftHiveMetastore

    transport = login.open_transport(Address("127.0.0.1", METASTORE_PORT), HiveOptions())
    try:
        return change(ThriftHiveMetastore.Client(TBinaryProtocolAccelerated(transport)))
    finally:
        transport.close()
