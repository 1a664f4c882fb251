"""Importers: real data where it lies beside the project, small files in the publishers' formats otherwise."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow.orc
import pyarrow.parquet
import pytest

from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.data.importers.public_logs import (
    CRITEO,
    MOVIELENS,
    OPEN_BANDIT,
    import_criteo,
    import_movielens,
    import_open_bandit,
)
from tests.data.hive_text import read_rows

SHARED = Path(os.environ.get("HIVEMILL_SHARED_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))


def shared(name: str) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"{name} of the shared data is not here (HIVEMILL_SHARED_DATA, or ../shared/data)")
    return SHARED / name


def rows_of(table: Path) -> list[dict]:
    files = sorted(table.glob("dt=*/000000_0"))
    return [row for path in files for row in pyarrow.parquet.ParquetFile(path).read().to_pylist()]


@pytest.fixture
def films(tmp_path) -> Path:
    folder = tmp_path / "ml"
    folder.mkdir()
    (folder / "ml-100k.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        "2\t10\t3\t880000000\n1\t20\t5\t870000000\n1\t10\t4\t870000000\n2\t20\t1\t870050000\n"
    )
    (folder / "ml-100k.user").write_text(
        "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
        "1\t24\tM\ttechnician\t85711\n2\t53\tF\tother\tV3N4P\n"
    )
    (folder / "ml-100k.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "10\tL'Été\t1995\tDrama Sci-Fi\n20\tUnknown\tunkonwn\t\n",
        encoding="utf-8",
    )
    return folder


def test_movielens_joins_types_and_sorts(films, tmp_path):
    assert import_movielens(films, tmp_path / "t") == {"1997-07-27": 2, "1997-07-28": 1, "1997-11-20": 1}
    first, second, third, last = rows_of(tmp_path / "t")
    assert (first["user_id"], first["item_id"], first["click"], first["rating"]) == (1, 20, 1, 5)
    assert (first["genres"], first["release_year"], first["age"], first["zip_code"]) == ([], None, 24, "85711")
    assert (second["item_id"], second["click"], second["title"], second["genres"]) == (
        10,
        1,
        "L'Été",
        ["Drama", "Sci-Fi"],
    )
    assert (third["click"], last["click"]) == (0, 0)
    assert str(last["rated_at"]) == "1997-11-20 04:26:40"
    assert (tmp_path / "t/dt=1997-11-20/_SUCCESS").exists()


def test_movielens_in_pseudo_days(films, tmp_path):
    assert import_movielens(films, tmp_path / "t", partitions=2) == {"2026-11-01": 2, "2026-11-02": 2}
    assert [row["rating"] for row in rows_of(tmp_path / "t")] == [5, 4, 1, 3]
    with pytest.raises(ConfigError, match="must be 1 to 4, the number of rows; got 5"):
        import_movielens(films, tmp_path / "u", partitions=5)


def test_formats_hold_the_same(films, tmp_path):
    for name in ("parquet", "orc", "text"):
        import_movielens(films, tmp_path / name, format=name)
    place = "dt=1997-07-27/000000_0"
    assert pyarrow.orc.read_table(tmp_path / "orc" / place).to_pylist() == rows_of(tmp_path / "parquet")[:2]
    assert read_rows(tmp_path / "text" / place, MOVIELENS.columns) == rows_of(tmp_path / "parquet")[:2]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "inter",
            "3\t880000000",
            "three\t880000000",
            r"ml-100k.inter, line 2, column rating:float: int32 expected, .*'three'",
        ),
        (
            "inter",
            "1\t870050000",
            "6\t870050000",
            r"ml-100k.inter, line 5, column rating: one of 1, 2, 3, 4, 5 .*received 6",
        ),
        ("inter", "2\t10\t", "2\t11\t", r"ml-100k.inter: item_id 11 is not in .*ml-100k.item"),
        ("inter", "2\t10\t", "\t10\t", r"ml-100k.inter, line 2, column user_id: a value is required, received a blank"),
        (
            "inter",
            "rating:float",
            "stars:float",
            r"line 1: .*first difference is 'stars:float' instead of 'rating:float'",
        ),
        (
            "inter",
            "\ttimestamp:float",
            "",
            r"4 column names expected, found 3; .*'nothing more' instead of 'timestamp:float'",
        ),
        ("inter", "3\t880000000", "3", r"ml-100k.inter: .*Expected 4 columns, got 3"),
        ("user", "2\t53", "1\t53", r"ml-100k.user: user_id 1 is there twice"),
        (
            "item",
            "1995",
            "MCMXCV",
            r"ml-100k.item, line 2, column release_year:token: int32 expected, received 'MCMXCV'",
        ),
    ],
)
def test_wrong_movielens_files_are_named(films, tmp_path, file, old, new, message):
    path = films / f"ml-100k.{file}"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        import_movielens(films, tmp_path / "t")
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("importer", [import_movielens, import_criteo, import_open_bandit])
def test_wrong_source_folder_names_the_file(importer, tmp_path):
    with pytest.raises(ConfigError, match=r"(ml-100k\.inter|train\.csv|men\.csv) does not exist") as error:
        importer(tmp_path, tmp_path / "t")
    assert error.value.hint


def test_an_import_never_mixes_with_what_is_there(films, tmp_path):
    (tmp_path / "t" / "dt=1997-07-28").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"dt=1997-07-28 exists already"):
        import_movielens(films, tmp_path / "t")
    assert not (tmp_path / "t" / "dt=1997-07-27").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InfrastructureError, match="cannot write to"):
        import_movielens(films, tmp_path / "file")


def criteo_line(label: object, first: str) -> str:
    return "\t".join([str(label), first, "-1", *[""] * 11, "68fd1e64", *[""] * 25])


def test_criteo_keeps_blanks_as_nulls(tmp_path):
    (tmp_path / "train.csv").write_text("\n".join(criteo_line(i % 2, str(i)) for i in range(6)) + "\n")
    assert import_criteo(tmp_path, tmp_path / "t", days=3) == {f"2026-11-0{day}": 2 for day in (1, 2, 3)}
    rows = rows_of(tmp_path / "t")
    assert [(row["label"], row["I1"]) for row in rows] == [(i % 2, i) for i in range(6)]
    assert (rows[0]["I2"], rows[0]["I3"], rows[0]["C1"], rows[0]["C26"]) == (-1, None, "68fd1e64", None)
    assert list(rows[0]) == list(CRITEO.columns)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (criteo_line(2, "1"), r"train.csv, line 2, column label: one of 0, 1 expected, received 2"),
        (criteo_line("", "1"), r"train.csv, line 2, column label: a value is required"),
        (criteo_line(1, "1.5"), r"train.csv, line 2, column I1: int64 expected, received '1.5'"),
        ("1\t2\t3", r"train.csv: .*Expected 40 columns, got 3"),
    ],
)
def test_wrong_criteo_lines_are_named(line, message, tmp_path):
    (tmp_path / "train.csv").write_text(f"{criteo_line(0, '1')}\n{line}\n")
    with pytest.raises(ConfigError, match=message):
        import_criteo(tmp_path, tmp_path / "t", days=1)


def test_real_movielens(tmp_path):
    days = import_movielens(shared("ml100k"), tmp_path / "t", partitions=10)
    assert list(days.values()) == [10_000] * 10
    rows = rows_of(tmp_path / "t")
    assert np.mean([row["click"] for row in rows]) == pytest.approx(0.554, abs=0.0005)
    times = [row["rated_at"] for row in rows]
    assert times == sorted(times)
    assert (str(times[0])[:10], str(times[-1])[:10]) == ("1997-09-20", "1998-04-22")
    assert len({row["user_id"] for row in rows}) == 943


def test_real_criteo(tmp_path):
    assert sum(import_criteo(shared("criteo"), tmp_path / "t").values()) == 7200
    assert import_criteo(shared("criteo"), tmp_path / "dev", file="dev.csv", days=1) == {"2026-11-01": 409}


def test_real_open_bandit(tmp_path):
    days = import_open_bandit(shared("obd"), tmp_path / "t", format="parquet")
    assert list(days) == [f"2019-11-{day}" for day in range(24, 31)]
    rows = rows_of(tmp_path / "t")
    assert list(rows[0]) == list(OPEN_BANDIT.columns)
    for policy in ("bts", "random"):
        mine = [row for row in rows if row["policy"] == policy]
        assert len(mine) == 10_000 and 0.003 < np.mean([row["click"] for row in mine]) < 0.008
    first = next(row for row in rows if row["policy"] == "bts")
    assert (str(first["shown_at"]), first["item_id"], first["propensity_score"]) == (
        "2019-11-24 00:01:03.979311",
        2,
        0.045525,
    )
    assert {row["propensity_score"] for row in rows if row["policy"] == "random"} == {1 / 34}
