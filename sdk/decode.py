"""Decode: frames back into events."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from milepost.sdk import frame
from milepost.sdk.event import Event
from milepost.sdk.frame import EVENT, GAP, INLINE, PART, ROW, SCHEMA, TRACED, Frame


class Decoder:
    """Turns the frames of one writer into events; learns the schemas as they pass.

    run: "project/run_id". writer: the writer's id.
    """

    def __init__(self, run: str, writer: str) -> None:
        self.run = run
        self.writer = writer
        self.schemas: dict[int, tuple[str, ...]] = {}

    def event(self, found: Frame, buffer: Any) -> Event | None:
        """The event of a frame in a buffer; None for a schema, and for a row whose schema is unknown (damage)."""
        return self.told(found.kind, found.schema, frame.decode_payload(memoryview(buffer)[found.start : found.end]))

    def told(self, kind: int, schema: int, payload: list[Any]) -> Event | None:
        """As `event`, from a payload that is decoded already."""
        if kind == ROW:
            return self._row(payload, schema, 4, b"", b"")
        if kind == TRACED:
            return self._row(payload, schema, 6, payload[4], payload[5])
        if kind == SCHEMA:
            self.schemas[schema] = tuple(payload)
            return None
        if kind == EVENT:
            seq, time_ns, runtime_us, step, name, values = payload
            return self._event(name, values, step, time_ns, runtime_us, seq)
        if kind == GAP:
            first, last, time_ns, reason = payload
            return self._event("gap", {"first": first, "last": last, "reason": reason}, None, time_ns, 0, first)
        if kind == PART:
            next_seq, _number, time_ns, runtime_us, step, values = payload
            return self._event("part", values, step, time_ns, runtime_us, next_seq, commit=False)
        return None

    def _row(self, payload: list[Any], schema: int, head: int, trace_id: bytes, span_id: bytes) -> Event | None:
        if schema == INLINE:
            values = payload[head]
        else:
            keys = self.schemas.get(schema)
            if keys is None:
                return None
            values = dict(zip(keys, payload[head:], strict=True))
        return Event(
            kind="row",
            values=values,
            step=payload[3],
            time_unix_nano=payload[1],
            runtime_s=payload[2] / 1e6,
            run=self.run,
            writer=self.writer,
            seq=payload[0],
            trace_id=trace_id.hex(),
            span_id=span_id[:8].hex(),
            trace_flags=int.from_bytes(span_id[8:]),
        )

    def _event(
        self,
        kind: str,
        values: dict[str, Any],
        step: int | None,
        time_ns: int,
        runtime_us: int,
        seq: int,
        commit: bool = True,
    ) -> Event:
        return Event(
            kind=kind,
            values=values,
            step=step,
            commit=commit,
            time_unix_nano=time_ns,
            runtime_s=runtime_us / 1e6,
            run=self.run,
            writer=self.writer,
            seq=seq,
        )


def columns(
    payloads: Sequence[bytes], width: int, decode: Callable[[bytes], list[Any]] = frame.decode_payload
) -> list[list[Any]]:
    """The elements of many payloads of `width` elements each, by the column.

    All are decoded at once: a msgpack array is a short header and its elements, so the elements of all payloads behind one
    header are an array, too, and every k-th of them is a column.
    """
    skip = len(_array_of(width))
    elements = b"".join([payload[skip:] for payload in payloads])
    values = decode(b"\xdd" + (width * len(payloads)).to_bytes(4, "big") + elements)
    return [values[at::width] for at in range(width)]


@lru_cache(maxsize=1024)
def _array_of(width: int) -> bytes:
    """How a msgpack array of so many elements begins."""
    return frame.encode_payload([None] * width)[:-width]
