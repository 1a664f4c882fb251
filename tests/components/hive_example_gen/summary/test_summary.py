"""The summary that a conversion writes: as one made of its TFRecords; kept, handed out, made anew where it lacks."""

import shutil
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from hivemill.common import progress
from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.components.data_verdict.profile import row_sample
from hivemill.components.hive_example_gen.summary import from_examples, split_summary
from hivemill.components.hive_example_gen.summary.builder import Summariser
from hivemill.components.hive_example_gen.summary.request import CountedValues, SummarisedNumbers, SummaryRequest
from hivemill.components.hive_example_gen.summary.row_sample import limit_of
from hivemill.components.hive_example_gen.summary.summary_file import SummaryFile
from tests.components.hive_example_gen.summary.summary_case import SummaryCase, row_of

USER = CountedValues(column="user", values="first")
REQUEST = SummaryRequest(
    label="click",
    counted=(
        USER,
        CountedValues(column="item", values="first"),
        CountedValues(column="tags"),
        CountedValues(column="tags", at_most=2),
        CountedValues(column="context"),
        CountedValues(column="context", values="items"),
    ),
    numbers=(SummarisedNumbers(column="price"), SummarisedNumbers(column="item", error=0.01)),
)


@pytest.fixture
def case(tmp_path) -> SummaryCase:
    return SummaryCase(tmp_path)


def _answers(summary: split_summary.SplitSummary, request: SummaryRequest = REQUEST) -> dict:
    numbers = {each: summary.numbers(each) for each in request.numbers}
    return {
        "rows": summary.rows,
        "counts": {each: [row for b in summary.counts(each) for row in b.to_pylist()] for each in request.counted},
        "without": {each: summary.rows_without(each) for each in request.counted},
        "moments": {each: [float(f"{value:.9g}") for value in found.moments] for each, found in numbers.items()},
        "quantiles": {each: n.sketch.GetQuantiles(4).to_pylist() for each, n in numbers.items() if n.sketch},
    }


def _made_of(uri: str, scratch: Path, split: str = "train") -> split_summary.SplitSummary:
    return split_summary.made_of(sorted(map(str, Path(uri, f"Split-{split}").iterdir())), REQUEST, scratch)


def test_it_is_what_a_pass_over_the_examples_gives(case, tmp_path, monkeypatch):
    monkeypatch.setattr(from_examples, "BATCH_ROWS", 50)
    uri = case.run(REQUEST)
    carried = split_summary.carried(uri, ["train"], REQUEST)
    answers = _answers(carried)
    assert answers == _answers(_made_of(uri, tmp_path))
    rows = [row_of(day * 100 + i) for day in range(12, 15) for i in range(60)]
    users = {row["value"]: row for batch in carried.counts(USER) for row in batch.to_pylist()}
    of_u1 = [row for row in rows if row["user"] == "u1"]
    assert (users[b"u1"]["count"], users[b"u1"]["label_sum"]) == (len(of_u1), sum(row["click"] for row in of_u1))
    assert carried.rows_without(USER) == sum(row["user"] is None for row in rows)


def test_two_splits_are_read_as_one(case):
    uri = case.run(REQUEST)
    assert split_summary.carried(uri, ["train", "eval"], REQUEST).rows == 240


def test_a_partition_without_a_summary_gets_it_by_a_pass_over_its_shards(case, tmp_path):
    case.run(None)
    assert not case.summaries()
    progress.take_notes()
    uri = case.run(REQUEST, "again")
    assert progress.take_notes() == ["4 kept partitions lacked a summary of what is asked now: one more pass over them"]
    assert _answers(split_summary.carried(uri, ["train"], REQUEST)) == _answers(_made_of(uri, tmp_path))


def test_only_what_it_lacks_asks_for_another_pass(case):
    less = REQUEST.model_copy(update={"counted": (USER,)})
    case.run(less)
    first = case.summaries()
    case.run(less.model_copy(update={"numbers": ()}), "nothing new")
    assert case.summaries() == first
    uri = case.run(REQUEST.model_copy(update={"counted": REQUEST.counted[2:]}), "more")
    assert len(case.summaries()) == 2 * len(first)
    assert split_summary.carried(uri, ["train"], less) is not None  # the new one answers both
    assert split_summary.carried(uri, ["train"], REQUEST) is None
    assert not progress.take_notes()[1:]


def test_a_summary_of_another_version_or_size_is_made_anew(case):
    case.run(REQUEST)
    first, second = case.summaries()[:2]
    first.write_bytes(first.read_bytes()[:-1])
    record = second.with_name("summary.json")
    record.write_text(record.read_text().replace('"version": 1', '"version": 0'))
    uri = case.run(REQUEST, "again")
    assert len(case.summaries()) == 6
    assert split_summary.carried(uri, ["train"], REQUEST).rows == 180


def test_examples_that_lost_theirs_or_were_made_elsewhere_are_read(case, tmp_path):
    uri = case.run(REQUEST)
    shutil.rmtree(Path(uri, "Summaries"))
    files = sorted(map(str, Path(uri, "Split-train").iterdir()))
    assert split_summary.summary_of(uri, ["train"], files, REQUEST, tmp_path).rows == 180


def test_a_damaged_one_is_named(case):
    uri = case.run(REQUEST)
    damaged = next(Path(uri, "Summaries", "train").iterdir())
    content = damaged.read_bytes()
    damaged.unlink()
    damaged.write_bytes(content[:100])
    with pytest.raises(InfrastructureError, match=f"{damaged} cannot be read"):
        split_summary.carried(uri, ["train"], REQUEST)


def test_a_flipped_bit_in_the_counts_is_found(case):
    path = case.summaries()[0] if case.run(REQUEST) else None
    with zipfile.ZipFile(path) as archive:
        place = path.read_bytes().index(archive.read("counts-0.arrow"))
    content = bytearray(path.read_bytes())
    content[place + 300] ^= 1
    path.write_bytes(content)
    with pytest.raises(InfrastructureError, match=f"{path} cannot be read: Bad CRC-32"):
        list(SummaryFile(path).counts(REQUEST.counted[0]))


@pytest.mark.parametrize("header", [b"{", b"[]", b"{}", b'{"version": 99}'])
def test_a_file_that_is_not_a_summary_is_named(tmp_path, header):
    with zipfile.ZipFile(tmp_path / "a.summary", "w") as archive:
        archive.writestr("summary.json", header)
    with pytest.raises(InfrastructureError, match=r"a\.summary cannot be read: "):
        SummaryFile(tmp_path / "a.summary")


def test_lists_that_are_not_parallel_are_refused(case):
    batch = pa.record_batch({"m_keys": pa.array([[b"a"]]), "m_values": pa.array([[1.0, 2.0]])})
    request = SummaryRequest(counted=(CountedValues(column="m", values="items"),))
    with pytest.raises(ConfigError, match="m_keys and m_values: the two parallel lists of a row differ in length"):
        Summariser(request, case.folder).add(batch, [b""])


def test_the_sample_is_that_of_a_pass_over_the_examples(case):
    request = SummaryRequest(sample_rows=120)
    uri = case.run(request)
    splits = ["eval", "train"]
    carried = split_summary.carried(uri, splits, SummaryRequest(sample_rows=1))
    files = row_sample.files_of_splits(uri, splits)
    for sample_rows in (30, 100, 120):
        rows, hashes = carried.sample(limit_of(sample_rows, 240))
        read, read_hashes = row_sample.read_sample(files, 240, sample_rows)
        assert 0 < rows.num_rows < 240
        assert hashes.tolist() == read_hashes.tolist()
        found, expected = (repr(each.select(sorted(each.column_names)).to_pylist()) for each in (rows, read))
        assert found == expected  # as text: NaN is not NaN
    assert carried.sample(limit_of(240, 240)) is not None  # 120 of 240 rows: half of what is asked
    assert carried.sample(limit_of(480, 240)) is not None


def test_a_sample_that_keeps_less_than_half_is_not_used(case):
    uri = case.run(SummaryRequest(sample_rows=20))
    carried = split_summary.carried(uri, ["train"], SummaryRequest(sample_rows=1))
    assert carried.sample(limit_of(180, 180)) is None
    assert carried.sample(limit_of(15, 180))[0].num_rows > 0
    progress.take_notes()
    case.run(SummaryRequest(sample_rows=40), "twice")
    assert not progress.take_notes()
    case.run(SummaryRequest(sample_rows=160), "eight times")
    assert progress.take_notes()
