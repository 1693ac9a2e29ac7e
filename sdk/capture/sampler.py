"""One sample of what this program and its host use, as a flat mapping of numbers under OpenTelemetry's names.

A name that OpenTelemetry splits by an attribute carries the attribute's value at its end: `process.disk.io.read`,
`hw.gpu.utilization.0`. `METRICS` holds every name with its unit, instrument and attributes, so that an exporter can
give OpenTelemetry the attributes back (`split`). psutil is imported with the first sample, on the thread that samples.

Source of the names: OpenTelemetry semantic conventions, process metrics, system metrics, hardware (GPU) metrics.
"""

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from milepost.sdk.capture.gpus import Gpus

if TYPE_CHECKING:
    import psutil

_SHORTEST_S = 0.05  # a utilisation over less than this is noise
_MAX_CHILDREN = 256


class Metric(NamedTuple):
    """What one name means.

    unit:       UCUM, as OpenTelemetry writes it: "1" is a fraction (0.5 = half), "By" bytes, "Cel" degrees Celsius.
    instrument: "counter" only rises, since the program (process.*) or the host (system.*) began.
    attributes: the attributes at the end of the name, in order; "=value" fixes one.
    """

    unit: str
    instrument: Literal["gauge", "counter", "updowncounter"]
    attributes: tuple[str, ...] = ()


METRICS: dict[str, Metric] = {
    "process.cpu.utilization": Metric("1", "gauge"),
    "process.memory.usage": Metric("By", "updowncounter"),
    "process.memory.virtual": Metric("By", "updowncounter"),
    "process.thread.count": Metric("{thread}", "updowncounter"),
    "process.unix.file_descriptor.count": Metric("{file_descriptor}", "updowncounter"),
    "process.disk.io": Metric("By", "counter", ("disk.io.direction",)),
    "milepost.process.children.count": Metric("{process}", "updowncounter"),
    "milepost.process.children.cpu.utilization": Metric("1", "gauge"),
    "milepost.process.children.memory.usage": Metric("By", "updowncounter"),
    "system.cpu.utilization": Metric("1", "gauge"),
    "system.memory.usage": Metric("By", "updowncounter", ("system.memory.state",)),
    "system.memory.utilization": Metric("1", "gauge", ("system.memory.state",)),
    "system.disk.io": Metric("By", "counter", ("disk.io.direction",)),
    "system.network.io": Metric("By", "counter", ("network.io.direction",)),
    "hw.gpu.utilization": Metric("1", "gauge", ("hw.id",)),
    "hw.gpu.memory.usage": Metric("By", "updowncounter", ("hw.id",)),
    "hw.gpu.memory.utilization": Metric("1", "gauge", ("hw.id",)),
    "hw.temperature": Metric("Cel", "gauge", ("hw.type=gpu", "hw.id")),
    "hw.power": Metric("W", "gauge", ("hw.type=gpu", "hw.id")),
}


def split(key: str) -> tuple[str, dict[str, str]]:
    """A sampled key as OpenTelemetry has it: `("process.disk.io", {"disk.io.direction": "read"})`.

    A key that no metric explains comes back as it is, without attributes.
    """
    for name, metric in METRICS.items():
        values = key[len(name) + 1 :].split(".") if key.startswith(f"{name}.") else []
        if (key == name or values) and len(values) == len(metric.attributes):
            return name, {
                label.partition("=")[0]: value for label, value in zip(metric.attributes, values, strict=True)
            }
    return key, {}


class Sampler:
    """Samples this process, its children, its host and its GPUs.

    interval_s: how often the caller means to sample; not used here but by the thread that calls `sample`.
    process, system, gpu: False leaves that family of names out (a local rank above 0 need not report its host again).

    Measured on 2 cores of a virtual machine without GPU: 0.7 ms a sample, 0.13 ms of it for the process alone; 1.3 ms beside
    32 threads, 5 ms with 16 children besides; the first one 30 ms, for importing psutil. GPUs: not measured.
    A part that the system refuses (no /proc, a container's limits) is left out and not asked again.
    """

    def __init__(
        self, interval_s: float = 10.0, *, process: bool = True, system: bool = True, gpu: bool = True
    ) -> None:
        self.interval_s = interval_s
        self._wanted: dict[str, bool] = {"process": process, "children": process, "system": system, "gpu": gpu}
        self._gpus: Gpus | None = None
        self._this: psutil.Process | None = None
        self._system_cpu: tuple[float, float] | None = None  # busy and total seconds, all CPUs
        self._start()

    def sample(self) -> dict[str, float]:
        """The numbers of now; never raises.

        Utilisations cover the time since the last sample; those of the host and of children begin with the second one.
        In a forked child the sampler begins anew.
        """
        if os.getpid() != self._pid:
            self._start()
        numbers: dict[str, float] = {}
        self._add(numbers, "process", self._sample_process)
        self._add(numbers, "children", self._sample_children)
        self._add(numbers, "system", self._sample_system)
        self._add(numbers, "gpu", self._sample_gpus)
        return numbers

    def close(self) -> None:
        """Release the GPU library."""
        if self._gpus is not None and self._pid == os.getpid():
            self._gpus.close()
        self._gpus = None

    def _start(self) -> None:
        self._pid = os.getpid()
        self._active = dict(self._wanted)
        self._gpus = self._this = self._system_cpu = None
        self._cpus = _usable_cpus()
        self._process_cpu = _Rate(time.process_time())
        self._children_cpu: dict[tuple[int, float], float] = {}
        self._children_at = 0.0

    def _add(self, numbers: dict[str, float], part: str, sample: Callable[[], Mapping[str, float]]) -> None:
        if not self._active[part]:
            return
        try:
            numbers.update(sample())
        except Exception:  # noqa: BLE001 - psutil and NVML raise trees of their own; telemetry never breaks training
            self._active[part] = False

    def _sample_process(self) -> dict[str, float]:
        import psutil

        this = self._this = self._this or psutil.Process()
        numbers: dict[str, float] = {}
        utilization = self._process_cpu.per_second(time.process_time())
        if utilization is not None:
            numbers["process.cpu.utilization"] = utilization / self._cpus
        memory = this.memory_info()
        numbers["process.memory.usage"] = memory.rss
        numbers["process.memory.virtual"] = memory.vms
        numbers["process.thread.count"] = this.num_threads()
        for read in (self._file_descriptors, self._disk_io):
            try:
                numbers.update(read(this))
            except (psutil.Error, AttributeError, OSError):
                continue  # not on this system, or hidden by its container
        return numbers

    def _file_descriptors(self, this: "psutil.Process") -> dict[str, float]:
        return {"process.unix.file_descriptor.count": this.num_fds()}

    def _disk_io(self, this: "psutil.Process") -> dict[str, float]:
        counters: Any = this.io_counters()  # absent on macOS
        return {"process.disk.io.read": counters.read_bytes, "process.disk.io.write": counters.write_bytes}

    def _sample_children(self) -> dict[str, float]:
        import psutil

        seconds: dict[tuple[int, float], float] = {}
        memory_bytes = 0
        for child in _children(self._pid):
            try:
                with child.oneshot():
                    times = child.cpu_times()
                    seconds[child.pid, child.create_time()] = times.user + times.system
                    memory_bytes += child.memory_info().rss
            except psutil.Error:
                continue  # it ended, or another user runs it
        before, self._children_cpu = self._children_cpu, seconds
        began, self._children_at = self._children_at, time.monotonic()
        numbers: dict[str, float] = {
            "milepost.process.children.count": len(seconds),
            "milepost.process.children.memory.usage": memory_bytes,
        }
        if began and self._children_at - began >= _SHORTEST_S:
            spent = sum(max(0.0, now - before.get(child, 0.0)) for child, now in seconds.items())
            numbers["milepost.process.children.cpu.utilization"] = spent / (self._children_at - began) / self._cpus
        return numbers

    def _sample_system(self) -> dict[str, float]:
        import psutil

        numbers: dict[str, float] = {}
        times = psutil.cpu_times()
        # Linux counts a guest's time inside user and nice already.
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        busy = total - times.idle - getattr(times, "iowait", 0.0)
        if self._system_cpu is not None and total - self._system_cpu[1] >= _SHORTEST_S:
            numbers["system.cpu.utilization"] = min(
                1.0, max(0.0, (busy - self._system_cpu[0]) / (total - self._system_cpu[1]))
            )
        self._system_cpu = (busy, total)
        memory = psutil.virtual_memory()
        used = memory.total - memory.available
        numbers["system.memory.usage.used"] = used
        numbers["system.memory.utilization.used"] = used / memory.total
        disks: Any = psutil.disk_io_counters()
        if disks is not None:
            numbers["system.disk.io.read"] = disks.read_bytes
            numbers["system.disk.io.write"] = disks.write_bytes
        cards = [card for name, card in psutil.net_io_counters(pernic=True).items() if name not in ("lo", "lo0")]
        numbers["system.network.io.receive"] = sum(card.bytes_recv for card in cards)
        numbers["system.network.io.transmit"] = sum(card.bytes_sent for card in cards)
        return numbers

    def _sample_gpus(self) -> dict[str, float]:
        if self._gpus is None:
            self._gpus = Gpus.open(os.environ)
        if self._gpus is None:
            self._active["gpu"] = False
            return {}
        return self._gpus.sample()


class _Rate:
    """The growth of a counter per second of wall time."""

    def __init__(self, value: float) -> None:
        self._value, self._at = value, time.monotonic()

    def per_second(self, value: float) -> float | None:
        """Growth since the last call; None when that was too short ago to tell."""
        now = time.monotonic()
        if now - self._at < _SHORTEST_S:
            return None
        rate = (value - self._value) / (now - self._at)
        self._value, self._at = value, now
        return rate


def _usable_cpus() -> int:
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()) or 1


def _children(pid: int) -> "list[psutil.Process]":
    """All descendants.

    Read from /proc/PID/task/*/children where the kernel has it; psutil reads every process of the host instead.
    """
    import psutil

    if not os.path.exists(f"/proc/{pid}/task/{pid}/children"):
        return psutil.Process(pid).children(recursive=True)[:_MAX_CHILDREN]
    found: list[psutil.Process] = []
    parents = [pid]
    while parents and len(found) < _MAX_CHILDREN:
        for child in _direct_children(parents.pop()):
            try:
                found.append(psutil.Process(child))
            except psutil.Error:
                continue  # it ended meanwhile
            parents.append(child)
    return found[:_MAX_CHILDREN]


def _direct_children(pid: int) -> list[int]:
    children: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                children += [int(child) for child in file.read().split()]
    except OSError:
        return children  # the process or one of its threads ended meanwhile
    return children
