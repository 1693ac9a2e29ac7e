"""The program under test: logs calls of one kind until it is told to stop, counting each call that returned.

python -m tests.reliability.child '{"dir": ..., "id": ..., "kind": "plain", "acks": ..., "rate": 1000}'
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import milepost
from tests.reliability.oracle import KINDS, Acks


def log_calls(
    run: Any, kind: str, acks: Acks, lane: int = 0, *, first: int = 0, count: int | None = None, rate: float = 0
) -> None:
    """Log calls `first`, `first + 1`, ... of a lane at `rate` per second (0: as fast as possible), acknowledging each."""
    make = KINDS[kind]
    began = time.monotonic()
    n = first
    while count is None or n < first + count:
        call = make(run.id, n, lane)
        run.log(call.values, **call.keywords)
        n += 1
        acks[lane] = n
        if rate:
            ahead = (n - first) / rate - (time.monotonic() - began)
            if ahead > 0:
                time.sleep(ahead)


def in_another_process(run: Any, kind: str, acks: str, lanes: int, lane: int, count: int) -> None:
    """What a process of multiprocessing does with the run that it was given."""
    log_calls(run, kind, Acks(Path(acks), lanes), lane, count=count)


def main() -> None:
    options = json.loads(sys.argv[1])
    acks = Acks(Path(options["acks"]), options.get("lanes", 1))
    keywords = {key: options[key] for key in ("settings", "exporters", "resume") if key in options}
    run = milepost.init(project="reliability", id=options["id"], dir=options["dir"], **keywords)
    arguments = {"count": options.get("count"), "rate": options.get("rate", 0)}
    threads = [
        threading.Thread(target=log_calls, args=(run, options["kind"], acks, lane), kwargs=arguments)
        for lane in range(1, acks.lanes)
    ]
    for thread in threads:
        thread.start()
    log_calls(run, options["kind"], acks, **arguments)
    for thread in threads:
        thread.join()
    if options.get("linger"):
        threading.Event().wait()  # until it is killed
    milepost.finish()


if __name__ == "__main__":
    main()
