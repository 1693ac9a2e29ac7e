"""The exit code of this process, as the interpreter itself reads it from the SystemExit that ends the program.

There is no hook for that: sys.excepthook is not called for SystemExit, and at exit the exception is gone. Noting the calls of
sys.exit misses `raise SystemExit(main())`, and counts what somebody caught. But the interpreter asks the exception for its
attribute `code`, when no Python frame is left. So the attribute's descriptor is replaced by one that answers the same and notes
who asked. `SystemExit` is a built-in type, whose dict is reached through the garbage collector; where that does not work, the
calls of sys.exit are noted.
"""

import contextlib
import gc
import sys
from collections.abc import Callable
from typing import Any


def watch(told: Callable[[Any], None]) -> None:
    """Call `told` with the status (None, a number, anything else) that the program ends with, before atexit functions run.

    Not called for a program that runs to its end, nor for one that another exception ends.
    """
    watched = _watch_attribute(told)
    if not watched or sys.version_info < (3, 12):
        _wrap_exit(told if not watched else lambda status: None)


class _Code:
    """SystemExit.code, which calls back when the interpreter reads it to end the program."""

    def __init__(self, original: Any, told: Callable[[Any], None]) -> None:
        self._original = original
        self._told = told
        self.reads = 0

    def __get__(self, error: Any, kind: Any = None) -> Any:
        if error is None:
            return self
        self.reads += 1
        code = self._original.__get__(error, kind)
        if sys._getframe().f_back is None:  # noqa: SLF001 - no Python code asks
            with contextlib.suppress(Exception):
                self._told(code)
        return code

    def __set__(self, error: Any, code: Any) -> None:
        self._original.__set__(error, code)

    def __delete__(self, error: Any) -> None:
        self._original.__delete__(error)


def _watch_attribute(told: Callable[[Any], None]) -> bool:
    """Put the descriptor in place; False when this interpreter does not let it work, and then all is as before."""
    try:
        (names,) = gc.get_referents(SystemExit.__dict__)
        original = names["code"]
        names["code"] = made = _Code(original, told)
    except Exception:  # noqa: BLE001 - another interpreter may have any reason
        return False
    with contextlib.suppress(Exception):
        sys._clear_type_cache()  # noqa: SLF001 - what was looked up before is looked up again
    if SystemExit(7).code == 7 and made.reads == 1:
        return True
    names["code"] = original
    return False


def _wrap_exit(told: Callable[[Any], None]) -> None:
    before = sys.exit

    def remember(status: Any = None, /) -> Any:
        told(status)
        try:
            before(status)
        except SystemExit:  # noqa: TRY203 - before Python 3.12 there is nothing to be asked until somebody has caught it
            raise

    sys.exit = remember
