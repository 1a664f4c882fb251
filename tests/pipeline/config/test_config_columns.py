"""The config against the columns of the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.table.columns import FeatureKind
from hivemill.pipeline.config import loader

KINDS = {
    "user_id": FeatureKind("int64", False, "user_id"),
    "city": FeatureKind("bytes", False, "city"),
    "price": FeatureKind("float", False, "price"),
    "query": FeatureKind("bytes", True, "query"),
    "query_weights": FeatureKind("float", True, "query_weights"),
    "embedding": FeatureKind("float", True, "embedding"),
    "context_keys": FeatureKind("bytes", True, "context"),
    "context_values": FeatureKind("bytes", True, "context"),
    "counts_keys": FeatureKind("bytes", True, "counts"),
    "counts_values": FeatureKind("int64", True, "counts"),
    "geo_lat": FeatureKind("float", False, "geo"),
    "geo_lon": FeatureKind("float", False, "geo"),
    "click": FeatureKind("int64", False, "click"),
    "dt": FeatureKind("bytes", False, "dt"),
}
BASE = "name: shop\nsource: {table: log}\nlabel: {column: click}\nfeatures:\n  city: {type: categorical}\n"


def check(tmp_path: Path, feature: str = "", *overrides: str) -> None:
    path = tmp_path / "hivemill.yaml"
    path.write_text(BASE + (f"  {feature}\n" if feature else ""))
    loader.check_columns(loader.load(path, overrides, {}), KINDS)


@pytest.mark.parametrize(
    "feature",
    [
        "user_id: {type: categorical}",
        "user_id: {type: numeric}",
        "user_id: {type: categorical, default: -1}",
        "dt: {type: categorical}",
        "price: {type: numeric}",
        "lat: {type: numeric, column: geo_lat}",
        "query: {type: multivalent}",
        "query: {type: multivalent, weights: query_weights}",
        "context: {type: multivalent}",
        "context: {type: multivalent, of: items}",
        "counts: {type: multivalent, weights: values}",
        "x: {type: cross, columns: [city, user_id], hash_buckets: 9}",
    ],
)
def test_fits(tmp_path, feature):
    check(tmp_path, feature)


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        ("cities: {type: categorical}", "features.cities: the table has no column `cities`; did you mean `city`?"),
        (
            "c: {type: categorical, column: ciyt}",
            "features.c.column: the table has no column `ciyt`; did you mean `city`",
        ),
        ("zzzzzz: {type: categorical}", "the table has no column `zzzzzz`; known: user_id, city"),
        (
            "query: {type: categorical}",
            "features.query: `query` holds several values per row: declare it as `type: mult",
        ),
        ("context: {type: categorical}", "features.context: `context` is a map: declare it as `type: multivalent`"),
        ("query: {type: numeric}", "holds several values per row: declare it as `type: multivalent`"),
        (
            "price: {type: categorical}",
            "features.price: `price` holds fractions, not names: declare it as `type: numeric`",
        ),
        ("town: {type: numeric, column: city}", "`city` holds text, not numbers: declare it as `type: categorical`"),
        ("user_id: {type: categorical, default: none}", "default: the column holds integers, so must be one, or empty"),
        (
            "user_id: {type: multivalent}",
            "`user_id` holds one value per row, not an array or map: declare it as `type: n",
        ),
        ("p: {type: multivalent, column: price}", "declare it as `type: numeric`"),
        ("c: {type: multivalent, column: city}", "declare it as `type: categorical`"),
        ("contxt: {type: multivalent}", "the table has no column `contxt`; did you mean `context`?"),
        ("embedding: {type: multivalent}", "`embedding` holds fractions; a multivalent feature needs strings"),
        ("query: {type: multivalent, of: items}", "features.query.of: is for map columns; `query` is an array"),
        (
            "query: {type: multivalent, weights: values}",
            "weights: `values` takes the values of a map; `query` is an arr",
        ),
        (
            "query: {type: multivalent, weights: price}",
            "weights: `price` holds one value per row; weights need an array",
        ),
        ("query: {type: multivalent, weights: query_weight}", "did you mean `query_weights`?"),
        ("context: {type: multivalent, weights: values}", "the values of `context` are text; weights must be numbers"),
        ("geo: {type: numeric}", "it is a struct; use 'geo_lat' or 'geo_lon'"),
        (
            "x: {type: cross, columns: [city, pric], hash_buckets: 9}",
            "features.x.columns: the table has no column `pric`",
        ),
        ("x: {type: cross, columns: [city, query], hash_buckets: 9}", "to cross it, a column needs one"),
        ("x: {type: cross, columns: [city, price], hash_buckets: 9}", "`price` holds fractions, not names"),
    ],
)
def test_does_not_fit(tmp_path, feature, words):
    with pytest.raises(ConfigError) as caught:
        check(tmp_path, feature)
    assert words in caught.value.message
    assert caught.value.message.startswith(f"{tmp_path / 'hivemill.yaml'}:6: ")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("label.column=clicked", "label.column: the table has no column `clicked`; did you mean `click`?"),
        ("label.column=dt", "label.column: `dt` holds text, not numbers"),
        ("label.column=query", "label.column: `query` holds several values per row"),
        ("label.user=user", "label.user: the table has no column `user`; did you mean `user_id`?"),
        ("label.user=price", "label.user: `price` holds fractions, not names"),
        ("label.weight=dt", "label.weight: `dt` holds text, not numbers"),
        ("gates.slices=[[city], [citi]]", "gates.slices.1: the table has no column `citi`; did you mean `city`?"),
        ("gates.slices=[[query]]", "`query` holds several values per row; to slice by it, a column needs one"),
        (
            "gates.slice_bounds=[{slice: {town: x}, metric: auc, bound: {min: 0.5}}]",
            "gates.slice_bounds.0.slice: the table has no column `town`",
        ),
    ],
)
def test_label_and_slices(tmp_path, override, words):
    with pytest.raises(ConfigError) as caught:
        check(tmp_path, "", override)
    assert words in caught.value.message


def test_all_at_once(tmp_path):
    with pytest.raises(ConfigError) as caught:
        check(tmp_path, "cities: {type: categorical}", "label.user=user")
    assert caught.value.message.splitlines()[0].endswith("2 mistakes")
