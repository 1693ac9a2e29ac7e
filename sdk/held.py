"""Held: whether this very thread has a lock, as in a signal handler or `__del__` that interrupts the call which took it."""

import threading


def held_here(lock: "threading.RLock") -> bool:
    """Whether the calling thread holds the lock. To wait for it would be to wait for oneself."""
    return bool(lock._is_owned())  # type: ignore[attr-defined]  # noqa: SLF001 - of threading.RLock, as Condition uses it
