"""Writer: one process start that writes a run. It numbers and frames events; `Keeper` puts them where SIGKILL cannot reach.

What does not fit anywhere is dropped, newest first, counted, and stands in the journal as a gap as soon as there is room again.
All methods are called under the run's lock.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from milepost.sdk import frame
from milepost.sdk.frame import EVENT, GAP, INLINE, PART, ROW, SCHEMA, TRACED, frame_seed, writer_seed
from milepost.sdk.keeper import Keeper

MAX_SCHEMAS: Final = 1000
MAX_SCHEMA_BYTES: Final = 256 * 1024


class Writer(Keeper):
    """Numbers and frames the events of one process for one run. Made as a `Keeper` is."""

    def __init__(self, run_dir: Path, **options: Any) -> None:
        super().__init__(run_dir, **options)
        self.seed = writer_seed(self.id)
        self.seq = 0
        """The number of the next event."""
        self._others = 0
        self.kinds: set[str] = set()
        """The kinds of events that were written, rows apart."""
        """How many of the numbers are not of rows."""
        self.dropped: dict[str, int] = {}
        self.parts = 0
        self._schemas: dict[tuple[str, ...], int] = {}
        self._schemas_made = 0
        self._schema_bytes = 0
        self._seed_part = frame_seed(self.seed, PART)
        self._seed_event = frame_seed(self.seed, EVENT)
        self._seed_inline = frame_seed(self.seed, ROW)
        self._seed_traced = frame_seed(self.seed, TRACED)
        self._gap: tuple[int, int, str] | None = None

    @property
    def rows(self) -> int:
        """Rows logged, dropped ones included."""
        return self.seq - self._others

    def schema(self, keys: tuple[str, ...]) -> int:
        """The id of a set of keys, announced to readers at first sight; 0 when there are too many to announce."""
        known = self._schemas.get(keys)
        if known is not None:
            return known
        if len(self._schemas) >= MAX_SCHEMAS or self._schema_bytes > MAX_SCHEMA_BYTES:
            return INLINE
        payload = frame.encode_payload(keys)
        if self._schema_bytes + len(payload) > MAX_SCHEMA_BYTES and self._schemas:
            return INLINE
        self._schemas_made += 1
        number = self._schemas_made  # used up even if Ctrl-C comes next: no two sets of keys ever share one
        data = frame.frame(SCHEMA, payload, frame_seed(self.seed, SCHEMA, number), number)
        if not self.append(data):
            return INLINE
        self._schemas[keys] = number
        self._schema_bytes += len(payload)
        self.schema_frames.append(data)
        return number

    def row(
        self, values: Mapping[str, Any], step: int, time_ns: int, runtime_us: int, trace: tuple[bytes, bytes] | None
    ) -> int:
        """Append a committed row; its number."""
        schema = self.schema(tuple(values))
        head: list[Any] = [self.seq, time_ns, runtime_us, step]
        kind = ROW
        if trace is not None:
            kind = TRACED
            head += trace
        if schema == INLINE:
            head.append(values)
            data = frame.frame(
                kind, frame.encode_payload(head), self._seed_inline if kind == ROW else self._seed_traced
            )
        else:
            head.extend(values.values())
            data = frame.frame(kind, frame.encode_payload(head), frame_seed(self.seed, kind, schema), schema)
        return self.numbered(data, is_row=True)

    def part(self, values: Mapping[str, Any], step: int, time_ns: int, runtime_us: int) -> None:
        """Append a call that is not committed yet; recovery commits it if the program dies first."""
        payload = frame.encode_payload([self.seq, self.parts, time_ns, runtime_us, step, values])
        self.parts += 1
        if not self.append(frame.frame(PART, payload, self._seed_part)):
            self.warn("part", "an uncommitted call found no room; it is in memory only until its row is committed")

    def event(self, kind: str, values: Mapping[str, Any], step: int | None, time_ns: int, runtime_us: int) -> int:
        """Append an event that is no row; its number."""
        self.kinds.add(kind)
        payload = frame.encode_payload([self.seq, time_ns, runtime_us, step, kind, values])
        return self.numbered(frame.frame(EVENT, payload, self._seed_event), is_row=False)

    def numbered(self, data: bytes, *, is_row: bool) -> int:
        """Append a frame that holds the next number, or count it as dropped."""
        seq = self.seq
        gap = self._gap
        # A gap is written together with what follows it: alone it would fit where no row does, a gap for every row.
        # Storing in a block is the last thing that append does there, so Ctrl-C comes before it or after the number is used.
        self._in_doubt = False
        try:
            stored = self.append(data if gap is None else self._gap_frame(gap) + data)
            self.seq = seq + 1
        except BaseException:
            if self._in_doubt:  # Ctrl-C about a write: the call does not return, and its row may stand there or not
                self.seq = seq + 1
                self._gap = (seq if gap is None else gap[0], seq, "interrupted")
            raise
        if stored:
            self._gap = None
        else:
            reason = gap[2] if gap is not None else self.full_reason()
            self._gap = (seq if gap is None else gap[0], seq, reason)
            if is_row:
                self.dropped[reason] = self.dropped.get(reason, 0) + 1
            self.warn(
                "dropped",
                f"rows are being dropped ({reason}): {self.broken or 'the journal cannot keep up'}; they are counted, "
                "and logging resumes by itself",
            )
        if not is_row:
            self._others += 1
        return seq

    @property
    def has_gap(self) -> bool:
        """Whether dropped rows still wait to be written down as a gap."""
        return self._gap is not None

    def _gap_frame(self, gap: tuple[int, int, str]) -> bytes:
        """The frame that tells readers which numbers were dropped, and why."""
        first, last, reason = gap
        payload = frame.encode_payload([first, last, time.time_ns(), reason])
        return frame.frame(GAP, payload, frame_seed(self.seed, GAP))
