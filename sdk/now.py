"""Now: where a run stands between two calls to `log()`.

It is an object of its own because `log()` reads and changes little else, and a run, which answers to names that it does not have
and refuses to be given others, is slow to read and to change.
"""

from collections.abc import Callable
from typing import Any

from milepost.sdk.fastpath import Fast, Steps
from milepost.sdk.plans import Plan


class Now:
    """The step, the open row, and the fast path while it is in force.

    fast:       what takes the calls that have plans; None while only the long way is right. While it is there, number and step
                are to be found there and nowhere else.
    at:         the step that the next values land in.
    open:       whether a row is.
    held:       the open row, where all its calls had plans: its plan and [seq, time_ns, runtime_us, step, value, ...], the number
                still to be filled in. Else the processor `merge` holds it.
    busy:       whether a call or an event is being stored; what comes meanwhile on the same thread is set aside.
    ended:      whether no call is taken any more: the run's last word is being written, or stands there.
    may_rewind: whether a step that is behind may still go back: before the first row of a resumed run.
    long_way:   `log()` for all that the fast path does not take: (data, step, commit).
    """

    __slots__ = ("at", "busy", "ended", "fast", "held", "long_way", "may_rewind", "open")

    def __init__(self, at: int, may_rewind: bool, long_way: Callable[[Any, Any, Any], None]) -> None:
        self.fast: Fast | Steps | None = None
        self.at = at
        self.open = False
        self.held: tuple[Plan, list[Any]] | None = None
        self.busy = False
        self.ended = False
        self.may_rewind = may_rewind
        self.long_way = long_way
