"""Text as written to a terminal, made into the lines that a reader would see at the end.

A carriage return starts the line over, so a progress bar becomes its last state; moving the cursor up (`tqdm` with
several bars, `rich`) draws lines anew, so only their last drawing counts. Colours and other control sequences are left
out.
"""

import re
from typing import NamedTuple

# No class below contains ESC, so that each sequence is scanned once.
_CONTROL = re.compile(
    r"\x1b\[[0-?]*+[ -/]*+[@-~]|\x1b\][^\x07\x1b]*+(?:\x07|\x1b\\)?|\x1b[ -/]*+[0-~]?|[\x00-\x08\x0b-\x1f\x7f]"
)
_CURSOR_UP = re.compile(r"\x1b\[([0-9]{0,3})A")
_MAX_REDRAWN = 64  # lines that a drawing goes up
_SLACK = 1024  # kept beyond the limit of a line, so that a secret across the limit is seen whole and hidden


class Line(NamedTuple):
    """A finished line without its newline, and how many characters more it had than were kept."""

    text: str
    missing: int = 0


class TerminalLines:
    """Feeds on chunks of text and gives back finished lines; memory is bounded whatever is written."""

    def __init__(self, max_chars: int = 4096) -> None:
        self._room = max_chars + _SLACK
        self._pieces: list[str] = []
        self._length = 0
        self._cut = 0  # characters of this line that found no room
        self._returned = False  # a "\r" came last; what follows, unless it is "\n", starts the line over
        self._redrawn = False  # this line was started over at least once
        self._to_redraw = 0  # lines below the cursor that are being drawn anew
        self._held: list[Line] = []  # their last drawing, kept until the cursor is past them

    def feed(self, text: str) -> list[Line]:
        """The lines that this text finishes."""
        lines: list[Line] = []
        position = 0
        while (end := text.find("\n", position)) >= 0:
            self._append(text, position, end)
            self._finish(lines)
            position = end + 1
        self._append(text, position, len(text))
        return lines

    def rest(self) -> list[Line]:
        """The lines held back, and the unfinished one when it has any text."""
        unfinished = self._length > 0
        line = self._take_line()
        lines, self._held = self._held, []
        if unfinished and line.text.strip():
            lines.append(line)
        return lines

    def _append(self, text: str, begin: int, end: int) -> None:
        if begin == end:
            return
        if self._returned:
            self._start_over()
        while begin < end and text[end - 1] == "\r":
            end -= 1
            self._returned = True
        last = text.rfind("\r", begin, end)
        if last >= 0:
            self._go_up(text, begin, last)
            returned, begin = self._returned, last + 1
            self._start_over()
            self._returned = returned
        self._go_up(text, begin, end)
        room = min(end, begin + self._room - self._length)
        if begin < room:
            self._pieces.append(text[begin:room])
            self._length += room - begin
        self._cut += end - max(begin, room)

    def _start_over(self) -> None:
        self._pieces, self._length, self._cut, self._returned, self._redrawn = ([], 0, 0, False, True)

    def _go_up(self, text: str, begin: int, end: int) -> None:
        if text.find("\x1b", begin, end) < 0:
            return
        for up in _CURSOR_UP.finditer(text, begin, end):
            lines = int(up[1] or 1)
            self._to_redraw = min(_MAX_REDRAWN, self._to_redraw + lines)
            del self._held[max(0, len(self._held) - lines) :]

    def _finish(self, lines: list[Line]) -> None:
        was_redrawn = self._redrawn
        line = self._take_line()
        wiped = was_redrawn and not line.text.strip()  # a progress bar that left nothing
        if self._to_redraw > 0:
            self._to_redraw -= 1
            self._held += [] if wiped else [line]
            return
        if wiped:
            return
        if self._held:
            lines += self._held
            self._held = []
        lines.append(line)

    def _take_line(self) -> Line:
        text = "".join(self._pieces)
        line = Line(text if text.isprintable() else _CONTROL.sub("", text), self._cut)
        self._start_over()
        self._redrawn = False
        return line
