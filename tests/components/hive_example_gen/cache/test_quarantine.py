"""Rows that do not fit, from real files to the quarantine, the record, the manifest and the refusal."""

import datetime
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from hivemill.common.errors import DataCorruptError, DataNotReadyError, InfrastructureError
from hivemill.components.hive_example_gen import manifest
from hivemill.components.hive_example_gen.cache import quarantine
from hivemill.components.hive_example_gen.cache.quarantine import QuarantineWriter
from hivemill.components.hive_example_gen.convert import convert_partition
from hivemill.components.hive_example_gen.formats import bad_rows
from hivemill.components.hive_example_gen.formats.bad_rows import BadRow, BadRows
from hivemill.components.hive_example_gen.options import BadRowOptions, SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning.window import plan_window

DATE = datetime.date(2026, 11, 15)
WINDOW = WindowOptions(train_days=2, validation_days=1, eval_days=1)
GOOD = b"7\x01good\n"
DEFAULTS = BadRowOptions()


class Case:
    """Three days with 100 good rows each: one of each split."""

    def __init__(self, folder, **options):
        self.table = folder / "t"
        self.kept = str(folder / "partitions")
        self.options = {"columns": {"id": "bigint", "name": "string"}, **options}
        for day in (13, 14, 15):
            self.write(day, GOOD * 100)

    def write(self, day, data, name="000000_0"):
        folder = self.table / f"dt=2026-11-{day}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)

    def plan(self):
        return plan_window(SourceOptions(table=str(self.table), **self.options), WINDOW, DATE, self.kept)

    def convert(self, options=DEFAULTS):
        plan = self.plan()
        records = {p.fingerprint: convert_partition(p, str(self.table), options, self.kept) for p in plan.partitions}
        return plan, records

    def check(self, max_share=0.001):
        plan, records = self.convert()
        quarantine.check_shares(plan, records, max_share, self.kept)


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


def _lines(path):
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def _of(plan, records, split):
    (partition,) = plan.splits[split]
    return partition, records[partition.fingerprint]


def test_bad_rows_are_kept_with_file_row_column_and_cause(case):
    case.write(13, GOOD + b"x\x01a\n" + GOOD + b"8\x01\xff\xfe\n")
    case.write(13, GOOD + GOOD + b"9.5.1\x01b\n", "000001_0")
    partition, record = _of(*case.convert(), "train")
    assert (record.rows, record.rows_read, record.bad_rows, record.num_bad_rows) == (
        4,
        4,
        {"encoding": 1, "value": 2},
        3,
    )
    path = Path(case.kept) / partition.fingerprint / quarantine.FILE_NAME
    rows = [json.loads(line) for line in _lines(path)]
    assert sorted((row["file"], row["row"], row["cause"], row["column"]) for row in rows) == [
        ("dt=2026-11-13/000000_0", 2, "value", "id"),
        ("dt=2026-11-13/000000_0", 4, "encoding", "name"),
        ("dt=2026-11-13/000001_0", 3, "value", "id"),
    ]
    assert all(set(row) == {"file", "row", "cause", "column", "message", "raw"} for row in rows)
    assert {row["raw"] for row in rows} == {"x\x01a", "8\x01\\xff\\xfe", "9.5.1\x01b"}
    assert sorted(str(row) for row in quarantine.read(case.kept, partition.fingerprint)) == sorted(
        f"{row['file']}: row {row['row']}"
        + (f", column {row['column']!r}" if row["column"] else "")
        + f": {row['message']}"
        for row in rows
    )


def test_a_partition_without_bad_rows_has_no_quarantine(case):
    partition, record = _of(*case.convert(), "train")
    assert (record.bad_rows, record.row_notes) == ({}, {})
    folder = Path(case.kept) / partition.fingerprint
    assert sorted(path.name for path in folder.iterdir()) == ["data-00000.gz", "partition.json"]
    assert list(quarantine.read(case.kept, partition.fingerprint)) == []


def test_the_same_rows_give_the_same_bytes(case):
    case.write(13, b"x\x01a\n" + GOOD)
    partition, _ = _of(*case.convert(), "train")
    path = Path(case.kept) / partition.fingerprint / quarantine.FILE_NAME
    first = path.read_bytes()
    os.rename(case.kept, case.kept + "_of_first")
    case.convert()
    assert path.read_bytes() == first


def test_more_than_the_share_of_a_split_is_refused_and_quoted(case):
    case.write(13, GOOD * 90 + b"x\x01a\n" * 8 + b"8\x01\xff\n" * 2)
    with pytest.raises(DataNotReadyError) as raised:
        case.check()
    error = raised.value
    assert error.exit_code == 3
    first, *lines = error.message.split("\n")
    assert first == (
        "10 of the 100 rows of split 'train' (10.0 %) cannot be read, more than source.bad_rows.max_share allows "
        "(0.1 %): 8 value, 2 encoding"
    )
    assert len(lines) == 6
    assert sum("dt=2026-11-13/000000_0: row 91, column 'id': " in line for line in lines) == 1
    assert all("; the row begins " in line for line in lines[:5])
    assert lines[5].startswith("  kept of dt=2026-11-13 (10): zcat ") and lines[5].endswith("quarantine.jsonl.gz")
    assert os.path.exists(lines[5].split("zcat ")[1])
    assert "hivemill data quarantine --date 2026-11-15" in error.hint


def test_a_share_that_is_allowed_goes_on_and_the_conversion_is_kept(case):
    case.write(13, GOOD * 90 + b"x\x01a\n" * 10)
    with pytest.raises(DataNotReadyError):
        case.check()
    assert all(partition.cached for partition in case.plan().partitions)
    case.check(max_share=0.1)


def test_the_share_is_that_of_the_split_and_not_of_a_partition(tmp_path):
    case = Case(tmp_path)
    case.write(13, b"x\x01a\n")
    case.write(13, GOOD * 999, "000001_0")
    case.check(max_share=0.001)
    with pytest.raises(DataNotReadyError, match=r"1 of the 1,000 rows of split 'train' \(0.1 %\)"):
        case.check(max_share=0.0009)


def test_a_partition_of_bad_rows_only(case):
    case.write(15, b"x\x01a\n" * 5)
    plan, records = case.convert()
    _, record = _of(plan, records, "eval")
    assert (record.rows, record.shards, record.bad_rows) == (0, (), {"value": 5})
    with pytest.raises(DataNotReadyError, match=r"5 of the 5 rows of split 'eval' \(100.0 %\)"):
        quarantine.check_shares(plan, records, 0.5, case.kept)
    quarantine.check_shares(plan, records, 1.0, case.kept)


def test_the_manifest_counts_them_by_partition_and_split(case):
    case.write(13, GOOD * 3 + b"x\x01a\n")
    case.write(15, GOOD * 5 + b"7\n")
    plan, records = case.convert()
    document = manifest.build_manifest(plan, records)
    assert document["bad_rows"] == {"train": {"value": 1}}
    assert document["rows_read"] == {"train": 3, "validation": 100, "eval": 6}
    assert document["row_notes"] == {"eval": {"short_row": 1}}
    first, *_, last = document["partitions"]
    assert (first["bad_rows"], first["quarantine"]) == ({"value": 1}, f"{first['fingerprint']}/quarantine.jsonl.gz")
    assert (last["row_notes"], "quarantine" in last) == ({"short_row": 1}, False)
    assert quarantine.summary(document) == (
        "1 of 110 rows (0.91 %) cannot be read and are left out (train 1: 1 value); "
        "`hivemill data quarantine --date 2026-11-15`"
    )


def test_a_clean_run_has_no_summary(case):
    assert quarantine.summary(manifest.build_manifest(*case.convert())) is None


def test_garbage_is_not_read_to_its_end(case, monkeypatch):
    monkeypatch.setattr(bad_rows, "HOPELESS_ROWS", 50)
    case.write(13, GOOD * 400 + b"x\x01a\n" * 100)
    with pytest.raises(
        DataNotReadyError, match=r"51 of the first \d+ rows \(\d+\.\d %\) cannot be read, so that"
    ) as raised:
        case.convert()
    assert raised.value.message.count("\n") == 5
    assert "delimiters" in raised.value.hint
    assert not [name for name in os.listdir(case.kept) if "2026" in name or name.startswith(".")]


def test_many_bad_rows_among_very_many_good_ones_are_read_to_the_end(case, monkeypatch):
    monkeypatch.setattr(bad_rows, "HOPELESS_ROWS", 50)
    case.write(13, (GOOD * 19 + b"x\x01a\n") * 100)
    assert _of(*case.convert(), "train")[1].num_bad_rows == 100


def test_a_share_that_is_allowed_is_never_hopeless(case, monkeypatch):
    monkeypatch.setattr(bad_rows, "HOPELESS_ROWS", 50)
    case.write(13, (GOOD + b"x\x01a\n") * 100)
    assert _of(*case.convert(BadRowOptions(max_share=0.5)), "train")[1].num_bad_rows == 100


def test_rows_of_earlier_files_count_for_hope(monkeypatch):
    monkeypatch.setattr(bad_rows, "HOPELESS_ROWS", 2)
    bad = BadRows()
    bad.start_file()
    bad.good_rows = 100
    bad.start_file()
    for row in range(1, 12):
        bad.add("f", row, "value", "no", b"x")
    with pytest.raises(DataNotReadyError, match=r"12 of the first 112 rows"):
        bad.add("f", 12, "value", "no", b"x")


def test_memory_is_bounded_and_the_file_too(tmp_path, monkeypatch):
    monkeypatch.setattr(bad_rows, "HOPELESS_ROWS", 10**9)
    monkeypatch.setattr(bad_rows, "KEPT_IN_MEMORY", 3)
    monkeypatch.setattr(bad_rows, "KEPT_PER_PARTITION", 7)
    with QuarantineWriter(tmp_path) as writer:
        bad = BadRows(keep=writer.add)
        for row in range(1, 20):
            bad.add("f", row, "value", "no", b"\xff" * 10_000)
    assert (bad.total, len(bad.kept)) == (19, 3)
    lines = _lines(tmp_path / quarantine.FILE_NAME)
    assert len(lines) == 7
    assert len(json.loads(lines[0])["raw"]) == 4 * bad_rows.EXCERPT_BYTES


def test_names_and_rows_that_are_no_unicode_are_kept(tmp_path):
    row = BadRow("dt=x/\udcff", 1, "structure", "no JSON", None, 'a\ud800"\n\x00ü')
    with QuarantineWriter(tmp_path) as writer:
        writer.add(row)
    (line,) = _lines(tmp_path / quarantine.FILE_NAME)
    assert json.loads(line)["message"] == "no JSON"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_no_fault_of_the_file(case, monkeypatch):
    monkeypatch.setattr(quarantine, "FILE_NAME", "/dev/full")
    case.write(13, b"x\x01a\n" * 5_000 + GOOD * 100)
    with pytest.raises(InfrastructureError, match="the disk is full"):
        case.convert(BadRowOptions(max_share=1))


def test_a_quarantine_that_was_cut_gives_what_is_whole(case):
    case.write(13, b"".join(b"x%d\x01a\n" % row for row in range(2_000)))
    partition, _ = _of(*case.convert(BadRowOptions(max_share=1)), "train")
    path = Path(case.kept) / partition.fingerprint / quarantine.FILE_NAME
    path.write_bytes(path.read_bytes()[:2_000])
    rows = list(quarantine.read(case.kept, partition.fingerprint))
    assert 0 < len(rows) < 2_000
    assert rows[0].row == 1


# --- files that change while they are read


def _meddling(case, monkeypatch, meddle):
    """Calls `meddle` once, after the first batch of dt=2026-11-13 was read."""
    from hivemill.components.hive_example_gen import convert

    real, done = convert.flatten, []

    def flatten(batch, dropped):
        if not done:
            done.append(meddle())
        return real(batch, dropped)

    monkeypatch.setattr(convert, "flatten", flatten)


def _file(case):
    return case.table / "dt=2026-11-13" / "000000_0"


def test_a_file_that_shrinks_while_it_is_read(case, monkeypatch):
    case.write(13, GOOD * 3_000_000)  # more than one block
    _meddling(case, monkeypatch, lambda: os.truncate(_file(case), 9_000_000))
    with pytest.raises(
        DataNotReadyError, match=r"000000_0 changed after the window was planned: 9,000,000 bytes, then"
    ):
        case.convert()
    assert os.listdir(case.kept) == []


def test_a_file_that_is_replaced_by_one_of_the_same_size(case, monkeypatch):
    def replace():
        (case.table / "new").write_bytes(b"8\x01good\n" * 100)
        os.replace(case.table / "new", _file(case))

    _meddling(case, monkeypatch, replace)
    with pytest.raises(DataNotReadyError, match="changed after the window was planned"):
        case.convert()


def test_a_file_that_is_removed_while_it_is_read(case, monkeypatch):
    _meddling(case, monkeypatch, lambda: os.remove(_file(case)))
    with pytest.raises(DataNotReadyError, match="was there when the window was planned and is gone"):
        case.convert()


@pytest.mark.parametrize("cut", [1, 8, 200])
def test_a_truncated_gzip_is_refused_as_a_whole(case, cut):
    data = gzip.compress(b"".join(b"%d\x01row\n" % row for row in range(5_000)))
    case.write(13, data[:-cut])
    os.rename(_file(case), _file(case).with_suffix(".gz"))
    with pytest.raises(DataCorruptError, match=r"dt=2026-11-13/000000_0.gz .*"):
        case.convert()
    assert os.listdir(case.kept) == []


def test_a_gzip_that_shrinks_while_it_is_read_is_said_to_have_changed(case, monkeypatch):
    case.write(13, gzip.compress(os.urandom(30_000_000).hex().encode(), 1))
    file = _file(case)
    os.rename(file, file.with_suffix(".gz"))
    from hivemill.components.hive_example_gen.formats import reader

    real = reader.read_batches

    def shrinking(*arguments):
        os.truncate(file.with_suffix(".gz"), 1_000)
        yield from real(*arguments)

    monkeypatch.setattr(reader, "read_batches", shrinking)
    with pytest.raises(
        DataNotReadyError, match=r"000000_0\.gz changed after the window was planned: 1,000 bytes, then"
    ):
        case.convert()


@pytest.mark.parametrize("change", ["shrinks", "is overwritten"])
def test_a_parquet_file_that_changes_while_it_is_read(tmp_path, monkeypatch, change):
    case = Case(tmp_path, columns=None)
    table = pa.table({"id": range(200_000), "name": [f"name {row}" for row in range(200_000)]})
    for day in (13, 14, 15):
        pa.parquet.write_table(table, case.table / f"dt=2026-11-{day}" / "000000_0", row_group_size=20_000)
    file = _file(case)
    size = file.stat().st_size

    def meddle():
        if change == "shrinks":
            os.truncate(file, size // 2)
        else:
            with open(file, "r+b") as opened:
                opened.seek(size // 4)
                opened.write(b"\0" * (size // 2))

    _meddling(case, monkeypatch, meddle)
    with pytest.raises(DataNotReadyError, match=r"dt=2026-11-13/000000_0 changed after the window was planned"):
        case.convert()
    assert os.listdir(case.kept) == []


def test_rows_are_read_in_any_locale(tmp_path):
    """A scheduler often starts processes with LC_ALL=C."""
    kept, key = str(tmp_path), "ab" * 32
    folder = Path(kept) / key
    folder.mkdir(parents=True)
    with QuarantineWriter(folder) as writer:
        writer.add(BadRow("f", 1, "value", "no number", "stadt", "Köln 京都"))
    code = (
        "import sys\nfrom hivemill.components.hive_example_gen.cache import quarantine\n"
        "print(ascii([row.raw for row in quarantine.read(*sys.argv[1:])]))"
    )
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    said = subprocess.run([sys.executable, "-c", code, kept, key], env=environment, capture_output=True, text=True)
    assert said.stdout.strip() == ascii(["Köln 京都"]), said.stderr
