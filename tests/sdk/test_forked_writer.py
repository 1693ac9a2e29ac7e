"""What a forked child does with the writer that it inherits."""

import os
from pathlib import Path

import pytest

import milepost
from milepost.sdk.gone import noted
from milepost.sdk.recovery import recover, remove_abandoned
from milepost.sdk.ring import read_header
from milepost.sdk.writer import Writer


def test_a_second_fork_closes_none_of_the_programs_own_descriptors(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "p" / "r")
    try:
        child = os.fork()
        if not child:
            writer.forget()
            own = [os.open("/dev/null", os.O_RDONLY) for _ in range(8)]
            writer.forget()
            for descriptor in own:
                os.fstat(descriptor)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        writer.close()


def test_the_summary_in_a_child_goes_on_from_the_parents(tmp_path: Path) -> None:
    run = milepost.init(project="p", id="r", dir=tmp_path, settings={"capture": False})
    for n in range(20):
        run.log({"n": n, "parent": n})
    run.summary["by hand"] = 1
    child = os.fork()
    if not child:
        found = []
        run.log({"n": 100}, commit=False)
        for n in (100, 101):
            run.log({"n": n})
            found.append({key: run.summary[key] for key in ("n", "parent", "by hand", "_step")})
        run.finish()
        expected = [{"n": n, "parent": 19, "by hand": 1, "_step": step} for n, step in ((100, 20), (101, 21))]
        os._exit(int(found != expected))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    run.finish()
    assert milepost.Api(tmp_path).run("p/r").summary["n"] == 19  # of the writer that leads


def test_a_forgotten_writer_stores_nothing(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "p" / "r")
    block = writer.block
    assert block is not None
    before = block.pos
    child = os.fork()
    if not child:
        writer.forget()
        writer.event("meta", {"n": 1}, None, 0, 0)
        os._exit(int(block.pos != before))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    writer.close()


def test_a_ring_whose_run_cannot_be_seen_from_here_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "volume" / "p" / "r"
    with monkeypatch.context() as container:
        container.setattr("milepost.sdk.gone.mount_namespace", lambda: "mnt:[another container]")
        writer = Writer(run_dir)
    writer.event("meta", {"n": 1}, None, 0, 0)
    ring = writer.ring
    assert ring is not None
    paths = [Path(path) for path in ring.paths]
    header = read_header(paths[0].read_bytes())
    assert header is not None
    assert noted(header).mounts == "mnt:[another container]"
    writer.forget()  # as the death of its process would
    run_dir.parent.rename(tmp_path / "volume" / "elsewhere")
    (tmp_path / "volume" / "p").mkdir()

    assert recover(tmp_path, settled_s=0.0) == []
    for path in paths:
        os.utime(path, (0, 0))
    remove_abandoned()
    assert all(path.exists() for path in paths)
    for path in paths:
        path.unlink()
