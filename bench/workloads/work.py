"""A millisecond of real work: numpy over arrays that throw out of the caches what log() would find there."""

import time
from collections.abc import Callable

import numpy as np


def millisecond() -> Callable[[], object]:
    """A function that works for about 1 ms on this machine, on one processor."""
    source = np.random.default_rng(7)
    left, right = source.random(1_000_000), source.random(1_000_000)
    out = np.empty_like(left)
    length = 100_000

    def work() -> object:
        return np.multiply(left[:length], right[:length], out=out[:length])

    for _ in range(6):
        length = int(min(max(length * 1e-3 / _processor_s(work), 1_000), 1_000_000))
    return work


def _processor_s(function: Callable[[], object], calls: int = 20) -> float:
    """Processor time of a call, which waiting for the processor does not change."""
    began = time.thread_time()
    for _ in range(calls):
        function()
    return (time.thread_time() - began) / calls
