"""`hivemill data collect` as a user types it: partitions, refusals, a kill at any moment."""

import datetime
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipeline.shop import hivemill, tree

ROOT = Path(__file__).parents[2]
FIRST = datetime.date(2025, 9, 8)
USERS = 40


def rows_of(day, count=USERS):
    """Exposures and features of a day, one request each."""
    times = [datetime.datetime.combine(day, datetime.time(9)) + datetime.timedelta(minutes=n) for n in range(count)]
    ids = [f"{day}-{number}/0" for number in range(count)]
    exposures = {
        "request_time": times,
        "user_id": [str(number % 7) for number in range(count)],
        "request_id": ids,
        "model_version": [17] * count,
        "variant": ["canary" if number % 7 < 3 else "stable" for number in range(count)],
        "propensity": [0.3 if number % 7 < 3 else 0.7 for number in range(count)],
        "prediction": [0.25] * count,
        "click": [int(number % 5 == 0) for number in range(count)],
    }
    features = {
        "request_id": ids[::-1],
        "user_id": [number % 7 for number in range(count)][::-1],
        "price": [float(number) for number in range(count)][::-1],
        "tags": [["a"] * (number % 3) for number in range(count)][::-1],
    }
    return exposures, features


def write(folder, log, day, columns, name="part-0.parquet"):
    place = folder / log / f"dt={day}"
    place.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), place / name)


class Logs:
    def __init__(self, folder, capsys):
        self.folder, self._capsys, self.table = folder, capsys, folder / "clicks"

    def add(self, day, exposures=None, features=None):
        first, second = rows_of(day)
        write(self.folder, "exposures", day, {**first, **(exposures or {})})
        write(self.folder, "impressions", day, {**second, **(features or {})})

    def words(self, *more):
        names = [str(self.folder / name) for name in ("exposures", "impressions", "clicks")]
        return ["data", "collect", *names, *more]

    def collect(self, *more):
        """(exit code, the JSON document)."""
        self._capsys.readouterr()
        code = hivemill(Path("hivemill.yaml"), *self.words(*more), "--json")
        return code, json.loads(self._capsys.readouterr().out)

    def refused(self, *more):
        """(exit code, message and hint)."""
        code, document = self.collect(*more)
        return code, f"{document['error']['message']} {document['error']['hint']}"


@pytest.fixture
def logs(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = Logs(tmp_path, capsys)
    for number in range(2):
        made.add(FIRST + datetime.timedelta(days=number))
    return made


BOTH = ("--from", "2025-09-08", "--to", "2025-09-09")


def test_each_day_is_a_partition(logs):
    code, document = logs.collect(*BOTH)
    assert code == 0 and document["not_features"] == [
        "request_id",
        "model_version",
        "variant",
        "propensity",
        "prediction",
    ]
    assert {day: facts["state"] for day, facts in document["days"].items()} == dict.fromkeys(
        document["days"], "written"
    )
    assert list(document["days"]) == ["2025-09-08", "2025-09-09"]
    assert {facts["rows"] for facts in document["days"].values()} == {USERS}
    table = pq.ParquetFile(logs.table / "dt=2025-09-09" / "000000_0").read()
    assert table["price"].to_pylist() == [float(number) for number in range(USERS)]
    assert table["click"].to_pylist() == [int(number % 5 == 0) for number in range(USERS)]
    assert table["variant"].to_pylist() == ["canary" if number % 7 < 3 else "stable" for number in range(USERS)]
    assert set(table["model_version"].to_pylist()) == {"17"}
    assert "dt" not in table.column_names
    before = tree(logs.table)
    code, document = logs.collect(*BOTH)
    assert code == 0 and {facts["state"] for facts in document["days"].values()} == {"unchanged"}
    assert tree(logs.table) == before


def test_one_day_and_text_for_people(logs, capsys):
    assert hivemill(Path("hivemill.yaml"), *logs.words("--from", "2025-09-09")) == 0
    assert [word for word in capsys.readouterr().out.splitlines()[2].split()][:4] == [
        "2025-09-09",
        "written",
        "40",
        "40",
    ]
    assert sorted(path.name for path in logs.table.iterdir()) == [".collect.lock", "dt=2025-09-09"]


def test_a_request_that_is_logged_after_midnight_is_found(logs):
    exposures, features = rows_of(datetime.date(2025, 9, 10))
    write(logs.folder, "exposures", datetime.date(2025, 9, 10), exposures)
    write(logs.folder, "impressions", datetime.date(2025, 9, 11), features)
    code, document = logs.collect("--from", "2025-09-10")
    assert code == 0 and document["days"]["2025-09-10"]["rows"] == USERS


def test_late_clicks_replace_a_day_when_told(logs):
    logs.collect(*BOTH)
    logs.add(FIRST, {"click": [1] * USERS})
    code, said = logs.refused(*BOTH)
    assert code == 2 and "dt=2025-09-08 exists with other content" in said and "--overwrite" in said
    code, document = logs.collect(*BOTH, "--overwrite")
    assert code == 0
    assert [facts["state"] for facts in document["days"].values()] == ["written", "unchanged"]
    assert document["days"]["2025-09-08"]["clicks"] == USERS


def test_a_day_that_is_not_ready_is_exit_code_3(logs):
    today = datetime.datetime.now(datetime.timezone.utc).date()
    code, said = logs.refused("--from", today.isoformat())
    assert code == 3 and "is not over" in said
    code, said = logs.refused("--from", "2025-09-09", "--to", "2025-09-10")
    assert code == 3 and "no row of 2025-09-10" in said
    assert (logs.table / "dt=2025-09-09").is_dir() and not (logs.table / "dt=2025-09-10").exists()
    logs.add(FIRST, {"click": [None, *[0] * (USERS - 1)]})
    code, said = logs.refused("--from", "2025-09-08")
    assert code == 3 and "click is not known of 1 of 40" in said
    code, document = logs.collect("--from", "2025-09-08", "--unknown-clicks", "drop")
    assert code == 0 and document["days"]["2025-09-08"]["rows"] == USERS - 1


def test_lost_features_stop_a_day_unless_they_are_few(logs):
    exposures, _ = rows_of(FIRST)
    logs.add(FIRST, {"request_id": ["gone", *exposures["request_id"][1:]]})
    code, said = logs.refused("--from", "2025-09-08")
    assert code == 3 and "2025-09-08: 1 of 40 exposures cannot be joined" in said and "1 have no impression" in said
    assert not (logs.table / "dt=2025-09-08").exists()
    code, document = logs.collect("--from", "2025-09-08", "--max-lost-share", "0.1")
    assert code == 0 and document["days"]["2025-09-08"]["rows"] == USERS - 1


def test_wrong_input_names_the_file_and_the_column(logs):
    code, said = logs.refused("--from", "2025-9-8x")
    assert code == 2 and "--from must be YYYY-MM-DD" in said
    code, said = logs.refused("--from", "2025-09-09", "--to", "2025-09-08")
    assert code == 2 and "--from must not be after --to" in said
    code, said = logs.refused("--from", "2025-09-08", "--column", "click=clicked")
    assert code == 2 and "no column 'clicked'" in said
    write(logs.folder, "impressions", FIRST, {"request_id": ["a"], "price": ["1"]}, "part-1.parquet")
    code, said = logs.refused("--from", "2025-09-08")
    assert code == 2 and "part-1.parquet: its columns are not those of" in said and "price string" in said
    (logs.folder / "impressions" / "dt=2025-09-08" / "part-1.parquet").unlink()
    (logs.folder / "impressions" / "more.csv").write_text("request_id,price\na,1\n")
    code, said = logs.refused("--from", "2025-09-08")
    assert code == 2 and "more.csv: impressions must be Parquet" in said
    assert not logs.table.exists() or not list(logs.table.glob("dt=*"))


def test_columns_of_the_config_and_of_the_command(logs):
    day = datetime.date(2025, 9, 12)
    exposures, features = rows_of(day)
    write(logs.folder, "exposures", day, {"clk" if name == "click" else name: v for name, v in exposures.items()})
    write(logs.folder, "impressions", day, features)
    code, document = logs.collect(
        "--from", "2025-09-12", "--column", "click=clk", "--label", "clicked", "--format", "orc"
    )
    assert code == 2 and "no column 'clk'" in document["error"]["message"]  # the other days' files lack it
    for other in ("2025-09-08", "2025-09-09"):
        (logs.folder / "exposures" / f"dt={other}" / "part-0.parquet").unlink()
    code, document = logs.collect(
        "--from", "2025-09-12", "--column", "click=clk", "--label", "clicked", "--format", "orc"
    )
    assert code == 0 and document["columns"]["clicked"] == "int32"


def test_a_table_with_hours_is_refused(logs):
    (logs.table / "dt=2025-09-07" / "hour=23").mkdir(parents=True)
    code, said = logs.refused(*BOTH)
    assert code == 2 and "has partitions below its days (dt=2025-09-07/hour=23)" in said
    assert [path.name for path in logs.table.iterdir()] == ["dt=2025-09-07"]


def test_two_at_once(logs):
    logs.table.mkdir()
    with open(logs.table / ".collect.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, said = logs.refused(*BOTH)
    assert code == 7 and "another `data collect` writes to" in said


def test_what_a_killed_call_left_is_removed(logs):
    leftover = logs.table / ".dt=2025-09-08.0123.tmp"
    leftover.mkdir(parents=True)
    (leftover / "000000_0").write_bytes(b"half")
    assert logs.collect(*BOTH)[0] == 0
    assert not leftover.exists()


@pytest.mark.slow
def test_killed_at_random_moments_a_partition_is_whole_or_absent(logs):
    command = [sys.executable, "-m", "hivemill", *logs.words(*BOTH)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = time.monotonic()
    subprocess.run(command, check=True, env=environment, capture_output=True)
    seconds = time.monotonic() - started
    whole = tree(logs.table)
    moments = random.Random(3)
    for _ in range(8):
        for file in [path for path in logs.table.rglob("*") if path.is_file()]:
            file.unlink()
        for folder in logs.table.glob("dt=*"):
            folder.rmdir()
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(0.6, 1.0) * seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for partition in logs.table.glob("dt=*"):
            found = {f"{partition.name}/{name}": value for name, value in tree(partition).items()}
            assert found == {name: value for name, value in whole.items() if name.startswith(partition.name)}
        subprocess.run(command, check=True, env=environment, capture_output=True)
        assert tree(logs.table) == whole
