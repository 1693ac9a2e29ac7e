"""Names as Prometheus has them: OpenTelemetry's standard translation of metric names, units and attributes.

    train/loss -> train_loss      dataset-1.acc -> dataset_1_acc      loss (mean) -> loss_mean      1st -> _1st
    process.disk.io, By, counter -> process_disk_io_bytes_total       system.cpu.utilization, 1, gauge -> ..._ratio

Source: OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility", and the Collector's translator
(pkg/translator/prometheus), whose answers for 64 series these agree with.
"""

import functools
import re
from typing import Final

_UNITS: Final = {
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds",
    "ns": "nanoseconds", "By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes", "TiBy": "tibibytes",
    "KBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes", "TBy": "terabytes", "m": "meters", "V": "volts",
    "A": "amperes", "J": "joules", "W": "watts", "g": "grams", "Cel": "celsius", "Hz": "hertz", "%": "percent",
}  # fmt: skip
_PER: Final = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}


NAMELESS: Final = "_"
"""What remote write calls a metric of whose name nothing is left; the label `milepost_key` has it whole."""


@functools.lru_cache(maxsize=65_536)
def prometheus_name(name: str, unit: str = "", *, counter: bool = False, gauge: bool = True) -> str:
    """The name of a metric; "" where nothing of it is left. counter: a sum that only rises; gauge: whether "1" is a ratio."""
    words = [word for word in re.split(r"[^a-zA-Z0-9:]+", name) if word]
    main, _, per = unit.partition("/")
    for part, table, prefix in ((main.strip(), _UNITS, []), (per.strip(), _PER, ["per"])):
        if part and "{" not in part and part != "1":
            suffix = [word for word in re.split(r"[^a-zA-Z0-9]+", table.get(part, part)) if word]
            if suffix and suffix[-1] not in words:
                words += prefix + suffix
    if unit == "1" and gauge:
        words = [word for word in words if word != "ratio"] + ["ratio"]
    if counter:
        words = [word for word in words if word != "total"] + ["total"]
    translated = "_".join(words)
    return f"_{translated}" if translated[:1].isdigit() else translated


@functools.lru_cache(maxsize=4096)
def prometheus_label(name: str) -> str:
    """The name of a label: what it may not hold becomes "_", and "key" stands before a digit or a single underscore."""
    label = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    if label[:1].isdigit():
        return f"key_{label}"
    return f"key{label}" if label.startswith("_") and not label.startswith("__") else label
