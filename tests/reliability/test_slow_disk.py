"""C4: a disk that takes a second for every call holds up neither log() nor any other thread."""

import ast
from pathlib import Path

from tests.reliability import faults
from tests.reliability.conftest import Figure
from tests.reliability.oracle import judge_run
from tests.reliability.programs import Program

WRITER = "0101010101010101"
DELAY_S = 1.0

PROGRAM = """
real = os.urandom
os.urandom = lambda size: b"\\x01" * 8 if size == 8 else real(size)  # the writer's id: strace takes whole paths only
gaps, over = [], threading.Event()

def beat():
    last = time.perf_counter()
    while not over.is_set():
        time.sleep(0.001)
        now = time.perf_counter()
        gaps.append(now - last)
        last = now

run = milepost.init(project="reliability", id=ID, dir=DIR)
heart = threading.Thread(target=beat)
heart.start()
calls = []
n = 0
until = time.monotonic() + 6
while time.monotonic() < until:
    values = KINDS["numbers"](ID, n).values
    began = time.perf_counter()
    run.log(values)
    calls.append(time.perf_counter() - began)
    n += 1
    ACKS[0] = n
    time.sleep(0.001)
over.set()
heart.join()
calls.sort()
gaps.sort()
middle, late = calls[len(calls) // 2], calls[int(len(calls) * 0.99)]
print("RESULT", {"p50": middle, "p99": late, "worst": calls[-1], "beat": gaps[-1]}, flush=True)
milepost.finish(timeout=20)
"""


def test_a_disk_that_takes_a_second_a_call_holds_up_neither_log_nor_another_thread(
    tmp_path: Path, figure: Figure
) -> None:
    program = Program(tmp_path, "slow")
    journal = program.run_dir / "journal" / WRITER
    paths = [journal / name for name in ("000000.mpj", "000001.mpj", "keys.mpj")]
    slow = [f"{call}:delay_enter={int(DELAY_S * 1e6)}" for call in ("write", "fdatasync")]

    program.script(PROGRAM, before=faults.strace(*slow, paths=paths, log=tmp_path / "strace"))
    assert program.end(60) == 0, program.log

    result = ast.literal_eval(next(line for line in program.log.splitlines() if line.startswith("RESULT"))[7:])
    delayed = (tmp_path / "strace").read_text().count("(DELAYED)")
    verdict = judge_run(program.run_dir, "numbers", program.acks.counts(), tried=0)
    assert verdict.good, verdict
    assert delayed >= 3
    # A call or thread that waited for the disk once would have waited for all of DELAY_S.
    assert result["worst"] < DELAY_S * 0.9
    assert result["beat"] < DELAY_S * 0.9
    figure(
        "C4",
        f"{delayed} disk calls of {DELAY_S:.0f} s each: {verdict.acknowledged} rows, 0 lost; log() p50 "
        f"{result['p50'] * 1e6:.0f} us, p99 {result['p99'] * 1e6:.0f} us, worst {result['worst'] * 1000:.1f} ms; "
        f"longest gap of a 1 ms heartbeat {result['beat'] * 1000:.1f} ms",
    )
