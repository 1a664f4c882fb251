"""init, data and doctor: a new user's start, on real files."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hivemill.common.errors import ConfigError
from hivemill.data.click_log.options import ClickLogOptions
from hivemill.pipeline.cli import main
from hivemill.pipeline.config import loader
from hivemill.pipeline.doctor import checks
from hivemill.pipeline.scaffold import project

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared" / "data"
TEMPLATES = ROOT / "pipeline" / "scaffold" / "templates"


def run_json(capsys, *argv: str) -> tuple[int, dict]:
    code = main.main(["--json", *map(str, argv)])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("file_format", ["text", "parquet", "orc"])
def test_init_writes_a_project_that_can_be_planned(tmp_path, capsys, file_format):
    folder = tmp_path / "my shop"
    code, document = run_json(capsys, "init", folder, "--days", 4, "--rows-per-day", 500, "--format", file_format)
    assert code == 0
    assert document["last_date"] == "2026-11-15"
    assert document["rows"] > 1500
    code, plan = run_json(capsys, "plan", "--date", "2026-11-15", "--config", folder / "hivemill.yaml")
    assert code == 0
    days = {split: facts["days"] for split, facts in plan["splits"].items()}
    assert days == {"train": ["2026-11-12", "2026-11-13"], "validation": ["2026-11-14"], "eval": ["2026-11-15"]}
    assert plan["missing"] == plan["late"] == []
    assert loader.load(folder / "hivemill.yaml").config.name == "my_shop"


def test_plan_imports_no_tensorflow(small_shop):
    code = (
        "import sys\nfrom hivemill.pipeline.cli import main as cli\n"
        f"code = cli.main(['plan', '--date', '2026-11-15', '--config', {str(small_shop / 'hivemill.yaml')!r}])\n"
        "sys.exit(code or sorted({'tensorflow', 'tfx', 'apache_beam'} & set(sys.modules)) or 0)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert said.returncode == 0, said.stderr
    assert "validation" in said.stdout


def test_the_default_demo_is_as_large_as_promised():
    """At least seven days and 200,000 impressions, of which one day is for the gates."""
    assert project.DEMO_DAYS >= 8
    assert project.DEMO_DAYS * project.DEMO_ROWS_PER_DAY * 0.97 >= 200_000


def test_init_never_overwrites(tmp_path, capsys):
    path = tmp_path / "hivemill.yaml"
    path.write_text("mine")
    assert main.main(["init", str(tmp_path)]) == 2
    assert f"{path} exists and is not overwritten" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert [each.name for each in tmp_path.iterdir()] == ["hivemill.yaml"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--days", "2"], "--days must be at least 3"),
        (["--rows-per-day", "1"], "rows_per_day"),
        (["--format", "avro"], "invalid choice: 'avro'"),
    ],
)
def test_init_refuses_what_cannot_work(tmp_path, capsys, options, words):
    assert main.main(["init", str(tmp_path / "shop"), *options]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "shop").exists()


def test_init_on_a_file(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main.main(["init", str(tmp_path / "file")]) == 2
    assert "is a file; a folder is needed" in capsys.readouterr().err


def test_init_without_data(tmp_path, capsys):
    code, document = run_json(capsys, "init", tmp_path / "shop", "--no-data")
    assert (code, document["table"], document["rows"]) == (0, None, 0)
    assert [each.name for each in (tmp_path / "shop").iterdir()] == ["hivemill.yaml"]


def test_demo_config_teaches_every_section():
    text = (TEMPLATES / "demo.yaml").read_text(encoding="utf-8").replace("$columns", "    a: int")
    values = yaml.safe_load(text)
    # What a demo has no use for (nobody to tell, no cluster) it names at its end.
    named = re.findall(r"^#   ([a-z_]+) ", text.partition("# What goes on around the runs")[2], re.MULTILINE)
    assert sorted([*values, *named]) == sorted(loader.PipelineConfig.model_fields)
    types = {feature["type"] for feature in values["features"].values()}
    assert types == {"categorical", "numeric", "multivalent", "cross"}
    assert any(feature.get("encoding") == "hash" for feature in values["features"].values())
    assert any(feature.get("of") == "items" for feature in values["features"].values())


def test_data_generate_has_an_option_for_each_field():
    arguments = vars(main._parse(["data", "generate", "DIR"]))
    assert set(ClickLogOptions.model_fields) <= set(arguments)


def test_data_generate(tmp_path, capsys):
    options = ["--days", "2", "--rows-per-day", "200", "--no-hours", "--seed", "3", "--format", "orc"]
    faults = ["--drift", "price:2026-11-10:1.5", "--missing-hours", "2026-11-10"]
    code, document = run_json(capsys, "data", "generate", tmp_path / "log", *options, *faults)
    assert code == 0
    assert document["options"]["seed"] == 3
    assert document["options"]["hours"] is False
    assert document["options"]["drift"][0]["feature"] == "price"
    assert (tmp_path / "log" / "dt=2026-11-09" / "000000_0").read_bytes()[:3] == b"ORC"
    assert not (tmp_path / "log" / "dt=2026-11-10").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--days", "many"], "option days"),
        (["--drift", "moon:2026-11-10:1"], "'moon' cannot drift"),
        (["--corrupt-share", "0.1"], "corrupt_share needs `format: text`"),
    ],
)
def test_data_generate_refuses(tmp_path, capsys, options, words):
    assert main.main(["data", "generate", str(tmp_path / "log"), *options]) == 2
    assert words in capsys.readouterr().err


def movielens(folder: Path) -> Path:
    """RecBole's atomic files with 40 ratings of four users."""
    folder.mkdir()
    ratings = [f"{1 + n % 4}\t{1 + n % 5}\t{1 + n % 5}\t{874724710 + n * 86400}" for n in range(40)]
    users = [f"{n}\t{20 + n}\tF\twriter\t{n:05}" for n in range(1, 5)]
    items = [f"{n}\tFilm {n}\t{1990 + n}\tDrama Comedy" for n in range(1, 6)]
    for kind, header, lines in (
        ("inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float", ratings),
        ("user", "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token", users),
        ("item", "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq", items),
    ):
        (folder / f"ml-100k.{kind}").write_text("\n".join([header, *lines]) + "\n")
    return folder


def test_data_import_writes_a_config_that_can_be_planned(tmp_path, capsys):
    source = movielens(tmp_path / "ml")
    code, document = run_json(capsys, "data", "import", "movielens", source, tmp_path / "movies", "--pseudo-days", 10)
    assert code == 0
    assert (document["rows"], document["days"]) == (40, 10)
    path = tmp_path / "movies" / "hivemill.yaml"
    code, plan = run_json(capsys, "plan", "--date", document["last_date"], "--config", path)
    assert code == 0
    assert [len(plan["splits"][split]["days"]) for split in ("train", "validation", "eval")] == [8, 1, 1]
    assert main.main(["data", "import", "movielens", str(source), str(tmp_path / "movies")]) == 2
    assert "exists and is not overwritten" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["netflix", "a", "b"], "invalid choice: 'netflix'"),
        (["open-bandit", "a", "b", "--pseudo-days", "5"], "--pseudo-days is for movielens and criteo"),
        (["criteo", "a", "b", "--pseudo-days", "2"], "--pseudo-days must be at least 3; received 2"),
        (["criteo", "a", "b", "--campaign", "men"], "--campaign is for open-bandit; criteo has none"),
        (["criteo", "nowhere", "b"], "does not exist"),
    ],
)
def test_data_import_refuses(tmp_path, monkeypatch, capsys, argv, words):
    monkeypatch.chdir(tmp_path)
    assert main.main(["data", "import", *argv]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not SHARED.is_dir(), reason="the public data sets are not beside the checkout")
@pytest.mark.parametrize(
    ("data_set", "folder"), [("movielens", "ml100k"), ("criteo", "criteo"), ("open-bandit", "obd")]
)
def test_public_sets_can_be_planned(tmp_path, capsys, data_set, folder):
    code, document = run_json(capsys, "data", "import", data_set, SHARED / folder, tmp_path / "x")
    assert code == 0
    code, plan = run_json(capsys, "plan", "--date", document["last_date"], "--config", document["config"])
    assert code == 0
    assert sum(facts["partitions"] for facts in plan["splits"].values()) == document["days"]


def test_gaps_in_the_days_are_ignored():
    window = project._window({"2026-11-01": 5, "2026-11-20": 5})
    assert window["incomplete"] == "shrink"
    assert (window["train_days"], window["validation_days"], window["eval_days"]) == (18, 2, 2)
    assert project._window({f"2026-11-{day:02}": 5 for day in range(1, 11)})["incomplete"] == "fail"


@pytest.mark.parametrize(
    ("folder", "name"), [("shop", "shop"), ("my shop!", "my_shop_"), (".x", "x"), ("店", "hivemill")]
)
def test_names_of_pipelines(tmp_path, folder, name):
    assert project.name_of(tmp_path / folder) == name


@pytest.fixture(scope="module")
def small_shop(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "shop"
    project.write_demo(folder, project.DemoSize(3, 100), "parquet")
    return folder


@pytest.fixture
def healthy(small_shop, tmp_path) -> Path:
    shutil.copytree(small_shop, tmp_path / "shop")
    return tmp_path / "shop" / "hivemill.yaml"


def findings(path: Path, *overrides: str) -> dict[str, checks.DoctorFinding]:
    return {finding.name: finding for finding in checks.examine(path, overrides)}


def test_doctor_finds_nothing_wrong(healthy, capsys):
    code, document = run_json(capsys, "doctor", "--config", healthy)
    assert code == 0, document
    states = {check["name"]: check["state"] for check in document["checks"]}
    assert {"python", "tfx", "ml-metadata", "tensorflow", "java", "config", "root", "disk", "source"} <= set(states)
    assert "failed" not in states.values()
    assert not (healthy.parent / "hivemill").exists()  # a check leaves nothing behind


@pytest.mark.parametrize(
    ("overrides", "name", "words"),
    [
        (["training.epochs=0"], "config", "must be greater than 0"),
        (["source.ddl=absent.hql", "source.columns=null"], "config", "absent.hql cannot be read"),
        (["source.table=nowhere"], "source", "nowhere is not a folder"),
        (
            ["source.partition_columns={ds: string}", "source.date_column=ds", "source.hour_column=null"],
            "source",
            "ds=",
        ),
    ],
)
def test_doctor_finds_mistakes_of_the_config(healthy, capsys, overrides, name, words):
    found = findings(healthy, *overrides)[name]
    assert (found.state, found.exit_code) == ("failed", 2)
    assert words in found.message
    assert found.fix
    assert main.main(["doctor", "--config", str(healthy), *(f"--set={each}" for each in overrides)]) == 2
    assert words in capsys.readouterr().out


def test_doctor_finds_a_ddl_that_cannot_be_used(healthy):
    (healthy.parent / "clicks.hql").write_text("CREATE NONSENSE")
    found = findings(healthy, "source.ddl=clicks.hql", "source.columns=null")["source"]
    assert (found.state, found.exit_code) == ("failed", 2)
    assert "clicks.hql" in found.message


def test_doctor_without_a_config(tmp_path):
    found = findings(tmp_path / "hivemill.yaml")["config"]
    assert found.state == "failed"
    assert "hivemill init" in found.fix


def test_doctor_finds_a_root_that_is_a_file(healthy):
    (healthy.parent / "file").write_text("")
    found = findings(healthy, "root=file/below")["root"]
    assert (found.state, found.exit_code) == ("failed", 6)


def test_doctor_finds_a_full_disk(healthy, monkeypatch):
    usage = shutil.disk_usage(healthy)
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    found = findings(healthy)["disk"]
    assert (found.state, found.exit_code) == ("failed", 6)
    assert "0.0 GiB free" in found.message


def test_doctor_finds_wrong_libraries(healthy, monkeypatch):
    versions = {"tfx": "1.16.0", "ml-metadata": "1.21.0", "tensorflow-data-validation": "1.16.1"}
    monkeypatch.setattr(checks, "_version_of", versions.get)
    monkeypatch.setattr(checks, "_glibc_version", lambda: (2, 36))
    found = findings(healthy)
    assert found["tfx"].message == "1.21 is needed; 1.16.0 is installed"
    assert found["pyarrow"].message == "is not installed"
    assert found["tensorflow"].state == "failed"
    assert found["ml-metadata"].message == "1.21.0 needs glibc 2.39, this system has 2.36"
    assert "1.17.1" in found["ml-metadata"].fix
    assert found["tensorflow-data-validation"].state == "ok"
    assert checks.exit_code(list(found.values())) == 6
    monkeypatch.setattr(checks, "_glibc_version", lambda: (2, 41))
    assert findings(healthy)["ml-metadata"].state == "ok"


def test_doctor_finds_an_old_python(healthy, monkeypatch):
    monkeypatch.setattr(checks.sys, "version_info", (3, 9, 0))
    assert findings(healthy)["python"].state == "failed"


def test_import_refuses_before_it_reads(tmp_path):
    (tmp_path / "hivemill.yaml").write_text("mine")
    with pytest.raises(ConfigError, match="exists and is not overwritten"):
        project.write_import("criteo", tmp_path / "absent", tmp_path, "orc")
