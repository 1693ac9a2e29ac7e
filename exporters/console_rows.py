"""The rows a console exporter prints while the run goes on, in one of three formats."""

from collections.abc import Callable, Sequence
from typing import Final, Literal

from milepost.exporters.jsonl import lines
from milepost.sdk.event import Event
from milepost.sdk.terminal import Screen, pad, plain, printable, width

Format = Literal["table", "plain", "json"]

_HEADER_EVERY: Final = 25
_COLUMN_MIN: Final = 8
_COLUMN_MAX: Final = 18
_GAP: Final = 2


def json_text(rows: Sequence[Event], screen: Screen) -> str:
    """One JSON object per line, as in history.jsonl."""
    return lines(rows).decode()


def plain_text(rows: Sequence[Event], screen: Screen) -> str:
    """One line per row: `step 12  loss 0.123  accuracy 0.9`."""
    return "".join(
        "  ".join([f"step {row.step}", *(f"{printable(key)} {plain(value)}" for key, value in row.values.items())])
        + "\n"
        for row in rows
    )


class Table:
    """Aligned columns, as many as fit. The header comes back when a new name appears, and every 25 rows."""

    def __init__(self) -> None:
        self._keys: dict[str, None] = {}
        self._columns: list[tuple[str, int]] = []
        self._screen_width = 0
        self._rows_since_header = 0

    def text(self, rows: Sequence[Event], screen: Screen) -> str:
        """The rows as lines."""
        out: list[str] = []
        for row in rows:
            if self._needs_header(row, screen):
                out.append(self._header(row, screen))
            out.append(self._line(row, screen))
            self._rows_since_header += 1
        return "".join(line.rstrip() + "\n" for line in out)

    def _needs_header(self, row: Event, screen: Screen) -> bool:
        fits = self._screen_width == screen.width and row.values.keys() <= self._keys.keys()
        return not fits or self._rows_since_header >= _HEADER_EVERY

    def _header(self, row: Event, screen: Screen) -> str:
        self._keys |= dict.fromkeys(row.values)
        self._screen_width, self._rows_since_header = screen.width, 0
        self._columns = []
        left = screen.width - _COLUMN_MIN
        for count, key in enumerate(self._keys, 1):
            value = row.values.get(key)
            text = width(plain(value)) if isinstance(value, str) else 0
            cells = min(_COLUMN_MAX, max(_COLUMN_MIN, width(printable(key)), text))
            note = 0 if count == len(self._keys) else len(f"  +{len(self._keys) - count}")
            if left - _GAP - cells < note:
                break
            self._columns.append((key, cells))
            left -= _GAP + cells
        names = [
            pad("step", _COLUMN_MIN, "right"),
            *(pad(screen.fit_name(key, cells), cells, "right") for key, cells in self._columns),
        ]
        hidden = len(self._keys) - len(self._columns)
        return screen.paint((" " * _GAP).join(names) + (f"  +{hidden}" if hidden else ""), "dim")

    def _line(self, row: Event, screen: Screen) -> str:
        cells = [pad(str(row.step), _COLUMN_MIN, "right")]
        for key, space in self._columns:
            text = screen.fit(plain(row.values[key]), space) if key in row.values else ""
            cells.append(pad(text, space, "right"))
        return (" " * _GAP).join(cells)


def formatter(format: Format) -> Callable[[Sequence[Event], Screen], str]:
    """The function that turns rows into lines."""
    return {"table": Table().text, "plain": plain_text, "json": json_text}[format]
