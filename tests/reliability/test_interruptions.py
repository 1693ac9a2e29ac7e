"""E4, E5, E6: threads, Ctrl-C at any instant, and calls to log() from inside log() itself."""

import ast
import signal
import time
from pathlib import Path

import pytest

import milepost
from tests.reliability.conftest import Figure
from tests.reliability.oracle import SEED, judge, judge_run, lanes
from tests.reliability.programs import Program

THREADS = """
run = milepost.init(project="reliability", id=ID, dir=DIR)
calls = [[KINDS["numbers"](ID, n, lane).values for n in range({count})] for lane in range(ACKS.lanes)]
start = threading.Barrier(ACKS.lanes + 1)

def work(lane):
    start.wait()
    log = run.log
    for n, values in enumerate(calls[lane]):
        log(values)
    ACKS[lane] = len(calls[lane])

threads = [threading.Thread(target=work, args=(lane,)) for lane in range(ACKS.lanes)]
for thread in threads:
    thread.start()
start.wait()
began = time.perf_counter()
for thread in threads:
    thread.join()
print("RATE", int(ACKS.lanes * {count} / (time.perf_counter() - began)), flush=True)
milepost.finish()
"""


def test_eight_threads_lose_double_and_mix_nothing(tmp_path: Path, figure: Figure) -> None:
    count = 10_000
    program = Program(tmp_path, "threads", lanes=8).script(THREADS.format(count=count))

    assert program.end() == 0, program.log

    verdict = judge_run(program.run_dir, "numbers", program.acks.counts(), tried=0, recoveries=0)
    assert verdict.good, verdict
    assert verdict.rows == 8 * count
    run = milepost.Api(program.runs).run("reliability/threads")
    assert run.damage == []
    rate = next(line for line in program.log.splitlines() if line.startswith("RATE")).split()[1]
    figure("E4", f"8 threads, {verdict.rows} rows: 0 lost, 0 doubled, no number missing; {int(rate):,} rows/s")


CTRL_C = """
import random
run = milepost.init(project="reliability", id=ID, dir=DIR)
choose = random.Random({seed})
make = KINDS["{kind}"]
ready, over = threading.Event(), threading.Event()
sent = worst = 0.0
swallowed = 0

def send():
    global sent, swallowed
    for _ in range({times}):
        swallowed += not ready.wait(10)
        time.sleep(choose.uniform(0, 0.006))
        ready.clear()
        sent = time.monotonic()
        os.kill(os.getpid(), signal.SIGINT)
    swallowed += not ready.wait(10)
    over.set()

sender = threading.Thread(target=send)
interrupted = []
n = 0
sender.start()
while True:
    try:
        ready.set()  # the next one may come
        while not over.is_set():
            call = make(ID, n)
            run.log(call.values, **call.keywords)
            n += 1
            ACKS[0] = n
            if {pause}:
                time.sleep({pause})
        break
    except KeyboardInterrupt:
        worst = max(worst, time.monotonic() - sent)
        interrupted.append(n)
        n += 1
        ACKS[0] = n
sender.join()
milepost.finish()
print("RESULT", {{"interrupted": interrupted, "worst": worst, "swallowed": swallowed}}, flush=True)
"""


@pytest.mark.parametrize(
    ("kind", "pause"), [("numbers", 0.0), ("plain", 0.0), ("stepwise", 0.0)], ids=["fast rows", "nested rows", "steps"]
)
@pytest.mark.parametrize("times", [70, pytest.param(1000, marks=pytest.mark.gate)])
def test_ctrl_c_at_any_instant_arrives_and_costs_no_call_that_returned(
    tmp_path: Path, figure: Figure, kind: str, pause: float, times: int
) -> None:
    program = Program(tmp_path, "ctrlc").script(CTRL_C.format(seed=SEED, kind=kind, times=times, pause=pause))

    assert program.end(100) == 0, program.log

    result = ast.literal_eval(next(line for line in program.log.splitlines() if line.startswith("RESULT"))[7:])
    assert result["swallowed"] == 0
    acks = program.acks.counts()
    verdict = judge_run(
        program.run_dir, kind, acks, tried=0, recoveries=0, interrupted=frozenset(result["interrupted"])
    )
    assert verdict.good, verdict
    assert "Traceback" not in program.log
    figure(
        "E5",
        f"Ctrl-C {times} times at random in {kind}: {verdict.acknowledged - times} calls acknowledged, 0 lost, each arrived, "
        f"the slowest after {result['worst'] * 1000:.0f} ms",
    )


FINISH = """
class Slow:
    name = "slow"
    def export(self, batch):
        time.sleep(0.3)
        return milepost.ExportResult.SUCCESS
    def force_flush(self, timeout_millis=0):
        return True
    def shutdown(self, timeout_millis=0):
        pass

run = milepost.init(project="reliability", id=ID, dir=DIR, exporters=["file", Slow()])
log_calls(run, "plain", ACKS, count=2000)
Path(DIR, "finishing").touch()
milepost.finish()
time.sleep(60)
"""


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_in_finish_ends_the_program_with_every_row_kept(tmp_path: Path, figure: Figure, presses: int) -> None:
    program = Program(tmp_path, "finish").script(FINISH)
    program.wait_for((program.runs / "finishing").exists, "finish()")
    time.sleep(0.3)

    began = time.monotonic()
    assert program.process is not None
    for _ in range(presses):
        program.process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    code = program.end()
    took = time.monotonic() - began

    assert code == -signal.SIGINT, program.log
    assert program.log.count("KeyboardInterrupt") >= 1
    verdict = judge_run(program.run_dir, "plain", program.acks.counts(), tried=0)
    assert verdict.good, verdict
    assert took < 20
    figure(
        "E5",
        f"Ctrl-C in finish(), presses: {presses}; KeyboardInterrupt, exit code -2 after {took:.1f} s, 2000 of 2000 rows kept",
    )


HANDLER = """
run = milepost.init(project="reliability", id=ID, dir=DIR)
inner = 0

def handler(number, frame):
    global inner
    n = inner  # the next signal may come before this one is handled
    inner = n + 1
    run.log(KINDS["{inner}"](ID, n, 1).values)

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
n = 0
while inner < {times}:
    run.log(KINDS["{outer}"](ID, n).values)
    n += 1
    ACKS[0] = n
    if n % 20 == 0:
        time.sleep(0.001)
signal.setitimer(signal.ITIMER_REAL, 0)
ACKS[1] = inner
milepost.finish()
"""


@pytest.mark.parametrize(("outer", "inner"), [("numbers", "numbers"), ("numbers", "plain"), ("plain", "numbers")])
@pytest.mark.parametrize("times", [1500, pytest.param(10_000, marks=pytest.mark.gate)])
def test_log_inside_a_signal_handler_loses_nothing_and_never_hangs(
    tmp_path: Path, figure: Figure, outer: str, inner: str, times: int
) -> None:
    program = Program(tmp_path, "handler", lanes=2).script(HANDLER.format(outer=outer, inner=inner, times=times))

    assert program.end(100) == 0, program.log

    rows = lanes(milepost.Api(program.runs).run("reliability/handler").scan_history())
    verdict = judge(rows[0], "handler", outer, program.acks[0], 0, 0) + judge(
        rows[1], "handler", inner, program.acks[1], 1, 0
    )
    assert verdict.good, verdict
    steps = sorted(row["_step"] for lane in rows.values() for row in lane)
    assert steps == list(range(len(steps)))
    assert program.warnings() == []
    figure(
        "E6",
        f"log() in a handler of {times} signals, 1 ms apart, beside {outer}: {verdict.acknowledged} calls acknowledged, "
        "0 lost, no hang",
    )


DEL = """
import gc
run = milepost.init(project="reliability", id=ID, dir=DIR)
gc.set_threshold(20)
died = 0

class Dying:
    def __init__(self):
        self.me = self

    def __del__(self):
        global died
        run.log(KINDS["plain"](ID, died, 1).values)
        died += 1
        ACKS[1] = died

for n in range(3000):
    Dying()
    run.log(KINDS["plain" if n % 3 else "numbers"](ID, n).values | {"deep": [[n]] * 3})
    ACKS[0] = n + 1
run = None
milepost.finish()
"""


def test_log_inside_del_while_the_collector_runs_in_log_loses_nothing(tmp_path: Path, figure: Figure) -> None:
    program = Program(tmp_path, "del", lanes=2).script(DEL.replace("\nrun = None", ""))

    assert program.end() == 0, program.log

    rows = lanes(milepost.Api(program.runs).run("reliability/del").scan_history())
    assert sorted(row["n"] for row in rows[0]) == list(range(3000))
    found = [row["n"] for row in rows[1]]
    assert found[: program.acks[1]] == list(range(len(found)))[: program.acks[1]]
    assert program.acks[1] > 2000
    figure("E6", f"log() in __del__ {program.acks[1]} times while the collector runs: 0 lost, no hang")


ASYNCIO = """
import asyncio
run = milepost.init(project="reliability", id=ID, dir=DIR)

async def work(lane):
    for n in range(200):
        run.log(KINDS["plain"](ID, n, lane).values)
        ACKS[lane] = n + 1
        await asyncio.sleep(0)

async def main():
    await asyncio.gather(*(work(lane) for lane in range(ACKS.lanes)))

asyncio.run(main())

import atexit

@atexit.register
def last_words():
    for n in range(200, 210):
        run.log(KINDS["plain"](ID, n, 0).values)
        ACKS[0] = n + 1
"""


def test_asyncio_tasks_and_atexit_functions_may_log(tmp_path: Path, figure: Figure) -> None:
    program = Program(tmp_path, "tasks", lanes=10).script(ASYNCIO)

    assert program.end() == 0, program.log

    verdict = judge_run(program.run_dir, "plain", program.acks.counts(), tried=0, recoveries=0)
    assert verdict.good, verdict
    assert verdict.rows == 2010
    figure("E6", "10 asyncio tasks and a function of atexit: 2010 of 2010 rows")
