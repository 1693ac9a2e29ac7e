"""Plan: what a program hands to the shipper about its run. It travels through a socket and is never on a disk."""

import os
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from milepost.sdk.configuration import Component
from milepost.sdk.configuration.node import Secret

_SECRET: Final = 1
_PATH: Final = 2


class Shipped(msgspec.Struct, frozen=True, kw_only=True):
    """One network exporter: the name of its route, and its component.

    stored: its options as the run stores them, secrets masked.
    """

    name: str
    exporter: str
    options: dict[str, Any] = {}
    processors: tuple[tuple[str, dict[str, Any]], ...] = ()
    where: str = ""
    stored: Any = None

    def component(self) -> Component:
        """The component that it was made of."""
        return Component(
            name=self.exporter,
            options=dict(self.options),
            processors=tuple(
                Component(name=name, options=options, where=self.where) for name, options in self.processors
            ),
            where=self.where,
        )


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is to be served.

    run_dir:   DIR/PROJECT/RUN_ID, absolute.          exporters: those that use the network.
    local:     the names of the program's own routes, which trimming has to ask, too.
    keep:      `journal: {keep}`.                      linger_s: how long the shipper stays after its last work.
    """

    run_dir: str
    exporters: tuple[Shipped, ...]
    local: tuple[str, ...] = ()
    keep: str = "all"
    linger_s: float = 60.0


def shipped(name: str, component: Component, stored: Any) -> Shipped | None:
    """A component as it can be handed over; None when it holds an object that only its program has."""
    if component.object is not None or any(inner.object is not None for inner in component.processors):
        return None
    found = Shipped(
        name=name,
        exporter=component.name,
        options=component.options,
        processors=tuple((inner.name, inner.options) for inner in component.processors),
        where=component.where,
        stored=stored,
    )
    try:
        encode(found)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
    return found


def cannot_start() -> str:
    """Why no shipper can be started from this program, "" when one can."""
    if getattr(sys, "frozen", False):
        return "this program is a frozen executable"
    name = os.path.basename(sys.executable or "")
    if not name.lower().startswith(("python", "pypy")):
        return f"this program is no Python interpreter but {name or 'unknown'}"
    if not hasattr(os, "fork"):
        return "this system has no fork"
    return ""


def encode(value: Any) -> bytes:
    """Bytes of a message or plan. Raises TypeError for an object that cannot travel."""
    return msgspec.msgpack.encode(value, enc_hook=_pack)


def decode_plan(value: Any) -> Plan:
    """The plan in a decoded message. Raises msgspec.ValidationError for what is none."""
    return msgspec.convert(value, Plan)


def decode(data: bytes) -> dict[str, Any]:
    """A message. Raises msgspec.DecodeError for what is none."""
    found = msgspec.msgpack.decode(data, ext_hook=_unpack)
    if not isinstance(found, dict):
        raise msgspec.DecodeError("a message is a mapping")
    return found


def _pack(value: Any) -> Any:
    if isinstance(value, Secret):
        return msgspec.msgpack.Ext(_SECRET, str.encode(value))
    if isinstance(value, Path):
        return msgspec.msgpack.Ext(_PATH, str(value).encode())
    if isinstance(value, str):  # a subclass of text, such as an enum
        return str.__str__(value)
    raise TypeError(f"{type(value).__name__} cannot be handed over")


def _unpack(code: int, data: "memoryview[int]") -> Any:
    text = bytes(data).decode()
    return Secret(text) if code == _SECRET else Path(text)
