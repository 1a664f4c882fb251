"""Weeks of a simulated recommender: real client, real dev server, logs as an application writes them, and a clock."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hivemill.data.click_log.simulation import Requests, Shown, SimulatedTraffic
from hivemill.serving.client import Answer, PredictionClient, split_of_store
from hivemill.serving.experiment.assignment import CANARY, STABLE

HOURS = (9, 13, 18, 21)
Row = Mapping[str, Any]
ServingPath = Callable[[str, Row], Row]
"""What a variant's model is really sent: (variant, a candidate's raw columns) -> what arrives."""


def whole(_: str, row: Row) -> Row:
    return row


def without_items(variant: str, row: Row) -> Row:
    """Canary's feature service does not find the items: a fault that no offline gate can see."""
    if variant != CANARY:
        return row
    return {name: value for name, value in row.items() if name not in ("item_id", "category", "brand", "price")}


@dataclasses.dataclass(frozen=True)
class Served:
    """A variant over some time: what the true model says of what was shown, and what came of it."""

    impressions: int
    clicks: int
    expected_ctr: float
    deviation: float

    @property
    def ctr(self) -> float:
        return self.clicks / self.impressions

    def __str__(self) -> str:
        expected = f"expected {self.expected_ctr:.4f} +- {self.deviation:.4f}"
        return f"{self.impressions:5d} impressions, {self.clicks:4d} clicks, CTR {self.ctr:.4f}, {expected}"


class Application:
    """Asks for each request's candidates, shows the best one, logs exposures and features, a file a day."""

    def __init__(self, folder: Path, traffic: SimulatedTraffic, address: str, model_folder: Path, salt: str):
        self.traffic, self.folder = traffic, folder
        self._model_folder, self._salt = model_folder, salt
        self._address, self._model = address, model_folder.name
        self.truth: list[tuple[datetime.date, str, float, bool]] = []

    def day(self, date: datetime.date, requests: int, path: ServingPath = whole) -> None:
        exposures, tables = [], []
        split = split_of_store(self._model_folder, self._salt)
        with PredictionClient(self._address, self._model, split, timeout_seconds=30) as client:
            for hour in HOURS:
                asked = self.traffic.requests(date, hour, requests // len(HOURS))
                answers = self._answers(client, split, asked, path)
                chosen = np.array([int(np.argmax(answer.click_probabilities)) for answer in answers])
                shown = self.traffic.shown(asked, chosen)
                tables.append(shown.table)
                exposures += self._exposures(answers, chosen, shown)
                self.truth += [
                    (date, answer.variant, probability, bool(click))
                    for answer, probability, click in zip(answers, shown.probability, shown.clicks, strict=True)
                ]
        self._write("exposures", date, pa.Table.from_pylist(exposures))
        self._write("impressions", date, pa.concat_tables(tables))

    def served(self, variant: str, first: datetime.date, last: datetime.date) -> Served | None:
        rows = [(p, click) for date, name, p, click in self.truth if first <= date <= last and name == variant]
        if not rows:
            return None
        p = np.array([row[0] for row in rows])
        deviation = float(np.sqrt((p * (1 - p)).sum()) / len(p))
        return Served(len(p), sum(row[1] for row in rows), float(p.mean()), deviation)

    def _answers(self, client: PredictionClient, split: Any, asked: Requests, path: ServingPath) -> list[Answer]:
        def ask(number: int) -> Answer:
            user = int(asked.users[number])
            rows = [path(split.variant(user), row) for row in candidates[number]]
            return client.predict(rows, user, request_id=asked.request_ids[number])

        candidates = asked.rows()
        with ThreadPoolExecutor(4) as threads:
            return list(threads.map(ask, range(len(asked))))

    def _exposures(self, answers: list[Answer], chosen: np.ndarray, shown: Shown) -> list[dict[str, Any]]:
        """The client's rows with the simulated time for the real one, and what the user did."""
        times = shown.table.column("request_time").to_pylist()
        return [
            {**answer.exposures([place])[0], "request_time": time, "click": int(click)}
            for answer, place, time, click in zip(answers, chosen.tolist(), times, shown.clicks, strict=True)
        ]

    def _write(self, log: str, date: datetime.date, table: pa.Table) -> None:
        folder = self.folder / log / f"dt={date.isoformat()}"
        folder.mkdir(parents=True)
        pq.write_table(table, folder / "part-0.parquet")


class Clock:
    """The time that the rollout's state machine sees; documents and rows of a simulated week are of that week."""

    def __init__(self, monkeypatch):
        self.now = datetime.datetime(2025, 9, 1, tzinfo=datetime.timezone.utc)
        clock = self

        class Simulated(datetime.datetime):
            @classmethod
            def now(cls, tz=None):
                return clock.now.astimezone(tz)

        words = {name: getattr(datetime, name) for name in ("date", "time", "timedelta", "timezone")}
        monkeypatch.setattr(
            "hivemill.serving.rollout.controller.datetime", SimpleNamespace(datetime=Simulated, **words)
        )
        monkeypatch.setattr("hivemill.serving.rollout.state.utc_now", lambda: self.now.isoformat(timespec="seconds"))

    def begin(self, date: datetime.date) -> None:
        self.now = datetime.datetime.combine(date, datetime.time(), datetime.timezone.utc)

    def end(self, date: datetime.date) -> None:
        self.now = datetime.datetime.combine(date, datetime.time(23, 59), datetime.timezone.utc)


__all__ = ["CANARY", "STABLE", "Application", "Clock", "Served", "whole", "without_items"]
