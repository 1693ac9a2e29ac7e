"""The options of the built-in exporters, declared as in `declarations.py`."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from milepost.sdk.configuration import rules
from milepost.sdk.configuration.option import AttributeValue, Option, Section


class Console(Section, frozen=True):
    """Rows on the terminal, and a summary at the end of the run."""

    every: Annotated[int | None, Option("Print every Nth row; none of them when null.", minimum=1)] = None
    format: Annotated[Literal["table", "plain", "json"], Option("How a row is printed.")] = "table"


class File(Section, frozen=True):
    """`history.jsonl`, `summary.json` and `config.yaml` in the run's directory."""

    format: Annotated[Literal["jsonl"], Option("The format of the history file.")] = "jsonl"


class Memory(Section, frozen=True):
    """Events in a list, for tests."""


class Tls(Section, frozen=True):
    """Certificates. Paths in a file start at that file."""

    ca_file: Annotated[
        Path | None, Option("PEM file of the authorities that the server's certificate may come from.")
    ] = None
    cert_file: Annotated[
        Path | None, Option("PEM file of the client's certificate, where the server asks for one.")
    ] = None
    key_file: Annotated[Path | None, Option("PEM file of the client's key.")] = None
    insecure: Annotated[
        bool | None, Option("Only for gRPC and an endpoint without `http://` or `https://`: true is without TLS.")
    ] = None


Protocol = Literal["grpc", "http/protobuf", "http/json"]
Compression = Literal["gzip", "deflate", "none"]
HeadersList = Annotated[
    str | None,
    Option('More headers in one text, "a=1,b=2"; `headers` wins.', rule=rules.attributes_list, secret=True),
]
Detectors = Annotated[
    list[str],
    Option(
        "OpenTelemetry resource detectors, such as `os`, or `container` of an installed package; "
        "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS adds to them."
    ),
]


class Destination(Section, frozen=True):
    """Where OTLP goes, and how."""

    protocol: Annotated[
        Protocol | None,
        Option("The protocol. When null, OTEL_EXPORTER_OTLP_PROTOCOL says it, and without that it is `http/protobuf`."),
    ] = None
    endpoint: Annotated[
        str | None,
        Option(
            "The address, such as `http://localhost:4318`; with `grpc`, `http://localhost:4317`. OTEL_EXPORTER_OTLP_ENDPOINT "
            "when null, else that address. HTTP adds `/v1/metrics` and `/v1/logs`."
        ),
    ] = None
    headers: Annotated[
        dict[str, AttributeValue] | None,
        Option("Headers, as a list of {name, value}; OTEL_EXPORTER_OTLP_HEADERS when null.", pairs=True, secret=True),
    ] = None
    headers_list: HeadersList = None
    compression: Annotated[
        Compression | None,
        Option("`deflate` is for HTTP only. OTEL_EXPORTER_OTLP_COMPRESSION when null, and without that `none`."),
    ] = None
    timeout: Annotated[
        int | None,
        Option("Milliseconds for one request; OTEL_EXPORTER_OTLP_TIMEOUT when null, else 10000.", minimum=1),
    ] = None
    tls: Annotated[Tls, Option()] = Tls()


class OtlpSignal(Destination, frozen=True):
    """What is different for this signal. The endpoint is used as it is: nothing is added to it."""


class Otlp(Destination, frozen=True):
    """OpenTelemetry's protocol: to a Collector, Prometheus, Loki, ClickHouse, or any other back end that speaks it."""

    signals: Annotated[
        tuple[Literal["metrics", "logs"], ...],
        Option("`metrics`: a gauge per key, for charts and alerts. `logs`: a record per row, exact and complete."),
    ] = ("metrics", "logs")
    metrics: Annotated[OtlpSignal, Option()] = OtlpSignal()
    logs: Annotated[OtlpSignal, Option()] = OtlpSignal()
    step: Annotated[
        Literal["companion", "attribute", "none"],
        Option(
            "How metrics carry the step: as a gauge `milepost.step` with the same times, or as an attribute of each point, which "
            "makes a series per step in Prometheus."
        ),
    ] = "companion"
    body: Annotated[
        Literal["json", "map"], Option("How a log record holds the values of its row: as JSON text, or as a map.")
    ] = "json"
    temporality: Annotated[
        Literal["cumulative", "delta"], Option("That of histograms. Prometheus refuses whole requests for `delta`.")
    ] = "cumulative"
    max_series: Annotated[
        int, Option("Most series that one writer of a run creates; keys beyond it go to the logs only.", minimum=1)
    ] = 10_000
    interval: Annotated[
        int, Option("Milliseconds between two points of a key in the metrics; rows between them coalesce.", minimum=1)
    ] = 1
    detectors: Detectors = []


class PrometheusRemoteWrite(Section, frozen=True):
    """Numbers and histograms to Prometheus, VictoriaMetrics, Mimir and others, by remote write 1.0."""

    endpoint: Annotated[str, Option("The address that takes remote write, with its path.")] = (
        "http://localhost:9090/api/v1/write"
    )
    headers: Annotated[
        dict[str, AttributeValue] | None, Option("Headers, as a list of {name, value}.", pairs=True, secret=True)
    ] = None
    headers_list: HeadersList = None
    timeout: Annotated[int, Option("Milliseconds for one request.", minimum=1)] = 30_000
    tls: Annotated[Tls, Option()] = Tls()
    promote_resource_attributes: Annotated[
        list[str],
        Option("Attributes of the resource, such as `milepost.run.name`, that become labels of every series."),
    ] = []
    max_series: Annotated[
        int, Option("Most series that one writer of a run creates; keys beyond it are left out.", minimum=1)
    ] = 10_000
    interval: Annotated[
        int, Option("Milliseconds between two points of a key; rows between them coalesce.", minimum=1)
    ] = 1
    detectors: Detectors = []


class OpenTelemetry(Section, frozen=True):
    """Exporters of OpenTelemetry's Python SDK, by the names that packages register: `console`, `otlp_proto_http`, ..."""

    needs_one: ClassVar[tuple[str, ...]] = ("metrics", "logs")

    metrics: Annotated[str | None, Option("A name of the entry point group `opentelemetry_metrics_exporter`.")] = None
    metrics_options: Annotated[
        dict[str, AttributeValue], Option("Its keyword arguments, as a list of {name, value}.", pairs=True, secret=True)
    ] = {}
    logs: Annotated[str | None, Option("A name of the entry point group `opentelemetry_logs_exporter`.")] = None
    logs_options: Annotated[
        dict[str, AttributeValue], Option("Its keyword arguments, as a list of {name, value}.", pairs=True, secret=True)
    ] = {}
    step: Annotated[Literal["companion", "attribute", "none"], Option("How metrics carry the step, as in `otlp`.")] = (
        "companion"
    )
    max_series: Annotated[int, Option("Most series that one writer of a run creates.", minimum=1)] = 10_000
    interval: Annotated[int, Option("Milliseconds between two points of a key in the metrics.", minimum=1)] = 1
    detectors: Detectors = []


class Server(Section, frozen=True):
    """A milepost server: rows, config, summary, media, system metrics and console output of the run."""

    url: Annotated[
        str | None, Option("Its address, such as `https://milepost.example.org`; MILEPOST_URL when null.")
    ] = None
    api_key: Annotated[
        str | None,
        Option(
            "A key with the scope `ingest`; when null MILEPOST_API_KEY, else what `milepost login` keeps.", secret=True
        ),
    ] = None
    timeout: Annotated[int, Option("Milliseconds for one request.", minimum=1)] = 30_000
    signals: Annotated[
        tuple[Literal["rows", "files"], ...],
        Option(
            "`rows`: everything but files. `files`: those of media and those that were saved; rows do not wait for them."
        ),
    ] = ("rows", "files")


EXPORTERS: dict[str, type[Section]] = {
    "console": Console,
    "file": File,
    "memory": Memory,
    "otlp": Otlp,
    "prometheus_remote_write": PrometheusRemoteWrite,
    "opentelemetry": OpenTelemetry,
    "server": Server,
}
ONCE = ("console", "file", "memory")
"""Those that have one destination: named twice, they are a mistake. Others may go to several: `otlp`, then `otlp-2`."""
