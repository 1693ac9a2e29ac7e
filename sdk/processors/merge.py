"""merge: calls that do not close their row are held and joined until one does."""

from typing import Any

import msgspec

from milepost.sdk.event import Event


class Merge:
    """Holds an open row. The last value of a name wins; a value replaces the dict of its name, and the other way round.

    Only rows are held; all other events pass. The run closes the row that is open before it jumps to a later step, so the
    held event always has the step of the event that arrives.
    """

    def __init__(self) -> None:
        self._open: Event | None = None

    def __call__(self, event: Event) -> Event | None:
        """The whole row once a call closes it; None while it stays open."""
        if event.kind != "row":
            return event
        if self._open is not None:
            event = join(self._open, event)
        self._open = None if event.commit else event
        return event if event.commit else None

    def held(self) -> Event | None:
        """The open row, or None."""
        return self._open

    def restore(self, held: Event | None) -> None:
        """Hold this open row (or none) again, after a call that did not come to its end."""
        self._open = held

    def flush(self) -> Event | None:
        """Close the open row and give it back; None when none is open."""
        row, self._open = self._open, None
        return None if row is None else msgspec.structs.replace(row, commit=True)


def join(older: Event, newer: Event) -> Event:
    """The newer event with the older one's values under its own."""
    values = dict(older.values)
    nested = set(older.nested)
    for name in newer.nested:  # a dict over a value
        values.pop(name, None)
        nested.add(name)
    for name, value in newer.values.items():
        if name in nested and name not in newer.nested:  # a value over a dict
            _drop_below(values, nested, name)
        values[name] = value
    return msgspec.structs.replace(newer, values=values, nested=tuple(nested))


def _drop_below(values: dict[str, Any], nested: set[str], name: str) -> None:
    """Forget what stands under a name that is no dict any more."""
    below = name + "."
    for key in [key for key in values if key.startswith(below)]:
        del values[key]
    nested.difference_update([key for key in nested if key == name or key.startswith(below)])
