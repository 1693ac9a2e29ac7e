"""RunMedia: the media of a run in this process: payloads on their way to their encoder, and what is known of every file.

The queue behind it, and all that it imports, is made with the first payload.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milepost.sdk.encoding.refs import Facts, filled, parsed
from milepost.sdk.writer import Writer

if TYPE_CHECKING:
    from milepost.sdk.encoding.facts import RunFacts
    from milepost.sdk.encoding.queue import MediaQueue


class RunMedia:
    """Takes payloads out of values, and knows what became of a file, whoever logged it.

    in_call, say: add an event to the run's stream, see `MediaQueue`. options: the settings `media`.
    """

    def __init__(
        self,
        run_dir: Path,
        writer: Writer,
        in_call: Callable[[str, Mapping[str, Any]], Any],
        say: Callable[[str, Mapping[str, Any]], bool],
        options: Mapping[str, Any],
    ) -> None:
        self.writer = writer
        """That of this process."""
        self._run_dir = run_dir
        self._in_call = in_call
        self._say = say
        self._options = dict(options)
        self._queue: MediaQueue | None = None
        self._others: RunFacts | None = None

    def take(self, values: Mapping[str, Any], step: int | str, nested: tuple[str, ...]) -> dict[str, Any]:
        """The values with references in place of payloads, which are kept from here on. Called under the run's lock."""
        if self._queue is None:
            from milepost.sdk.encoding.queue import MediaQueue

            self._queue = MediaQueue(self.writer, self._in_call, self._say, **self._options)
        return self._queue.take(values, step, nested)

    def facts(self, ref: str) -> Facts | None:
        """What is known of a media file of this run."""
        facts = None if self._queue is None else self._queue.lookup(ref)
        found = parsed(ref)
        if facts is None and (found is None or found[0] != self.writer.id):
            if self._others is None:
                from milepost.sdk.encoding.facts import RunFacts

                self._others = RunFacts(self._run_dir)
            facts = self._others.lookup(ref)
        return facts

    def fill(self, values: dict[str, Any]) -> dict[str, Any]:
        """Values with what is known of the files in them."""
        if {dict, list}.isdisjoint(map(type, values.values())):
            return values
        return {name: filled(value, self.facts) for name, value in values.items()}

    def flush(self, deadline: float) -> None:
        """Wait until all files are made, or for the deadline (time.monotonic)."""
        if self._queue is not None:
            self._queue.flush(deadline)

    def close(self) -> None:
        """End the encoder. What still waits stays where it is."""
        if self._queue is not None:
            self._queue.close()

    def forget(self) -> None:
        """In a forked child: the queue is the parent's."""
        if self._queue is not None:
            self._queue.forget()
            self._queue = None
