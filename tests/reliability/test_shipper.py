"""The shipper as a process: when it begins and ends, what it inherits, what its death costs, whom it serves."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

import milepost
from milepost.sdk.errors import ConfigurationError
from milepost.sdk.shipper.listening import listen, meetings
from milepost.sdk.shipper.meeting import connect, is_mine
from milepost.sdk.shipper.plan import Plan, Shipped
from milepost.sdk.shipper.serving import Served
from milepost.sdk.syncing import sync
from tests.reliability.double import HttpLines
from tests.reliability.fault_server import FaultServer, serving
from tests.reliability.faults import needs_root
from tests.reliability.oracle import flat
from tests.reliability.shipping import QUIET, Site, doubled, judged, lines, shippers, wait_for

LINGERS: dict[str, Any] = {"shipper": {"linger": 60_000}}


def start_run(server: FaultServer, **init: Any) -> milepost.Run:
    arguments: dict[str, Any] = {"project": "p", "dir": "runs", "exporters": ["file", lines(server)], "settings": QUIET}
    run = milepost.init(**arguments | init)
    assert isinstance(run, milepost.Run)
    return run


def test_two_programs_of_one_directory_have_one_shipper_between_them(site: Site) -> None:
    with serving() as server:
        first = site.program("one", [lines(server)], settings=LINGERS, rate=200, count=600)
        second = site.program("two", [lines(server)], settings=LINGERS, rate=200, count=600)
        wait_for(
            lambda: {item["run"].rpartition("/")[2] for item in list(server.accepted)} == {"one", "two"}, "both runs"
        )

        assert len(shippers()) == 1
        assert (first.end(), second.end()) == (0, 0)
        assert len(shippers()) == 1
        third = site.program("three", [lines(server)], settings=LINGERS, count=10)
        (before,) = shippers()
        assert third.end() == 0
        assert shippers() == [before]


def kill_a_shipper() -> bool:
    """Kill one that answers; whether there was one."""
    for pid in shippers():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
    return False


def test_a_shipper_that_is_killed_again_and_again_loses_nothing(site: Site) -> None:
    with serving() as server:
        program = site.program("killed", [lines(server)], settings=LINGERS, rate=500, count=3_000, timeout_s=60.0)
        wait_for(lambda: len(server.accepted) >= 300, "300 rows")
        wait_for(kill_a_shipper, "a shipper to kill")
        kills = 1
        for rows in range(800, 3_000, 500):
            wait_for(lambda rows=rows: len(server.accepted) >= rows, f"{rows} rows")  # type: ignore[misc]
            kills += kill_a_shipper()

        assert program.end(110.0) == 0, program.log
        verdict = judged(server, program)
        assert verdict.good, (verdict, kills, program.log)
        # At most the batch that was acknowledged and not written down yet.
        assert doubled(server) <= 700 * kills, (doubled(server), kills, program.log)


def test_a_killed_program_is_delivered_to_the_last_row_by_its_shipper(site: Site) -> None:
    with serving() as server:
        program = site.program("dies", [lines(server), "file"], settings=LINGERS, rate=1_000, count=100_000)
        wait_for(lambda: len(server.accepted) > 300, "the first rows")

        assert program.kill() == -signal.SIGKILL
        returned = program.acks[0]
        wait_for(lambda: len(server.accepted) >= returned, "all rows of the dead program")

        verdict = judged(server, program, tried=1)
        assert verdict.good, verdict
        history = program.run_dir / "history.jsonl"
        wait_for(lambda: len(history.read_bytes().splitlines()) >= returned, "history.jsonl")


SLOW_ENCODING = """
import os, sys, time
if "finish_media" in " ".join(sys.orig_argv):
    open({begun!r}, "w").close()
    deadline = time.monotonic() + 100
    while not os.path.exists({go!r}) and time.monotonic() < deadline:
        time.sleep(0.02)
"""


def test_media_of_a_dead_run_that_take_long_to_encode_hold_up_no_other_run(site: Site) -> None:
    begun, go = site.directory / "begun", site.directory / "go"
    (site.directory / "double" / "sitecustomize.py").write_text(SLOW_ENCODING.format(begun=str(begun), go=str(go)))
    with serving() as server:
        with_media = site.program("media", [lines(server)], settings=LINGERS, rate=100, count=100_000)
        other = site.program("other", [lines(server)], settings=LINGERS, rate=1_000, count=100_000)
        for program in (with_media, other):
            program.first_call()
        (with_media.run_dir / "media").mkdir(exist_ok=True)
        with_media.kill()
        wait_for(begun.exists, "the encoding of what the dead run left")

        assert other.kill() == -signal.SIGKILL
        wait_for(
            lambda: judged(server, other, tried=1).lost == 0, "the rows of the other run"
        )  # some from shared memory

        assert not go.exists()
        go.touch()
        assert judged(server, other, tried=1).good
        wait_for(lambda: judged(server, with_media, tried=1).good, "the rows of the run with media")


def test_rows_that_a_shipper_left_behind_are_taken_along_by_that_of_the_next_run(site: Site) -> None:
    with serving() as server:
        server.behave("503")
        asked = site.directory / "asked"
        lingers = {"shipper": {"linger": 300}}
        first = site.program("left", [lines(server)], settings=lingers, count=200, timeout_s=0.3, until=asked)
        wait_for(lambda: server.requests != [], "the first try")
        asked.touch()
        assert first.end() == 0
        wait_for((first.run_dir / "unsent.txt").exists, "the note")
        wait_for(lambda: "ends" in next(first.runs.glob("shipper-*.log")).read_text(), "the end of the shipper")
        note = (first.run_dir / "unsent.txt").read_text()
        assert "http_lines" in note
        assert f"milepost sync {first.run_dir}" in note
        log = next(first.runs.glob("shipper-*.log")).read_text()
        assert f"milepost sync {first.run_dir}" in log

        server.behave("ok")
        second = site.program("next", [lines(server)], count=10)
        assert second.end() == 0
        wait_for(lambda: len(server.accepted) == 210, "the rows of both runs")
        wait_for(lambda: not (first.run_dir / "unsent.txt").exists(), "the end of the note")


SLOW_SEARCH = """
import sys, time
if "milepost.sdk.shipper" in sys.orig_argv:
    from milepost.sdk.shipper import catching_up
    quick = catching_up.stored_entries
    def slow(reader):
        time.sleep(2.0)
        return quick(reader)
    catching_up.stored_entries = slow
"""


def test_a_shipper_does_not_end_while_it_looks_for_what_others_left_behind(site: Site) -> None:
    with serving() as server:
        server.behave("503")
        left_at_once: dict[str, Any] = {"settings": {"shipper": {"linger": 0}}, "timeout_s": 0.3}
        asked = site.directory / "asked"
        first = site.program("left", [lines(server)], count=200, until=asked, **left_at_once)
        wait_for(lambda: server.requests != [], "the first try")
        asked.touch()
        assert first.end() == 0
        wait_for((first.run_dir / "unsent.txt").exists, "the note")
        wait_for(lambda: shippers() == [], "the end of the shipper")

        (site.directory / "double" / "sitecustomize.py").write_text(SLOW_SEARCH)
        server.behave("ok")
        assert site.program("next", [lines(server)], settings={"shipper": {"linger": 0}}, count=10).end() == 0
        wait_for(lambda: len(server.accepted) == 210, "the rows of both runs")
        wait_for(lambda: not (first.run_dir / "unsent.txt").exists(), "the end of the note")


def test_a_shipper_ends_when_nobody_needs_it_any_more(site: Site) -> None:
    with serving() as server:
        program = site.program("over", [lines(server)], settings={"shipper": {"linger": 200}}, count=10)
        assert program.end() == 0

        wait_for(lambda: shippers() == [], "the end of the shipper")
        assert judged(server, program).good
        shared = Path(os.environ["MILEPOST_SHM"])
        wait_for(lambda: not list(shared.rglob("shipper-*")), "the end of its files in shared memory")


WITHOUT_DEV_FD = """
import os
listed = os.listdir
def listdir(path="."):
    if path == "/dev/fd":
        raise FileNotFoundError(path)
    return listed(path)
os.listdir = listdir
"""


@pytest.mark.parametrize("customized", ["", WITHOUT_DEV_FD], ids=["", "without /dev/fd"])
def test_a_shipper_inherits_nothing_and_belongs_to_nobody(site: Site, tmp_path: Path, customized: str) -> None:
    (site.directory / "double" / "sitecustomize.py").write_text(customized)
    with serving() as server:
        program = site.script(
            "inherit",
            f"""
reader, writer = os.pipe()
os.set_inheritable(writer, True)
run = milepost.init(project="reliability", id=ID, dir=DIR, exporters=[{lines(server, api_key="s3cr3t-key")!r}],
                    settings={QUIET | LINGERS!r})
log_calls(run, "plain", ACKS, count=10)
milepost.finish()
os.close(writer)
assert os.read(reader, 1) == b""  # nobody else holds the other end
time.sleep(60)
""",
        )
        wait_for(lambda: len(server.accepted) == 10, "the rows")
        (pid,) = shippers()
        assert program.process is not None

        process = psutil.Process(pid)
        assert os.getsid(pid) != os.getsid(program.process.pid)
        assert process.cwd() == "/"
        assert psutil.Process(program.process.pid).children(recursive=True) == []
        files = {os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
        own = ("socket:", "anon_inode:", "/dev/null", str(tmp_path), os.environ["MILEPOST_SHM"])
        assert [name for name in files if not name.startswith(own)] == []
        assert process.memory_info().rss < 120 * 2**20
        assert b"s3cr3t" not in Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
        kept = [*program.runs.rglob("*"), *Path(os.environ["MILEPOST_SHM"]).rglob("*")]
        assert [path for path in kept if path.is_file() and b"s3cr3t" in path.read_bytes()] == []
        assert server.requests[-1].headers["authorization"] == "Bearer s3cr3t-key"
        program.kill()


def test_a_spawned_child_is_served_although_it_hands_over_nothing(site: Site) -> None:
    with serving() as server:
        program = site.script(
            "spawn",
            f"""
import multiprocessing
def work(run):
    run.log({{"child": 1}})
if __name__ == "__main__":
    run = milepost.init(project="reliability", id=ID, dir=DIR, exporters=[{lines(server)!r}], settings={QUIET | LINGERS!r})
    run.log({{"parent": 1}})
    for method in ("spawn", "fork"):
        child = multiprocessing.get_context(method).Process(target=work, args=(run,))
        child.start()
        child.join()
    milepost.finish()
""",
        )
        assert program.end() == 0, program.log
        wait_for(lambda: len(server.accepted) == 3, "the rows of all three")

        assert sorted(str(item["values"]) for item in server.accepted) == [
            "{'child': 1}",
            "{'child': 1}",
            "{'parent': 1}",
        ]
        assert len({item["writer"] for item in server.accepted}) == 3


def test_a_resumed_run_sends_its_older_rows_first(site: Site) -> None:
    with serving() as server:
        server.behave("503")
        start_run(server, id="again").log({"n": 0})
        milepost.finish(timeout=0.2)
        run = start_run(server, id="again", resume="must", settings=QUIET | LINGERS)
        run.log({"n": 1})
        time.sleep(0.5)
        server.behave("ok")
        run.finish(timeout=30)

        assert server.values("n") == [0, 1]


def test_signals_have_a_cursor_each_and_do_not_wait_for_one_another(site: Site) -> None:
    with serving() as server:
        run = start_run(server, exporters=[{"parted": {"url": server.url}}])
        run.log({"n": 0})
        run.finish()

        assert sorted(request.path for request in server.requests) == ["/logs", "/metrics"]
        cursors = sorted(path.name for path in Path(run.dir).glob("journal/*/cursor-*.json"))
        assert cursors == ["cursor-parted-logs.json", "cursor-parted-metrics.json"]


def test_what_two_signals_say_alike_is_one_warning(site: Site) -> None:
    with serving() as server:
        server.behave("503")
        program = site.program("alike", [{"parted": {"url": server.url}}], settings=LINGERS, count=10, timeout_s=3.0)
        assert program.end() == 0

        assert {request.path for request in server.requests} == {"/logs", "/metrics"}
        assert len([line for line in program.warnings() if "cannot deliver" in line]) == 1, program.log
        assert len([line for line in program.warnings() if "not delivered to parted-" in line]) == 2


def test_on_a_thread_by_choice_no_process_is_started(site: Site) -> None:
    with serving() as server:
        run = start_run(server, settings=QUIET | {"shipper": {"run_in": "thread"}})
        for n in range(100):
            run.log({"n": n})
        run.finish()

        assert server.values("n") == list(range(100))
        assert shippers() == []


def test_an_exporter_given_as_an_object_runs_in_the_program(site: Site) -> None:
    with serving() as server:
        run = start_run(server, exporters=[HttpLines(server.url)])
        run.log({"n": 0})
        run.finish()

        assert server.values("n") == [0]
        assert shippers() == []


def test_a_frozen_program_runs_its_exporters_on_threads(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with serving() as server:
        run = start_run(server)
        run.log({"n": 0})
        run.finish()

        assert server.values("n") == [0]
        assert shippers() == []


def test_where_nobody_can_meet_the_exporters_run_on_threads_and_it_is_said(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", str(Path("python-that-is-not-there").absolute()))
    with serving() as server:
        run = start_run(server)
        run.log({"n": 0})
        run.finish()

        assert server.values("n") == [0]
        assert len([record for record in caplog.records if "no shipper can be had" in record.message]) == 1


def test_an_offline_run_sends_nothing_until_it_is_synced_also_while_it_lives(site: Site) -> None:
    with serving() as server:
        run = start_run(server, mode="offline")
        run.log({"n": 0})
        run.flush()
        assert shippers() == []
        assert server.requests == []

        (outcome,) = [each for each in sync(Path(run.dir)) if each.exporter == "http_lines"]
        assert (outcome.state, outcome.delivered) == ("delivered", 1)
        run.log({"n": 1})
        run.finish()
        sync(Path(run.dir))

        assert server.values("n") == [0, 1]
        assert doubled(server) == 0


def test_sync_of_a_run_that_goes_on_tells_of_what_was_logged_meanwhile(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as server:
        run = start_run(server, mode="offline")
        run.log({"n": 0})
        run.flush()
        monkeypatch.setattr("milepost.sdk.drain.INTERVAL_S", 1_000.0)  # what comes now stays in shared memory
        time.sleep(0.3)
        run.log({"n": 1})
        run.log({"n": 2})

        (outcome,) = [each for each in sync(Path(run.dir)) if each.exporter == "http_lines"]

        told = (outcome.state, outcome.delivered, outcome.pending, outcome.note, outcome.settled)
        assert told == ("running", 1, 2, "logged meanwhile", True)
        run.finish()
        (outcome,) = [each for each in sync(Path(run.dir)) if each.exporter == "http_lines"]
        assert (outcome.state, outcome.delivered, outcome.pending) == ("delivered", 2, 0)


def test_sync_takes_a_run_from_a_shipper_that_lingers(site: Site) -> None:
    with serving() as server:
        server.behave("503")
        run = start_run(server, settings=QUIET | LINGERS)
        run.log({"n": 0})
        run.finish(timeout=0.3)
        server.behave("ok")

        outcomes = [each for each in sync(Path(run.dir)) if each.exporter == "http_lines"]

        assert [each.state for each in outcomes] == ["delivered"]
        wait_for(lambda: server.values("n") == [0], "the row")
        assert doubled(server) == 0


def test_a_trimmed_journal_keeps_what_the_shipper_has_not_delivered(site: Site) -> None:
    with serving() as server:
        server.behave("503")
        run = start_run(server, settings=QUIET | LINGERS | {"journal": {"keep": "undelivered"}})
        text = "x" * 10_000
        for n in range(2_500):  # three segments of 8 MiB
            run.log({"n": n, "text": text})
        run.flush()
        journal = next(Path(run.dir).glob("journal/*"))
        assert (journal / "000000.mpj").exists()
        server.behave("ok")
        wait_for(lambda: len(server.accepted) >= 2_500, "all rows")
        run.log({"n": 2_500})
        run.finish()

        assert server.values("n") == list(range(2_501))
        wait_for(lambda: not (journal / "000000.mpj").exists(), "the first segment to go")


def test_finish_hears_at_once_that_all_is_delivered(site: Site) -> None:
    with serving() as server:
        run = start_run(server)
        for n in range(1_000):
            run.log({"n": n, "inner": {"x": n}})
        run.finish(timeout=60)

        assert len(server.accepted) == 1_000  # before finish() returned
        assert server.accepted[7]["values"] == flat({"n": 7, "inner": {"x": 7}})


def test_a_run_that_never_logs_to_the_network_pays_nothing_for_it(site: Site) -> None:
    script = (
        "import sys, threading, milepost\n"
        "run = milepost.init(project='p', dir='runs', exporters=['file'], settings={'capture': False})\n"
        "run.log({'n': 1})\n"
        "print(sorted(name for name in sys.modules if name.startswith('milepost.sdk.shipper')))\n"
        "print([t.name for t in threading.enumerate() if 'shipping' in t.name])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"
    assert "program" not in done.stdout
    assert threading.active_count() >= 1


WHAT_IS_LOADED = """
import json, sys, threading, time, milepost
run = milepost.init(project="p", dir="runs", exporters=["file", *json.loads(sys.argv[1])], settings={"capture": False})
run.log({"n": 1})
deadline = time.monotonic() + 60
while "--meet" in sys.argv and not run._outlet._shipping._ready and time.monotonic() < deadline:
    time.sleep(0.01)
threads = sorted(thread.name for thread in threading.enumerate())
print(json.dumps([sorted(sys.modules), threads]))
run.finish(timeout=0)
"""


@pytest.mark.parametrize("name", ["otlp", "prometheus_remote_write", "server"])
def test_a_program_that_ships_has_no_more_threads_and_loads_next_to_nothing_for_it(site: Site, name: str) -> None:
    def what(*arguments: str) -> tuple[set[str], list[str]]:
        command = [sys.executable, "-c", WHAT_IS_LOADED, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        modules, threads = json.loads(done.stdout.splitlines()[-1])
        return set(modules), threads

    address = "url" if name == "server" else "endpoint"
    without, threads = what("[]")
    shipping, threads_then = what(json.dumps([{name: {address: "http://127.0.0.1:9"}}]), "--meet")

    assert [thread for thread in threads_then if thread != "milepost-shipping"] == threads  # which says a warning
    ours = {"shipper.meeting", "shipper.program", "shipper.spawn"}
    options = {"milepost.exporters.otlp", "milepost.exporters.otlp.options", "milepost.exporters.server_options"}
    assert shipping - without <= {f"milepost.sdk.{each}" for each in ours} | options | {"milepost.sdk.credentials"}


def test_a_program_too_short_to_meet_a_shipper_is_delivered_with_the_next_run(site: Site) -> None:
    with serving() as server:
        short = site.program("short", [lines(server)], count=50, timeout_s=0.0)
        assert short.end() == 0
        after = site.program("after", [lines(server)], count=10)
        assert after.end() == 0

        wait_for(lambda: judged(server, short).lost == 0, "the rows of the short one")
        assert judged(server, after).good


def test_doctor_shows_each_signal_and_the_shipper(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    from milepost.sdk.cli import main

    with serving() as server:
        server.behave("503")
        run = start_run(server, exporters=[{"parted": {"url": server.url}}], settings=QUIET | LINGERS)
        run.log({"n": 0})
        wait_for(lambda: {request.path for request in server.requests} == {"/logs", "/metrics"}, "a try of each signal")
        run.finish(timeout=0.3)
        capsys.readouterr()

        with pytest.raises(SystemExit):
            main(["doctor", "runs", "--json"])
        told = json.loads(capsys.readouterr().out)

        books = {book["exporter"]: (book["pending"], book["last_error"]) for book in told["runs"][0]["exporters"]}
        assert books == {"parted-logs": (1, "HTTP 503"), "parted-metrics": (1, "HTTP 503")}
        assert f"process {shippers()[0]} serves 1 run" in told["machine"]["shipper"]


def test_a_secret_that_was_mended_in_the_next_run_delivers_the_older_one_too(site: Site) -> None:
    with serving(key="right") as server:
        start_run(server, exporters=[lines(server, api_key="wrong")], settings=QUIET | LINGERS).log({"n": 0})
        wait_for(lambda: server.requests != [], "the first try")
        milepost.finish(timeout=0.2)

        run = start_run(server, exporters=[lines(server, api_key="right")], settings=QUIET | LINGERS)
        run.log({"n": 1})
        run.finish()

        wait_for(lambda: sorted(server.values("n")) == [0, 1], "the rows of both runs")


def test_an_exporter_that_wants_them_gets_the_figures_of_its_delivery(site: Site) -> None:
    with serving() as server:
        run = start_run(server, exporters=[{"self_telling": {"url": server.url}}], settings=QUIET | LINGERS)
        run.log({"n": 0})
        wait_for(lambda: len(server.accepted) >= 2, "the figures")
        run.finish()

        (told,) = [item["values"] for item in server.accepted if "n" not in item["values"]]
        assert told["milepost.component.name"] == "self_telling"
        assert told["milepost.sdk.exporter.rows.delivered"] == 1
        assert told["milepost.sdk.exporter.lag"] == 0.0


def test_media_of_a_killed_program_are_encoded_and_its_rows_do_not_wait_for_ever(site: Site) -> None:
    with serving() as server:
        program = site.script(
            "media",
            f"""
import numpy
run = milepost.init(project="reliability", id=ID, dir=DIR, exporters=[{lines(server)!r}], settings={QUIET | LINGERS!r})
while not list(Path(run.dir).glob("journal/*/cursor-http_lines.lock")):  # until a shipper has it
    time.sleep(0.01)
for n in range(20):
    run.log({{"n": n, "image": milepost.Image(numpy.full((64, 64, 3), n, numpy.uint8))}})
    ACKS[0] = n + 1
os.kill(os.getpid(), signal.SIGKILL)
""",
        )
        assert program.end() == -signal.SIGKILL, program.log

        wait_for(lambda: server.values("n") == list(range(20)), "all rows")
        images = server.values("image")
        assert [image["_type"] for image in images] == ["image-file"] * 20
        assert all((program.run_dir / image["path"]).is_file() for image in images)


def test_nonsense_on_its_socket_does_not_disturb_a_shipper(site: Site) -> None:
    with serving() as server:
        run = start_run(server, settings=QUIET | LINGERS)
        run.log({"n": 0})
        wait_for(lambda: server.values("n") == [0], "the first row")
        (path,) = meetings()
        (before,) = shippers()
        for nonsense in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"\xff" * 100,
            b"\x02\x00\x00\x00\xc1\xc1",
            b"\x05\x00\x00\x00\x81\xa2op\x07",
        ):
            with contextlib.closing(connect(path)) as connection:
                connection.sendall(nonsense)
        run.log({"n": 1})
        run.finish()

        assert server.values("n") == [0, 1]
        assert shippers() == [before]


def test_another_user_is_recognised(tmp_path: Path) -> None:
    needs_root("connects as another user")
    path = Path(f"/tmp/milepost-test-{os.getpid()}.sock")
    with listen(path) as listener:
        path.chmod(0o666)
        child = os.fork()
        if child == 0:
            os.setuid(65534)
            socket.socket(socket.AF_UNIX).connect(str(path))
            threading.Event().wait(10)
            os._exit(0)
        try:
            accepted, _ = listener.accept()
            with accepted:
                assert not is_mine(accepted)
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)
            path.unlink()


def test_finish_does_not_wait_for_what_cannot_happen_in_its_time(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    with serving() as server:
        server.behave("429:300")
        run = start_run(server)
        run.log({"n": 0})
        wait_for(lambda: server.requests != [], "the first try")
        began = time.monotonic()
        run.finish(timeout=100)

        assert time.monotonic() - began < 60
        assert "1 row of" in caplog.text
        assert "HTTP 429" in caplog.text


def test_a_wrong_option_of_a_network_exporter_is_an_error_of_init(site: Site) -> None:
    with pytest.raises(ConfigurationError, match="adress"):
        milepost.init(project="p", dir="runs", exporters=[{"http_lines": {"adress": "x"}}], settings=QUIET)


def test_an_exporter_that_cannot_be_made_is_told_at_once_and_not_waited_for(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    run = milepost.init(project="p", dir="runs", exporters=["file", {"picky": {"url": "nowhere"}}], settings=QUIET)
    run.log({"n": 0})
    wait_for(lambda: "cannot be made" in caplog.text, "the warning")
    began = time.monotonic()
    run.finish(timeout=100)

    assert time.monotonic() - began < 60
    assert "url must begin with http" in caplog.text
    assert "1 row of" in caplog.text


def test_an_exporter_that_could_not_be_made_is_no_longer_wrong_once_its_options_are_mended(
    site: Site, tmp_path: Path
) -> None:
    wrong, mended = (Shipped(name="picky", exporter="picky", options={"url": url}) for url in ("no", "https://yes"))
    plan = Plan(run_dir=str(tmp_path / "runs" / "p" / "one"), exporters=(wrong,))
    served = Served(plan, lambda text: None)
    assert (served.routes, list(served.wrong)) == ([], ["picky"])

    served.update(msgspec.structs.replace(plan, exporters=(mended,)))

    assert (served.routes, served.wrong) == (["picky"], {})
