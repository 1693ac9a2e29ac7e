"""otlp: rows as OpenTelemetry metrics and log records, over gRPC or HTTP.

Each signal is an exporter of its own, with its own cursor: Prometheus can be down while the logs go on to Loki.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from milepost.exporters.otlp import options as of_otlp
from milepost.exporters.otlp.options import SIGNALS
from milepost.exporters.otlp.selection import Selection
from milepost.exporters.otlp.signal_exporter import SignalExporter
from milepost.exporters.otlp.signals import LogsExporter, MetricsExporter
from milepost.exporters.otlp.splitting import Splitting
from milepost.exporters.otlp.target import target
from milepost.sdk.errors import ConfigurationError


class OtlpExporter(Splitting):
    """Both signals, or the one chosen. See `Otlp` in the configuration's declarations for the options.

    Raises ConfigurationError for a signal, protocol, compression, step, body or temporality that does not exist.
    """

    name = "otlp"
    network: ClassVar[bool] = True

    def __init__(
        self,
        protocol: str | None = None,
        endpoint: str | None = None,
        headers: Mapping[str, Any] | None = None,
        headers_list: str | None = None,
        compression: str | None = None,
        timeout: int | None = None,
        tls: Mapping[str, Any] | None = None,
        signals: Sequence[str] = SIGNALS,
        metrics: Mapping[str, Any] | None = None,
        logs: Mapping[str, Any] | None = None,
        step: Literal["companion", "attribute", "none"] = "companion",
        body: Literal["json", "map"] = "json",
        temporality: Literal["cumulative", "delta"] = "cumulative",
        max_series: int = 10_000,
        interval: int = 1,
        detectors: Sequence[str] = (),
    ) -> None:
        if not signals or any(signal not in SIGNALS for signal in signals):
            raise ConfigurationError(f"otlp: signals is {list(signals)!r}; it must hold metrics, logs, or both")
        for option, value, choices in (
            ("step", step, ("companion", "attribute", "none")),
            ("body", body, ("json", "map")),
            ("temporality", temporality, ("cumulative", "delta")),
        ):
            if value not in choices:
                raise ConfigurationError(f"otlp: {option} is {value!r}; it must be one of {', '.join(choices)}")
        options = of_otlp.with_environment(
            {
                "protocol": protocol,
                "endpoint": endpoint,
                "headers": headers,
                "headers_list": headers_list,
                "compression": compression,
                "timeout": timeout,
                "tls": tls,
                "signals": list(signals),
                "metrics": metrics,
                "logs": logs,
            },
            os.environ,
        )
        found: dict[str, SignalExporter] = {}
        for signal in SIGNALS:
            if signal in signals:
                made = target(signal, options)
                if signal == "metrics":
                    selection = Selection(step=step, max_series=max_series, interval=interval)
                    found[signal] = MetricsExporter(made, selection, temporality, detectors)
                else:
                    found[signal] = LogsExporter(made, body, detectors)

        super().__init__(found)

    with_environment = staticmethod(of_otlp.with_environment)
    parts = staticmethod(of_otlp.parts)
