"""Fuzzes the readers of text, SequenceFile, RCFile and Avro, in memory: python tests/fuzz/fuzz_readers.py --help.

Two engines: atheris (coverage guided, libFuzzer; `pip install atheris`) and hypothesis (changed and random bytes). An
input must end in rows, bad rows, DataNotReadyError, DataCorruptError or ConfigError. Anything else is a finding, and
so are more than
TIMEOUT_S seconds of CPU time for one input and more memory than MEMORY_BYTES above the start for inputs of at most
MAX_BYTES.
The first byte of an input chooses the table (SerDe, types) that it is read as, and whether the bytes behind it are a
file or only its rows, around which a sound file is put (packed): damage of a file hides what lies behind it.
Prints the counts.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import datetime
import functools
import io
import itertools
import math
import mmap
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/components/hive_example_gen")]

TIMEOUT_S = 5
HANG_S = 120  # of the clock: other processes may have the machine
MAX_BYTES = 4096
MEMORY_BYTES = 512 << 20
ROUND_INPUTS = 50_000
INPUTS_PER_LIMIT = 500
OUTCOMES = ("rows", "bad rows", "refused", "empty")
READERS = ("text", "sequence_file", "rcfile", "avro")


def _instrumented() -> contextlib.AbstractContextManager:
    if "--child" not in sys.argv:
        return contextlib.nullcontext()
    import atheris

    return atheris.instrument_imports(include=["hivemill.components.hive_example_gen.formats"])


with _instrumented():
    from hivemill.components.hive_example_gen.formats.avro import avro_file
    from hivemill.components.hive_example_gen.formats.hadoop import rcfile, sequence_file
    from hivemill.components.hive_example_gen.formats.text import text_file as text

from hivemill.common.errors import ConfigError, DataCorruptError, DataNotReadyError  # noqa: E402
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows  # noqa: E402
from hivemill.components.hive_example_gen.formats.data_file import DataFile  # noqa: E402
from hivemill.components.hive_example_gen.table.hive_types import parse_type  # noqa: E402
from hivemill.components.hive_example_gen.table.spec import TableSpec  # noqa: E402
from tests.components.hive_example_gen.formats import hadoop_writers as writers  # noqa: E402

# One column each but the first: an input costs what its columns cost, some 20 calls of Arrow for each of them.
TABLES = (
    {"i": "int", "s": "string"},
    {"l": "array<bigint>"},
    {"d": "date"},
    {"m": "map<string,double>"},
    {"t": "timestamp"},
    {"r": "struct<a:tinyint,n:decimal(20,4)>"},
    {"v": "varchar(3)"},
    {"f": "float"},
    {"b": "binary"},
    {"x": "array<map<int,string>>"},
)
TYPES = {name: text for table in TABLES for name, text in table.items()}
ROW = {
    "i": 7,
    "s": "ab",
    "l": [1, None, 1 << 40],
    "d": datetime.date(2026, 1, 2),
    "m": [("k", 0.5), ("z", None)],
    "t": datetime.datetime(2026, 1, 2, 3, 4, 5, 6),
    "r": {"a": 1, "n": Decimal("1.5")},
    "v": "abc",
    "f": 0.5,
    "b": b"x",
    "x": [[(1, "a")], None],
}
TEXTS = {
    "i": b"7",
    "s": b"\\N",
    "l": b"1\x02\\N\x02-5",
    "d": b"2026-01-02",
    "m": b"k\x030.5\x02z\x031",
    "t": b"2026-01-02 03:04:05.6",
    "r": b"1\x021.5",
    "v": b"abc",
    "f": b"1.5e3",
    "b": b"eA==",
    "x": b"1\x04a\x032\x04b",
}
SERDES = {
    "text": ("lazy_simple", "multi_delimit", "open_csv", "json", "regex"),
    "sequence_file": ("lazy_binary", "lazy_simple"),
    "rcfile": ("lazy_binary_columnar", "columnar"),
    "avro": (None,),
}
PROPERTIES = {
    "lazy_simple": {"escape.delim": "\\"},
    "multi_delimit": {"field.delim": "||"},
    "regex": {"input.regex": r"(\S*) (\S*) (.*)"},
}
MODULES = {"text": text, "sequence_file": sequence_file, "rcfile": rcfile, "avro": avro_file}


@dataclass(frozen=True)
class MemoryFile(DataFile):
    data: bytes = b""

    def open(self) -> BinaryIO:
        return io.BytesIO(self.data)


def specs_of(reader: str) -> list[TableSpec]:
    """One for each SerDe and table; Avro's last one has no declared columns."""
    specs = []
    for serde in SERDES[reader]:
        tables = [dict.fromkeys(("a", "b", "c"), "string")] if serde in ("open_csv", "regex") else TABLES
        properties = PROPERTIES.get(serde, {})
        specs += [_spec(reader, columns, serde, properties) for columns in tables]
    return [*specs, _spec(reader, None, None, {})] if reader == "avro" else specs


def _spec(reader: str, columns: dict[str, str] | None, serde: str | None, properties: dict[str, str]) -> TableSpec:
    return TableSpec(format=reader, columns=columns, partition_columns={}, serde=serde, serde_properties=properties)


def target_of(reader: str) -> Callable[[bytes], str]:
    """Reads one input and says its outcome; raises whatever is not documented."""
    specs, read = specs_of(reader), MODULES[reader].read_batches

    def target(data: bytes) -> str:
        kind, choice = divmod(data[0] if data else 0, _CHOICES)
        spec = specs[choice % len(specs)]
        content = _PACKED[reader](data[1:], kind - 1) if kind and reader in _PACKED else data[1:]
        bad = BadRows()
        rows = 0
        try:
            for batch in read(MemoryFile("memory", "fuzzed", content), spec, bad):
                batch.validate()
                rows += batch.num_rows
        except (DataNotReadyError, DataCorruptError, ConfigError):
            return "refused"
        return "bad rows" if bad.total else "rows" if rows else "empty"

    return target


def seeds_of(reader: str) -> Iterator[bytes]:
    """Small whole files, and rows of each way to pack them, behind the byte that chooses."""
    for choice, spec in enumerate(specs_of(reader)):
        for body in _avro_bodies() if reader == "avro" else _BODIES[reader](spec):
            yield bytes([choice]) + body
        for kind in range(_WAYS_TO_PACK if reader in _PACKED else 0):
            yield bytes([(kind + 1) * _CHOICES + choice]) + _ROWS_TO_PACK[reader](spec)


def _text_bodies(spec: TableSpec) -> Iterator[bytes]:
    if spec.serde == "lazy_simple":
        line = b"\x01".join(TEXTS[name] for name in spec.columns)
        yield from (line + b"\n", line + b"\r\n" + line[:5] + b"\n" + line, b"\\N\x01\\\x01\\\\\x02\xff\n")
    elif spec.serde == "multi_delimit":
        line = b"||".join(TEXTS[name] for name in spec.columns)
        yield from (line + b"\n" + line, line + b"|||\x01\n||\n")
    elif spec.serde == "json":
        yield from (b'{"i":1,"l":[1,null]}\n', b'{"r":{"a":1},"t":"2026-01-02 03:04:05","m":{"k":1.5}}\n{}\n')
    else:
        yield from (b'"a","b\\"c",\n', b"a b c\nx\n")


def _row(spec: TableSpec) -> bytes:
    if spec.serde != "lazy_binary":
        return b"\x01".join(TEXTS[name] for name in spec.columns)
    return writers.lazy_row([parse_type(text) for text in spec.columns.values()], [ROW[name] for name in spec.columns])


def _cells(spec: TableSpec) -> list[bytes]:
    if spec.serde == "columnar":
        return [TEXTS[name] for name in spec.columns]
    return [writers.lazy_value(parse_type(text), ROW[name], prefix=False) for name, text in spec.columns.items()]


def _sequence_bodies(spec: TableSpec) -> Iterator[bytes]:
    value = _row(spec)
    for mode in ("plain", "record", "block"):
        yield writers.sequence_file([value] * 3, mode=mode)
    yield writers.sequence_file([value] * 2, value_class=writers.BYTES, version=5)


def _rcfile_bodies(spec: TableSpec) -> Iterator[bytes]:
    for options in _RCFILES:
        yield writers.rcfile([[cell] * 5 for cell in _cells(spec)], **options)


def _packed_sequence_file(data: bytes, kind: int) -> bytes:
    mode = ("plain", "record", "block")[kind]
    return writers.sequence_file(data.split(_BETWEEN_ROWS), mode=mode, block_rows=_PACKED_ROWS)


def _packed_rcfile(data: bytes, kind: int) -> bytes:
    columns = [column.split(_BETWEEN_ROWS) for column in data.split(_BETWEEN_COLUMNS)]
    rows = max(map(len, columns))
    cells = [[*column, *[b""] * (rows - len(column))] for column in columns]
    return writers.rcfile(cells, group_rows=_PACKED_ROWS, **_RCFILES[kind])


def _packed_avro(data: bytes, kind: int) -> bytes:
    """One block; its first byte says how many rows it announces."""
    head = _avro_file(_AVRO_COLUMNS[kind], "null", 0)
    block = data[1:]
    return head + _zigzag(data[0] % 8 if data else 0) + _zigzag(len(block)) + block + head[-16:]


def _zigzag(number: int) -> bytes:
    number, packed = number << 1, bytearray()
    while number >= 0x80:
        packed.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*packed, number])


def _avro_bodies() -> Iterator[bytes]:
    yield from (_avro_file(names, codec, 3) for codec in ("null", "deflate") for names in _AVRO_COLUMNS)


@functools.cache
def _avro_file(names: tuple[str, ...], codec: str, rows: int) -> bytes:
    import fastavro

    fields = [{"name": name, "type": _AVRO_FIELDS[name]} for name in names]
    out = io.BytesIO()
    row = {name: _AVRO_ROW[name] for name in names}
    fastavro.writer(out, {"type": "record", "name": "r", "fields": fields}, [row] * rows, codec=codec)
    return out.getvalue()


_CHOICES, _WAYS_TO_PACK = 64, 3
_PACKED_ROWS = 256  # in a group or block: each costs what the whole of a small file costs; the seeds have several
_BETWEEN_COLUMNS, _BETWEEN_ROWS = b"\xfd", b"\xfe"
_RCFILES = ({}, {"version": 0}, {"codec": "DefaultCodec"})
_AVRO_FIELDS = {
    "i": "int",
    "s": ["null", "string"],
    "l": {"type": "array", "items": ["null", "long"]},
    "m": {"type": "map", "values": "double"},
    "d": {"type": "int", "logicalType": "date"},
    "n": {"type": "bytes", "logicalType": "decimal", "precision": 8, "scale": 2},
    "e": {"type": "enum", "name": "E", "symbols": ["A", "B"]},
}
_AVRO_ROW = {"i": 1, "s": "ab", "l": [1, None], "m": {"k": 0.5}, "d": 5, "n": b"\x01\x02", "e": "A"}
_AVRO_COLUMNS = (("i",), ("i", "s", "l"), tuple(_AVRO_ROW))
_BODIES = {"text": _text_bodies, "sequence_file": _sequence_bodies, "rcfile": _rcfile_bodies}
_PACKED = {"sequence_file": _packed_sequence_file, "rcfile": _packed_rcfile, "avro": _packed_avro}
_ROWS_TO_PACK: dict[str, Callable[[TableSpec], bytes]] = {
    "sequence_file": lambda spec: _BETWEEN_ROWS.join([_row(spec)] * 3),
    "rcfile": lambda spec: _BETWEEN_COLUMNS.join(_BETWEEN_ROWS.join([cell] * 3) for cell in _cells(spec)),
    "avro": lambda spec: b"\x02" + b"\x02\x02\x04ab\x01\x02\x02\x02\x00" * 2,
}


def limited_memory() -> None:
    """MEMORY_BYTES above what is used now; called again and again, since libFuzzer itself grows with every input."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, resource.RLIM_INFINITY))


def child(reader: str, counters_path: str, arguments: list[str]) -> None:
    """One libFuzzer process; it ends without coming back, so the counts go through a shared file."""
    import atheris

    target = target_of(reader)
    with open(counters_path, "r+b") as file:
        counters = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")
    target(next(seeds_of(reader)))
    calls = itertools.count()

    def one_input(data: bytes) -> None:
        if not next(calls) % INPUTS_PER_LIMIT:
            limited_memory()
        counters[OUTCOMES.index(timed(target, data))] += 1

    atheris.Setup([sys.argv[0], *arguments], one_input)
    atheris.Fuzz()


def run_atheris(reader: str, seconds: float, runs: int, findings: Path) -> tuple[collections.Counter, bool]:
    """In rounds that share their corpus: libFuzzer itself takes a kilobyte more with every input."""
    ends = time.monotonic() + seconds
    total, fine = collections.Counter(), True
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "corpus").mkdir()
        for index, seed in enumerate(seeds_of(reader)):
            (Path(folder) / "corpus" / f"seed{index}").write_bytes(seed)
        while fine and (time.monotonic() < ends if seconds else total.total() < runs):
            inputs = ROUND_INPUTS if seconds else min(ROUND_INPUTS, runs - total.total())
            limits = [f"-max_total_time={math.ceil(ends - time.monotonic())}"] if seconds else []
            counts, fine = _atheris_round(reader, Path(folder), [f"-atheris_runs={inputs}", *limits], findings)
            total += counts
            print(f"{reader}: {total.total():,} inputs so far", file=sys.stderr, flush=True)
    return total, fine


def _atheris_round(reader: str, folder: Path, limits: list[str], findings: Path) -> tuple[collections.Counter, bool]:
    counters = folder / "counters"
    counters.write_bytes(bytes(8 * len(OUTCOMES)))
    command = [sys.executable, __file__, "--child", reader, str(counters), *limits, f"-timeout={HANG_S}",
               f"-max_len={MAX_BYTES}", f"-artifact_prefix={findings}/{reader}-", "-rss_limit_mb=0",
               "-detect_leaks=0", "-print_final_stats=1", str(folder / "corpus")]  # fmt: skip
    # Without arenas of its own for each thread of Arrow's: address space is what is limited.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-6000:], sep="\n")
    counts = memoryview(counters.read_bytes()).cast("Q").tolist()
    return collections.Counter(dict(zip(OUTCOMES, counts, strict=True))), not done.returncode


def run_hypothesis(reader: str, seconds: float, runs: int) -> tuple[collections.Counter, bool]:
    import hypothesis
    from hypothesis import strategies as st

    seeds = list(seeds_of(reader))
    target, counts = target_of(reader), collections.Counter()
    target(seeds[0])
    signal.signal(signal.SIGALRM, _too_slow)
    edits = st.lists(st.tuples(st.integers(0, MAX_BYTES), st.integers(0, 8), st.binary(max_size=8)), max_size=4)
    inputs = st.binary(max_size=200) | st.builds(edited, st.sampled_from(seeds), edits)
    ends = time.monotonic() + seconds

    @hypothesis.settings(
        max_examples=min(runs, 20_000) if runs else 20_000,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(inputs)
    def read(data: bytes) -> None:
        if seconds and time.monotonic() > ends:
            return
        signal.alarm(HANG_S)
        counts[timed(target, data)] += 1
        signal.alarm(0)

    while counts.total() < runs or (seconds and time.monotonic() < ends):
        read()
    return counts, True


def _too_slow(signum, frame) -> None:
    raise TimeoutError(f"an input took more than {HANG_S} s")


def timed(target: Callable[[bytes], str], data: bytes) -> str:
    """Raises TimeoutError for an input that took too long: one that seems to is read again, by its CPU time.

    The clock costs nothing to ask, CPU time is a system call, and the clock also counts what other processes take.
    """
    start = time.monotonic()
    outcome = target(data)
    if time.monotonic() - start > TIMEOUT_S:
        used = time.process_time()
        target(data)
        if time.process_time() - used > TIMEOUT_S:
            raise TimeoutError(f"an input took more than {TIMEOUT_S} s of CPU time")
    return outcome


def edited(seed: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for place, cut, inserted in edits:
        at = place % (len(seed) + 1)
        seed = seed[:at] + inserted + seed[at + cut :]
    return seed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", nargs="+", choices=READERS, default=list(READERS))
    parser.add_argument("--engine", choices=("atheris", "hypothesis"), default="atheris")
    parser.add_argument("--seconds", type=float, default=0, help="for each reader; goes before --runs")
    parser.add_argument("--runs", type=int, default=10_000, help="inputs for each reader")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="where inputs that fail are kept")
    options = parser.parse_args()
    options.findings.mkdir(exist_ok=True)
    print(f"{'reader':15} {'inputs':>12} {'per s':>8}  " + "  ".join(f"{name:>10}" for name in OUTCOMES))
    whole = True
    for reader in options.readers:
        start = time.monotonic()
        if options.engine == "atheris":
            counts, fine = run_atheris(reader, options.seconds, options.runs, options.findings.resolve())
        else:
            counts, fine = run_hypothesis(reader, options.seconds, 0 if options.seconds else options.runs)
        per_second = counts.total() / (time.monotonic() - start)
        columns = "  ".join(f"{counts[name]:10,}" for name in OUTCOMES)
        print(
            f"{reader:15} {counts.total():12,} {per_second:8,.0f}  {columns}" + ("" if fine else "  FAILED"), flush=True
        )
        whole &= fine
    with contextlib.suppress(OSError):
        options.findings.rmdir()  # empty: nothing was found
    return 0 if whole else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3], sys.argv[4:])
    sys.exit(main())
