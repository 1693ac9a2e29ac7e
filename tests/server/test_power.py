"""RELIABILITY D11: a server whose disk loses power, beside kills and a network that comes and goes.

What was acknowledged is stored, what is stored was sent, each row once and in the order of its writer; one fresh row still
lands.
"""

import os
import random
from pathlib import Path

import psutil
import pytest

from tests.server.conftest import ADMIN_KEY, Server, Start
from tests.server.power import Disk, disk_of_its_own
from tests.server.sending import row, rows_of, send
from tests.server.test_reliability import Writers, check, values

WRITERS, ROWS = 5, 10_000


@pytest.mark.gate
def test_a_power_cut_takes_what_was_not_flushed_and_nothing_else(tmp_path: Path) -> None:
    """Of the disk itself: what it is to lose, it loses."""
    with disk_of_its_own(tmp_path) as disk:
        with (disk.folder / "flushed").open("wb") as file:
            file.write(b"a" * 100_000)
            os.fsync(file.fileno())
        (disk.folder / "not flushed").write_bytes(b"b" * 100_000)
        disk.cut()
        disk.off()
        disk.on()

        assert (disk.folder / "flushed").read_bytes() == b"a" * 100_000
        assert not (disk.folder / "not flushed").exists()


@pytest.mark.gate
@pytest.mark.parametrize("trial", range(10))
def test_d11_five_writers_with_kills_partitions_and_power_cuts(start: Start, tmp_path: Path, trial: int) -> None:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    happened = {"kill": 0, "partition": 0, "power cut": 0}
    with disk_of_its_own(tmp_path) as disk:
        load = Writers(WRITERS, ROWS)
        server = load.server = begin(start, disk)
        try:
            while min(load.acknowledged) < ROWS:
                load.wait(rng.uniform(0.1, 0.7))
                what = rng.choice(list(happened))
                happened[what] += 1
                if what == "partition":  # nobody is answered; what was sent is taken in when it is over
                    server.process.send_signal(19)
                    load.wait(rng.uniform(0.0, 0.5))
                    server.process.send_signal(18)
                    continue
                if what == "power cut":
                    disk.cut()
                load.server = None
                end(server)
                if what == "power cut":
                    disk.off()
                    disk.on()
                server = load.server = begin(start, disk)
            acknowledged = load.stop()
            with server.client(ADMIN_KEY) as client:
                assert check(client, acknowledged, ROWS) == 0
                assert acknowledged == [ROWS] * WRITERS
                assert send(client, [row(ROWS, values(0, ROWS))], run="w0", writer="0" * 16).status_code == 200
                assert len(rows_of(client, "w0")) == ROWS + 1
            print(
                f"D11 trial {trial}, seed {seed}: {happened}, {sum(acknowledged):,} rows acknowledged, 0 lost, 0 doubled"
            )
        finally:
            load.stop()
            end(server)


def begin(start: Start, disk: Disk) -> Server:
    return start("--data", disk.folder / "data", environment={**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY})


def end(server: Server) -> None:
    """SIGKILL, of the compactor, too: nothing may be left on the disk."""
    if server.process.poll() is None:
        others = psutil.Process(server.process.pid).children()
        server.kill()
        for other in others:
            other.kill()
        psutil.wait_procs(others, 60)
