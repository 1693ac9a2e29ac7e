"""summary.json and config.yaml: what holds for the whole run, each put in place as a whole, never half."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any, Final

import msgspec

from milepost.exporters.jsonl import row
from milepost.sdk.batch import Rows
from milepost.sdk.errors import Error
from milepost.sdk.event import Event
from milepost.sdk.metrics import AGGREGATES, Metrics, parse
from milepost.sdk.own_files import write_whole
from milepost.sdk.strict_json import jsonable, strict_json
from milepost.sdk.summary import Summary, nest

_NUMBER_IN_1_2: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+")
INTERVAL_S: Final = 5.0
"""Shortest time between two writes of summary.json while the run goes on."""


class SummaryFile:
    """summary.json: put together from the rows while the run goes on, the run's own summary once it is finished."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._metrics = Metrics()
        self._summary = Summary(self._metrics, _stored(path))
        self._rows = 0
        self._final: dict[str, Any] | None = None
        self._behind = False
        self._due = 0.0

    def add_rows(self, rows: Sequence[Event]) -> None:
        """Note the rows' values. Where only last values count, only the last row of each set of names is looked at."""
        alike = [rows[-1]] if isinstance(rows, Rows) else rows
        by_names: dict[tuple[str, ...], Event] = {tuple(event.values): event for event in alike}
        thrifty = not self._metrics and not any(None in event.values.values() for event in by_names.values())
        for event in [*by_names.values(), rows[-1]] if thrifty else rows:
            self._rows += 1
            self._summary.add_row(self._rows, row(event))
        self._behind = True

    def take(self, event: Event) -> None:
        """Note what another event changes. Raises OSError when the end of the run cannot be written."""
        values = event.values
        if event.kind == "summary":
            for path in values.get("delete", ()):
                self._summary.delete(path, self._rows)
            for path, value in values.get("set", {}).items():
                self._summary.set(path, value)
            self._behind = True
        elif event.kind == "metric":
            self._define(values)
        elif event.kind == "run.finish":
            so_far = self._summary.collect()
            clocks: dict[str, Any] = {
                name: so_far[name] for name in ("_step", "_timestamp", "_runtime") if name in so_far
            }
            self._final = {**clocks, **values.get("summary", so_far)}
            self._behind = True
            self._write()

    def catch_up(self, events: Iterable[Event]) -> None:
        """Note what an earlier process had noted. Nothing is written for that alone."""
        for event in events:
            if event.kind == "row":
                self.add_rows([event])
            else:
                self.take(event)

    @property
    def behind(self) -> bool:
        """Whether the file lacks something that was noted."""
        return self._behind

    def write_when_due(self) -> None:
        """Write when the file is behind and was not written for a while; the larger it is the longer that is."""
        if self._behind and (started := monotonic()) >= self._due:
            self.write()
            finished = monotonic()
            self._due = finished + max(INTERVAL_S, 50 * (finished - started))

    def write(self) -> bool:
        """Write when the file is behind; False when the disk refuses, and then it stays behind."""
        try:
            if self._behind:
                self._write()
        except OSError:
            return False
        return True

    def _write(self) -> None:
        values = self._summary.collect() if self._final is None else self._final
        write_whole(self._path, strict_json(nest(values), indent=2) + b"\n")
        self._behind = False

    def _define(self, said: dict[str, Any]) -> None:
        summary = said.get("summary") or ()
        with contextlib.suppress(Error):  # of a newer version: the run's own summary has it right in the end
            metric = parse(said.get("name"), None, None, None, ",".join(summary), said.get("goal"), escaped=False)
            self._metrics.define(metric, bool(said.get("overwrite")))


class ConfigFile:
    """config.yaml: the run's config, as it is now."""

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self._path = path
        self._values = dict(config)
        self._write()

    def change(self, event: Event) -> None:
        """Apply a config event and rewrite the file. Raises OSError."""
        self._values.update(event.values.get("set", {}))
        for name in event.values.get("deleted", ()):
            self._values.pop(name, None)
        self._write()

    def _write(self) -> None:
        write_whole(self._path, yaml_text(self._values).encode())


def yaml_text(values: dict[str, Any]) -> str:
    """The values as block YAML, names in their order. Takes any values and never raises."""
    if not values:
        return "{}\n"
    dumper = _dumper()
    plain = jsonable(values, nan_as_text=False)
    import yaml

    return str(yaml.dump(plain, Dumper=dumper, sort_keys=False, allow_unicode=True, width=120))


@cache
def _dumper() -> Any:
    """PyYAML's dumper, which knows YAML 1.1, with quotes also about texts that YAML 1.2 takes for numbers: 1e5, 0o17."""
    import yaml  # 15 ms, so only for a run that has a config

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        """One that quotes what either version reads as something else."""

    Dumper.add_implicit_resolver("tag:milepost,2026:number-in-1.2", _NUMBER_IN_1_2, list("+-.0123456789"))
    return Dumper


def _stored(path: Path) -> dict[str, Any]:
    """The summary an earlier life of the run left, flat; empty when there is none that can be read."""
    try:
        return dict(_leaves("", msgspec.json.decode(path.read_bytes(), type=dict[str, Any])))
    except (OSError, ValueError):
        return {}


def _leaves(prefix: str, tree: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        inner = isinstance(value, dict) and value and "_type" not in value and not set(value) <= set(AGGREGATES)
        if inner:
            yield from _leaves(f"{prefix}{name}.", value)
        else:
            yield prefix + name, value
