"""`hivemill data quarantine`: what it shows of real conversions, before, after, and where there is nothing."""

from __future__ import annotations

import gzip
import json

import pytest

from hivemill.components.hive_example_gen.convert import convert_partition
from hivemill.pipeline.config import loader as config_module
from hivemill.pipeline.runs import plan
from hivemill.pipeline.scheduling import dates
from tests.pipeline.shop import hivemill
from tests.support.object_stores import KINDS, bucket
from tests.support.small_config import small_config

CONFIG = small_config()
DATE = "2026-11-15"


@pytest.fixture
def config(tmp_path):
    for day in (14, 15):
        folder = tmp_path / "t" / f"dt=2026-11-{day}"
        folder.mkdir(parents=True)
        (folder / "000000_0").write_bytes(b"1\x011\n" * 10 + (b"x\x011\n" * 3 if day == 14 else b""))
    (tmp_path / "hivemill.yaml").write_text(CONFIG)
    return tmp_path / "hivemill.yaml"


def _convert(config, days=2):
    loaded = config_module.load(config)
    for partition in plan.make_plan(loaded, dates.day(DATE)).window.partitions[:days]:
        source = loaded.config.source
        convert_partition(partition, source.place, source.bad_rows, str(loaded.config.places().partitions))


def test_rows_with_their_place_and_cause(config, capsys):
    _convert(config)
    assert hivemill(config, "data", "quarantine", "--date", DATE) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "dt=2026-11-14: 3 of 13 rows (3 value)"
    assert said[1].split() == ["FILE", "ROW", "CAUSE", "COLUMN", "WHY", "BEGINS"]
    assert said[2].split()[:4] == ["dt=2026-11-14/000000_0", "11", "value", "id"]
    assert said[2].endswith(r"'x\x011'")
    assert len(said) == 5


def test_the_rest_is_named_with_the_file_that_holds_it(config, capsys):
    _convert(config)
    assert hivemill(config, "data", "quarantine", "--date", DATE, "--limit", "1") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("and 2 more: zcat ")
    with gzip.open(last.split("zcat ")[1], "rt", encoding="utf-8") as kept:
        assert len(kept.readlines()) == 3


def test_as_json(config, capsys):
    _convert(config)
    assert hivemill(config, "--json", "data", "quarantine", "--date", DATE, "--limit", "1") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["date"], document["converted"], document["planned"]) == (DATE, 2, 2)
    (partition,) = document["partitions"]
    assert (partition["partition"], partition["rows_read"], partition["bad_rows"]) == (
        "dt=2026-11-14",
        10,
        {"value": 3},
    )
    assert [row["row"] for row in partition["first"]] == [11]


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_bucket(config, capsys, kind, tmp_path, monkeypatch):
    with bucket(kind, tmp_path, monkeypatch) as (_, url):
        config.write_text(
            CONFIG.replace("root: root", f"root: {url}") + "metadata: {backend: mysql, host: db, user: u}\n"
        )
        assert url in config.read_text()
        _convert(config)
        assert hivemill(config, "data", "quarantine", "--date", DATE, "--limit", "1") == 0
        said = capsys.readouterr().out.splitlines()
        assert said[0] == "dt=2026-11-14: 3 of 13 rows (3 value)"
        command = {"s3": "aws s3 cp", "gs": "gcloud storage cat"}[kind]
        assert said[-1].startswith(f"and 2 more: {command} {url}/partitions/") and said[-1].endswith(" | zcat")
        assert hivemill(config, "--json", "plan", "--date", DATE) == 0
        assert [split["cached"] for split in json.loads(capsys.readouterr().out)["splits"].values()] == [1, 1]


@pytest.mark.parametrize(
    ("days", "words"), [(0, "2 of 2 partitions are not converted yet"), (1, "1 of 2 partitions are")]
)
def test_what_is_not_converted_is_not_known(config, capsys, days, words):
    _convert(config, days)
    assert hivemill(config, "data", "quarantine", "--date", DATE) == 0
    assert words in capsys.readouterr().out


def test_nothing_left_out(config, capsys):
    (config.parent / "t" / "dt=2026-11-14" / "000000_0").write_bytes(b"1\x011\n")
    _convert(config)
    assert hivemill(config, "data", "quarantine", "--date", DATE) == 0
    assert capsys.readouterr().out == "No row was left out.\n"


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
def test_a_limit_that_is_none(config, capsys, limit):
    assert hivemill(config, "data", "quarantine", "--date", DATE, "--limit", limit) == 2
    assert "must be a whole number, at least 1" in capsys.readouterr().err
