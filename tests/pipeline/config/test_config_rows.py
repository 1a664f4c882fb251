"""Deduplication, sampling and the label's join in hivemill.yaml: mistakes with line and key, and what they change."""

from __future__ import annotations

import datetime
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from hivemill.common.errors import ConfigError
from hivemill.pipeline.config import loader
from hivemill.pipeline.runs import plan

GOOD = """\
name: shop
source:
  table: log/impressions
  deduplicate_by: [request_id]
  sampling:
    negatives: 0.1
    key: [user_id, item_id]
label:
  column: click
  join:
    clicks:
      table: log/clicks
      ddl: clicks.hql
    keys: [request_id]
    impression_time: seen
    click_time: at
    within: 6h
features:
  user_id: {type: categorical}
"""
KEYS, CLICKS, WITHIN, SAMPLE = (
    "    keys: [request_id]\n",
    "      table: log/clicks\n",
    "    within: 6h\n",
    "negatives: 0.1",
)

# (what is replaced, by what, line of the mistake, what the message says)
MISTAKES = {
    "no duration": (
        WITHIN,
        "    within: six hours\n",
        17,
        "label.join.within: must be a duration: a whole number and s,",
    ),
    "a number": (WITHIN, "    within: 6\n", 17, "label.join.within: must be text; received 6"),
    "no time": (WITHIN, "    within: 0h\n", 17, "label.join.within: must be longer than nothing; received '0h'"),
    "too long": (WITHIN, "    within: 400d\n", 17, "label.join.within: must be at most 366d"),
    "unknown take": (WITHIN, "    take: lats\n", 17, "label.join.take: must be one of last, first, every"),
    "unknown key": (WITHIN, "    withn: 6h\n", 17, "label.join.withn: unknown key; did you mean `within`?"),
    "no keys": (KEYS, "    keys: []\n", 14, "label.join.keys: must have at least 1 entry"),
    "missing": (KEYS, "", 10, "label.join.keys: is required and missing"),
    "a key twice": (KEYS, "    keys: [a, a]\n", 14, "label.join.keys: names `a` twice"),
    "other number of keys": (
        KEYS,
        KEYS + "    click_keys: [a, b]\n",
        15,
        "label.join.click_keys: must name as many columns as label.join.keys (1); received 2",
    ),
    "the label is a key": (KEYS, "    keys: [click]\n", 9, "label.column: `click` is read by label.join"),
    "a sample of clicks": (
        CLICKS,
        CLICKS + "      sampling: {negatives: 0.1, key: [a]}\n",
        13,
        "label.join.clicks.sampling: has no effect on clicks",
    ),
    "clicks have their own columns twice": (
        CLICKS,
        CLICKS + "      columns: {a: int}\n",
        13,
        "label.join.clicks.columns: label.join.clicks.ddl defines the columns too",
    ),
    "clicks without date": (
        "      ddl: clicks.hql\n",
        "      date_column: day\n",
        13,
        "label.join.clicks.date_column: `day` is not in label.join.clicks.partition_columns",
    ),
    "clicks of a query": (
        "      table: log/clicks\n      ddl: clicks.hql\n",
        "      query: SELECT 1 WHERE dt = '{start_date}'\n      server: hiveserver2://host:10000/db\n",
        12,
        "label.join.clicks.query: clicks come from a table only",
    ),
    "nothing kept": (SAMPLE, "negatives: 0", 6, "source.sampling.negatives: must be greater than 0.0; received 0"),
    "everything kept": (SAMPLE, "negatives: 1.0", 6, "source.sampling.negatives: must be less than 1.0; received 1.0"),
    "the label decides": (
        "[user_id, item_id]",
        "[user_id, click]",
        7,
        "source.sampling.key: `click` is the label",
    ),
    "duplicates of a query": (
        "  table: log/impressions\n",
        "  query: SELECT 1 WHERE dt = '{start_date}'\n  server: hiveserver2://host:10000/db\n",
        5,
        "source.deduplicate_by: rows of source.query cannot be deduplicated here",
    ),
}


def write(folder: Path, text: str = GOOD) -> Path:
    path = folder / "hivemill.yaml"
    path.write_text(text)
    (folder / "clicks.hql").write_text(
        "CREATE TABLE clicks (request_id string, at timestamp) PARTITIONED BY (dt string)"
    )
    return path


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes(tmp_path, case):
    old, new, line, rule = MISTAKES[case]
    assert GOOD.count(old) == 1
    with pytest.raises(ConfigError) as raised:
        loader.load(write(tmp_path, GOOD.replace(old, new)), (), {})
    messages = [text for text in str(raised.value).split("\n") if rule in text]
    assert messages, str(raised.value)
    assert f"hivemill.yaml:{line}: " in messages[0]


def write_tables(folder: Path) -> None:
    for table, names in (
        ("impressions", ("request_id", "user_id", "item_id", "seen")),
        ("clicks", ("request_id", "at")),
    ):
        for day in range(1, 5):
            path = folder / "log" / table / f"dt=2026-11-0{day}"
            path.mkdir(parents=True)
            at = pa.array([datetime.datetime(2026, 11, day)], pa.timestamp("us"))
            columns = [at if name in ("seen", "at") else pa.array(["a"]) for name in names]
            pa.parquet.write_table(pa.table(columns, list(names)), path / "part-0")


COLUMN_MISTAKES = {
    "no such key": (KEYS, "    keys: [requestid]\n", 14, "the table of impressions has no column `requestid`; did you"),
    "text for a time": ("click_time: at", "click_time: request_id", 16, "`request_id` is string; a time must be a"),
    "the table has the label": ("column: click\n", "column: dt\n", 9, "the table has a column `dt` already"),
    "sample by nothing": ("[user_id, item_id]", "[user]", 7, "source.sampling.key: the table has no column `user`"),
    "no such duplicate": ("by: [request_id]", "by: [request]", 4, "source.deduplicate_by: the table has no column"),
}


@pytest.mark.parametrize("case", COLUMN_MISTAKES)
def test_mistakes_against_the_tables(tmp_path, case):
    """Said by `plan`, before anything starts, with the line like all others."""
    old, new, line, rule = COLUMN_MISTAKES[case]
    text = GOOD.replace("      ddl: clicks.hql\n", "      format: parquet\n")
    assert text.count(old) == 1
    write_tables(tmp_path)
    loaded = loader.load(write(tmp_path, text.replace(old, new)), ["window.train_days=2"], {})
    with pytest.raises(ConfigError) as raised:
        plan.make_plan(loaded, datetime.date(2026, 11, 3))
    assert rule in str(raised.value)
    assert f"hivemill.yaml:{line}: " in str(raised.value)


def test_the_plan_says_what_is_missing_of_the_clicks(tmp_path):
    write_tables(tmp_path)
    text = GOOD.replace("      ddl: clicks.hql\n", "      format: parquet\n")
    loaded = loader.load(write(tmp_path, text), ["window.train_days=2"], {})
    good = plan.plan(loaded, datetime.date(2026, 11, 3))
    assert good["not_ready"] is None
    late = plan.plan(loaded, datetime.date(2026, 11, 4))
    assert late["missing"] == ["clicks: dt=2026-11-05", "dt=2026-11-05"]
    assert "clicks: dt=2026-11-05" in late["not_ready"]


def test_paths_of_clicks_are_relative_to_the_file(tmp_path):
    loaded = loader.load(write(tmp_path), (), {})
    clicks = loaded.config.label.join.clicks
    assert (clicks.table, clicks.ddl) == (str(tmp_path / "log/clicks"), str(tmp_path / "clicks.hql"))
    assert loaded.origins["label.join.within"].endswith("hivemill.yaml:17")
    assert loaded.origins["label.join.take"] == "default"


def test_a_key_can_be_set_from_outside(tmp_path):
    loaded = loader.load(write(tmp_path), ["label.join.take=every"], {"HIVEMILL__SOURCE__SAMPLING__NEGATIVES": "0.2"})
    assert loaded.config.label.join.take == "every"
    assert loaded.config.source.sampling.negatives == 0.2


def test_a_written_config_loads_to_the_same(tmp_path):
    loaded = loader.load(write(tmp_path), (), {}).config
    again = tmp_path / "again.yaml"
    again.write_text(loaded.to_yaml())
    assert loader.load(again, (), {}).config == loaded


def test_the_fingerprint_of_a_config_with_a_join(tmp_path):
    """Where the clicks lie changes no model; how they are read and joined does."""
    path = write(tmp_path)

    def fingerprint(*overrides):
        return loader.load(path, overrides, {}).config.semantic_fingerprint()

    plain = fingerprint()
    assert fingerprint("label.join.clicks.table=/elsewhere") == plain
    changes = (
        "label.join.within=7h",
        "label.join.take=first",
        "source.sampling.negatives=0.2",
        "source.sampling.salt=x",
    )
    assert len({plain, *(fingerprint(change) for change in changes)}) == len(changes) + 1
    (tmp_path / "clicks.hql").write_text(
        "CREATE TABLE clicks (request_id int, at timestamp) PARTITIONED BY (dt string)"
    )
    assert fingerprint() != plain


def test_what_the_nodes_are_told(tmp_path):
    loaded = loader.load(write(tmp_path), (), {}).config
    rules = loaded.label_rules()
    assert (rules.column, rules.join.keys) == ("click", ("request_id",))
    assert math.isclose(loaded.negative_sample().logit_correction, math.log(0.1))
    plain = loaded.model_copy(
        update={
            "source": loaded.source.model_copy(update={"sampling": None}),
            "label": loaded.label.model_copy(update={"join": None}),
        }
    )
    assert plain.label_rules() is None
    assert plain.negative_sample() is None
