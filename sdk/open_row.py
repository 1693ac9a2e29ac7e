"""OpenRow: the row that calls of `log` have begun and none has closed: what joins it, what closes it, how it is stored.

It is held in one of two ways. As long as all its calls have plans (`plans.py`), as the plan and the values of them all, in `Now`:
so the next call needs no pipeline. Else by the processor `merge`, as an event. `let_go` leads from the first way to the second.
"""

from collections.abc import Callable, Mapping
from time import monotonic_ns, time_ns
from typing import Any

from milepost.sdk.event import Event
from milepost.sdk.frame import ROW, encode_payload, frame
from milepost.sdk.now import Now
from milepost.sdk.pipeline import Pipeline
from milepost.sdk.plans import Plan, Plans
from milepost.sdk.processors.flatten import flatten_into
from milepost.sdk.snapshot import snapshot
from milepost.sdk.values import INT_MAX
from milepost.sdk.writer import Writer

BadValue = Callable[[str, Any, str], None]
"""Told of a value that has no form in a row: its key, itself, the reason."""


class OpenRow:
    """The open row of one writer. All methods are called under the run's lock, off the fast path.

    path: of the run. began: when that began, on the monotonic clock. bad_value: told of what processors made that cannot be
    stored.
    """

    __slots__ = ("_bad_value", "_began", "_now", "_path", "_pipeline", "_plans", "_standard", "_writer", "last")

    def __init__(
        self, now: Now, writer: Writer, plans: Plans, pipeline: Pipeline, path: str, began: int, bad_value: BadValue
    ) -> None:
        self._now = now
        self._writer = writer
        self._plans = plans
        self._pipeline = pipeline
        self._standard = pipeline.is_standard
        self._path = path
        self._began = began
        self._bad_value = bad_value
        self.last: tuple[int, int, int, int] | None = None
        """(seq, time_ns, runtime_us, step) of the last row that was stored without a plan."""

    def planned(self, data: Any, step: Any, commit: Any, now: int, runtime: int) -> bool:
        """Take a call that has `step` or `commit`, or joins one that had, and whose data has a plan, as the pipeline would but in
        a few steps. False, and nothing done, for all other calls. Only for the standard pipeline."""
        held, current = self._now.held, self._now.at
        at = current if step is None else step
        closes = step is None if commit is None else commit
        if type(at) is not int or not current <= at <= INT_MAX or type(closes) is not bool or type(data) is not dict:
            return False
        if held is None and ((self._now.open and at == current) or (step is None and closes)):
            return False
        try:
            plan = self._plans.by_keys.get(tuple(data))
        except Exception:  # noqa: BLE001 - a key of a class of its own may raise when it is compared
            return False
        row: list[Any] | None = None
        while plan is not None and (row := plan.checked(data.values(), 0, now, runtime, at)) is None:
            plan = plan.next
        if plan is None or row is None:
            return False
        try:  # before anything is stored: half of a surrogate pair has no form in a row, and the long way replaces it
            encode_payload(row)
        except ValueError:
            return False
        values = data if plan.plain else dict(zip(plan.keys, row[4:], strict=True))
        if held is not None and at == current:
            joined = self._plans.joint(held[0], plan)
            if joined is None:
                return False
            plan, row = joined, [0, now, runtime, at, *held[1][4:], *row[4:]]
        elif held is not None:
            self._store(*held)
        elif self._now.open:
            self.close()
        if closes:
            self._store(plan, row)
        else:
            self._writer.part(values, at, now, runtime)
            self._now.held = plan, row
            self._now.open = True
            self._now.at = at
        self._now.may_rewind = False
        return True

    def _store(self, plan: Plan, row: list[Any]) -> None:
        """Store a whole row by its plan; with it the open one is over."""
        writer = self._writer
        seq = row[0] = writer.seq
        payload = encode_payload(row)
        try:
            writer.numbered(frame(ROW, payload, plan.seed, plan.schema), is_row=True)
        finally:
            if writer.seq != seq:  # else Ctrl-C came before, and the open row stays as it was
                self._now.held, self._now.open, self._now.at = None, False, row[3] + 1
                plan.last = row
        if plan.watched:
            plan.watch(row)

    def let_go(self) -> None:
        """Leave the open row to the processor `merge`: what comes next may be any call."""
        if self._now.held is not None:
            plan, row = self._now.held
            event = Event(
                kind="row",
                values=dict(zip(plan.keys, row[4:], strict=True)),
                nested=plan.nested,
                step=row[3],
                commit=False,
                time_unix_nano=row[1],
                runtime_s=row[2] / 1e6,
                run=self._path,
                writer=self._writer.id,
                seq=self._writer.seq,
            )
            self._pipeline.merge.restore(event)
            self._now.held = None

    def close(self) -> None:
        """Commit the open row, if any, under its own step."""
        if self._now.held is not None:
            self._store(*self._now.held)
        elif self._now.open:
            held = self._pipeline.merge.held()
            step = self._now.at if held is None or held.step is None else held.step
            closing = Event(
                kind="row",
                values={},
                step=step,
                time_unix_nano=held.time_unix_nano if held else time_ns(),
                runtime_s=held.runtime_s if held else (monotonic_ns() - self._began) / 1e9,
                run=self._path,
                writer=self._writer.id,
                seq=self._writer.seq,
                trace_id=held.trace_id if held else "",
                span_id=held.span_id if held else "",
                trace_flags=held.trace_flags if held else 0,
            )
            self.hand_on(closing)

    def hand_on(self, event: Event) -> Event | None:
        """Hand a call through the pipeline, and store the row that it makes whole; that row, or None.

        Ctrl-C on the way leaves the open row as it was, for it holds values of calls that returned.
        """
        merge, writer, now = self._pipeline.merge, self._writer, self._now
        before = merge.held(), now.open, now.at, writer.seq
        try:
            row = self._pipeline.run(event)
            now.open = not event.commit
            if event.commit:
                now.at = (now.at if event.step is None else event.step) + 1
            if row is not None:
                self.commit(row)
        except BaseException:
            if writer.seq == before[3]:
                merge.restore(before[0])
                now.open, now.at = before[1:3]
            raise
        return row

    def commit(self, row: Event) -> None:
        """Write a committed row, whatever processors made of its values."""
        trace = None
        if row.trace_id:
            trace = bytes.fromhex(row.trace_id), bytes.fromhex(row.span_id) + bytes((row.trace_flags & 0xFF,))
        runtime = int(row.runtime_s * 1e6)
        step = self._now.at if row.step is None else row.step
        flat = row.values if self._standard else flat_values(row.values)
        try:
            seq = self._writer.row(flat, step, row.time_unix_nano, runtime, trace)
        except (
            TypeError,
            ValueError,
            OverflowError,
            UnicodeEncodeError,
        ):  # a processor put in what has no form in a row
            flat = flat_values(snapshot(flat, "placeholder", self._bad_value))
            seq = self._writer.row(flat, step, row.time_unix_nano, runtime, trace)
        self.last = (seq, row.time_unix_nano, runtime, step)


def flat_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values without inner dicts, their names joined by dots."""
    if dict not in set(map(type, values.values())):
        return dict(values)
    flat: dict[str, Any] = {}
    flatten_into(flat, [], dict(values), "", ".")
    return flat
