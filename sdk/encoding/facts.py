"""Facts: what became of the payloads of a run, from its journals: path, sha256 and size of each file, or why there is none."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from milepost.sdk.encoding import payload_file
from milepost.sdk.encoding.payload_file import Note
from milepost.sdk.encoding.refs import Facts, parsed
from milepost.sdk.reading.writer import WriterReader
from milepost.sdk.tail import Tail

ALIVE_S: Final = 5.0
"""How often it is looked whether a writer still lives."""
FRESH_S: Final = 0.2
"""How old what was read of a living writer may be."""
LOST: Final[Facts] = {"error": "it was not encoded when its machine or shared memory went away"}


class RunFacts:
    """Answers for every reference of one run. Reads the journal of a writer when it is first asked for."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._books: dict[str, Book] = {}

    def lookup(self, ref: str) -> Facts | None:
        """The facts of a reference; None while it waits to be encoded."""
        found = parsed(ref)
        if found is None:
            return LOST
        writer, number = found
        book = self._books.get(writer)
        if book is None:
            book = self._books[writer] = Book(self._run_dir / "journal" / writer)
        elif number not in book.facts and time.monotonic() - book.read_at > FRESH_S:
            if book.alive or number in book.waiting:  # a dead writer's payload is encoded by whoever comes next
                book.refresh()
        facts = book.facts.get(number)
        if facts is not None or book.alive or number in book.waiting:
            return facts
        return LOST

    def raw(self, ref: str) -> tuple[Note, memoryview] | None:
        """The bytes of a payload that is not encoded yet."""
        found = parsed(ref)
        book = self._books.get(found[0]) if found is not None else None
        return book.raw(found[1]) if book is not None and found is not None else None


class Book:
    """What one writer's journal and stash say.

    facts: number to what is known of its file; with "kept" its encoder was not at hand, and its bytes are still there.
    waiting: number to where its payload is: a file and a place in it, or the event itself.
    alive: whether the writer was there when its journal was read.
    """

    def __init__(self, directory: Path) -> None:
        self.facts: dict[int, dict[str, Any]] = {}
        self.waiting: dict[int, tuple[Path, int] | dict[str, Any]] = {}
        self._directory = directory
        stashed = list(self._numbered(payload_file.files(directory.name, directory)))  # before the journal is read
        reader = WriterReader(directory)
        self.alive = reader.alive
        self.read_at = time.monotonic()
        for event in reader.events("media", "media.payload"):
            number = event.values.get("number")
            if not isinstance(number, int):
                continue
            if event.kind == "media":
                self.facts[number] = event.values
            else:
                self.waiting[number] = event.values
        self.waiting.update(stashed)
        for number, facts in self.facts.items():
            if not facts.get("kept"):
                self.waiting.pop(number, None)
        self._tail: Tail | None = None
        self._looked_at = self.read_at

    def refresh(self) -> None:
        """Read what was said since; now and then, whether the writer still lives."""
        self.read_at = time.monotonic()
        if self.read_at - self._looked_at > ALIVE_S:
            if self._tail is not None:
                self._tail.close()
            self.__init__(self._directory)  # type: ignore[misc]  # a dead one is read as a whole, its stash too
            return
        if self._tail is None:
            self._tail = Tail(self._directory, "", self._directory.name)
        while batch := self._tail.read():
            for part in batch.parts:
                for event in part if isinstance(part, list) else ():
                    if event.kind == "media" and isinstance(event.values.get("number"), int):
                        self.facts[event.values["number"]] = event.values

    @staticmethod
    def _numbered(paths: Iterable[Path]) -> Iterator[tuple[int, tuple[Path, int]]]:
        """The numbers of the payloads in files, and where they lie."""
        for path in paths:
            for at in payload_file.places(path):
                found = payload_file.read(path, at)
                if found is not None:
                    yield found[0].number, (path, at)

    def raw(self, number: int) -> tuple[Note, memoryview] | None:
        """A payload that waits."""
        place = self.waiting.get(number)
        if place is None:
            return None
        if isinstance(place, dict):
            return small(place)
        found = payload_file.read(*place)
        this = (self._directory.name, number)
        return found if found is not None and (found[0].writer, found[0].number) == this else None


def small(values: dict[str, Any]) -> tuple[Note, memoryview] | None:
    """Note and bytes of a "media.payload" event."""
    try:
        note = msgspec.convert(values.get("note"), Note)
    except msgspec.ValidationError:
        return None
    data = values.get("data")
    return (note, memoryview(data)) if isinstance(data, bytes) else None
