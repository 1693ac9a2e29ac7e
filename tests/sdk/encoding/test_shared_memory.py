"""Shared memory for payloads, part by part: who reads, makes ready, uses again and lets go at the same time as others do."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from milepost.sdk.encoding import ahead, payload_file
from milepost.sdk.encoding.payload_file import Note
from milepost.sdk.encoding.slab import Slab
from milepost.sdk.encoding.stash import Stash
from milepost.sdk.ring import make_directory
from tests.sdk.encoding.waiting import until


@pytest.fixture(autouse=True)
def _own_shared_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="milepost-test-", dir="/dev/shm") as directory:
        monkeypatch.setenv("MILEPOST_SHM", directory)
        yield


def note(number: int, size: int, writer: str = "w") -> Note:
    return Note(
        writer=writer,
        number=number,
        run_dir="/r",
        key="im",
        step="0",
        folder="images",
        extension="png",
        encoder="",
        options={},
        size=size,
    )


class _Slow:
    """A file whose reader is slow: something happens before its `after`th read."""

    def __init__(self, file: Any, after: int, happens: Callable[[], object]) -> None:
        self._file = file
        self._left = after
        self._happens = happens

    def read(self, size: int) -> bytes:
        if self._left == 0:
            self._happens()
        self._left -= 1
        data: bytes = self._file.read(size)
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.parametrize("after", range(5))
def test_a_place_that_is_used_again_while_it_is_read_never_gives_one_note_with_the_bytes_of_another(
    after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    slab = Slab(make_directory() / "w-slab0.stash", note(0, 1), 65536, 2, max_descriptor=2**20)
    at = slab.put(payload_file.encode(note(1, 5000)), memoryview(b"A" * 5000))

    def use_again() -> None:
        slab.release(at)
        assert slab.put(payload_file.encode(note(2, 5000)), memoryview(b"B" * 5000)) == at

    opened = payload_file._opened
    monkeypatch.setattr(payload_file, "_opened", lambda path: _Slow(opened(path), after, use_again))

    found = payload_file.read(slab.path, at)

    assert found is None or bytes(found[1]) == (b"A" if found[0].number == 1 else b"B") * 5000
    slab.release(at)
    slab.close()


def test_wishes_of_several_callers_at_once_are_done_by_one_thread_which_ends_when_it_is_told_to() -> None:
    def helpers() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name == "milepost-ahead"} - before

    ahead.stop()
    before = {thread for thread in threading.enumerate() if thread.name == "milepost-ahead"}
    done: list[int] = []
    for n in range(20):
        together = threading.Barrier(6)

        def ask(together: threading.Barrier = together, n: int = n) -> None:
            together.wait(60)
            ahead.want(lambda: done.append(n))

        callers = [threading.Thread(target=ask) for _ in range(6)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(60)

        assert until(lambda n=n: done.count(n) == 6)  # type: ignore[misc]
        assert len(helpers()) == 1
        ahead.stop()
        assert until(lambda: not helpers())


@pytest.mark.parametrize(("bound", "size"), [(8, 900_000), (16, 14_000_000)])
def test_places_that_became_free_give_way_to_payloads_of_another_size(tmp_path: Path, bound: int, size: int) -> None:
    stash = Stash("w", use_memory=True, max_bytes=bound * 2**20)
    held = []
    for n in range(bound * 16):  # more than fit
        held.append(stash.put(note(n, 50_000), b"x" * 50_000, tmp_path))
        if n % 50 == 0:
            time.sleep(0.01)  # slabs are made meanwhile
    for each in held:
        stash.release(each)
    spilled = stash.spilled

    for n in range(1000, 1005):
        stash.release(stash.put(note(n, size), b"y" * size, tmp_path))

    assert stash.spilled == spilled
    assert stash.memory_bytes <= bound * 2**20
    stash.close()
    assert not list(make_directory().glob("*.stash"))
