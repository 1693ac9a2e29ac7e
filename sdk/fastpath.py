"""The fast path: what the standard pipeline does to a call, in one pass over the values.

    Fast    rows, one for each call
    Steps   calls with `step=`: each closes the row that is open, and opens the next

One of the two is in force while a run's calls have plans (see `plans.py`); its `log` is the whole of such a call. `plain` is that
in Python, and rules. Where `_native.c` is compiled, `log` is there, and asks `plain` about whatever it does not take itself.

There is no lock on this way. A call makes the bytes first (number, clock, encoding, checksum), and then stores them if nobody
stored others meanwhile. From that check to the call that stores, no other call is made, so neither another thread nor a signal
handler can come in between: CPython switches between them at calls and jumps back. Where the check fails, or a value is not as
its plan has it, the answer is False, nothing was stored, and `Recorder` takes the long way.
"""

import sys
from collections.abc import Callable
from struct import Struct
from time import monotonic_ns
from typing import Any, Final
from zlib import crc32

from milepost.sdk.frame import (
    HEADER,
    HEADER_SIZE,
    MAGIC,
    PART,
    ROW,
    SLICE,
    VERSION,
    checksum,
    encode_payload,
    frame,
    frame_seed,
)
from milepost.sdk.native import Caller, Stepper, compiled
from milepost.sdk.plans import NO_PLAN, Plan, taker
from milepost.sdk.ring import Block
from milepost.sdk.shape import MAX_COMPILED, Builder
from milepost.sdk.values import INT_MAX
from milepost.sdk.writer import Writer

_MAX_DIRECT: Final = 400
"""Values of a row whose checksum is taken in one go."""
MAX_PACKED: Final = 60_000
"""Payload bytes up to which a row takes the fast path; msgpack's array header is at most three bytes up to there."""
_INT_SIZES: Final = ((2**7, 1), (2**8, 2), (2**16, 3), (2**32, 5), (2**64, 9))
"""msgpack: whole numbers below a limit, and the bytes they take."""
_CLOCK: Final = 1 + 9
"""Bytes of an array's header and of a time in nanoseconds."""
_modules = sys.modules


class Fast(Caller):
    """The plans in force, and all that a call needs of the one used last in one place, since a call that follows other work
    finds none of it in the processor's caches. Whoever changes what a plan may assume puts another object in this one's place.

    seq, shift: the number of the next row, and its step less that number: both rise by one with each row.
    began:      when the run began, on the monotonic clock.
    block, buffer, end: where rows go, and its size; 0 once this object is out of use, for then no row fits.
    count, take, build, seed, schema: of the plan that is expected: how many keys, what takes their values out of the data, ...;
                build is None where the values, all floats, are the row as they stand.
    For rows of floats, until the clock shows `limit`:
    floats, markers: where in a row's payload each float begins, and what stands there in a row that has floats only.
    start, size, pack: the first eight bytes of its frame, how long that is, and what stores such a frame; None for other rows.
    """

    __slots__ = (
        "block", "buffer", "build", "count", "floats", "limit", "markers", "pack", "plans", "schema", "seed", "seen", "size",
        "start", "take", "writer",
    )  # fmt: skip

    build: Builder | None
    floats: "slice[int, int | None, int | None]"
    pack: Callable[..., None] | None

    def __init__(self, plans: dict[tuple[Any, ...], Plan], writer: Writer, block: Block, step: int, began: int) -> None:
        self.plans = plans
        self.writer = writer
        self.seq = seq = writer.seq
        self.shift = step - seq
        self.began = began
        self.block = block
        self.buffer = block.buffer
        self.end = block.size
        self.seen = NO_PLAN
        """The plan of the call before: two calls alike make it the one to expect."""
        self.use(NO_PLAN)
        self.bind(writer, block, block.buffer, _modules)

    @property
    def at(self) -> int:
        """The step of the next row."""
        return self.seq + self.shift

    def plain(self, data: Any, step: int | None) -> bool:
        """Store a call as a row; whether that was done."""
        if step is not None or type(data) is not dict or "opentelemetry.trace" in _modules:
            return False
        take, build = self.take, self.build  # both of one plan; of what is read later the last check finds that out
        if len(data) != self.count:
            return self._log_other(data)
        try:
            values = take(data)
        except Exception:  # noqa: BLE001 - KeyError, and whatever a key of a class of its own raises when it is compared
            return self._log_other(data)
        seq = self.seq  # before the clock: rows that are stored meanwhile have earlier times, and are found out
        now = monotonic_ns()
        if build is None:
            row = [
                seq,
                self.writer.clock_offset + now,
                (now - self.began) // 1000,
                seq + self.shift,
                *values,
            ]
        else:
            made = build(values, seq, self.writer.clock_offset + now, (now - self.began) // 1000, seq + self.shift)
            if made is None:
                return self._log_other(data)
            row = made
        try:
            payload = encode_payload(row)
        except (TypeError, ValueError, OverflowError):
            return self._log_other(data)
        if now >= self.limit:
            self._measure(now)
            ordered = {key: data[key] for key in self.plan.top if key in data}  # so that it is stored by that plan
            return self._log_other(ordered if len(ordered) == len(data) else data)
        # In msgpack a float is 0xCB and eight bytes, and nothing else begins with 0xCB. So if the head is as long as its numbers
        # make it, the first value begins right behind it; if that is a float, the next one begins 9 bytes on, and so on: all
        # values are floats if each ninth byte says so. To ask each for its type takes three times as long.
        if payload[self.floats] != self.markers:
            return self._log_other(data)
        pack = self.pack
        if pack is None:
            length = len(payload)
            if length > SLICE:
                return self._log_other(data)
            pack = packers[length]
            size = HEADER_SIZE + length
            start_of_row = ROW_START | length << 32
        else:
            size = self.size
            start_of_row = self.start
        block = self.block
        start = block.pos
        crc = crc32(payload, self.seed)
        end = start + size
        if end > self.end or self.seq != seq or self.take is not take:
            return False
        block.pos = end
        self.seq = seq + 1
        plan = self.plan
        plan.last = row
        pack(self.buffer, start, start_of_row, crc, self.schema, payload)
        if plan.watched:
            plan.watch(row)
        return True

    if not compiled:  # else `log` is there, and comes here with what it does not take
        log = plain

    def _log_other(self, data: dict[Any, Any]) -> bool:
        """The same for any plan."""
        try:
            plan = self.plans.get(tuple(data))
        except Exception:  # noqa: BLE001 - a key of a class of its own may raise when it is compared
            return False
        if plan is None:
            return False
        # Of a wide row, to look at each value would take as long as all the rest.
        wide = len(plan.keys) > MAX_COMPILED and plan.markers
        seq = self.seq
        now = monotonic_ns()
        clock, runtime = self.writer.clock_offset + now, (now - self.began) // 1000
        found = plan
        build = plan.build if wide else plan.checked
        row = build(data.values(), seq, clock, runtime, seq + self.shift)
        while row is None:
            if found.next is None:
                return False
            found = found.next
            row = found.checked(data.values(), seq, clock, runtime, seq + self.shift)
        if found is self.seen and found is not self.plan and (found.laid_out or len(found.keys) <= _MAX_DIRECT):
            self.use(found)
        self.seen = found
        try:
            payload = encode_payload(row)
        except (TypeError, ValueError, OverflowError):
            return False
        if wide and not _all_floats(plan, row, payload):
            return False
        size = len(payload)
        block = self.block
        start = block.pos
        end = start + HEADER_SIZE + size
        if end > self.end or size > MAX_PACKED:
            return False
        crc = crc32(payload, found.seed) if size <= SLICE else checksum(payload, found.seed)
        pack = packers[size]
        if end > self.end or self.seq != seq:
            return False
        block.pos = end
        self.seq = seq + 1
        found.last = row
        pack(block.buffer, start, ROW_START | size << 32, crc, found.schema, payload)
        if found.watched:
            found.watch(row)
        return True

    def use(self, plan: Plan) -> None:
        """Expect calls of this plan."""
        count = len(plan.top) if plan is not NO_PLAN and len(plan.keys) <= _MAX_DIRECT else -1
        take = taker(plan.top)  # one of its own: calls that are under way see by it that another plan is in force
        # From here on no call is made, so that others find all of it or nothing.
        self.plan = self.seen = plan
        self.build = None if plan.direct else plan.build
        self.count = count
        self.take = take
        self.seed = plan.seed
        self.schema = plan.schema
        self.markers = plan.markers
        if plan.markers:
            self.limit = 0
        else:  # `build` looks at the values: what is asked of the payload is always so
            self.floats = _NOTHING
            self.limit = _NEVER
            self.pack = None
            self.start = self.size = 0

    def _measure(self, now: int) -> None:
        """Find where the floats of a row begin and how long it is. On the fast path no row takes less than 100 ns.

        Calls that are under way have other sizes in hand: a new `take` ends them, as another plan does.
        """
        seq, take = self.seq, self.take
        fresh = taker(self.plan.top)
        found = _sizes(seq, seq + self.shift, (now - self.began) // 1000)
        head = _CLOCK + sum(size for _, size in found) + self.plan.wide
        floats = slice(head, None, 9)
        length = head + 9 * len(self.plan.keys)
        size = HEADER_SIZE + length
        start = ROW_START | length << 32
        pack = packers[length]
        rows_left = min(found[0][0] - seq, found[1][0] - seq - self.shift)
        limit = min(self.began + found[2][0] * 1000, now + rows_left * 100)
        if self.seq == seq and self.take is take:  # else a call came in between; from here on none can
            self.floats = floats
            self.start = start
            self.size = size
            self.pack = pack
            self.limit = limit
            self.take = fresh


class Steps(Stepper):
    """What `Fast` is, while a row is open and each call says its step.

    at, plan, row: of the open row: its step, its plan, and [seq, time_ns, runtime_us, step, value, ...]; the number is filled in
                   when the row is stored.
    seq, parts:    the numbers of that row, and of the next part.
    """

    __slots__ = ("block", "buffer", "writer")

    def __init__(self, plan: Plan, row: list[Any], writer: Writer, block: Block, began: int) -> None:
        self.plan = plan
        self.row = row
        self.at = row[3]
        self.writer = writer
        self.seq = writer.seq
        self.parts = writer.parts
        self.part_seed = frame_seed(writer.seed, PART)
        self.began = began
        self.block = block
        self.buffer = block.buffer
        self.end = block.size
        self.bind(writer, block, block.buffer, _modules)

    def plain(self, data: Any, step: Any) -> bool:
        """Store the open row and, as the part of the next one, this call, both at once; whether that was done."""
        if type(step) is not int or not self.at < step <= INT_MAX or type(data) is not dict:
            return False
        seq, parts = self.seq, self.parts  # first: to read the row makes objects, and so may let another call in
        plan, closed = self.plan, self.row
        try:
            # The plan of a row that two calls made has no keys of its own.
            if not plan.top or len(data) != len(plan.top) or "opentelemetry.trace" in _modules:
                return False
            given = plan.take(data)
        except Exception:  # noqa: BLE001 - KeyError, and whatever a key of a class of its own raises when it is compared
            return False
        now = monotonic_ns()
        clock, runtime = self.writer.clock_offset + now, (now - self.began) // 1000
        row = plan.checked(given, 0, clock, runtime, step)
        if row is None:
            return False
        values = data if plan.plain else dict(zip(plan.keys, row[4:], strict=True))
        closed[0] = seq
        try:
            payload = encode_payload(closed)
            part = encode_payload([seq + 1, parts, clock, runtime, step, values])
        except (TypeError, ValueError, OverflowError):
            return False
        both = frame(ROW, payload, plan.seed, plan.schema) + frame(PART, part, self.part_seed)
        block = self.block
        start = block.pos
        end = start + len(both)
        if end > self.end or self.seq != seq or self.parts != parts:
            return False
        block.pos = end
        self.seq = seq + 1
        self.parts = parts + 1
        self.row = row
        self.at = step
        plan.last = closed
        self.buffer[start:end] = both
        if plan.watched:
            plan.watch(closed)
        return True

    if not compiled:
        log = plain


def _all_floats(plan: Plan, row: list[Any], payload: bytes) -> bool:
    """Whether the values of a wide row are floats, as its plan has it; read off the payload, see `Fast.log`."""
    head = _CLOCK + sum(size for _, size in _sizes(row[0], row[3], row[2])) + plan.wide
    return payload[head::9] == plan.markers


def _sizes(*numbers: int) -> list[tuple[int, int]]:
    """Of each whole number the limit up to which others take as many bytes, and how many."""
    return [next(known for known in _INT_SIZES if number < known[0]) for number in numbers]


class _Packers(dict[int, Callable[..., None]]):
    """`Struct.pack_into` of a frame with a payload of so many bytes, made when first asked for.

    Its arguments: buffer, offset, ROW_START | payload bytes << 32, crc, schema, payload.
    """

    def __missing__(self, size: int) -> Callable[..., None]:
        made = Struct(f"<QII{size}s").pack_into
        if size <= SLICE:
            self[size] = made
        return made


packers: Final = _Packers()
ROW_START: Final = int.from_bytes(HEADER.pack(MAGIC, ROW, VERSION, 0, 0, 0)[:4], "little")
"""Magic, kind and version of a row's frame, as one number."""
_NOTHING: Final = slice(0, 0)
_NEVER: Final = 2**63
