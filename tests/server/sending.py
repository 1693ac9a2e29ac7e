"""Batches sent to a real server, as an exporter sends them."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from milepost.sdk import wire
from milepost.sdk.event import Event

WRITER = "00000000000000aa"
T0 = 1_790_000_000_000_000_000


def row(seq: int, values: dict[str, Any], step: int | None = None) -> Event:
    return Event(
        kind="row",
        values=values,
        step=seq if step is None else step,
        time_unix_nano=T0 + seq * 1_000_000,
        runtime_s=seq / 1000,
        seq=seq,
    )


def event(seq: int, kind: str, values: dict[str, Any]) -> Event:
    return Event(kind=kind, values=values, time_unix_nano=T0 + seq * 1_000_000, runtime_s=seq / 1000, seq=seq)


def send(
    client: httpx.Client,
    events: Sequence[Event],
    run: str = "r1",
    project: str = "p",
    writer: str = WRITER,
    first: int | None = None,
    last: int | None = None,
    **facts: Any,
) -> httpx.Response:
    batch = wire.batch_of(
        events,
        min(e.seq for e in events) if first is None else first,
        max(e.seq for e in events) if last is None else last,
        project=project,
        writer=writer,
        **facts,
    )
    headers = {"Content-Type": wire.MEDIA_TYPE, "Content-Encoding": "zstd"}
    return client.post(f"/api/v1/runs/{run}/batches", content=wire.encode(batch), headers=headers)


def rows_of(client: httpx.Client, run: str = "r1", project: str = "p", **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    offset: int | None = 0
    while offset is not None:
        answer = client.get(f"/api/v1/runs/{project}/{run}/rows", params={"offset": offset, "limit": 10_000, **query})
        assert answer.status_code == 200, answer.text
        found += answer.json()["rows"]
        offset = answer.json()["next"]
    return found


def wait_until_compacted(client: httpx.Client, run: str = "r1") -> None:
    """Wait until all rows of a run of the project p are in chunks."""
    until = time.monotonic() + 60
    while client.get(f"/api/v1/runs/p/{run}").json()["completeness"]["uncompacted"]:
        assert time.monotonic() < until
        time.sleep(0.1)


def wait_until(true: Callable[[], bool]) -> None:
    """Wait until something holds."""
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)
