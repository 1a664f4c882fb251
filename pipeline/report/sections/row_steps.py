"""What became of the rows between table and examples: deduplication, label join and sample. No HTML here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hivemill.pipeline.documents.manifest import ClickDay, LabelJoin, Manifest, Sampling
from hivemill.pipeline.report.sections import numbers

NO_STEPS = (
    "Every row that could be read is an example: the config asks for no deduplication (source.deduplicate_by), sample "
    "(source.sampling) or join (label.join)."
)
_TAKES = {
    "last": "A click belongs to the last impression of its key before it.",
    "first": "A click belongs to the first impression of its key within that time.",
    "every": "A click belongs to every impression of its key within that time.",
}


@dataclass(frozen=True)
class StepCell:
    """A count, and below it what it means; texts, ready to show."""

    count: str
    words: str = ""


@dataclass(frozen=True)
class StepTable:
    """Splits down, steps across; only steps that the run had."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[StepCell, ...]], ...]


@dataclass(frozen=True)
class _SplitRows:
    """One split's counts; `counts` are those of components.hive_example_gen.rows.steps."""

    read: int
    bad: int
    examples: int | None
    counts: Mapping[str, int]

    @property
    def in_table(self) -> int:
        return self.read + self.bad

    @property
    def without_match(self) -> int:
        """Rows that no click can be joined to."""
        return self.counts.get("without_key", 0) + self.counts.get("without_time", 0)

    @property
    def clicked(self) -> StepCell:
        """Impressions with a click, and the click rate before any of them is sampled away."""
        labelled = self.counts.get("labelled", 0)
        return StepCell(numbers.count(labelled), _share(labelled, self.read - self.counts.get("duplicates", 0)))

    def share_of_table(self, rows: int) -> StepCell:
        return StepCell(numbers.count(rows), _share(rows, self.in_table))


# Heading and the count behind it, in the order in which rows are left out.
_LOSSES = (("Duplicates", "duplicates"), ("Negatives left out", "negatives_left_out"))


def step_table(manifest: Manifest | None) -> StepTable | None:
    """Rows by split, from the table to the examples; None where no step was asked for."""
    if manifest is None or not manifest.row_steps:
        return None
    splits = {name: _split_rows(manifest, name) for name in manifest.row_steps}
    known = set().union(*(one.counts for one in splits.values()))
    losses = [(heading, name) for heading, name in _LOSSES if name in known]
    without = any(one.without_match for one in splits.values())
    headings = ["Rows in the table", "Not readable", *(heading for heading, _ in losses), "Examples"]
    headings += ["With a click"] * ("labelled" in known) + ["No key or time"] * without
    rows = []
    for name, one in splits.items():
        cells = [StepCell(numbers.count(one.in_table)), one.share_of_table(one.bad)]
        cells += [one.share_of_table(one.counts.get(count, 0)) for _, count in losses]
        cells += [StepCell(numbers.count(one.examples))]
        cells += [one.clicked] * ("labelled" in known) + [one.share_of_table(one.without_match)] * without
        rows.append((name, tuple(cells)))
    return StepTable(tuple(headings), tuple(rows))


def _split_rows(manifest: Manifest, split: str) -> _SplitRows:
    bad = sum(manifest.bad_rows.get(split, {}).values())
    return _SplitRows(
        manifest.rows_read.get(split, 0), bad, manifest.num_rows.get(split), manifest.row_steps.get(split, {})
    )


def rules(manifest: Manifest | None) -> list[str]:
    """The rules behind the counts, a sentence or two for each step that the run had."""
    if manifest is None:
        return []
    known = set().union(*manifest.row_steps.values()) if manifest.row_steps else set()
    found = []
    if "duplicates" in known:
        found.append("Duplicates: an earlier row of the partition has the same key (source.deduplicate_by).")
    if manifest.label_join:
        found += _join_rules(manifest.label_join)
    if manifest.sampling:
        found += _sampling_rules(manifest.sampling, manifest.row_steps)
    return found


def _join_rules(join: LabelJoin) -> list[str]:
    sentences = [f"With a click: one with the same {_names(join.keys)} follows within {join.within}."]
    sentences += [_TAKES[join.take]] if join.take in _TAKES else []
    return [" ".join([*sentences, "An impression without key or time cannot have one; it stays, with label 0."])]


def _sampling_rules(sampling: Sampling, steps: Mapping[str, Mapping[str, int]]) -> list[str]:
    kept = f"{100 * sampling.negatives:g} %"
    found = [
        f"Negatives: {kept} of the impressions without a click are kept in {_names(sampling.splits)}, chosen by a hash "
        f"of {_names(sampling.key)}. The model corrects its probabilities for it; other splits keep all."
    ]
    alike = sum(counts.get("negatives_without_key", 0) for counts in steps.values())
    if alike:
        found.append(f"{alike:,} of them have no value in any of these columns: all of those are kept, or none.")
    return found


def sampled_splits(manifest: Manifest | None) -> str:
    """`train and validation`; empty where nothing is sampled."""
    return _names(manifest.sampling.splits) if manifest and manifest.sampling else ""


def clicks_words(join: LabelJoin) -> str:
    """The clicks of all days in a sentence."""
    total, distinct = sum(one.rows for one in join.clicks), sum(one.distinct or 0 for one in join.clicks)
    judged = [one for one in join.clicks if one.without_impression is not None]
    words = f"{total:,} rows in {len(join.clicks):,} days of the table of clicks, {distinct:,} of them different clicks"
    if not judged:
        return f"{words}. Not judged: no day of clicks has all its impressions in the window."
    alone = sum(one.without_impression or 0 for one in judged)
    of_judged = sum(one.distinct or 0 for one in judged)
    share = f" ({numbers.percent(alone / of_judged)})" if of_judged else ""
    return f"{words}; {alone:,} of {of_judged:,}{share} have no impression."


def unused_clicks(one: ClickDay) -> str:
    """Why rows of the table of clicks could not be used: `3 without key, 1 unreadable (value)`."""
    counts = {"without key": one.without_key, "without time": one.without_time, "of another day": one.outside_day}
    counts |= {f"unreadable ({cause})": rows for cause, rows in one.bad_rows.items()}
    return ", ".join(f"{rows:,} {what}" for what, rows in counts.items() if rows) or numbers.MISSING


def _share(part: int, whole: int) -> str:
    return numbers.percent(part / whole) if whole and part else ""


def _names(names: tuple[str, ...]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else numbers.MISSING
