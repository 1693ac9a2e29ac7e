"""What the program prints, line by line, as a terminal would show it in the end, with secrets hidden.

`ConsoleCapture` puts itself before `sys.stdout` and `sys.stderr` and hands every finished line to `emit`. It is opt-in
and sees what Python writes to these two objects; what C code, subprocesses, `sys.stdout.buffer` and handlers that hold
the original stream write goes by unseen. Printing itself never fails, waits or changes because of it.
"""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self, TextIO, cast

from milepost.sdk.capture.redact import HIDDEN, redact_text, secrets_in
from milepost.sdk.capture.terminal_lines import Line, TerminalLines

_MAX_KEY_LINES = 200  # a private key that never ends does not silence the rest of the run


class ConsoleCapture:
    """Tees sys.stdout and sys.stderr to `emit(stream, line)`, stream "stdout" or "stderr", line without its newline.

    max_bytes:      of all lines together (UTF-8); reaching it emits one note, and capture ends.
    max_line_chars: a longer line is cut there and says how much is missing.
    secrets:        exact texts to hide besides what looks like a secret; by default the values of environment variables
                    with a secret name.

    Lines come in the order in which they were finished, one `emit` at a time, on the thread that printed or on one
    that prints at the same moment. `emit` may print (that is not captured) and may take locks that other printing
    threads hold; what it raises is counted in `failures` and goes no further. A forked child prints on, uncaptured.
    Measured: about 15 us a printed line, where print() alone takes 1.
    """

    def __init__(
        self,
        emit: Callable[[str, str], None],
        max_bytes: int = 1_000_000,
        max_line_chars: int = 4096,
        *,
        secrets: Sequence[str] | None = None,
    ) -> None:
        self.failures = 0
        self._emit = emit
        self._max_bytes = max_bytes
        self._max_line_chars = max_line_chars
        self._secrets = secrets_in(os.environ) if secrets is None else secrets
        self._pid = os.getpid()
        self._tees: dict[str, _Tee] = {}
        self._lines: dict[str, TerminalLines] = {}
        self._key_lines: dict[str, int] = {}  # lines of a private key still to hide
        self._finished: deque[tuple[str, str]] = deque()
        self._bytes_emitted = 0
        self._capturing = False
        self._here = threading.local()
        self._make_locks()

    def install(self) -> None:
        """Begin. A stream that is None (a program without a terminal) stays None; a second call does nothing."""
        if self._capturing:
            return
        if os.getpid() != self._pid:
            self._pid = os.getpid()
            self._finished.clear()  # the parent's, which emits them itself
            self._make_locks()
        self._capturing = True
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None:
                self._lines[name] = TerminalLines(self._max_line_chars)
                self._tees[name] = _Tee(stream, name, self)
                setattr(sys, name, cast("TextIO", self._tees[name]))

    def uninstall(self) -> None:
        """End: emit unfinished lines and put the streams back.

        A stream that somebody else has replaced since stays theirs; whoever holds our stream keeps a plain passage.
        """
        for name, tee in self._tees.items():
            if getattr(sys, name) is tee:
                setattr(sys, name, tee.original)
        self._tees = {}
        if self._capturing and os.getpid() == self._pid and not getattr(self._here, "inside", False):
            self._guarded(self._take_rest)
        self._capturing = False

    def take(self, stream: str, text: str) -> None:
        """Capture what was written; called by the streams, from any thread."""
        if not self._capturing or os.getpid() != self._pid or getattr(self._here, "inside", False):
            return  # ended; a forked child, whose locks may be held by threads that it does not have; emit printing
        self._guarded(self._split, stream, text)

    def _make_locks(self) -> None:
        self._lock = threading.Lock()  # around the line buffers; nothing outside this module is called under it
        self._emitting = threading.Lock()  # whoever holds it emits for all; the others do not wait

    def _guarded(self, collect: Callable[..., None], *arguments: str) -> None:
        # Set before any lock is taken: a signal handler or __del__ that prints in between finds it and goes by.
        try:
            self._here.inside = True
            with self._lock:
                collect(*arguments)
            self._emit_finished()
        except Exception:  # noqa: BLE001 - a broken string subclass, no memory: print() must not raise for us
            self.failures += 1
        finally:
            self._here.inside = False

    def _split(self, stream: str, text: str) -> None:
        lines = self._lines[stream].feed(text)
        if lines:
            self._queue(stream, lines)

    def _take_rest(self) -> None:
        for stream, lines in self._lines.items():
            self._queue(stream, lines.rest())

    def _queue(self, stream: str, lines: Iterable[Line]) -> None:
        for line in lines:
            if not self._capturing:
                return  # the cap was reached by an earlier line of the same text
            hidden = self._redact(stream, line)
            if hidden is None:
                continue
            data = hidden if hidden.isascii() else hidden.encode("utf-8", "backslashreplace")
            self._bytes_emitted += len(data)
            if self._bytes_emitted > self._max_bytes:
                note = f"[milepost: console capture ended, {self._max_bytes} bytes are its limit]"
                self._finished.append((stream, note))
                self._capturing = False
                return
            # Lone surrogates, from odd file names, have no UTF-8: they stand as "\\udc80".
            self._finished.append((stream, hidden if isinstance(data, str) else data.decode()))

    def _redact(self, stream: str, line: Line) -> str | None:
        """The line without secrets, cut; None inside of a private key that is printed over several lines."""
        text = line.text
        hidden_lines = self._key_lines.get(stream, 0)
        if hidden_lines > 0:
            self._key_lines[stream] = 0 if "-----END " in text else hidden_lines - 1
            return None
        begin = text.find("-----BEGIN ")
        if begin >= 0 and "PRIVATE KEY" in text[begin:] and "-----END " not in text[begin:]:
            self._key_lines[stream] = _MAX_KEY_LINES
            text = f"{text[:begin]}{HIDDEN}"
        text = redact_text(text, self._secrets)
        missing = line.missing + max(0, len(text) - self._max_line_chars)
        return f"{text[: self._max_line_chars]} [{missing} more characters]" if missing else text

    def _emit_finished(self) -> None:
        # Emitting under the buffers' lock could deadlock: a thread that prints inside log() would wait for the thread
        # whose line is being emitted, and that one for the run's lock. So nobody waits: who finds the lock taken leaves
        # the line to its holder.
        while self._finished and self._emitting.acquire(blocking=False):
            try:
                while self._finished:
                    stream, line = self._finished.popleft()
                    try:
                        self._emit(stream, line)
                    except Exception:  # noqa: BLE001 - emit is the caller's; its failure is counted
                        self.failures += 1
            finally:
                self._emitting.release()


class _Tee:
    """A stream that writes to `original` first, then shows the text to a capture; everything else is the original's."""

    def __init__(self, original: TextIO, name: str, capture: ConsoleCapture) -> None:
        self.original = original
        self._stream = name
        self._capture = capture

    def write(self, text: str) -> int:
        """Write to the original; its errors are the program's, and what it refused is not captured."""
        written = self.original.write(text)
        self._capture.take(self._stream, text)
        return written

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each, as the original would."""
        for line in lines:
            self.write(line)

    def __enter__(self) -> Self:
        self.original.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:  # noqa: PYI036 - passed on as they came
        self.original.__exit__(*raised)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)
