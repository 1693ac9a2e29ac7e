"""Native: the fast path in C (`_native.c`) where it was built, and what stands in for it where it was not.

Five classes hold what a planned call reads and writes: each is the base of the Python class that has all the rest. With the
compiled ones, `Fast` has a `log` in C, which takes most calls and leaves the others to Python; without, all is Python's. Both
store the same bytes. `milepost doctor` says which is in use. MILEPOST_NATIVE=0 leaves the compiled ones alone.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from milepost.sdk.frame import decode_payload, encode_payload

INTERFACE: Final = 3
"""What this code and the C source agree on; the same number stands there."""


def _load() -> tuple[Any, str]:
    """The compiled module, or None; and why not."""
    if os.environ.get("MILEPOST_NATIVE", "").lower() in ("0", "false"):
        return None, "switched off by MILEPOST_NATIVE"
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None, "this Python has no lock that it could rely on"
    try:
        found = import_module("milepost.sdk._native")
    except ImportError as error:
        built = not isinstance(error, ModuleNotFoundError)
        return None, f"cannot be loaded: {error}" if built else "it was not built when milepost was installed"
    if found.INTERFACE != INTERFACE:
        return None, "built from another version of milepost; install it anew"
    found.use(encode_payload, decode_payload)
    return found, ""


_module, why_not = _load()
"""Why the compiled module is not in use; "" where it is."""
compiled: Final = _module is not None

if TYPE_CHECKING or not compiled:

    class Clock:
        """Base of `Keeper`."""

        clock_offset: int

    class Place:
        """Base of `Block`."""

        __slots__ = ("pos",)
        pos: int

    class Pattern:
        """Base of `Plan`."""

        __slots__ = ("last",)
        last: list[Any] | None

        def lay_out(self, seed: int, schema: int, items: list[tuple[str, str, Any, bytes]]) -> None:
            """Tell the compiled code what rows look like."""

    class Caller:
        """Base of `Fast`."""

        __slots__ = ("began", "end", "plan", "seq", "shift")
        began: int
        end: int
        plan: Any
        seq: int
        shift: int

        def bind(self, writer: Clock, block: Place, buffer: Any, modules: dict[str, Any]) -> None:
            """Tell the compiled code where rows go."""

        def release(self) -> None:
            """Let go of that memory, so that it can be unmapped."""

    class Stepper(Caller):
        """Base of `Steps`."""

        __slots__ = ("at", "part_seed", "parts", "row")
        at: int
        part_seed: int
        parts: int
        row: list[Any]

else:
    Clock, Place, Pattern, Caller = _module.Clock, _module.Place, _module.Pattern, _module.Caller
    Stepper = _module.Stepper


def told() -> str:
    """How `log()` runs here, for people."""
    return "in C" if compiled else f"in Python alone, which is slower: {why_not}"
