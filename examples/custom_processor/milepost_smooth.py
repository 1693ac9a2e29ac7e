"""smooth: beside each metric of a list, its exponential moving average.

keys ["train/loss"], weight 0.5

{"train/loss": 1.0}  ->  {"train/loss": 1.0, "train/loss_smooth": 1.0}
{"train/loss": 0.0}  ->  {"train/loss": 0.0, "train/loss_smooth": 0.3333333333333333}
"""

import math
from collections.abc import Sequence
from typing import ClassVar

from milepost.sdk.errors import ConfigurationError
from milepost.sdk.event import Event
from milepost.sdk.processor import is_open


class Smooth:
    """Add moving averages to each row.

    keys:    list of flat keys, as they are called when this processor sees them.
    weight:  how much of the past stays with each row, 0 <= weight < 1; 0.9 looks back about 10 rows.
    suffix:  what the average is called: the key and this text.
    The average is corrected for its start, so the first row is its own average. Values that are no finite number leave
    it as it was.
    Raises ConfigurationError when keys is empty or no list of strings, or weight is outside [0, 1).
    """

    must_follow: ClassVar[str] = "merge"  # one row, one step of the average; the calls of a row are not counted

    def __init__(self, keys: Sequence[str], weight: float = 0.9, suffix: str = "_smooth") -> None:
        if isinstance(keys, str) or not keys or not all(isinstance(key, str) for key in keys):
            raise ConfigurationError(f'smooth: keys must be a list of keys such as ["train/loss"], not {keys!r}')
        if type(weight) not in (int, float) or not 0 <= weight < 1:
            raise ConfigurationError(f"smooth: weight must be a number >= 0 and below 1, not {weight!r}")
        self._weight = float(weight)
        self._names = {key: key + suffix for key in keys}
        self._sums: dict[str, tuple[float, float]] = {}

    def __call__(self, event: Event) -> Event | None:
        """The row with its averages. Everything else passes as it came."""
        if event.kind != "row" or is_open(event):
            return event
        averages = {
            self._names[key]: self._average(key, value)
            for key, value in event.values.items()
            if key in self._names and type(value) in (int, float) and math.isfinite(value)
        }
        return event.with_values({**event.values, **averages}) if averages else event

    def _average(self, key: str, value: float) -> float:
        total, share = self._sums.get(key, (0.0, 0.0))
        total = self._weight * total + (1 - self._weight) * value
        share = self._weight * share + (1 - self._weight)
        self._sums[key] = total, share
        return total / share
