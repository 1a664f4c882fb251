"""Every kind of mistake in a config: exit code 2, the line, the key, the rule and what was received."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hivemill.common.errors import ConfigError
from hivemill.pipeline.config import loader

GOOD = """\
name: shop
source:
  table: log/clicks
window:
  train_days: 7
label:
  column: click
  user: user_id
features:
  user_id: {type: categorical}
  price: {type: numeric, transform: log}
training:
  epochs: 2
gates:
  metrics:
    auc: {min: 0.6}
"""
EPOCHS, USER, PRICE, AUC = "  epochs: 2\n", "  user_id: {type: categorical}\n", "transform: log}", "auc: {min: 0.6}"

# (what is replaced, by what, line of the mistake, what the message says)
MISTAKES = {
    "unknown key": (EPOCHS, "  epoch: 2\n", 13, "training.epoch: unknown key; did you mean `epochs`?"),
    "unknown section": ("gates:", "gatse:", 14, "gatse: unknown key; did you mean `gates`?"),
    "key of another section": ("name: shop", "name: shop\nepochs: 3", 2, "did you mean `training.epochs`?"),
    "unknown key, nothing near": (EPOCHS, "  zzz: 2\n", 13, "training.zzz: unknown key; known: epochs, batch_size,"),
    "unknown key of a feature": (PRICE, "tranform: log}", 11, "price.tranform: unknown key; did you mean `transform`?"),
    "key of another feature type": (PRICE, "min_count: 3}", 11, "features.price.min_count: unknown key"),
    "unknown key of a bound": (AUC, "auc: {minimum: 0.6}", 16, "metrics.auc.minimum: unknown key; did you mean `min`?"),
    "unknown metric": (AUC, "acu: {min: 0.6}", 16, "gates.metrics.acu: must be one of auc, "),
    "duplicate key": (
        EPOCHS,
        EPOCHS + "  epochs: 3\n",
        14,
        "training.epochs: the key is given twice; first in line 13",
    ),
    "duplicate feature": (USER, USER + USER, 11, "features.user_id: the key is given twice; first in line 10"),
    "text for a number": (EPOCHS, "  epochs: two\n", 13, 'epochs: must be a whole number; received "two"'),
    "quoted number": (EPOCHS, '  epochs: "2"\n', 13, 'epochs: must be a whole number; received "2"'),
    "fraction": (EPOCHS, "  epochs: 2.5\n", 13, "epochs: must be a whole number; received 2.5"),
    "boolean for a number": (EPOCHS, "  epochs: true\n", 13, "epochs: must be a whole number; received true"),
    "number for text": ("name: shop", "name: 2026", 1, "name: must be text; received 2026: put it in quotes"),
    "too small": (EPOCHS, "  epochs: 0\n", 13, "epochs: must be greater than 0; received 0"),
    "too large": (EPOCHS, EPOCHS + "model:\n  embedding_size: 2000\n", 15, "must be at most 1024; received 2000"),
    "infinite": (EPOCHS, "  learning_rate: .inf\n", 13, "learning_rate: must be a finite number; received .inf"),
    "no number": (EPOCHS, "  learning_rate: .nan\n", 13, "learning_rate: must be a finite number; received .nan"),
    "list for a number": (EPOCHS, "  epochs: [2]\n", 13, "epochs: must be a whole number; received [2]"),
    "value for a section": ("window:\n  train_days: 7", "window: 7", 4, "window: must be a section: indented lines"),
    "value for a list": (
        "metrics:\n    auc: {min: 0.6}",
        "slices: device",
        15,
        "gates.slices: must be a list, like [a",
    ),
    "flat list for slices": ("metrics:\n    auc: {min: 0.6}", "slices: [device]", 15, "gates.slices.0: must be a list"),
    "yes for a boolean": (EPOCHS, EPOCHS + "runner:\n  cache: yes\n", 15, "cache: must be true or false; received"),
    "bad enum": (PRICE, "transform: lgo}", 11, 'quantile_buckets, raw (did you mean `log`?); received "lgo"'),
    "unknown feature type": (USER, "  user_id: {type: categorial}\n", 10, "user_id.type: must be one of categorical"),
    "feature without type": (
        USER,
        "  user_id: {min_count: 2}\n",
        10,
        "features.user_id: needs a `type`, one of categorical, multivalent, numeric, cross",
    ),
    "feature is a word": (USER, "  user_id: categorical\n", 10, "features.user_id: must be a section"),
    "feature is empty": (USER, "  user_id:\n", 10, "features.user_id: must be a section"),
    "neither text nor number": (
        USER,
        "  user_id: {type: categorical, default: [1]}\n",
        10,
        "default: must be text or must be a whole number; received [1]",
    ),
    "bad name": ("name: shop", "name: my shop", 1, 'name: must match ^[A-Za-z0-9][A-Za-z0-9_.-]*$; received "my shop"'),
    "missing key": ("name: shop\n", "", 1, "name: is required and missing"),
    "missing key of a section": ("  column: click\n", "", 6, "label.column: is required and missing"),
    "missing key of a feature": (
        USER,
        "  cross:\n    type: cross\n    columns: [a, b]\n",
        10,
        "features.cross.hash_buckets: is required and missing",
    ),
    "hash without buckets": (USER, "  user_id: {type: categorical, encoding: hash}\n", 10, "needs `hash_buckets`"),
    "bound without limits": (AUC, "auc: {}", 16, "gates.metrics.auc: a bound needs at least one of min, max"),
    "cross of one column": (
        USER,
        "  x: {type: cross, columns: [a], hash_buckets: 9}\n",
        10,
        "columns: must have at least 2",
    ),
    "tab": (EPOCHS, "\tepochs: 2\n", 13, "a tab indents this line; YAML indents with spaces only"),
    "indentation": (EPOCHS, EPOCHS + " batch_size: 4\n", 14, "not valid YAML: "),
    "colon in a value": (EPOCHS, "  epochs: a: b\n", 13, "put a value that contains `: ` in quotes"),
    "percent sign": (EPOCHS, "  epochs: %Y\n", 13, "put a value that begins with such a character in quotes"),
    "open bracket": (AUC, "auc: {min: 0.6", 17, "not valid YAML: "),
    "two documents": (EPOCHS, "  epochs: 2\n---\n", 14, "only one document is allowed; remove the `---` lines"),
    "tag": (
        EPOCHS,
        "  epochs: !python/object:os.system 2\n",
        13,
        "training.epochs: the tag !python/object:os.system is",
    ),
    "list as a key": (EPOCHS, "  [a, b]: 2\n", 13, "training: a key must be a single word or text"),
    "alias of itself": (EPOCHS, "  epochs: &a [*a]\n", 13, "an alias (*name) must not contain itself"),
    "merge key": (EPOCHS, "  <<: {epochs: 2}\n", 13, "training: merge keys (<<) are not supported; write the keys out"),
    "half a character": ("table: log/clicks", 'table: "\\ud800"', 3, "source.table: must be valid Unicode text"),
    "empty key": (EPOCHS, EPOCHS + "  '': 2\n", 14, "training.: unknown key; known: epochs"),
    "undefined alias": (EPOCHS, "  epochs: *nobody\n", 13, "found undefined alias 'nobody'"),
    "control character": ("name: shop", "name: sh\x01op", 1, "the character '\\x01' is not allowed"),
    # between sections
    "early stopping without validation": (
        "train_days: 7",
        "train_days: 7\n  validation_days: 0",
        13,
        "training.plateau: watching the validation split needs window.validation_days of at least 1; received 0",
    ),
    "validation takes all days": (
        "train_days: 7",
        "train_days: 7\n  validation_days: 7",
        6,
        "window.validation_days: must be less than window.train_days (7), of which they are the last; received 7",
    ),
    "label as a feature": (USER, "  click: {type: categorical}\n", 10, "reads `click`, the label"),
    "label in a cross": (USER, "  x: {type: cross, columns: [click, a], hash_buckets: 9}\n", 10, "`click`, the label"),
    "label as weights": (USER, "  x: {type: multivalent, weights: click}\n", 10, "reads `click`, the label"),
    "label as user": ("user: user_id", "user: click", 8, "label.user: `click` is the label itself"),
    "user as weight": ("user: user_id", "user: user_id\n  weight: user_id", 9, "`user_id` is label.user"),
    "the same field twice": (
        PRICE,
        "transform: log}\n  cost: {type: numeric, column: price, transform: log}",
        12,
        "features.cost: is the same field as features.price",
    ),
    "cross of a column with itself": (
        USER,
        "  x: {type: cross, columns: [a, a], hash_buckets: 9}\n",
        10,
        "features.x.columns: names a column twice",
    ),
    "feature without a name": (USER, '  " ": {type: categorical, column: user_id}\n', 10, "a feature needs a name"),
    "buckets without effect": (
        PRICE,
        "transform: log, buckets: 5}",
        11,
        "price.buckets: has no effect with `transform:",
    ),
    "min_count without effect": (
        USER,
        "  user_id: {type: categorical, encoding: hash, hash_buckets: 9, min_count: 7}\n",
        10,
        "user_id.min_count: has no effect with `encoding: hash`",
    ),
    "gauc without user": ("  user: user_id\n", "  # user\n", 16, "gauc is a mean over users: give label.user"),
    "min above max": (AUC, "auc: {min: 0.6, max: 0.5}", 16, "metrics.auc: min (0.6) must not be above max (0.5)"),
    "max_drop of a loss": (AUC, "logloss: {max_drop: 0.1}", 16, "logloss is not one; use max_rise, min or max"),
    "max_rise of auc": (AUC, "auc: {max_rise: 0.1}", 16, "auc is not one; use max_drop, min or max"),
    "negative max_drop": (AUC, "auc: {max_drop: -0.1}", 16, "auc.max_drop: must be at least 0; received -0.1"),
    "slice by the label": (
        AUC,
        "auc: {min: 0.6}\n  slices: [[click]]",
        17,
        "`click` is the label: a slice by it has one",
    ),
    "date column is no partition": (
        "table: log/clicks",
        "table: log/clicks\n  date_column: dtt",
        4,
        "source.date_column: `dtt` is not in source.partition_columns; did you mean `dt`?",
    ),
    "hour column is no partition": (
        "table: log/clicks",
        "table: x\n  hour_column: h",
        4,
        "`h` is not in source.partition",
    ),
    "text without columns": ("table: log/clicks", "table: x\n  format: text", 4, "give source.ddl or source.columns"),
    "columns twice": (
        "table: log/clicks",
        "table: x\n  ddl: a\n  columns: {a: int}",
        5,
        "source.ddl defines the columns",
    ),
    "excluded label": ("table: log/clicks", "table: x\n  exclude_columns: [click]", 4, "`click` is needed"),
    "excluded feature": (
        "table: log/clicks",
        "table: x\n  exclude_columns: [price]",
        12,
        "which source.exclude_columns",
    ),
    "root is remote": (
        "name: shop",
        "name: shop\nroot: hdfs://namenode/x",
        2,
        "root: must be a folder, s3://BUCKET/FOLDER or gs://BUCKET/FOLDER",
    ),
    "root with options": (
        "name: shop",
        "name: shop\nroot: s3://bucket/x?region=eu-west-1",
        2,
        "what else the store needs comes from the environment: docs/object-stores.md); received 's3://bucket/x'",
    ),
    "root and workers": (
        EPOCHS,
        EPOCHS + "  strategy: multi_worker\nroot: s3://bucket/x\n",
        14,
        "training.strategy: is `multi_worker`, whose processes meet in a folder; root is s3://bucket/x",
    ),
    "root with credentials": (
        "name: shop",
        "name: shop\nroot: s3://key:secret@bucket/x",
        2,
        "received 's3://bucket/x'",
    ),
    "beam option": (
        EPOCHS,
        EPOCHS + "runner:\n  beam_args: [runner]\n",
        15,
        "beam_args.0: Beam options start with `--`",
    ),
    "dataflow": (
        EPOCHS,
        EPOCHS + "runner:\n  beam_args: [--region=europe-west1, --runner=DataflowRunner]\n",
        15,
        "beam_args: --runner=DataflowRunner needs --project=ID",
    ),
    "unprepared workers": (
        EPOCHS,
        EPOCHS + "runner:\n  beam_args: [--direct_running_mode=multi_processing]\n",
        15,
        "take --runner=hivemill.pipeline.orchestrators.beam.worker_processes.WorkerProcesses",
    ),
}
GAUC = {"gauc without user"}


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "hivemill.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(tmp_path, name):
    old, new, line, words = MISTAKES[name]
    good = GOOD.replace("auc: {min: 0.6}", "gauc: {min: 0.6}") if name in GAUC else GOOD
    assert good.count(old) == 1
    path = write(tmp_path, good.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        loader.load(path, (), {})
    assert words in caught.value.message
    assert f"{path}:{line}: " in caught.value.message
    assert caught.value.exit_code == 2


def test_the_good_one_loads(tmp_path):
    assert loader.load(write(tmp_path, GOOD), (), {}).config.name == "shop"


def test_all_mistakes_at_once_one_line_each(tmp_path):
    text = GOOD.replace("epochs: 2", "epochs: two").replace("transform: log", "transform: lgo").replace("name:", "nam:")
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        loader.load(path, (), {})
    lines = caught.value.message.splitlines()
    assert lines[0] == f"{path}: 4 mistakes"
    assert [line.split(": ")[1] for line in lines[1:]] == ["name", "features.price.transform", "training.epochs", "nam"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty; `hivemill init DIR` writes a complete one"),
        ("# only a comment\n", "the file is empty"),
        ("- a\n- b\n", "the file must be a mapping"),
        ("hello", "the file must be a mapping"),
        ("features:\n", "features: must be a section"),
    ],
)
def test_file_without_a_config(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        loader.load(write(tmp_path, text), (), {})


def test_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no config file .*absent\.yaml") as caught:
        loader.load(tmp_path / "absent.yaml")
    assert "hivemill init" in caught.value.hint
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        loader.load(tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("name: é".encode("latin-1"))
    with pytest.raises(ConfigError, match="must be UTF-8 text; byte 6 is not"):
        loader.load(latin)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_rights(tmp_path):
    path = write(tmp_path, GOOD)
    path.chmod(0)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        loader.load(path)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.epochs", "--set: must be KEY=VALUE, like training.epochs=5; received 'training.epochs'"),
        ("=5", "--set: must be KEY=VALUE"),
        ("training..epochs=5", "--set: must be KEY=VALUE"),
        ("training.epoch=5", "--set: training.epoch: unknown key; did you mean `epochs`?"),
        ("epochs=5", "--set: epochs: unknown key; did you mean `training.epochs`?"),
        ("training.epochs=five", '--set: training.epochs: must be a whole number; received "five"'),
        ("training.epochs=[5", "--set: training.epochs: not valid YAML"),
        ("name.x=5", "--set: name.x: `name` holds a value, not a section"),
        ("training.epochs.x.y=5", "--set: training.epochs.x.y: `training.epochs` holds a value, not a section"),
    ],
)
def test_override(tmp_path, override, words):
    with pytest.raises(ConfigError) as caught:
        loader.load(write(tmp_path, GOOD), [override], {})
    assert caught.value.message.startswith(words)


def test_environment(tmp_path):
    with pytest.raises(ConfigError) as caught:
        loader.load(write(tmp_path, GOOD), (), {"HIVEMILL__TRAINING__EPOCH": "5", "OTHER": "x"})
    words = "environment HIVEMILL__TRAINING__EPOCH: training.epoch: unknown key; did you mean `epochs`?"
    assert caught.value.message == words


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.integers(0, len(GOOD)),
    length=st.integers(0, 30),
    new=st.text(max_size=8) | st.text("{}[]:-*&!|>'\"#,\n \t0aeE.~?%@<=", max_size=8),
)
def test_a_damaged_file_loads_or_names_its_mistakes(tmp_path, start, length, new):
    """No damage ends in another exception, and every message names the file."""
    path = tmp_path / "hivemill.yaml"
    damaged = GOOD[:start] + new + GOOD[start + length :]
    path.write_bytes(damaged.encode("utf-8", "surrogatepass"))
    try:
        loader.load(path, (), {})
    except ConfigError as error:
        assert str(path) in error.message


def test_nested_too_deeply(tmp_path):
    with pytest.raises(ConfigError, match="nested too deeply"):
        loader.load(write(tmp_path, "a: " + "[" * 5000), (), {})


def test_huge_number(tmp_path):
    with pytest.raises(ConfigError, match=r"training\.epochs: must be a finite number; received 999"):
        loader.load(write(tmp_path, GOOD.replace("epochs: 2", "epochs: " + "9" * 5000)), (), {})


def test_a_bomb_of_aliases_is_refused_at_once(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]  # ten billion values
    path = write(tmp_path, "\n".join(lines))
    with pytest.raises(ConfigError, match="more than 100,000 values"):
        loader.load(path, [], {})
