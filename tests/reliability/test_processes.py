"""E1, E2 and torchrun: every process that logs is a writer of its own, and none of them loses a row or hangs."""

from pathlib import Path

import pytest

import milepost
from tests.reliability.conftest import Figure
from tests.reliability.oracle import Verdict, judge, judge_run, lanes, readings
from tests.reliability.programs import Program

THREADS = 4
FORKS = 25

FORK = """
import random
run = milepost.init(project="reliability", id=ID, dir=DIR)
stop = threading.Event()

def work(lane):
    n = 0
    while not stop.is_set():
        kind = "plain" if lane % 2 else "numbers"
        log_calls(run, kind, ACKS, lane, first=n, count=5, rate=300)
        n += 5

threads = [threading.Thread(target=work, args=(lane,)) for lane in range({threads})]
for thread in threads:
    thread.start()
for lane in range({threads}, ACKS.lanes):
    time.sleep(random.Random(f"{seed}{{lane}}").uniform(0, 0.01))
    child = os.fork()
    if child == 0:
        log_calls(run, "plain" if lane % 2 else "numbers", ACKS, lane, count=10)
        if lane % 3 == 0:
            os._exit(0)
        sys.exit(0)
    began = time.monotonic()
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() - began > 30:
            os.kill(child, signal.SIGABRT)
            time.sleep(2)
            print("HANG: the child of fork", lane - {threads}, flush=True)
            break
        time.sleep(0.005)
stop.set()
for thread in threads:
    thread.join(30)
print("JOINED", not any(thread.is_alive() for thread in threads), flush=True)
"""


@pytest.mark.parametrize("programs", [4, pytest.param(40, marks=pytest.mark.gate)])
def test_forking_while_four_threads_log_loses_nothing_and_hangs_nowhere(
    tmp_path: Path, figure: Figure, programs: int
) -> None:
    parents, children = Verdict(), Verdict()

    for number in range(programs):
        program = Program(tmp_path / str(number), f"fork{number}", lanes=THREADS + FORKS)
        program.script(FORK.format(threads=THREADS, seed=number))
        assert program.end(100) == 0, program.log
        assert "HANG" not in program.log
        assert "JOINED True" in program.log
        acks = program.acks.counts()
        assert min(acks) >= 10, acks
        for _, api in readings(program.run_dir):
            rows = list(api.run(f"reliability/{program.name}").scan_history(writer="all"))
            by_lane = lanes(rows)
            for lane, count in enumerate(acks):
                verdict = judge(by_lane[lane], program.name, "plain" if lane % 2 else "numbers", count, lane, tried=0)
                if lane < THREADS:
                    parents += verdict
                else:
                    children += verdict
            writers = {row["_writer"] for row in rows}
            assert len(writers) == 1 + FORKS

    assert parents.good, parents
    assert children.good, children
    figure(
        "E1",
        f"{programs * FORKS} forks while {THREADS} threads log: {parents.acknowledged // 3} rows of parents and "
        f"{children.acknowledged // 3} of children acknowledged, 0 lost, 0 hangs, each child its own writer",
    )


MULTIPROCESSING = """
import multiprocessing
from tests.reliability.child import in_another_process

if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    run = milepost.init(project="reliability", id=ID, dir=DIR)
    log_calls(run, "plain", ACKS, 0, count=20)
    workers = [
        context.Process(target=in_another_process, args=(run, "plain", {acks!r}, ACKS.lanes, lane, 50))
        for lane in range(1, ACKS.lanes)
    ]
    for worker in workers:
        worker.start()
    log_calls(run, "plain", ACKS, 0, first=20, count=30)
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * len(workers), [worker.exitcode for worker in workers]
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_a_run_given_to_a_process_of_multiprocessing_is_the_same_run_there(
    tmp_path: Path, figure: Figure, method: str
) -> None:
    processes = 4
    program = Program(tmp_path, "given", lanes=processes)
    program.script(MULTIPROCESSING.format(method=method, acks=str(program.acks_path)))

    assert program.end() == 0, program.log

    verdict = judge_run(program.run_dir, "plain", program.acks.counts(), writer="all", tried=0)
    assert verdict.good, verdict
    assert verdict.acknowledged == 50 * processes
    run = milepost.Api(program.runs).run("reliability/given")
    assert len({row["_writer"] for row in run.scan_history(writer="all")}) == processes
    assert run.state == "finished"
    assert len(milepost.Api(program.runs).runs()) == 1
    figure(
        "E2",
        f"{method}: {processes - 1} processes given the run, 50 rows each and 50 of the parent: 0 lost, "
        f"{processes} writers of one run",
    )


RANK = """
run = milepost.init(project="reliability", dir=DIR)
rank = int(os.environ["RANK"])
log_calls(run, "plain", ACKS, rank, count=50, rate=500)
print("ID", run.id, run.rank, run.attempt)
"""


def start_ranks(tmp_path: Path, world: int, job: str, restarts: int = 0) -> list[Program]:
    """Plain processes with the variables of torchrun, started together."""
    programs: list[Program] = []
    for rank in range(world):
        program = Program(tmp_path, f"rank{rank}", lanes=world)
        program.runs = tmp_path / "runs"
        variables = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": world,
            "LOCAL_WORLD_SIZE": world,
            "GROUP_RANK": 0,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": 29500,
            "TORCHELASTIC_RUN_ID": job,
            "TORCHELASTIC_RESTART_COUNT": restarts,
            "TORCHELASTIC_MAX_RESTARTS": 3,
        }
        programs.append(program.script(RANK, environment={name: str(value) for name, value in variables.items()}))
    return programs


def test_eight_processes_with_the_variables_of_torchrun_join_one_run(tmp_path: Path, figure: Figure) -> None:
    programs = start_ranks(tmp_path, 8, "job-17")

    assert [program.end() for program in programs] == [0] * 8, "\n".join(program.log for program in programs)

    (run,) = milepost.Api(tmp_path / "runs").runs()
    total = Verdict()
    for rank, program in enumerate(programs):
        rows = list(run.scan_history(writer=rank))
        total += judge(rows, run.id, "plain", program.acks[rank], rank, tried=0)
        assert len(rows) == 50
    assert total.good, total
    assert [row["n"] for row in run.scan_history()] == list(range(50))
    assert run.state == "finished"
    assert run.attempts == [1]
    assert run.damage == []
    figure("E2", f"8 processes with torchrun's variables: one run, {total.acknowledged} rows acknowledged, 0 lost")


def test_ranks_that_torchrun_starts_again_are_the_next_attempt_of_the_run(tmp_path: Path) -> None:
    first = start_ranks(tmp_path, 2, "job-18")
    assert [program.end() for program in first] == [0, 0], first[0].log
    again = start_ranks(tmp_path, 2, "job-18", restarts=1)

    assert [program.end() for program in again] == [0, 0], again[0].log

    (run,) = milepost.Api(tmp_path / "runs").runs()
    assert run.attempts == [1, 2]
    for attempt in (1, 2):
        for rank in (0, 1):
            rows = milepost.Api(tmp_path / "runs").run(run.path, attempt=attempt).scan_history(writer=rank)
            assert [row["n"] for row in rows] == list(range(50))
