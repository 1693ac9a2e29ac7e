"""Device: copies of tensors on an accelerator that are asked for and not waited for (`device_values: defer`).

    start(tensor)  -> Copy     the device copies it behind whatever it was told before; the program goes on
    copy.ready()               whether it has arrived
    copy.value()               the same tensor in the host's memory; waits until it is there

PyTorch: into pinned memory, on the current stream of the tensor's device, behind which all later work of that stream stands; an
event says when it is done. JAX: `copy_to_host_async()`; its arrays never change. Tensors of other libraries, sparse and quantized
ones, and those of devices without streams are read at once, as with `device_values: read`.

An `Image`, `Histogram`, `Audio` or `Video` of such a tensor is made when its copy has arrived, or somebody asks it for something.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

_PATIENCE_S: Final = 0.005
"""How often a copy that takes long is looked after."""
_runs: set[int] = set()
"""Runs in progress that defer: only then do media objects wait for their tensors."""
_local = threading.local()


class Copy:
    """One tensor on its way. source: is kept until then, so that its memory is not used for something else."""

    __slots__ = ("_host", "_ready", "_value", "nbytes", "source")

    def __init__(self, source: Any, ready: Callable[[], Any], host: Callable[[], Any], nbytes: int) -> None:
        self.source = source
        self.nbytes = nbytes
        self._ready: Callable[[], Any] | None = ready
        self._host = host
        self._value: Any = None

    def ready(self) -> bool:
        """Whether `value` gives it, or raises why there is none, without waiting for the device."""
        if self._ready is not None:
            try:
                if not self._ready():
                    return False
            except Exception:  # noqa: BLE001 - a device that failed: `value` says how
                pass
            self._ready = None
        return True

    def value(self) -> Any:
        """The tensor, on the host. Raises whatever its library does when the device failed."""
        pause = 0.0
        while not self.ready():
            time.sleep(pause)
            pause = min(pause + 0.0002, _PATIENCE_S)
        if self.source is not None:
            self._value = self._host()
            self.source = None
        return self._value


def start(value: Any) -> Copy | None:
    """Begin to copy a tensor that is on a device; None for anything else, and for what has to be read at once."""
    try:
        return _torch(value) or _jax(value)
    except Exception:  # noqa: BLE001 - reading it says what is the matter
        return None


def _torch(value: Any) -> Copy | None:
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor) or value.device.type in ("cpu", "meta"):
        return None
    streams = torch.get_device_module(value.device)
    if not hasattr(streams, "Event") or not hasattr(streams, "current_stream"):
        return None
    source = value.detach()
    if source.layout != torch.strided or source.is_quantized:
        return None
    source = source.resolve_conj().resolve_neg().contiguous()
    host = torch.empty(source.shape, dtype=source.dtype, device="cpu", pin_memory=True)
    host.copy_(source, non_blocking=True)
    event = streams.Event()
    event.record(streams.current_stream(value.device))
    return Copy(source, event.query, lambda: host, host.numel() * host.element_size())


def _jax(value: Any) -> Copy | None:
    """JAX, and whatever else has the methods of its arrays."""
    kind = type(value)
    if not callable(getattr(kind, "copy_to_host_async", None)) or not callable(getattr(kind, "is_ready", None)):
        return None
    if not getattr(value, "is_fully_addressable", True):
        return None
    import numpy as np

    value.copy_to_host_async()
    return Copy(value, value.is_ready, lambda: np.asarray(value), int(getattr(value, "nbytes", 0)))


class Waiting:
    """What stands for a value in a call's data until its copies are there. make: gives what is to be logged then."""

    __slots__ = ("copies", "given", "make")

    def __init__(self, given: Any, copies: list[Copy], make: Callable[[], Any]) -> None:
        self.given = given
        self.copies = copies
        self.make = make
        _local.found.extend(copies)


@contextmanager
def collecting() -> Iterator[list[Copy]]:
    """While data is read in this block, on this thread, tensors on a device become `Waiting`; the copies of all of them."""
    found: list[Copy] = []
    before, _local.found = getattr(_local, "found", None), found
    try:
        yield found
    finally:
        _local.found = before


def waiting(value: Any) -> Waiting | None:
    """What stands for a tensor, a media object or a list of these that has to wait; None where there is no reason to."""
    if getattr(_local, "found", None) is None:
        return None
    if isinstance(value, (list, tuple)):
        copies = [copy for item in value if (copy := _copy_of(item)) is not None]
        return Waiting(value, copies, lambda: value) if copies else None
    copy = _copy_of(value)
    if copy is not None:
        return Waiting(value, [copy], lambda: value)
    copy = start(value)
    return None if copy is None else Waiting(value, [copy], copy.value)


def _copy_of(value: Any) -> Copy | None:
    """The copy that a media object waits for."""
    later = getattr(value, "__dict__", {}).get("_later")
    return None if later is None else later[0]


def run_defers(run: int, defers: bool) -> None:
    """A run that defers, by its id, begins or ends."""
    (_runs.add if defers else _runs.discard)(run)


class Deferrable:
    """The base of media that may be made of a tensor on a device."""

    def _defer(self, value: Any, make: Callable[[Any, Any], None]) -> bool:
        """Whether this object is made later, by make(it or its copy, value on the host). A constructor then returns."""
        copy = start(value) if _runs else None
        if copy is None:
            return False
        self.__dict__["_later"] = copy, make
        return True

    if not TYPE_CHECKING:  # to type checkers a misspelt attribute is an error

        def __getattr__(self, name: str) -> Any:
            """Something that is not there yet is asked for: the object is made now."""
            later = self.__dict__.get("_later") if not name.startswith("__") else None
            if later is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            copy, make = later
            value = copy.value()
            self.__dict__.pop("_later", None)
            make(self, value)
            return getattr(self, name)
