"""prometheus_remote_write: numbers and histograms to Prometheus, VictoriaMetrics, Mimir and others, without OTLP between.

Remote write 1.0: protobuf in snappy, one POST per batch. Names are those that OpenTelemetry's standard translation gives, so
the same queries work for what comes over OTLP: `train/loss` is `train_loss{job="PROJECT", instance="RUN"}`, its step is
`milepost_step` at the same time, and what else is known of the run are the labels of `target_info`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from milepost.exporters.otlp.splitting import Splitting
from milepost.exporters.otlp.target import remote_write_target
from milepost.sdk.errors import MissingDependencyError


class PrometheusRemoteWriteExporter(Splitting):
    """Writes to one address. See `PrometheusRemoteWrite` in the configuration's declarations for the options.

    Raises MissingDependencyError without cramjam, which has snappy.
    """

    name = "prometheus_remote_write"
    network: ClassVar[bool] = True

    def __init__(
        self,
        endpoint: str = "http://localhost:9090/api/v1/write",
        headers: Mapping[str, Any] | None = None,
        headers_list: str | None = None,
        timeout: int = 30_000,
        tls: Mapping[str, Any] | None = None,
        promote_resource_attributes: Sequence[str] = (),
        max_series: int = 10_000,
        interval: int = 1,
        detectors: Sequence[str] = (),
    ) -> None:
        # Here and not above: a program that names this exporter hands it over, and the shipper makes it.
        from milepost.exporters.otlp.remote_write import RemoteWrite
        from milepost.exporters.otlp.selection import Selection

        target = remote_write_target(endpoint, headers, headers_list, timeout, tls)
        selection = Selection(max_series=max_series, interval=interval)
        super().__init__({"metrics": RemoteWrite(target, selection, promote_resource_attributes, detectors, _snappy())})


def _snappy() -> Callable[[bytes], bytes]:
    try:
        from cramjam import snappy
    except ImportError:
        raise MissingDependencyError(
            'prometheus_remote_write needs cramjam for snappy; install it with: pip install "milepost[prometheus]"'
        ) from None
    return lambda data: bytes(snappy.compress_raw(data))
