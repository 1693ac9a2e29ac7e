"""What the options of `opentelemetry` come to, without the exporter, which programs leave to the shipper."""

from collections.abc import Mapping
from typing import Any


def parts(options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """One exporter for each signal that is asked for."""
    others = {"metrics": "logs", "logs": "metrics"}
    return {
        signal: {key: value for key, value in options.items() if key not in (other, f"{other}_options")}
        for signal, other in others.items()
        if options.get(signal) is not None
    }
