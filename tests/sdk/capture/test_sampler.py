"""The sampler against psutil, real children and a real fork; of GPUs only the naming is tested, on a fake NVML."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from milepost.sdk.capture.environment import gather
from milepost.sdk.capture.sampler import METRICS, Sampler, split

DOCS = Path(__file__).parents[3] / "docs" / "captured.md"


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def two_samples(sampler: Sampler) -> dict[str, float]:
    sampler.sample()
    time.sleep(0.3)
    return sampler.sample()


def test_a_sample_holds_plausible_numbers_of_this_process() -> None:
    numbers = two_samples(Sampler(system=False, gpu=False))

    this = psutil.Process()
    assert numbers["process.memory.usage"] == pytest.approx(this.memory_info().rss, rel=0.5)
    assert numbers["process.memory.virtual"] >= numbers["process.memory.usage"]
    assert numbers["process.thread.count"] >= threading.active_count()
    assert 0 <= numbers["process.cpu.utilization"] <= 1.5
    assert not [key for key in numbers if key.startswith(("system.", "hw."))]


def test_a_sample_holds_plausible_numbers_of_the_host() -> None:
    numbers = two_samples(Sampler(process=False, gpu=False))

    memory = psutil.virtual_memory()
    assert 0 <= numbers["system.cpu.utilization"] <= 1
    assert 0 < numbers["system.memory.utilization.used"] < 1
    assert 0 < numbers["system.memory.usage.used"] < memory.total
    assert numbers["system.network.io.receive"] >= 0
    assert not [key for key in numbers if key.startswith(("process.", "milepost."))]


def test_every_value_is_a_number_and_every_name_is_declared_and_documented() -> None:
    numbers = two_samples(Sampler())

    assert all(isinstance(value, int | float) for value in numbers.values())
    assert {split(key)[0] for key in numbers} <= set(METRICS)
    documented = DOCS.read_text()
    for name in METRICS:
        assert f"`{name}" in documented, f"docs/captured.md does not list {name}"


def test_work_shows_as_utilization_of_the_usable_cpus() -> None:
    sampler = Sampler(system=False, gpu=False)
    sampler.sample()
    began, spent = time.monotonic(), time.process_time()
    while time.process_time() - spent < 0.3:
        sum(range(1000))

    numbers = sampler.sample()

    share = (time.process_time() - spent) / (time.monotonic() - began) / len(os.sched_getaffinity(0))
    assert numbers["process.cpu.utilization"] == pytest.approx(share, rel=0.5)


def test_the_first_sample_leaves_out_rates_of_the_host_and_children() -> None:
    numbers = Sampler().sample()

    assert "system.cpu.utilization" not in numbers
    assert "milepost.process.children.cpu.utilization" not in numbers


def test_written_bytes_only_rise(tmp_path: Path) -> None:
    sampler = Sampler(system=False, gpu=False)
    before = sampler.sample()["process.disk.io.write"]
    with (tmp_path / "file").open("wb") as file:
        file.write(b"x" * 1_000_000)
        file.flush()
        os.fsync(file.fileno())

    assert sampler.sample()["process.disk.io.write"] >= before


def test_children_of_children_are_counted_with_their_memory_and_cpu() -> None:
    sampler = Sampler(system=False, gpu=False)
    nested = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: sum(range(1000))'])"
    before = sampler.sample()["milepost.process.children.count"]
    child = subprocess.Popen([sys.executable, "-c", nested], start_new_session=True)
    try:
        assert wait_until(lambda: sampler.sample()["milepost.process.children.count"] >= before + 2)
        sampler.sample()
        time.sleep(0.5)
        numbers = sampler.sample()
    finally:
        os.killpg(child.pid, 9)
        child.wait()

    assert numbers["milepost.process.children.memory.usage"] > 1_000_000
    assert numbers["milepost.process.children.cpu.utilization"] > 0


FORKED = """
import os, threading
import psutil
from milepost.sdk.capture.sampler import Sampler
for _ in range(3):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
sampler = Sampler(system=False, gpu=False)
ballast = bytearray(os.urandom(60_000_000))
sampler.sample()
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    numbers = sampler.sample()
    os.write(writing, f"{numbers['process.thread.count']} {sampler.sample()['process.disk.io.write']}".encode())
    os._exit(0)
os.close(writing)
threads, written = map(float, os.read(reading, 1000).split())
os.waitpid(child, 0)
assert sampler.sample()["process.thread.count"] == 4
assert threads == 1, threads
assert written <= psutil.Process().io_counters().write_bytes  # its own count, which began at the fork
"""


def test_a_forked_child_samples_itself() -> None:
    """In a process of its own: libraries that other tests loaded start threads in forked children."""
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=100)


def test_a_part_that_fails_is_left_out_and_the_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError("hidden")

    monkeypatch.setattr(psutil, "virtual_memory", refuse)

    numbers = Sampler(gpu=False).sample()

    assert not [key for key in numbers if key.startswith("system.")]
    assert numbers["process.memory.usage"] > 0


def test_a_key_splits_into_the_name_and_attributes_of_opentelemetry() -> None:
    assert split("process.disk.io.read") == ("process.disk.io", {"disk.io.direction": "read"})
    assert split("process.memory.usage") == ("process.memory.usage", {})
    assert split("hw.gpu.memory.usage.3") == ("hw.gpu.memory.usage", {"hw.id": "3"})
    assert split("hw.temperature.gpu.0") == ("hw.temperature", {"hw.type": "gpu", "hw.id": "0"})
    assert split("my.own.key") == ("my.own.key", {})


class FakeNvmlError(Exception):
    """What NVML raises, in the fake."""


class FakeNvml:
    """The questions that the sampler asks of pynvml, answered for GPUs that are not there."""

    NVML_TEMPERATURE_GPU = 0

    def __init__(self, count: int, *, has_power: bool = True) -> None:
        self.count, self.has_power = count, has_power

    def nvmlInit(self) -> None: ...  # noqa: N802 - NVML's names, below too

    def nvmlShutdown(self) -> None: ...  # noqa: N802

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlSystemGetDriverVersion(self) -> bytes:  # noqa: N802
        return b"550.1"

    def nvmlDeviceGetName(self, handle: int) -> bytes:  # noqa: N802
        return b"H100"

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return f"GPU-{handle}abc"

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(gpu=50, memory=10)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(used=2_000, total=8_000)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:  # noqa: N802
        return 61

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        if not self.has_power:
            raise FakeNvmlError
        return 250_500


def gpu_sample(monkeypatch: pytest.MonkeyPatch, nvml: object, visible: str | None = None) -> dict[str, float]:
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    sampler = Sampler(process=False, system=False)
    numbers = sampler.sample()
    sampler.close()
    return numbers


def test_gpus_are_named_as_opentelemetry_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Naming and units only: the NVML below is a fake, and no GPU was measured."""
    numbers = gpu_sample(monkeypatch, FakeNvml(1))

    assert numbers == {
        "hw.gpu.utilization.0": 0.5,
        "hw.gpu.memory.usage.0": 2_000,
        "hw.gpu.memory.utilization.0": 0.25,
        "hw.temperature.gpu.0": 61,
        "hw.power.gpu.0": 250.5,
    }


@pytest.mark.parametrize(
    ("visible", "shown"),
    [(None, {"0", "1", "2"}), ("2,0", {"0", "2"}), ("GPU-1a", {"1"}), ("", set[str]()), ("-1", set[str]())],
)
def test_only_visible_gpus_are_sampled(monkeypatch: pytest.MonkeyPatch, visible: str | None, shown: set[str]) -> None:
    """On the fake NVML."""
    numbers = gpu_sample(monkeypatch, FakeNvml(3), visible)

    assert {key.rpartition(".")[2] for key in numbers} == shown


def test_what_a_gpu_refuses_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the fake NVML."""
    numbers = gpu_sample(monkeypatch, FakeNvml(1, has_power=False))

    assert "hw.power.gpu.0" not in numbers
    assert "hw.gpu.utilization.0" in numbers


def test_a_host_without_nvml_has_no_gpu_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu_sample(monkeypatch, None) == {}  # None in sys.modules makes the import fail


def test_the_environment_record_describes_each_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the fake NVML."""
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(1))

    record = gather(["train.py"], git=False, packages=False)

    assert record["gpus"] == [
        {"index": 0, "name": "H100", "uuid": "GPU-0abc", "memory_bytes": 8_000, "driver": "550.1"}
    ]
