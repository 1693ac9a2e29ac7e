"""D1 to D7, D12: what the network and the back end do to rows: nothing is lost, nothing waits behind what cannot be sent."""

import datetime
import random
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import trustme

import milepost
from tests.reliability.clock import lateness
from tests.reliability.conftest import Figure
from tests.reliability.fault_server import FaultServer, Item, gaps_between, serving
from tests.reliability.grpc_server import LOGS as GRPC_LOGS
from tests.reliability.grpc_server import METRICS as GRPC_METRICS
from tests.reliability.grpc_server import otlp_answer, rows_of_otlp, serving_grpc
from tests.reliability.oracle import SEED
from tests.reliability.shipping import (
    LOGS,
    QUIET,
    Site,
    doubled,
    doubled_although_heard,
    doubled_although_told,
    judged,
    lines,
    shippers,
    wait_for,
)
from tests.reliability.tcp_proxy import Cut, cutting

RATE = 500
OUTAGE_S = 3.0
LONG_OUTAGE_S = 600.0
PATIENCE_S = 30.0
LONG_PATIENCE_S = 90.0
"""A back end that is there again has everything within 30 s; a busy machine may take longer for what is no claim."""
HASTY_MS = 2_000
PATIENT_MS = 20_000
"""How long a request may take. Only an exporter that must notice a hang is hasty: on a busy machine a receiver may take a batch
and answer when nobody listens any more. It gets the batch again then and only then, and can tell by writer and number."""

FINISH_S = 5.5
"""How long finish(timeout=5) may take with a dead back end, beside what this machine made every process wait (clock.py)."""


def accounts(program: Any) -> dict[str, Any]:
    """The accounting of a program's run."""
    found: dict[str, Any] = milepost.Api(program.runs).run(f"reliability/{program.name}").accounting()
    return found


@pytest.mark.parametrize(
    ("behaviour", "outage_s"),
    [
        ("refuse", OUTAGE_S),
        ("hang", OUTAGE_S),
        ("503", OUTAGE_S),
        ("429:1", OUTAGE_S),
        ("reset", OUTAGE_S),
        pytest.param("refuse", LONG_OUTAGE_S, marks=pytest.mark.gate),
        pytest.param("hang", LONG_OUTAGE_S, marks=pytest.mark.gate),
        pytest.param("429:5", LONG_OUTAGE_S, marks=pytest.mark.gate),
    ],
)
def test_an_outage_loses_and_doubles_nothing_and_holds_up_no_other_exporter(
    site: Site, figure: Figure, behaviour: str, outage_s: float
) -> None:
    rows = int(RATE * (outage_s + 2))
    timeout = HASTY_MS if behaviour == "hang" else PATIENT_MS
    with serving() as server, serving() as other:
        program = site.program(
            "outage",
            [lines(server, timeout=timeout), lines(other, "lines_1", timeout=PATIENT_MS)],
            rate=RATE,
            count=rows,
            timeout_s=LONG_PATIENCE_S,
        )
        wait_for(lambda: len(server.accepted) > 100, "the first rows")
        server.behave(behaviour)
        before = len(other.accepted)
        time.sleep(outage_s)
        during = len(other.accepted) - before
        seen = len(server.accepted)
        server.behave("ok")
        healed = time.monotonic()
        wait_for(
            lambda: program.acks[0] == rows and len(server.accepted) >= rows, "all rows", outage_s + LONG_PATIENCE_S
        )
        drained_s = time.monotonic() - healed
        assert program.end(LONG_PATIENCE_S) == 0, program.log

        verdict = judged(server, program)
        assert verdict.good, verdict
        assert doubled_although_told(server, timeout / 1000) == []
        assert doubled(server) == 0 or behaviour == "hang"
        assert during > 0
        assert judged(other, program).good
        asked = [request for request in server.requests if request.behaviour == behaviour]
        if behaviour.startswith("429"):
            told_s = float(behaviour.partition(":")[2])
            assert min(gaps_between(server.requests, behaviour)) >= told_s
        assert drained_s < LONG_PATIENCE_S
        figure(
            {"refuse": "D1", "hang": "D2", "503": "D3", "429:1": "D3", "429:5": "D3", "reset": "D3"}[behaviour],
            f"{behaviour} for {outage_s:.0f} s at {RATE} rows/s: {rows} rows, {rows - seen} of them in or after it, "
            f"0 lost, 0 doubled, all there {drained_s:.1f} s later, {len(asked)} tries meanwhile; another exporter took "
            f"{during} rows in that time",
        )


def is_poison(item: Item) -> bool:
    return bool(item["values"]["n"] in (137, 800))


def test_a_poison_row_costs_one_row_and_nothing_behind_it_waits(site: Site, figure: Figure) -> None:
    with serving(is_poison=is_poison) as server:
        server.behave("poison")
        program = site.program("poison", [lines(server, timeout=PATIENT_MS)], count=1_500)
        assert program.end() == 0, program.log

        got = server.values("n")
        assert got == [n for n in range(1_500) if n not in (137, 800)]
        assert doubled(server) == 0
        exporter = accounts(program)["exporters"]["http_lines"]
        assert (exporter["delivered"], exporter["pending"]) == (1_498, 0)
        assert exporter["rejected"] == {"HTTP 400: bad value": 2}
        (kept,) = program.run_dir.glob("journal/*/rejected-http_lines.jsonl")
        assert len(kept.read_text().splitlines()) == 2
        assert len([line for line in program.warnings() if "for good" in line]) == 1
        figure("D4", f"2 poison rows in 1500: 1498 taken, 2 kept on disk and counted, {len(server.requests)} requests")


def test_a_partial_success_is_counted_exactly_told_once_and_not_sent_again(site: Site, figure: Figure) -> None:
    with serving() as server:
        server.behave("partial:3")
        program = site.program("partial", [lines(server, timeout=PATIENT_MS)], rate=RATE, count=1_000)
        assert program.end() == 0, program.log

        assert server.values("n") == list(range(1_000))
        assert doubled(server) == 0
        exporter = accounts(program)["exporters"]["http_lines"]
        assert exporter["rejected"] == {"refused in part": server.refused}
        assert exporter["delivered"] == 1_000 - server.refused
        assert len([line for line in program.warnings() if "refused" in line]) == 1
        figure("D5", f"3 rows refused in each of {len(server.requests)} batches: {server.refused} counted, one warning")


@pytest.mark.parametrize("cuts", [16, pytest.param(200, marks=pytest.mark.gate)])
def test_a_connection_cut_at_any_byte_leaves_each_row_once(site: Site, figure: Figure, cuts: int) -> None:
    choose = random.Random(f"{SEED}cuts")

    def cut(connection: int) -> Cut | None:
        if connection >= cuts:
            return None
        return (
            ("request", choose.randrange(1, 300_000))
            if choose.random() < 0.6
            else ("response", choose.randrange(1, 300))
        )

    with serving() as server, cutting(server.port, cut) as proxy:
        exporter = {"http_lines": {"url": f"http://127.0.0.1:{proxy.port}"}}
        rows = 1_000 * cuts
        program = site.program("cuts", [exporter], count=rows, rate=rows / 10, timeout_s=600.0)
        assert program.end(900.0) == 0, program.log

        verdict = judged(server, program)
        assert verdict.good, verdict
        assert proxy.cuts > 0
        assert doubled_although_heard(server) == 0
        figure(
            "D6",
            f"{proxy.cuts} connections cut at a random byte: {rows} rows, 0 lost, each once by (writer, seq); "
            f"{doubled(server)} sent again because the answer was cut",
        )


def test_a_wrong_key_is_said_once_and_tried_seldom_and_after_the_fix_nothing_is_lost(
    site: Site, figure: Figure, tmp_path: Path
) -> None:
    with serving(key="right") as server:
        refused = tmp_path / "refused"
        program = site.program("key", [lines(server, api_key="wrong")], count=1_000, timeout_s=0.5, until=refused)
        wait_for(lambda: server.requests != [], "the first try")
        refused.touch()
        assert program.end() == 0, program.log
        tries = len(server.requests)
        assert tries == 1
        assert server.accepted == []
        told = [line for line in program.warnings() if "wrong key" in line]
        assert len(told) == 2  # when it was met, and at the end with the count
        assert "1000 rows" in told[-1]
        assert "milepost sync" in told[-1]
        config = tmp_path / "milepost.yaml"
        config.write_text(
            f'file_format: "1.0"\nexporters:\n  - http_lines: {{url: "{server.url}", api_key: right}}\n',
            encoding="utf-8",
        )

        synced = milepost_sync(site, program.runs, config)

        assert synced.returncode == 0, synced.stderr
        assert judged(server, program).good
        assert doubled(server) == 0
        figure(
            "D7",
            f"a wrong key: {tries} try, one warning, 1000 rows kept; after the fix milepost sync: 0 lost, 0 doubled",
        )


def test_a_bad_certificate_is_never_passed_over_and_after_the_fix_nothing_is_lost(
    site: Site, figure: Figure, tmp_path: Path
) -> None:
    ours, other = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    good = ours.issue_cert("127.0.0.1")
    bad = {
        "expired": ours.issue_cert("127.0.0.1", not_after=past),
        "for another host": ours.issue_cert("elsewhere.example"),
        "of a stranger": other.issue_cert("127.0.0.1"),
        "plain text": None,
    }
    servers = [FaultServer(tls=None if leaf is None else tls_of(leaf)) for leaf in bad.values()]
    try:
        entries = [
            {f"lines_{n}": {"url": f"https://127.0.0.1:{server.port}", "ca_file": str(tmp_path / "ca.pem")}}
            for n, server in enumerate(servers, 1)
        ]
        tried = tmp_path / "tried"
        program = site.program("tls", entries, count=500, timeout_s=0.5, until=tried)
        wait_for(lambda: all(server.connections for server in servers), "a try of each")
        time.sleep(1.0)
        tried.touch()
        assert program.end() == 0, program.log

        assert [server.connections for server in servers] == [1, 1, 1, 1]
        assert [request for server in servers for request in server.requests] == []
        assert len([line for line in program.warnings() if "cannot deliver" in line]) == 4
        for server in servers:
            server.tls = tls_of(good)
        config = tmp_path / "milepost.yaml"
        config.write_text('file_format: "1.0"\n', encoding="utf-8")

        synced = milepost_sync(site, program.runs, config)

        assert synced.returncode == 0, synced.stderr
        for server in servers:
            assert judged(server, program).good
            assert doubled(server) == 0
        figure(
            "D7",
            f"certificates {', '.join(bad)}: one try and one warning each, nothing sent; after the fix 0 of 500 rows lost",
        )
    finally:
        for server in servers:
            server.close()


def tls_of(leaf: trustme.LeafCert) -> ssl.SSLContext:
    """A server's side of TLS with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context


def milepost_sync(site: Site, runs: Path, config: Path) -> "subprocess.CompletedProcess[str]":
    import os

    return subprocess.run(
        [sys.executable, "-m", "milepost", "sync", str(runs)],
        env=os.environ | site.environment | {"MILEPOST_CONFIG_FILE": str(config)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


FAULTS = ("refuse", "hang", "503", "429:30", "reset", "401")


def test_finish_returns_in_time_whatever_the_back_ends_do_and_says_what_is_unsent(site: Site, figure: Figure) -> None:
    servers = [FaultServer(key="right" if fault == "401" else None) for fault in FAULTS]
    try:
        for server, fault in zip(servers, FAULTS, strict=True):
            if fault != "401":
                server.behave(fault)
        entries = [lines(server, f"lines_{n}", timeout=60_000) for n, server in enumerate(servers, 1)]
        program = site.program("finish", entries, count=500, timeout_s=5.0, timed=True)
        assert program.end() == 0, program.log
        told = program.log.rpartition("finish took ")[2].split()
        took_s, late_s = float(told[0]), float(told[-1])

        unsent = [line for line in program.warnings() if "500 rows" in line and "milepost sync" in line]
        assert len(unsent) == len(FAULTS)
        # One of them is being tried until the end, so that nothing is given up before the time is over.
        assert 5.0 <= took_s <= FINISH_S + late_s
        assert all(accounts(program)["exporters"][f"lines_{n}"]["pending"] == 500 for n in range(1, 7))
        figure(
            "D12",
            f"finish(timeout=5) with {', '.join(FAULTS)} at once: {took_s:.2f} s on a machine that was late by {late_s:.2f} s, "
            "six times 500 rows told as unsent",
        )
    finally:
        for server in servers:
            server.close()


def test_a_pipe_is_closed_when_the_program_ends_although_its_shipper_lives_on(
    site: Site, figure: Figure, tmp_path: Path
) -> None:
    import os

    with serving() as server:
        server.behave("hang")
        head = "import time, milepost\nfrom tests.reliability.child import log_calls\nfrom tests.reliability.oracle import Acks\n"
        head += f"from pathlib import Path\nID, DIR = 'pipe', {str(tmp_path / 'runs')!r}\nACKS = Acks(Path('acks'))\n"
        settings = QUIET | {"shipper": {"linger": 60_000}}
        text = LOGS.format(
            exporters=[lines(server, timeout=20_000)],
            settings=settings,
            calls={"count": 10},
            timeout=1.0,
            until="",
            timed=False,
        )
        (tmp_path / "train.py").write_text(head + text)
        with lateness(tmp_path) as late:
            done = subprocess.run(
                f"{sys.executable} train.py 2>&1 | cat; date +'pipe closed %s.%N'",
                shell=True,
                cwd=tmp_path,
                env=os.environ | site.environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
        began, closed = (float(done.stdout.rpartition(what)[2].split()[0]) for what in ("finish begins", "pipe closed"))
        assert "10 rows" in done.stdout, done.stdout + done.stderr
        assert shippers() != []
        assert 1.0 <= closed - began <= 2.0 + late.s
        figure(
            "D12",
            f"python train.py | cat with a back end that hangs and finish(timeout=1): the pipe is closed {closed - began:.2f} s "
            "after finish() began",
        )


def otlp(server: Any, protocol: str, timeout: int = PATIENT_MS) -> dict[str, Any]:
    """The otlp exporter, both signals, as an entry of `exporters`."""
    return {"otlp": {"protocol": protocol, "endpoint": server.url, "timeout": timeout}}


@pytest.mark.parametrize(
    ("protocol", "behaviour", "line"),
    [
        ("grpc", "refuse", "D1"),
        ("grpc", "hang", "D2"),
        ("grpc", "UNAVAILABLE", "D3"),
        ("grpc", "RESOURCE_EXHAUSTED:1", "D3"),
        ("http/protobuf", "503", "D3"),
    ],
)
def test_an_outage_of_an_otlp_receiver_loses_and_doubles_no_row(
    site: Site, figure: Figure, protocol: str, behaviour: str, line: str
) -> None:
    rows = int(RATE * (OUTAGE_S + 2))
    receiver = serving_grpc() if protocol == "grpc" else serving(decode=rows_of_otlp, answer=otlp_answer)
    with receiver as server:
        exporter = otlp(server, protocol, HASTY_MS if behaviour == "hang" else PATIENT_MS)
        program = site.program("outage", [exporter], rate=RATE, count=rows, timeout_s=LONG_PATIENCE_S)
        wait_for(lambda: len(server.accepted) > 100, "the first rows")
        server.behave(behaviour)
        time.sleep(OUTAGE_S)
        seen = len(server.accepted)
        server.behave("ok")
        assert program.end(LONG_PATIENCE_S + OUTAGE_S) == 0, program.log

        verdict = judged(server, program)
        assert verdict.good, verdict
        assert doubled_although_told(server, exporter["otlp"]["timeout"] / 1000) == []
        assert doubled(server) == 0 or behaviour == "hang"
        assert doubled(server) > 0 or server.seqs() == sorted(server.seqs())
        exporters = accounts(program)["exporters"]
        assert [exporters[name]["delivered"] for name in ("otlp-logs", "otlp-metrics")] == [rows, rows]
        if behaviour.startswith("RESOURCE"):  # of each signal, whose requests are independent
            for path in (GRPC_LOGS, GRPC_METRICS):
                asked = [request for request in server.requests if request.path == path]
                assert min(gaps_between(asked, behaviour)) >= 1.0
        figure(
            line,
            f"otlp over {protocol}, {behaviour} for {OUTAGE_S:.0f} s at {RATE} rows/s: {rows} rows, {rows - seen} of them in "
            "or after it, 0 lost, 0 doubled",
        )


@pytest.mark.parametrize(
    ("protocol", "outages"),
    [
        ("grpc", 6),
        pytest.param("grpc", 150, marks=pytest.mark.gate),
        pytest.param("http/protobuf", 150, marks=pytest.mark.gate),
    ],
)
def test_no_request_is_sent_again_after_an_answer_however_often_the_receiver_comes_and_goes(
    site: Site, figure: Figure, protocol: str, outages: int
) -> None:
    """What a receiver took it also answered, so that an item that comes twice would be ours; the server's log names it."""
    choose = random.Random(f"{SEED}outages")
    kinds = ("refuse", "UNAVAILABLE", "RESOURCE_EXHAUSTED") if protocol == "grpc" else ("refuse", "503", "429", "reset")
    receiver = serving_grpc() if protocol == "grpc" else serving(decode=rows_of_otlp, answer=otlp_answer)
    over, rows = site.directory / "over", int(outages * RATE * 0.6)
    with receiver as server:
        program = site.program("often", [otlp(server, protocol)], rate=RATE, count=rows, timeout_s=600.0, until=over)
        wait_for(lambda: len(server.accepted) > 100, "the first rows")
        for number in range(outages):
            before = len(server.accepted)
            server.behave(kinds[number % len(kinds)])
            time.sleep(choose.uniform(0.05, 0.3))
            server.behave("ok")
            if program.acks[0] < rows:
                wait_for(lambda before=before: len(server.accepted) > before, "rows between two outages")  # type: ignore[misc]
            time.sleep(choose.uniform(0.0, 0.1))
        over.touch()
        assert program.end(600.0) == 0, program.log

        verdict = judged(server, program)
        assert verdict.good, verdict
        assert doubled_although_told(server, PATIENT_MS / 1000) == []
        assert doubled(server) == 0
        figure(
            "D1",
            f"otlp over {protocol}, {outages} outages ({', '.join(kinds)}) of 50 to 300 ms: {len(server.accepted)} rows in "
            f"{len(server.requests)} requests, 0 lost, 0 doubled",
        )


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_poison_and_partial_success_over_otlp_cost_what_they_say(site: Site, figure: Figure, protocol: str) -> None:
    with (
        serving_grpc(is_poison=is_poison)
        if protocol == "grpc"
        else serving(decode=rows_of_otlp, answer=otlp_answer, is_poison=is_poison)
    ) as server:
        server.behave("poison")
        program = site.program("poison", [otlp(server, protocol)], count=1_500)
        assert program.end() == 0, program.log

        kept = [item["values"]["n"] for item in server.accepted]
        assert kept == [n for n in range(1_500) if n not in (137, 800)]
        account = accounts(program)["exporters"]["otlp-logs"]
        assert (account["delivered"], sum(account["rejected"].values())) == (1_498, 2)

        server.behave("partial:3")
        partly = site.program("partly", [otlp(server, protocol)], count=500)
        assert partly.end() == 0, partly.log
        account = accounts(partly)["exporters"]["otlp-logs"]
        assert sum(account["rejected"].values()) == server.refused > 0
        assert doubled(server) == 0
        figure(
            "D4",
            f"otlp over {protocol}: 2 poison records in 1500: 1498 taken, 2 counted; then {server.refused} refused in part",
        )
