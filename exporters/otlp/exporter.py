"""otlp: rows as OpenTelemetry metrics and log records, over gRPC or HTTP.

Each signal is an exporter of its own, with its own cursor: Prometheus can be down while the logs go on to Loki.
"""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from milepost.exporters.otlp.splitting import Splitting
from milepost.exporters.otlp.target import SIGNALS, completed, target
from milepost.sdk.errors import ConfigurationError

if TYPE_CHECKING:
    from milepost.exporters.otlp.signal_exporter import SignalExporter


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
        options = completed(
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
        # Here and not above: a program that names this exporter only completes its options, and the shipper makes it.
        from milepost.exporters.otlp.selection import Selection
        from milepost.exporters.otlp.signals import LogsExporter, MetricsExporter

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

    @staticmethod
    def with_environment(options: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
        """The options with what they leave open filled from OTEL_* variables."""
        return completed(options, environ)

    @staticmethod
    def parts(options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """One exporter for each signal."""
        signals = options.get("signals")
        return {signal: {**options, "signals": [signal]} for signal in (SIGNALS if signals is None else signals)}
