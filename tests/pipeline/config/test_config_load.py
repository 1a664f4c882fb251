"""What a good config loads to: values, their origins, paths, overrides, YAML scalars, fingerprints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hivemill.common.errors import ConfigError
from hivemill.pipeline.config import loader

GOOD = """\
name: shop
source:
  table: log/clicks
  ddl: clicks.hql
window:
  # all defaults
label:
  column: click
  user: user_id
features:
  user_id: {type: categorical}
  price: {type: numeric, transform: log}
  d_x_g: {type: cross, columns: [device, gender], hash_buckets: 100}
data_verdict:
  schema_path: ../schema.pbtxt
training:
  learning_rate: 1e-3
  epochs: 2
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "hivemill.yaml"
    file.write_text(GOOD)
    (tmp_path / "clicks.hql").write_text("CREATE TABLE clicks (click int)")
    (tmp_path.parent / "schema.pbtxt").write_text("")
    return file


def load(path: Path, *overrides: str, **environment: str) -> loader.LoadedConfig:
    return loader.load(path, overrides, environment)


def test_values_and_defaults(path):
    loaded = load(path).config
    assert loaded.training.learning_rate == 0.001
    assert loaded.training.epochs == 2
    assert loaded.window.train_days == 28
    assert list(loaded.features) == ["user_id", "price", "d_x_g"]
    assert loaded.features["d_x_g"].columns == ("device", "gender")
    assert loaded.model_name() == "shop"


def test_relative_paths_are_relative_to_the_file(path, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    loaded = load(path).config
    assert loaded.source.table == str(tmp_path / "log/clicks")
    assert loaded.source.ddl == str(tmp_path / "clicks.hql")
    assert loaded.data_verdict.schema_path == str(tmp_path.parent / "schema.pbtxt")
    assert loaded.root_path() == tmp_path / "hivemill"
    assert loaded.places().store == str(tmp_path / "hivemill" / "models")
    assert load(path, "experiment.log=exposures").config.experiment.log == str(tmp_path / "exposures")
    assert load(path, "rollout.metrics=seen.json").config.rollout.metrics == str(tmp_path / "seen.json")
    assert load(path, "store.path=/srv/models").config.places().store == "/srv/models"


def test_urls_are_left_alone(path):
    assert load(path, "source.table=hdfs://warehouse/clicks").config.source.table == "hdfs://warehouse/clicks"


def test_origins(path):
    variable = "HIVEMILL__TRAINING__BATCH_SIZE"
    origins = load(path, "training.epochs=9", **{variable: "64", "HIVEMILL__TRAINING__EPOCHS": "7"}).origins
    assert origins["source.table"] == f"{path}:3"
    assert origins["features.d_x_g.columns"] == f"{path}:13"
    assert origins["features.user_id.min_count"] == "default"
    assert origins["window.eval_days"] == "default"
    assert origins["training.batch_size"] == f"environment {variable}"
    assert origins["training.epochs"] == "--set"
    assert origins["training.plateau.patience"] == "default"


def test_every_value_has_an_origin(path):
    loaded = load(path)

    def leaves(value, key):
        if isinstance(value, dict) and value:
            return [leaf for name, child in value.items() for leaf in leaves(child, [*key, name])]
        return [".".join(key)]

    assert list(loaded.origins) == leaves(loaded.config.model_dump(mode="json"), [])


def test_set_goes_before_the_environment_and_the_file(path):
    loaded = load(path, "training.epochs=9", HIVEMILL__TRAINING__EPOCHS="7")
    assert loaded.config.training.epochs == 9
    assert load(path, HIVEMILL__TRAINING__EPOCHS="7").config.training.epochs == 7
    assert load(path, "training.epochs=3", "training.epochs=4").config.training.epochs == 4


def test_overrides_are_yaml(path):
    loaded = load(
        path,
        "gates.slices=[[device], [device, gender]]",
        "training.plateau=null",
        "window.validation_days=0",
        "features.price={type: numeric, transform: quantile_buckets, buckets: 7}",
        "store.model=no",
        "source.text.null_text=''",
        "source.text.field_delimiter='\t'",
    ).config
    assert loaded.gates.slices == (("device",), ("device", "gender"))
    assert loaded.training.plateau is None
    assert loaded.features["price"].buckets == 7
    assert loaded.store.model == "no"
    assert loaded.source.text.field_delimiter == "\t"


def test_override_inside_a_list_and_of_an_absent_section(path):
    bounds = "gates.slice_bounds=[{slice: [device], metric: auc, bound: {min: 0.6}}]"
    loaded = load(path, bounds, "gates.slice_bounds.0.min_examples=5", "runner.cache=false").config
    assert loaded.gates.slice_bounds[0].min_examples == 5
    assert loaded.runner.cache is False


def test_variable_finds_keys_of_any_case(path, tmp_path):
    text = GOOD.replace("user_id:", "UserId:")
    path.write_text(text)
    loaded = load(path, HIVEMILL__FEATURES__USERID__MIN_COUNT="5").config
    assert loaded.features["UserId"].min_count == 5


@pytest.mark.parametrize(
    ("written", "default"),
    [
        ("no", "no"),  # Norway stays a country
        ("off", "off"),
        ("2026-11-15", "2026-11-15"),
        ("12:30", "12:30"),
        ("'7'", "7"),
        ("7", 7),
        ("007", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("北京", "北京"),
        ('"\\x01"', "\x01"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(path, written, default):
    path.write_text(GOOD.replace("{type: categorical}", f"{{type: categorical, default: {written}}}"))
    assert load(path).config.features["user_id"].default == default


def test_aliases_and_block_style(path):
    path.write_text(GOOD.replace("user_id: {type: categorical}", "user_id: &c {type: categorical}\n  city: *c"))
    assert load(path).config.features["city"].type == "categorical"


def test_to_yaml_loads_to_the_same(path, tmp_path):
    loaded = load(path, "gates.slice_bounds=[{slice: {hour: 7}, metric: auc, bound: {min: 0.6}}]")
    copy = tmp_path / "elsewhere" / "copy.yaml"
    copy.parent.mkdir()
    copy.write_text(loaded.config.to_yaml())
    again = load(copy)
    assert again.config == loaded.config
    assert again.config.semantic_fingerprint() == loaded.config.semantic_fingerprint()


@pytest.mark.parametrize(
    "override",
    ["root=elsewhere", "source.table=moved", "runner.name=beam", "runner.cache=false", "store.path=/srv/models"],
)
def test_fingerprint_ignores_where_and_who(path, override):
    assert load(path, override).config.semantic_fingerprint() == load(path).config.semantic_fingerprint()


@pytest.mark.parametrize(
    "override",
    [
        "training.seed=18",
        "model.dropout=0.1",
        "window.train_days=7",
        "features.price.transform=raw",
        "label.column=bought",
        "gates.metrics={auc: {min: 0.9}}",
        "source.exclude_columns=[noise]",
        "store.model=other",
        "data_verdict.on_anomaly=amber",
    ],
)
def test_fingerprint_sees_what_changes_the_outcome(path, override):
    assert load(path, override).config.semantic_fingerprint() != load(path).config.semantic_fingerprint()


def test_fingerprint_sees_the_order_of_the_features(path):
    before = load(path).config.semantic_fingerprint()
    first, second = "  user_id: {type: categorical}\n", "  price: {type: numeric, transform: log}\n"
    path.write_text(GOOD.replace(first + second, second + first))
    assert load(path).config.semantic_fingerprint() != before


def test_fingerprint_sees_the_content_of_the_ddl(path, tmp_path):
    before = load(path).config.semantic_fingerprint()
    (tmp_path / "clicks.hql").write_text("CREATE TABLE clicks (click bigint)")
    assert load(path).config.semantic_fingerprint() != before
    (tmp_path / "clicks.hql").unlink()
    with pytest.raises(ConfigError, match=r"source\.ddl: .*clicks\.hql cannot be read: No such file"):
        load(path).config.semantic_fingerprint()


def test_place_of(path):
    loaded = load(path)
    assert loaded.place_of("features", "price", "transform") == f"{path}:12"
    assert loaded.place_of("features", "price", "buckets") == f"{path}:12"  # the section around it
    assert loaded.place_of("gates", "metrics") == f"{path}:1"


def test_imports_nothing_heavy():
    heavy = "{'tensorflow', 'tfx', 'apache_beam', 'pyarrow', 'pandas', 'numpy'}"
    code = f"import sys, hivemill.pipeline.config.loader; print(sorted({heavy} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("text", "use"), [("off", "off"), ("auto", "auto"), ("'off'", "off"), ("{max_pairs: 3}", "auto")]
)
def test_rates_take_a_word_or_a_section(path, text, use):
    assert load(path, f"rates={text}").config.rates.use == use
    path.write_text(path.read_text() + f"\nrates: {text}\n")
    assert load(path).config.rates.use == use
