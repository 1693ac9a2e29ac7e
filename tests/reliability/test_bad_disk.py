"""C2, C3, C4: a disk that refuses, fails at the k-th call, or takes its time. Training goes on, no row is lost."""

import os
from pathlib import Path

import pytest

import milepost
from tests.reliability import faults
from tests.reliability.conftest import Figure
from tests.reliability.oracle import judge, judge_run, unbalanced
from tests.reliability.programs import Program

# What init() must survive: the directory of the runs is ... (C2). BEFORE runs in the program, before init().
PLACES = {
    "missing, three levels deep": "",
    "a file": "Path(DIR).write_text('in the way')",
    "a dangling link": "os.symlink('/nowhere/at/all', DIR)",
    "read-only": "",
    "immutable": "",
    "not mine": "os.setgid(65534); os.setuid(65534)",
}

PROGRAM = """
import milepost.sdk.starting, milepost.sdk.api, milepost.sdk.capture.gathering
import milepost.exporters.file, milepost.exporters.console
{before}
run = milepost.init(project="reliability", id=ID, dir=DIR)
log_calls(run, "plain", ACKS, count=300, rate=2000)
where = run.dir
milepost.finish()
print("RESULT", where, flush=True)
"""


@pytest.mark.parametrize("place", PLACES)
def test_init_works_where_the_runs_directory_cannot_be_written_and_says_so(
    tmp_path: Path, figure: Figure, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir(mode=0o777)
    (tmp_path / "elsewhere").chmod(0o777)
    program = Program(tmp_path / "program", "place")
    program.runs = tmp_path / "program" / ("a/b/c" if "missing" in place else "runs")
    fault = {"read-only": faults.read_only, "immutable": faults.immutable}.get(place)
    if place == "not mine":
        faults.needs_root("becomes another user")
        program.runs.mkdir(mode=0o755)
        program.acks_path.chmod(0o666)
        for folder in (tmp_path, *list(tmp_path.parents)[:3]):
            folder.chmod(folder.stat().st_mode | 0o055)
    text = PROGRAM.format(before=PLACES[place])

    if fault is None:
        assert program.script(text).end() == 0, program.log
    else:
        program.runs.mkdir()
        with fault(program.runs):
            assert program.script(text).end() == 0, program.log

    where = Path(next(line for line in program.log.splitlines() if line.startswith("RESULT")).split()[1])
    rows = list(milepost.Api(where.parent.parent).run("reliability/place").scan_history())
    verdict = judge(rows, "place", "plain", program.acks[0], 0, 0)
    assert verdict.good, verdict
    assert verdict.acknowledged == 300
    assert "Traceback" not in program.log
    if "missing" in place:
        assert where.is_relative_to(program.runs)
        assert program.warnings() == []
    else:
        assert not where.is_relative_to(program.runs)
        (warning,) = [line for line in program.warnings() if "cannot be written" in line]
        assert str(program.runs) in warning
        assert str(where.parent.parent) in warning
    figure("C2", f"runs directory {place}: init() works, 300 of 300 rows, warnings: {len(program.warnings())}")


LIMITS = {
    "64 open files at most": (
        "import resource\nkept = []\nresource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n",
        "",
    ),
    "no open file left after init": (
        "",
        "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n",
    ),
    "files of 64 KiB at most": (
        "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n",
        "",
    ),
    "files of 64 KiB at most, after init": (
        "",
        "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n",
    ),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_limits_of_the_process_cost_no_row(tmp_path: Path, figure: Figure, limit: str) -> None:
    before, after = LIMITS[limit]
    program = Program(tmp_path, "limit").script(
        f"{before}run = milepost.init(project='reliability', id=ID, dir=DIR)\n{after}"
        "log_calls(run, 'numbers', ACKS, count=3000, rate=4000)\nmilepost.finish(timeout=3)\n"
    )

    assert program.end() == 0, program.log

    verdict = judge_run(program.run_dir, "numbers", program.acks.counts(), tried=0)
    assert verdict.good, verdict
    assert verdict.acknowledged == 3000
    assert "Traceback" not in program.log
    segments = sorted(program.run_dir.glob("journal/*/[0-9]*.mpj"))
    figure("C2", f"{limit}: 3000 of 3000 rows segments: {len(segments)}, warnings: {len(program.warnings())}")


def test_strict_refuses_to_start_where_the_promise_is_weaker(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("in the way")

    with pytest.raises(milepost.Error, match="runs"):
        milepost.init(project="p", dir=tmp_path / "runs", settings={"strict": True})


# C3: each k-th call of a kind on the journal's files and the ring fails, in a program of its own.
WRITER = "0101010101010101"

PROGRAM_THAT_FAILS = """
real = os.urandom
os.urandom = lambda size: b"\\x01" * 8 if size == 8 else real(size)  # the writer's id: strace takes whole paths only
run = milepost.init(project="reliability", id=ID, dir=DIR)
assert run.writer == "0101010101010101"
log_calls(run, "plain", ACKS, count=250, rate=500)
milepost.finish(timeout=3)
print("RESULT", dict(run._writer.dropped), run.dir, flush=True)
"""

FAULTS = {
    "write: EIO": ("write:error=EIO", (1, 2, 3, 5)),
    "write: ENOSPC": ("write:error=ENOSPC", (1, 3)),
    "write: EINTR": ("write:error=EINTR", (1, 2)),
    "every write: EIO": ("write:error=EIO", ("1+", "3+")),
    "fdatasync: EIO": ("fdatasync:error=EIO", (1, 2, 4)),
    "every fdatasync: EIO": ("fdatasync:error=EIO", ("1+",)),
    "open: EIO": ("openat:error=EIO", (1, 2, 3, 4, 5, 6)),
    "open: EMFILE": ("openat:error=EMFILE", (2, 4)),
    "every open: EACCES": ("openat:error=EACCES", ("1+", "4+")),
    "mkdir: EIO": ("mkdir:error=EIO", (1, 2, 3, 4)),
    "rename: EIO": ("rename:error=EIO", ("1", "1+")),
    "fsync: EIO": ("fsync:error=EIO", ("1+",)),
    "fallocate: ENOSPC": ("fallocate:error=ENOSPC", (1, 2, "1+")),
    "mmap: ENOMEM": ("mmap:error=ENOMEM", (1, 2, "1+")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_system_call_raises_nothing_and_loses_no_row(
    tmp_path: Path, figure: Figure, fault: str, own_shared_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    injection, occasions = FAULTS[fault]
    started: list[tuple[str, Program, Path, Path]] = []
    for number, when in enumerate(map(str, occasions)):
        program = Program(tmp_path / str(number), "fault")
        shared, log = own_shared_memory / str(number), tmp_path / f"{number}.strace"
        shared.mkdir()
        # Where runs go when their directory cannot be made: a place for each, as they all have the same ids.
        elsewhere = tmp_path / str(number) / "elsewhere"
        elsewhere.mkdir()
        journal = program.run_dir / "journal" / WRITER
        paths = [program.runs, program.runs / "reliability", program.run_dir, program.run_dir / "journal", journal]
        paths += [
            journal / name
            for name in ("000000.mpj", "000001.mpj", "000002.mpj", "000003.mpj", "keys.mpj", "writer.json")
        ]
        paths += [program.run_dir / "run.json", *(journal / f"cursor-{name}.json" for name in ("file", "console"))]
        if not injection.startswith("openat"):
            paths += [shared / f"milepost-{os.getuid()}" / f"{WRITER}-{n}.ring" for n in range(4)]
        if injection.startswith("rename"):
            paths = []  # strace does not compare the names that rename() is given
        program.script(
            PROGRAM_THAT_FAILS,
            before=faults.strace(f"{injection}:when={when}", paths=paths, log=log),
            environment={"MILEPOST_SHM": str(shared), "TMPDIR": str(elsewhere)},
        )
        started.append((when, program, shared, log))

    failed = 0
    for when, program, shared, log in started:
        assert program.end() == 0, f"{when}: {program.log}"
        assert "Traceback" not in program.log, f"{when}: {program.log}"
        assert "RESULT {}" in program.log, f"{when}: {program.log}"
        injected = [line for line in log.read_text().splitlines() if "(INJECTED)" in line]
        failed += len(injected)
        monkeypatch.setenv("MILEPOST_SHM", str(shared))
        run_dir = Path(program.log.partition("RESULT {} ")[2].splitlines()[0])
        verdict = judge_run(run_dir, "plain", program.acks.counts(), tried=0)
        assert verdict.good, f"{when}: {verdict}\n{program.log}"
        assert verdict.acknowledged == 250
        assert unbalanced(milepost.Api(run_dir.parent.parent).run("reliability/fault")) == []
        if injection.startswith("fdatasync"):
            assert program.log.count("cannot be made durable") == bool(injected)
            refused: set[str] = set()
            for line in log.read_text().splitlines():
                path = line.partition("<")[2].partition(">")[0]
                assert path not in refused, f"{path} was synced again after that had failed"
                if "(INJECTED)" in line:
                    refused.add(path)
    assert failed > 0
    figure(
        "C3",
        f"{fault}, at call {', '.join(map(str, occasions))}: {failed} failed, no exception, "
        f"0 of {250 * len(occasions)} rows lost",
    )
