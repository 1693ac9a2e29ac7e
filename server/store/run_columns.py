"""The rows of one run directory as series: its writers in order, without rows that a resumed run took back.

Level 0 are the columns themselves; rollups are made when a chart first needs them and kept for as long as nothing is added.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from milepost.sdk.reader import RunReader
from milepost.sdk.reading.wish import Cut
from milepost.sdk.reading.writer import WriterReader
from milepost.server.records import KeyRecord
from milepost.server.series import AXES, Blocks, FloatArray, Points, rising, rolled_points, rolled_up
from milepost.server.store.columns import NONE, OTHER, WriterColumns

LEVELS = 3


class KeySeries:
    """One key along one axis, ready to be put into buckets. x: places on an axis that is another metric."""

    def __init__(
        self, points: Points, axis: str, x: FloatArray | None = None, levels: list[Blocks] | None = None
    ) -> None:
        self.points = points
        self.axis = axis
        self._x = x
        self._levels = levels if levels is not None and x is None else []
        place = self._place()
        self.monotonic = rising(place) if x is None else False

    def _place(self) -> FloatArray | NDArray[np.int64]:
        if self._x is not None:
            return self._x
        return (self.points.step, self.points.time, self.points.runtime)[AXES.index(self.axis)]

    def size(self) -> int:
        """How many points there are."""
        return len(self.points)

    def extent(self) -> tuple[float, float] | None:
        """The least and the greatest place on the axis."""
        place = self._place()
        if self.monotonic and len(place) and np.isfinite(place[[0, -1]]).all():
            return float(place[0]), float(place[-1])
        place = place[np.isfinite(place)]
        return (float(place.min()), float(place.max())) if len(place) else None

    def blocks(self, level: int, low: float | None, high: float | None) -> Blocks:
        """The blocks of a level that may touch low <= x <= high."""
        if level == 0:
            points, x = self.points, self._x
            if self.monotonic and (low is not None or high is not None):
                place = self._place()
                start = 0 if low is None else int(np.searchsorted(place, low, "left"))
                stop = len(points) if high is None else int(np.searchsorted(place, high, "right"))
                points = points.some(slice(start, max(start, stop)))
            return points.blocks(x)
        while len(self._levels) < level:
            self._levels.append(rolled_up(self._levels[-1]) if self._levels else rolled_points(self.points))
        blocks = self._levels[level - 1]
        row = AXES.index(self.axis)
        start = 0 if low is None else int(np.searchsorted(blocks.end[row], low, "left"))
        stop = len(blocks) if high is None else int(np.searchsorted(blocks.first[row], high, "right"))
        return blocks.some(slice(start, max(start, stop)))


class RunColumns:
    """The columns of all writers of a run's last attempt."""

    def __init__(self) -> None:
        self.writers: dict[str, WriterColumns] = {}
        self.fingerprint: object = None
        """Of the files when they were last read; kept for whoever decides whether to read them again."""
        self._speaking: list[str] = []
        self._everyone: list[str] = []
        self._cuts: dict[str, list[Cut]] = {}
        self._kept: dict[tuple[str, bool, bool], tuple[int, Points, list[Blocks]]] = {}

    @property
    def nbytes(self) -> int:
        """Bytes taken."""
        copies = [points for _, points, _ in self._kept.values() if points.value.base is None]
        kept = sum(points.value.nbytes * 5 for points in copies)
        return sum(writer.nbytes for writer in self.writers.values()) + kept

    def follow(self, reader: RunReader) -> None:
        """Take in what was logged since the last time."""
        for writer in reader.members:
            self.writers.setdefault(writer.id, WriterColumns()).follow(writer.dir, reader.run)
        cuts = {writer.id: self._cuts_of(writer, reader.members) for writer in reader.members}
        if cuts != self._cuts:
            self._kept.clear()
        self._cuts = cuts
        speaking = reader.primary
        if not any(self.writers[writer.id].rows for writer in speaking):  # as `RunReader.select` has it
            speaking = [w for w in reader.members if w.parent and self.writers[w.id].rows] or speaking
        self._speaking = [writer.id for writer in speaking]
        self._everyone = [writer.id for writer in reader.members]

    @property
    def closed(self) -> bool:
        """Whether all writers are gone and read to their ends."""
        return bool(self.writers) and all(writer.closed for writer in self.writers.values())

    def _cuts_of(self, writer: WriterReader, everyone: Sequence[WriterReader]) -> list[Cut]:
        """What later starts of the same rank and attempt, and the writer itself, took back."""
        cuts: list[Cut] = []
        for other in everyone:
            same = other.id == writer.id
            later = (other.started_unix_nano, other.id) > (writer.started_unix_nano, writer.id)
            if same or (later and not other.parent and other.rank == writer.rank):
                cuts += [Cut(seq if same else 2**63 - 1, step) for seq, step in self.writers[other.id].rewinds]
        return cuts

    def watermark(self) -> str:
        """How far each writer was read, and which rows were taken back: what is given as `after` to get only what is new."""
        cuts = sum(len(each) for each in self._cuts.values())
        return f"{cuts};" + ",".join(f"{name}:{self.writers[name].end}" for name in self._everyone)

    def after(self, watermark: str) -> dict[str, int] | None:
        """Per writer the number of the last row that a watermark stands for; None when rows were taken back since."""
        cuts, _, told = watermark.partition(";")
        if cuts != str(sum(len(each) for each in self._cuts.values())):
            return None
        try:
            return {name: int(end) for name, _, end in (part.partition(":") for part in told.split(",") if part)}
        except ValueError:
            return None

    def series(
        self,
        key: str,
        axis: str,
        *,
        everyone: bool = False,
        after: dict[str, int] | None = None,
        until: dict[str, int] | None = None,
        rewound: bool = False,
    ) -> KeySeries | None:
        """A key along an axis: one of AXES, or another key (then only rows that hold both); None when it has no points.

        after, until: per writer a number; only rows behind, and up to it. rewound: the rows that were taken back, in place
        of those that count.
        """
        points, levels = self._points(key, everyone=everyone, rewound=rewound)
        if points is None:
            return None
        names = self._everyone if everyone else self._speaking
        if after is not None:
            limits = np.array([after.get(name, -1) for name in names] or [-1])
            points, levels = points.some(points.seq > limits[points.writer]), []
        if until is not None and any(self.writers[name].end > until.get(name, -1) for name in names):
            limits = np.array([until.get(name, -1) for name in names] or [-1])
            points, levels = points.some(points.seq <= limits[points.writer]), []
        if axis in AXES:
            return KeySeries(points, axis, None, levels)
        other, _ = self._points(axis, everyone=everyone, rewound=rewound)
        if other is None:
            return None
        code, wanted = (each.writer.astype(np.int64) << 48 | each.seq for each in (points, other))
        place = np.minimum(np.searchsorted(wanted, code), len(wanted) - 1)
        both = wanted[place] == code
        return KeySeries(points.some(both), axis, other.value[place[both]])

    def _points(self, key: str, *, everyone: bool, rewound: bool = False) -> tuple[Points | None, list[Blocks]]:
        names = self._everyone if everyone else self._speaking
        size = sum(self.writers[name].end for name in names)
        kept = self._kept.get((key, everyone, rewound))
        if kept is not None and kept[0] == size:
            return kept[1], kept[2]
        parts = [
            part
            for n, name in enumerate(names)
            for part in [self._of_writer(name, n, key, rewound=rewound)]
            if part is not None
        ]
        if not parts:
            return None, []
        points = parts[0]
        if len(parts) > 1:
            points = Points(*(np.concatenate([getattr(p, f) for p in parts]) for f in Points.__dataclass_fields__))
        levels: list[Blocks] = []
        self._kept[key, everyone, rewound] = size, points, levels
        return points, levels

    def _of_writer(self, name: str, number: int, key: str, *, rewound: bool) -> Points | None:
        parts: list[Points] = []
        for group in list(self.writers[name].groups.values()):
            if key not in group.keys:
                continue
            at = group.keys.index(key)
            size = len(group)
            kind = group.kinds[at].view()[:size]
            time, runtime = group.clocks()
            points = Points(
                group.step.view()[:size],
                time,
                runtime,
                group.values[at].view()[:size],
                group.seq.view()[:size],
                np.broadcast_to(np.int16(number), (size,)),
            )
            numbers = (kind != NONE) & (kind != OTHER)
            if not numbers.all():
                points = points.some(numbers)
            if len(points):
                parts.append(points)
        if not parts:
            return None
        points = parts[0]
        if len(parts) > 1:
            points = Points(*(np.concatenate([getattr(p, f) for p in parts]) for f in Points.__dataclass_fields__))
        if not rising(points.seq):
            points = points.some(np.argsort(points.seq, kind="stable"))
        return standing(points, self._cuts.get(name, ()), rewound=rewound)

    def key_records(self) -> Iterator[KeyRecord]:
        """Every key of the writers that speak for the run, in order of first sight."""
        seen: dict[str, None] = {}
        for name in self._speaking:
            for group in list(self.writers[name].groups.values()):
                seen.update(dict.fromkeys(group.keys))
        for key in seen:
            record = self._key(key)
            if record is not None:
                yield record

    def _key(self, key: str) -> KeyRecord | None:
        other, others, steps = self._others(key)
        points, _ = self._points(key, everyone=False)
        if points is None or not len(points):
            if other is None:
                return None
            return KeyRecord(
                key=key, kind=kind_of(other), count=others, first_step=steps[0], last_step=steps[1], last=other
            )
        finite = points.value[np.isfinite(points.value)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (None, None)
        return KeyRecord(
            key=key,
            kind="scalar" if other is None else kind_of(other),
            count=len(points) + others,
            first_step=int(points.step.min()),
            last_step=int(points.step.max()),
            min=low,
            max=high,
            last=float(points.value[-1]) if other is None else other,
        )

    def _others(self, key: str) -> tuple[Any, int, tuple[int, int]]:
        """The last value of a key that is no number, how many there are, and their first and last step."""
        found: tuple[int, int, Any] | None = None
        count, low, high = 0, 2**63 - 1, 0
        for number, name in enumerate(self._speaking):
            for group in list(self.writers[name].groups.values()):
                if key not in group.last_other:
                    continue
                kinds = group.kinds[group.keys.index(key)].view()
                steps = group.step.view()[: len(kinds)][kinds == OTHER]
                count += len(steps)
                low, high = min(low, int(steps.min())), max(high, int(steps.max()))
                seq, value = group.last_other[key]
                if found is None or (number, seq) > found[:2]:
                    found = number, seq, value
        return (None if found is None else found[2]), count, (low, high)


def standing(points: Points, cuts: Sequence[Cut], *, rewound: bool = False) -> Points:
    """The points of one writer without those that were taken back; rewound: these alone."""
    if not cuts:
        return points.some(slice(0)) if rewound else points
    stand = np.ones(len(points), np.bool_)
    for cut in cuts:
        stand &= (points.step < cut.step) | (points.seq >= cut.before)
    return points.some(~stand if rewound else stand)


def kind_of(value: Any) -> str:
    """What a value is, in the words of `KeyRecord.kind`."""
    if isinstance(value, dict):
        return str(value.get("_type", "mapping"))
    if isinstance(value, (bool, int, float)):
        return "scalar"
    return "text" if isinstance(value, str) else "list"
