"""Encoders of the tests: functions that another process finds by name."""

import os
import time
from typing import Any


def fails(data: memoryview, options: dict[str, Any], target: Any) -> None:
    raise ValueError("as it was told")


def dies(data: memoryview, options: dict[str, Any], target: Any) -> None:
    os.kill(os.getpid(), 9)


def counts(data: memoryview, options: dict[str, Any], target: Any) -> dict[str, Any]:
    target.write(data)
    return {"letters": len(data)}


def slow(data: memoryview, options: dict[str, Any], target: Any) -> None:
    time.sleep(1.5)
    target.write(data)


def priority(data: memoryview, options: dict[str, Any], target: Any) -> dict[str, Any]:
    target.write(data)
    return {"nice": os.getpriority(os.PRIO_PROCESS, 0)}


def never_the_same(data: memoryview, options: dict[str, Any], target: Any) -> None:
    target.write(bytes(data) + os.urandom(16))
