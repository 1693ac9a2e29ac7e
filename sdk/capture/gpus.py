"""NVIDIA GPUs through NVML, where the `pynvml` module (package nvidia-ml-py) and a driver are there."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


class Gpus:
    """The GPUs that this program may use, ready to be sampled.

    CUDA_VISIBLE_DEVICES narrows them down: numbers (in NVML's order, which is CUDA's with CUDA_DEVICE_ORDER=PCI_BUS_ID
    and on hosts whose GPUs are all alike), or UUIDs. MIG instances are not told apart: all GPUs are shown. The number
    at the end of a name is NVML's index on the host.
    """

    def __init__(self, nvml: Any, handles: dict[int, Any]) -> None:
        self._nvml = nvml
        self._handles = handles
        self._refused: set[tuple[int, str]] = set()

    @classmethod
    def open(cls, environ: Mapping[str, str]) -> "Gpus | None":
        """The visible GPUs, or None without the module, a driver or a GPU."""
        try:
            nvml: Any = importlib.import_module("pynvml")  # by name: it is optional, and has no types
            nvml.nvmlInit()
        except Exception:  # noqa: BLE001 - no module, no driver, or one that does not fit: NVML has an error for each
            return None
        try:
            handles = {index: nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())}
            visible = {at: handle for at, handle in handles.items() if _is_visible(nvml, at, handle, environ)}
        except Exception:  # noqa: BLE001 - a GPU that fell off the bus
            nvml.nvmlShutdown()
            return None
        gpus = cls(nvml, visible)
        if visible:
            return gpus
        gpus.close()
        return None

    def describe(self) -> list[dict[str, Any]]:
        """Index, name, memory and UUID of each GPU, and the driver's version."""
        nvml = self._nvml
        driver = self._ask(-1, "driver", nvml.nvmlSystemGetDriverVersion)
        described: list[dict[str, Any]] = []
        for index, handle in self._handles.items():
            memory = self._ask(index, "memory", nvml.nvmlDeviceGetMemoryInfo, handle)
            about = {
                "index": index,
                "name": _text(self._ask(index, "name", nvml.nvmlDeviceGetName, handle)),
                "uuid": _text(self._ask(index, "uuid", nvml.nvmlDeviceGetUUID, handle)),
                "memory_bytes": None if memory is None else int(memory.total),
                "driver": _text(driver),
            }
            described.append({key: value for key, value in about.items() if value is not None})
        return described

    def sample(self) -> dict[str, float]:
        """Utilisation, memory, temperature and power of each GPU; what a GPU does not tell is left out."""
        nvml, numbers = self._nvml, dict[str, float]()
        for index, handle in self._handles.items():
            rates = self._ask(index, "rates", nvml.nvmlDeviceGetUtilizationRates, handle)
            if rates is not None:
                numbers[f"hw.gpu.utilization.{index}"] = rates.gpu / 100
            memory = self._ask(index, "memory", nvml.nvmlDeviceGetMemoryInfo, handle)
            if memory is not None:
                numbers[f"hw.gpu.memory.usage.{index}"] = memory.used
                numbers[f"hw.gpu.memory.utilization.{index}"] = memory.used / memory.total
            celsius = self._ask(index, "celsius", nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU)
            if celsius is not None:
                numbers[f"hw.temperature.gpu.{index}"] = celsius
            milliwatts = self._ask(index, "milliwatts", nvml.nvmlDeviceGetPowerUsage, handle)
            if milliwatts is not None:
                numbers[f"hw.power.gpu.{index}"] = milliwatts / 1000
        return numbers

    def close(self) -> None:
        """Let NVML go."""
        try:
            self._nvml.nvmlShutdown()
        except Exception:  # noqa: BLE001 - the driver is gone already; there is nothing left to release
            return

    def _ask(self, index: int, what: str, question: Callable[..., Any], *arguments: Any) -> Any:
        """The answer, or None; a question that a GPU refused is not asked again (a virtual GPU has no power)."""
        if (index, what) in self._refused:
            return None
        try:
            return question(*arguments)
        except Exception:  # noqa: BLE001 - NVML has a class per error code; all mean: no answer
            self._refused.add((index, what))
            return None


def _is_visible(nvml: Any, index: int, handle: Any, environ: Mapping[str, str]) -> bool:
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None or "MIG-" in visible:
        return True
    names = [name.strip() for name in visible.split(",") if name.strip()]
    uuid = _text(nvml.nvmlDeviceGetUUID(handle)) or ""
    return any(name == str(index) or (name.startswith("GPU-") and uuid.startswith(name)) for name in names)


def _text(value: Any) -> str | None:
    """NVML's texts are bytes in older versions of the module."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None
