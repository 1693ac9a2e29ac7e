"""Catching up: runs of the directory whose programs are gone and whose rows were not all delivered, found by their cursors.

Only runs that had the same exporter with the same options as the one whose secrets are at hand; the others are for
`milepost sync`, which asks the config file in force.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from milepost.sdk.reader import WriterReader
from milepost.sdk.reading.alive import alive
from milepost.sdk.shipper.fifo import card
from milepost.sdk.shipper.plan import Plan
from milepost.sdk.syncing import stored_entries


def older_runs(runs_dir: Path, plan: Plan, names: set[str]) -> Iterator[Plan]:
    """A plan for each such run, other than the one of `plan`. names: of the exporters (routes may have a suffix)."""
    from milepost.sdk.shipper.serving import something_left

    seen: set[Path] = {Path(plan.run_dir)}
    for path in sorted(runs_dir.glob("*/*/journal/*/cursor-*.json")):
        writer_dir = path.parent
        run_dir = writer_dir.parent.parent
        route = path.name[len("cursor-") : -len(".json")]
        base = next((name for name in names if route == name or route.startswith(name + "-")), None)
        if base is None or run_dir in seen or not something_left(writer_dir, route):
            continue
        if alive(writer_dir.name, card(writer_dir), writer_dir):
            continue
        seen.add(run_dir)
        stored = stored_entries(WriterReader(writer_dir, f"{run_dir.parent.name}/{run_dir.name}"))
        same = tuple(each for each in plan.exporters if stored.get(each.name) == (each.exporter, each.stored))
        if same:
            yield msgspec.structs.replace(plan, run_dir=str(run_dir), exporters=same)
