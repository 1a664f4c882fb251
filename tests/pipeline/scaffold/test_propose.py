"""`init DIR --table URL`: what is proposed for real tables, and what is refused."""

from __future__ import annotations

import datetime
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from hivemill.pipeline.cli import main
from hivemill.pipeline.config import loader

DAYS = [datetime.date(2026, 11, 13) + datetime.timedelta(days=n) for n in range(3)]
ROWS = 600


def run_json(capsys, *argv) -> tuple[int, dict]:
    code = main.main(["--json", *map(str, argv)])
    printed = capsys.readouterr()
    return code, json.loads(printed.out)


def columns(seed: int = 0) -> dict[str, pa.Array]:
    random = np.random.default_rng(seed)
    click = random.integers(0, 2, ROWS)
    return {
        "request_id": pa.array([f"r{seed}-{n}" for n in range(ROWS)]),
        "user_id": pa.array(random.integers(0, 80, ROWS)),
        "item_id": pa.array(random.integers(0, 90, ROWS)),
        "gender": pa.array(random.choice(["f", "m", None], ROWS)),
        "price": pa.array(random.uniform(1, 9, ROWS)),
        "views": pa.array(np.floor(random.pareto(0.6, ROWS))),
        "country": pa.array(["de"] * ROWS),
        "nothing": pa.nulls(ROWS, pa.string()),
        "shown_at": pa.array(random.integers(0, 10**9, ROWS), pa.timestamp("us")),
        "dwell": pa.array(click * 10.0),
        "query": pa.array([["red", "shoe"], [], None] * (ROWS // 3), pa.list_(pa.string())),
        "vector": pa.array([[0.5, 1.5]] * ROWS, pa.list_(pa.float32())),
        "tastes": pa.array([[("a", 0.5), ("b", 1.0)]] * ROWS, pa.map_(pa.string(), pa.float64())),
        "context": pa.array([[("os", "x"), ("app", "y")]] * ROWS, pa.map_(pa.string(), pa.string())),
        "click": pa.array(click),
    }


@pytest.fixture
def table(tmp_path):
    folder = tmp_path / "clicks"
    for number, day in enumerate(DAYS):
        for at, hour in enumerate(("00", "13")):
            partition = folder / f"dt={day:%Y%m%d}" / f"hour={hour}"
            partition.mkdir(parents=True)
            pa.parquet.write_table(pa.table(columns(2 * number + at)), partition / "000000_0")
            (partition / "_SUCCESS").touch()
    return folder


def test_a_table_becomes_a_config_that_plans(tmp_path, table, capsys):
    code, document = run_json(capsys, "init", tmp_path / "shop", "--table", table)
    assert code == 0
    assert (document["first_date"], document["last_date"]) == ("2026-11-13", "2026-11-15")
    assert (document["label"], document["user"]) == ("click", "user_id")
    loaded = loader.load(tmp_path / "shop" / "hivemill.yaml", environment={}).config
    source = loaded.source
    assert (source.date_column, source.date_format, source.hour_column) == ("dt", "%Y%m%d", "hour")
    assert source.success_file == "_SUCCESS"
    assert (loaded.window.train_days, loaded.window.validation_days) == (2, 1)
    code, plan = run_json(capsys, "--config", tmp_path / "shop" / "hivemill.yaml", "plan", "--date", "2026-11-15")
    assert (code, plan["missing"]) == (
        3,
        [f"dt={day:%Y%m%d}/hour={h:02d}" for day in DAYS for h in range(24) if h not in (0, 13)],
    )


def test_features_fit_their_columns(tmp_path, table, capsys):
    features = run_json(capsys, "init", tmp_path / "shop", "--table", table)[1]["features"]
    assert features["item_id"] == features["gender"] == features["hour"] == {"type": "categorical"}
    assert features["price"]["transform"] == "quantile_buckets"
    assert features["views"]["transform"] == "log"
    assert features["query"] == {"type": "multivalent"}
    assert features["tastes"] == {"type": "multivalent", "of": "keys", "weights": "values"}
    assert features["context"] == {"type": "multivalent", "of": "items"}


def test_what_is_left_out_says_why(tmp_path, table, capsys):
    _, document = run_json(capsys, "init", tmp_path / "shop", "--table", table)
    why = document["left_out"]
    assert set(why) == {"request_id", "user_id", "country", "nothing", "shown_at", "dwell", "vector"}
    assert "almost alone" in why["dwell"]
    assert "every row" in why["request_id"]
    assert "one value only, 'de'" in why["country"]
    text = (tmp_path / "shop" / "hivemill.yaml").read_text(encoding="utf-8")
    assert "# dwell: {type: numeric, transform: quantile_buckets, buckets: 20}  # tells the click almost alone" in text


def test_ids_are_known_by_name_and_written_in_full(tmp_path, capsys):
    random = np.random.default_rng(7)
    numbers = pa.array(random.integers(7_000_000, 8_000_000, 300).tolist() + [7_999_999] * 300)
    partition = tmp_path / "log" / "dt=2026-11-15"
    partition.mkdir(parents=True)
    rows = {"adid": numbers, "max_bid": numbers, "click": pa.array([0, 1] * 300)}
    pa.parquet.write_table(pa.table(rows), partition / "000000_0")
    features = run_json(capsys, "init", tmp_path / "a", "--table", tmp_path / "log")[1]["features"]
    assert (features["adid"]["type"], features["max_bid"]["type"]) == ("categorical", "numeric")
    text = (tmp_path / "a" / "hivemill.yaml").read_text(encoding="utf-8")
    assert " to 7999999, median 79" in text and "e+06" not in text


def test_another_label_is_named(tmp_path, table, capsys):
    assert main.main(["init", str(tmp_path / "a"), "--table", str(table), "--label", "price"]) == 2
    assert "--label price must hold 0 and 1" in capsys.readouterr().err
    assert main.main(["init", str(tmp_path / "a"), "--table", str(table), "--label", "buys"]) == 2
    assert "no such column" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_text_needs_its_definition(tmp_path, capsys):
    partition = tmp_path / "log" / "dt=2026-11-15"
    partition.mkdir(parents=True)
    rows = "".join(f"{n % 2}\t{n % 7}\tred,green\n" for n in range(200))
    (partition / "000000_0").write_text(rows, encoding="utf-8")
    assert main.main(["init", str(tmp_path / "a"), "--table", str(tmp_path / "log")]) == 2
    assert "--ddl FILE" in capsys.readouterr().err
    ddl = tmp_path / "log.hql"
    ddl.write_text(
        "CREATE TABLE log (clicked int, item_id bigint, tags array<string>) PARTITIONED BY (dt string)\n"
        "ROW FORMAT DELIMITED FIELDS TERMINATED BY '\\t' COLLECTION ITEMS TERMINATED BY ','",
        encoding="utf-8",
    )
    code, document = run_json(capsys, "init", tmp_path / "a", "--table", tmp_path / "log", "--ddl", ddl)
    assert (code, document["label"]) == (0, "clicked")
    assert document["features"] == {"item_id": {"type": "categorical"}, "tags": {"type": "multivalent"}}


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (["hour=07"], "name no day: hour=07"),
        ([], "name no day: x"),
        (["dt=2026-11-15"], "holds a row"),
    ],
)
def test_tables_that_cannot_be_planned_are_refused(tmp_path, capsys, folders, said):
    for name in ("x", *folders):
        (tmp_path / "log" / name).mkdir(parents=True)
    code = main.main(["init", str(tmp_path / "a"), "--table", str(tmp_path / "log")])
    assert code in (2, 3)
    assert said in capsys.readouterr().err


def test_options_of_the_generated_log_do_not_mix(tmp_path, table, capsys):
    assert main.main(["init", str(tmp_path / "a"), "--table", str(table), "--days", "5"]) == 2
    assert "--days is for the generated log" in capsys.readouterr().err
    assert main.main(["init", str(tmp_path / "a"), "--label", "click"]) == 2
    assert "--table names it" in capsys.readouterr().err


def test_what_serving_noted_is_no_feature(tmp_path, table, capsys):
    """The columns that `data collect` adds: a model that is asked does not have them."""
    noted = {
        "variant": pa.array(["stable", "canary"] * (ROWS // 2)),
        "model_version": pa.array(["11", "12"] * (ROWS // 2)),
        "propensity": pa.array([0.9, 0.1] * (ROWS // 2)),
        "prediction": pa.array(np.linspace(0.1, 0.9, ROWS)),
    }
    for number, file in enumerate(sorted(table.rglob("000000_0"))):
        pa.parquet.write_table(pa.table({**columns(number), **noted}), file)
    document = run_json(capsys, "init", tmp_path / "shop", "--table", table)[1]
    assert not set(noted) & set(document["features"])
    left_out = document["left_out"]
    assert {left_out[name].partition(":")[0] for name in noted} == {"noted by serving when the model had answered"}
