"""Run details: what a run says of itself beside its line: its writers, its metadata, and what of it never arrived."""

from typing import Any

from milepost.server.store.healing import missing
from milepost.server.store.stored_rows import StoredRows
from milepost.server.store.table import Table


def run_details(table: Table, stored: StoredRows, project: str, run: str) -> dict[str, Any]:
    """What else a run says of itself; nothing of one that cannot be read."""
    if table.run(project, run).unreadable is not None:
        return {"attempts": [1], "metadata": {}, "metrics": [], "writers": [], "completeness": {"gaps": []}}
    known = table.find(project, run)
    connection = stored.reading()
    with table.lock:
        live = known.live
        writers = [
            {
                "id": w.name, "rank": w.rank, "attempt": w.attempt, "parent": w.parent, "started": w.started / 1e9,
                "alive": not w.state and live.state() == "running", "rows": w.rows, "last_seq": w.last_seq,
                "lag": w.lag,
            }
            for w in live.kept.writers.values()
        ]  # fmt: skip
        told = {
            "attempts": sorted({w.attempt for w in live.kept.writers.values()}) or [1],
            "metadata": dict(live.kept.metadata),
            "metrics": list(live.kept.metrics),
            "writers": writers,
        }
        rows = sum(w.rows for w in live.kept.writers.values())
        lag = max((w.lag for w in live.kept.writers.values()), default=0.0)
        numbers = {w.id: w.name for w in live.kept.writers.values()}
    gaps: list[dict[str, Any]] = []
    dropped: dict[str, int] = {}
    for number, name in numbers.items():
        expected = 0
        query = "SELECT first, last FROM span WHERE writer = ? ORDER BY first"
        for first, last in connection.execute(query, (number,)).fetchall():
            if first > expected:
                gaps.append({"writer": name, "first": expected, "last": first - 1, "reason": "not received"})
            expected = last + 1
    for event in stored.events(connection, list(numbers), "gap"):
        reason, lost = str(event.values.get("reason")), event.values
        gaps.append({"writer": numbers[event.writer], **lost})
        dropped[reason] = dropped.get(reason, 0) + int(lost["last"]) - int(lost["first"]) + 1
    unreadable = """
        SELECT writer.name, unreadable.rows, unreadable.first, unreadable.last, missing FROM unreadable
        JOIN writer ON writer.id = writer WHERE run = ? ORDER BY unreadable.writer, unreadable.first
    """
    damaged = 0
    for name, held, *line in connection.execute(unreadable, (known.id,)).fetchall():
        left = missing(*line)
        damaged += min(held, sum(last - first + 1 for first, last in left))
        for first, last in left:
            gaps.append({"writer": name, "first": first, "last": last, "reason": "damaged on the server's disk"})
    waiting: Any = connection.execute(
        "SELECT COALESCE(SUM(batch.rows), 0) FROM batch JOIN writer ON writer.id = batch.writer WHERE writer.run = ?",
        (known.id,),
    ).fetchone()[0]
    told["completeness"] = {
        "logged": rows,
        "stored": rows,
        "dropped": dropped,
        "gaps": gaps,
        "uncompacted": waiting,
        "damaged": damaged,
        "lag": lag,
    }
    return told
