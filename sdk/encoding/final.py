"""Final: a batch of events as exporters get it, once the files of all media in it are known."""

from collections.abc import Sequence
from typing import Any

from milepost.sdk.batch import Batch, Rows, parts
from milepost.sdk.encoding.refs import Lookup, filled, refs
from milepost.sdk.event import Event

_MAY_HOLD = frozenset((dict, list))


def final(events: Sequence[Event], lookup: Lookup) -> Sequence[Event] | None:
    """The events with every reference filled in; the same ones where there is none, None while a file is on its way."""
    changed = False
    done: list[Any] = []
    for part in parts(events):
        whole = _rows(part, lookup) if isinstance(part, Rows) else _events(part, lookup)
        if whole is None:
            return None
        changed |= whole is not part
        done.append(whole)
    return Batch(done) if changed else events


def _rows(rows: Rows, lookup: Lookup) -> Rows | None:
    """Rows by the column: only those columns are looked at that hold mappings or lists."""
    columns = list(rows.columns)
    changed = False
    for at in range(4, len(columns)):
        if _MAY_HOLD.isdisjoint(map(type, columns[at])):
            continue
        found = refs(list(columns[at]))
        if not found:
            continue
        if any(lookup(ref) is None for ref in found):
            return None
        columns[at] = [filled(value, lookup) for value in columns[at]]
        changed = True
    return Rows(rows.keys, columns, rows.run, rows.writer) if changed else rows


def _events(events: list[Event], lookup: Lookup) -> list[Event] | None:
    done: list[Event] = []
    changed = False
    for event in events:
        if event.kind == "media.payload" or _MAY_HOLD.isdisjoint(map(type, event.values.values())):
            done.append(event)
            continue
        found = refs(event.values)
        if any(lookup(ref) is None for ref in found):
            return None
        done.append(event.with_values(filled(event.values, lookup)) if found else event)
        changed |= bool(found)
    return done if changed else events
