"""Join, sample and deduplication through the real executor, with real Beam in memory."""

import datetime
import json
from pathlib import Path

import pytest
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import standard_artifacts

from hivemill.common.errors import DataNotReadyError
from hivemill.components.artifacts import WindowManifest
from hivemill.components.hive_example_gen import executor
from hivemill.components.hive_example_gen.component import HiveLogExampleGen
from hivemill.components.hive_example_gen.options import SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning.window import plan_window
from hivemill.components.hive_example_gen.rows.label_join.options import LabelJoinOptions, LabelRules

DATE = datetime.date(2026, 11, 15)
WINDOW = WindowOptions(train_days=2, validation_days=1, completeness={"min_share_of_median": None})
IN_MEMORY = ["--runner=FnApiRunner", "--sdk_container_image=none"]
PARTITIONS = {"dt": "string", "hour": "string"}
ROWS_PER_HOUR = 50


def _requests(day, hour):
    start = datetime.datetime(2026, 11, day, hour)
    return [(f"{day}-{hour}-{row}", start + datetime.timedelta(minutes=row)) for row in range(ROWS_PER_HOUR)]


class Case:
    """Text tables by day and hour; every fifth request is clicked 30 minutes later, and logged twice."""

    def __init__(self, folder):
        self.folder = folder
        later = datetime.timedelta(minutes=30)
        for day in range(13, 17):
            for hour in (0, 23):
                rows = [*_requests(day, hour), *_requests(day, hour)[::5]]
                self._write("log", day, hour, [(*row, index) for index, row in enumerate(rows)])
            before = _requests(day - 1, 23) if day > 13 else []
            clicked = [*before[::5], *_requests(day, 0)[::5], *_requests(day, 23)[::5]]
            clicks = [(name, at + later) for name, at in clicked if (at + later).day == day]
            self._write("clicks", day, 0, [*clicks, ("nothing", datetime.datetime(2026, 11, day))])

    def _write(self, table, day, hour, rows):
        path = self.folder / table / f"dt=2026-11-{day}" / f"hour={hour:02d}"
        path.mkdir(parents=True)
        text = "".join("\x01".join(map(str, row)) + "\n" for row in rows)
        (path / "000000_0").write_text(text)

    @property
    def source(self):
        return SourceOptions(
            table=str(self.folder / "log"),
            columns={"request": "string", "at": "timestamp", "row": "bigint"},
            partition_columns=PARTITIONS,
            deduplicate_by=("request",),
            sampling={"negatives": 0.5, "key": ("request",)},
            exclude_columns=("at",),
        )

    @property
    def label(self):
        clicks = SourceOptions(
            table=str(self.folder / "clicks"),
            columns={"request": "string", "at": "timestamp"},
            partition_columns=PARTITIONS,
        )
        join = LabelJoinOptions(clicks=clicks, keys=("request",), impression_time="at", click_time="at", within="2h")
        return LabelRules(column="click", join=join)

    def run(self):
        self.examples, self.manifest_artifact = standard_artifacts.Examples(), WindowManifest()
        self.examples.uri, self.manifest_artifact.uri = str(self.folder / "examples"), str(self.folder / "manifest")
        outputs = {"examples": [self.examples], "manifest": [self.manifest_artifact]}
        context = BaseBeamExecutor.Context(IN_MEMORY, tmp_dir=str(self.folder / "tmp"), unique_id="run")
        partitions_path = str(self.folder / "partitions")
        component = HiveLogExampleGen(
            source=self.source,
            window=WINDOW,
            label=self.label,
            date=DATE,
            plan_fingerprint=plan_window(self.source, WINDOW, DATE, partitions_path, self.label).fingerprint,
            partitions_path=partitions_path,
        )
        executor.HiveExampleGenExecutor(context).Do({}, outputs, component.exec_properties)
        return json.loads(Path(self.manifest_artifact.uri, "manifest.json").read_text())


def test_the_whole_component(tmp_path):
    case = Case(tmp_path)
    manifest = case.run()
    assert case.examples.get_float_custom_property("sampled_negatives") == 0.5
    steps = manifest["row_steps"]
    per_split = 2 * ROWS_PER_HOUR
    assert {split: counts["labelled"] for split, counts in steps.items()} == dict.fromkeys(steps, per_split // 5)
    assert {split: counts["duplicates"] for split, counts in steps.items()} == dict.fromkeys(steps, per_split // 5)
    assert "negatives_left_out" not in steps["eval"]
    assert manifest["num_rows"] == {
        split: per_split - counts.get("negatives_left_out", 0) for split, counts in steps.items()
    }
    assert 0 < steps["train"]["negatives_left_out"] < 0.8 * per_split
    assert manifest["sampling"] == {
        "negatives": 0.5,
        "key": ["request"],
        "salt": "",
        "splits": ["train", "validation"],
    }
    join = manifest["label_join"]
    assert (join["keys"], join["within"], join["take"]) == (["request"], "2h", "last")
    # The first day's clicks may belong to impressions of the day before, and the last one's too, which are not read.
    assert [(each["day"][-2:], each["without_impression"]) for each in join["clicks"]] == [
        ("13", None),
        ("14", 1),
        ("15", 1),
        ("16", None),
    ]
    # Requests of minute 30 and later in the last hour are clicked on the next day.
    assert [each["rows"] for each in join["clicks"]] == [17, 21, 21, 21]
    names = {path.name for path in (tmp_path / "partitions").iterdir() if path.name.startswith(".")}
    assert not names, "nothing temporary is left"


def test_a_failing_index_stops_the_run(tmp_path):
    case = Case(tmp_path)
    path = tmp_path / "clicks" / "dt=2026-11-14" / "hour=00" / "000000_0"
    path.write_text(path.read_text().replace("2026-11-14", "2026-11-11"))
    with pytest.raises(DataNotReadyError, match=r"clicks of 2026-11-14: .* rows cannot be used"):
        case.run()
