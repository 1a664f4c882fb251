"""The verdict on a window against the last good one: nothing on clean weeks, the right cause first on broken ones."""

import dataclasses
import datetime
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from hivemill.components.data_verdict.comparison.reference import History
from hivemill.components.data_verdict.document import data_section
from hivemill.components.data_verdict.options import DataVerdictOptions
from tests.components.data_verdict.verdict_log import (
    MONDAY,
    PLANS,
    ROLES,
    ROWS,
    SHOPS,
    day,
    evidence_of,
    judged,
    profiled,
    window,
)

GOOD_END, END = MONDAY + datetime.timedelta(days=7), MONDAY + datetime.timedelta(days=14)
BROKEN = (END - datetime.timedelta(days=2)).isoformat()


@pytest.fixture(scope="module")
def baseline():
    return profiled(window(GOOD_END))


def broken_week(change, since=BROKEN):
    days = window(END)
    return {name: change(columns) if name >= since else columns for name, columns in days.items()}


def replaced(**changes):
    return lambda columns: {**columns, **{name: make(columns) for name, make in changes.items()}}


def kept(choose):
    def change(columns):
        stays = choose(columns)
        return {name: values[stays] for name, values in columns.items()}

    return change


def twice(columns):
    return {name: np.repeat(values, 2) for name, values in columns.items()}


def robots(columns):
    taken = np.arange(len(columns["visitor"])) % 6 == 0
    return {
        **columns,
        "visitor": np.where(taken, 7_000_000, columns["visitor"]),
        "plan": np.where(taken, "free", columns["plan"]),
        "bought": np.where(taken, 0, columns["bought"]),
    }


def flooded(columns):
    taken = np.arange(len(columns["shop"])) % 7 == 0
    return np.where(taken, np.array([f"x{number % 200}" for number in range(len(taken))]), columns["shop"])


def no_clicks(columns):
    return np.where(columns["hour"] % 12 == 0, columns["bought"], 0)


def more_clicks(columns):
    return np.maximum(columns["bought"], np.arange(len(columns["bought"])) % 20 == 0)


FAULTS = {
    "drift": (replaced(amount=lambda c: np.exp(np.log(c["amount"]) * 0.3 + 2.4)), "drift", "amount"),
    "scaled": (replaced(amount=lambda c: c["amount"] * 2.7), "scaled_values", "amount"),
    "cents": (replaced(amount=lambda c: c["amount"] * 100), "unit_change", "amount"),
    "hours": (replaced(amount=lambda c: c["amount"] / 3600), "unit_change", "amount"),
    "swapped": (replaced(shop=lambda c: c["plan"], plan=lambda c: c["shop"]), "swapped_columns", None),
    "other column": (replaced(plan=lambda c: c["tags"]), "recoded_values", "plan"),
    "constant": (replaced(plan=lambda c: np.full(len(c["plan"]), "free")), "dead_feature", "plan"),
    "all missing": (replaced(amount_missing=lambda c: c["amount"] > 0), "dead_feature", "amount"),
    "missing": (replaced(amount_missing=lambda c: np.arange(len(c["amount"])) % 5 == 0), "missing_values", "amount"),
    "twice the rows": (twice, "volume", ""),
    "hour gone": (kept(lambda c: c["hour"] != 13), "missing_hour", ""),
    "no clicks in an hour": (replaced(bought=lambda c: np.where(c["hour"] == 13, 0, c["bought"])), "clicks_lost", None),
    "hardly a click in a day": (replaced(bought=no_clicks), "clicks_lost", "bought"),
    "more clicks": (replaced(bought=more_clicks), "label_rate", "bought"),
    "leak": (replaced(grade=lambda c: np.where(c["bought"], 5, np.minimum(c["grade"], 4))), "leaked_label", "grade"),
    "flood": (replaced(shop=flooded), "category_flood", "shop"),
    "cut off": (replaced(plan=lambda c: np.array([text[:2] for text in c["plan"]])), "truncated_vocabulary", "plan"),
    "tail gone": (kept(lambda c: np.isin(c["shop"], SHOPS[:12])), "truncated_vocabulary", "shop"),
    "one value gone": (kept(lambda c: c["plan"] != PLANS[1]), "lost_values", "plan"),
    "upper case": (replaced(plan=lambda c: np.char.upper(c["plan"].astype(str))), "recoded_values", "plan"),
    "robots": (robots, "bots", "visitor"),
    "clock": (replaced(time=lambda c: c["time"] - 2 * 3_600_000_000), "shifted_clock", "time"),
    "clock of partitions": (replaced(hour=lambda c: (c["hour"] + 5) % 24), "shifted_clock", None),
}  # fmt: skip


def test_a_clean_week_has_no_findings(baseline):
    assert judged(evidence_of(profiled(window(END)), baseline)) == []


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_week_names_the_cause_first(name, baseline):
    change, cause, column = FAULTS[name]
    findings = judged(evidence_of(profiled(broken_week(change)), baseline))
    assert findings, "nothing was found"
    first = findings[0]
    assert first.cause == cause, [(one.severity, one.cause, one.message) for one in findings]
    assert column is None or first.feature == column
    ranks = [one.rank for one in findings]
    assert ranks[0] == 1 and ranks == sorted(set(ranks))
    severities = [one.severity for one in findings]
    assert severities == sorted(severities, reverse=True)  # red, then amber


@pytest.mark.parametrize(
    "name", ["drift", "cents", "twice the rows", "hour gone", "leak", "robots", "flood", "constant"]
)
def test_a_broken_first_week_is_seen_against_its_own_other_days(name):
    change, _, _ = FAULTS[name]
    last_day = END.isoformat()
    assert judged(evidence_of(profiled(broken_week(change, since=last_day)))) != []
    assert judged(evidence_of(profiled(window(END)))) == []


def test_a_finding_shows_its_arithmetic(baseline):
    week = broken_week(replaced(amount=lambda c: c["amount"] * 100))
    finding = next(one for one in judged(evidence_of(profiled(week), baseline)) if one.kind == "drift")
    assert finding.measure == "js" and finding.value > finding.threshold == 0.05
    assert finding.threshold_source == "default"
    assert f"amount: JS {finding.value:.2g} > 0.05 on" in finding.message
    assert "all values are times a hundred" in finding.message
    above = next(one for one in finding.arithmetic if one["bin"].startswith("above"))
    assert above["before"] < 0.01 and above["after"] > 0.9
    assert f"{above['bin']}: " in finding.message


def test_days_that_the_last_good_window_had_are_not_judged_again(baseline):
    evidence = evidence_of(profiled(window(END)), baseline)
    assert evidence.judged_days == [name for name in sorted(window(END)) if name > GOOD_END.isoformat()]


def test_a_day_that_was_written_again_is_judged_again(baseline):
    profile = profiled(window(END))
    profile.fingerprints[GOOD_END.isoformat()] = "other"
    assert GOOD_END.isoformat() in evidence_of(profile, baseline).judged_days


def test_a_column_that_no_feature_reads_never_stops_a_run(baseline):
    week = broken_week(replaced(note=lambda c: np.full(len(c["note"]), "z")))
    findings = judged(evidence_of(profiled(week), baseline))
    assert {one.feature for one in findings} == {"note"}
    assert {one.severity for one in findings} == {"amber"}


def test_a_column_can_be_ignored_or_have_bounds_of_its_own(baseline):
    week = profiled(broken_week(replaced(amount=lambda c: c["amount"] * 100)))
    ignored = DataVerdictOptions(columns={"amount": {"ignore": True}})
    assert judged(evidence_of(week, baseline, options=ignored)) == []
    wide = DataVerdictOptions(columns={"amount": {"drift": {"amber": 0.5, "red": 1.0}}})
    (finding,) = judged(evidence_of(week, baseline, options=wide))
    assert (finding.severity, finding.threshold, finding.threshold_source) == ("amber", 0.5, "config")


def test_on_drift_amber_lets_everything_pass_and_says_so(baseline):
    week = profiled(broken_week(FAULTS["cents"][0]))
    findings = judged(evidence_of(week, baseline, options=DataVerdictOptions(on_drift="amber")))
    assert findings and {one.severity for one in findings} == {"amber"}


def test_partitions_that_the_window_left_out_are_amber(baseline):
    manifest = {"missing": ["day=2026-06-14/hour=03"], "late": [], "empty": []}
    (finding,) = judged(evidence_of(profiled(window(END)), baseline, manifest=manifest))
    assert (finding.severity, finding.cause) == ("amber", "missing_hour")
    assert "day=2026-06-14/hour=03" in finding.message


def test_a_serving_log_with_other_values_is_skew(baseline):
    serving = profiled(broken_week(replaced(amount=lambda c: c["amount"] * 100), since=""))
    del serving.columns["plan"]
    findings = judged(evidence_of(profiled(window(END)), baseline, serving=serving))
    assert {(one.kind, one.feature, one.severity) for one in findings} == {
        ("skew", "amount", "red"),
        ("skew", "plan", "red"),
    }
    assert judged(evidence_of(profiled(window(END)), baseline, serving=profiled(window(GOOD_END)))) == []


@pytest.mark.parametrize(("rows", "expected"), [(200, []), (20_000, [("skew", "amount", "amber", "missing_share")])])
def test_missing_values_in_a_serving_log_are_skew_where_luck_does_not_explain_them(baseline, rows, expected):
    serving = profiled(window(GOOD_END))
    amounts = serving.columns["amount"].days
    first, share = amounts[min(amounts)], np.mean([one.missing_share for one in amounts.values()])
    amounts.clear()
    amounts[min(serving.days)] = dataclasses.replace(first, rows=rows, missing=round((share + 0.04) * rows))
    findings = judged(evidence_of(profiled(window(END)), baseline, serving=serving))
    assert [(one.kind, one.feature, one.severity, one.measure) for one in findings] == expected


def test_weekends_that_are_unlike_weekdays_are_no_finding():
    """Sundays differ as every week: each is compared with Sundays too."""

    def sunday_like(days):
        return {
            name: {**columns, "plan": np.where(np.arange(len(columns["plan"])) % 3 == 0, "pro", columns["plan"])}
            if datetime.date.fromisoformat(name).weekday() == 6
            else columns
            for name, columns in days.items()
        }

    before, after = profiled(sunday_like(window(GOOD_END))), profiled(sunday_like(window(END)))
    assert [one.message for one in judged(evidence_of(after, before))] == []


def test_without_a_user_column_nobody_is_a_robot(baseline):
    roles = ROLES.model_copy(update={"user": None})
    findings = judged(evidence_of(profiled(broken_week(robots), roles), baseline, roles=roles))
    assert "bots" not in {one.cause for one in findings}


def test_a_day_of_another_size_is_no_drift(baseline):
    days = window(END)
    days[BROKEN] = day(datetime.date.fromisoformat(BROKEN), rows=2_800)
    assert judged(evidence_of(profiled(days), baseline)) == []


def test_values_of_other_rows_are_seen_though_no_distribution_changes(baseline):
    """`plan` says what `tier` is; then one of them comes from other rows."""

    def with_tier(columns, moved=False):
        tier = np.char.add(columns["plan"].astype(str), "!")
        return {**columns, "tier": np.roll(tier, 1) if moved else tier}

    roles = ROLES.model_copy(update={"kinds": {**ROLES.kinds, "tier": "value"}})
    good = profiled({name: with_tier(columns) for name, columns in window(GOOD_END).items()}, roles)
    same = profiled({name: with_tier(columns) for name, columns in window(END).items()}, roles)
    moved = {name: with_tier(columns, moved=name >= BROKEN) for name, columns in window(END).items()}
    assert judged(evidence_of(same, good, roles=roles)) == []
    (finding,) = judged(evidence_of(profiled(moved, roles), good, roles=roles))
    assert (finding.cause, finding.severity, finding.feature) == ("mixed_up_rows", "red", "plan")
    assert "with tier" in finding.message


def test_days_with_a_sample_of_their_negatives_compare_with_such_days_only():
    """Half of the train days' rows without a click are left out; the eval day is whole, next week it will not be."""

    def thinned(days):
        last = max(days)
        return {
            name: columns
            if name == last
            else kept(lambda c: (c["bought"] == 1) | (np.arange(len(c["hour"])) % 3 == 0))(columns)
            for name, columns in days.items()
        }

    roles = ROLES.model_copy(update={"thinned_splits": ("train",)})
    before = profiled(thinned(window(GOOD_END)), roles)
    after = profiled(thinned(window(END)), roles)
    assert judged(evidence_of(after, before, roles=roles)) == []
    assert judged(evidence_of(before, roles=roles)) == []
    broken = {name: replaced(amount=lambda c: c["amount"] * 100)(c) for name, c in thinned(window(END)).items()}
    assert judged(evidence_of(profiled(broken, roles), before, roles=roles))[0].cause == "unit_change"


def test_the_section_is_json_and_holds_what_the_schema_asks_for(baseline):
    evidence = evidence_of(profiled(broken_week(FAULTS["cents"][0])), baseline)
    section = json.loads(json.dumps(data_section(judged(evidence), evidence), allow_nan=False))
    assert section["colour"] == "red"
    assert section["baseline"] == {"run_id": "2026-06-07-good", "date": "2026-06-07", "model_version": 17}
    first = section["drift"][0]
    assert (first["feature"], first["threshold"]) == ("amount", 0.05)
    assert first["before"]["bins"] == first["after"]["bins"] and len(first["before"]["bins"]) <= 22
    assert sum(first["before"]["shares"]) == pytest.approx(1, abs=1e-3)
    assert {row["feature"] for row in section["drift"]} == {*ROLES.kinds, "visitor", "note"}
    assert section["volume"]["days"][BROKEN]["rows"] == ROWS
    schema = json.loads((Path(__file__).parents[3] / "schema" / "verdict.schema.json").read_text())
    jsonschema.validate(section, {"$defs": schema["$defs"], "$ref": "#/$defs/data"})
    jsonschema.validate(data_section([]), {"$defs": schema["$defs"], "$ref": "#/$defs/data"})


def test_history_widens_a_bound_and_lowers_none_for_red(baseline):
    profile = profiled(window(END))
    plain = evidence_of(profile, baseline).drift_bounds("amount")
    restless = evidence_of(profile, baseline, history=History(drift={"amount": [0.03] * 6})).drift_bounds("amount")
    assert restless.amber == pytest.approx(0.12) and restless.red == pytest.approx(0.24)
    assert (plain.red, restless.source, plain.source) == (0.05, "learnt", "learnt")
    assert 0.005 <= plain.amber < 0.02  # eight days that hardly differ


def test_one_bad_run_in_the_history_widens_nothing(baseline):
    profile = profiled(window(END))
    history = History(drift={"amount": [0.001, 0.001, 0.001, 0.001, 0.001, 0.4]})
    assert evidence_of(profile, baseline, history=history).drift_bounds("amount").red == 0.05
