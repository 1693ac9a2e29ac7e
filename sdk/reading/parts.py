"""Parts: the calls of a row that was never committed, joined into the row that `finish()` would have made of them."""

from collections.abc import Sequence
from typing import Any


def merge_parts(parts: Sequence[Sequence[Any]]) -> tuple[dict[str, Any], int, int, int]:
    """(values, time_ns, runtime_us, step) of the open row.

    parts: payloads of PART frames, [next_seq, part_no, time_ns, runtime_us, step, {key: value}], in any order, doubles allowed.
    The last value of a name wins; a value takes the place of the dict of its name, and the other way round.
    """
    values: dict[str, Any] = {}
    ordered = sorted({part[1]: part for part in parts}.items())
    for _, part in ordered:
        for name, value in part[5].items():
            if name not in values:
                _make_room(values, name)
            values[name] = value
    _, _, time_ns, runtime_us, step, _ = ordered[-1][1]
    return values, time_ns, runtime_us, step


def _make_room(values: dict[str, Any], name: str) -> None:
    """Forget what stands below a name, and the values that stand where its dicts are."""
    below = name + "."
    for other in [other for other in values if other.startswith(below) or name.startswith(other + ".")]:
        del values[other]
