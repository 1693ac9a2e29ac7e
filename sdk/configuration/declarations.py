"""Every key of the config file, once: name, type, default and one sentence.

Validation, `milepost.schema.json`, `docs/configuration.md` and the table of environment variables are read from here.
Durations are whole milliseconds and sizes whole bytes, as OpenTelemetry writes them. The keys at the top carry the names of
the keyword arguments of `init()`.
"""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from milepost.sdk.configuration import rules
from milepost.sdk.configuration.option import Option, Section

AttributeValue = str | bool | int | float | list[Any]


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """One processor or exporter of the pipeline: a name with its options, or an object that `init()` was given.

    name:       of a built-in or an entry point; of an object, its own `name` or that of its type.
    options:    the keyword arguments for the factory of that name; only what was set.
    processors: of an exporter: what its events pass first.
    where:      where it was written, such as "milepost.yaml:12 exporters[1].file".
    object:     the exporter or processor itself when `init()` got one in place of a name, else None.
    """

    name: str
    options: dict[str, Any] = {}
    processors: tuple["Component", ...] = ()
    where: str = "default"
    object: Any = None


# Processors, on the caller's thread, before the journal; some also for one exporter.


class Flatten(Section, frozen=True):
    """Join the keys of nested mappings into one name."""

    separator: Annotated[str, Option("What stands between the parts of a joined key.", rule=rules.not_empty)] = "."


class Merge(Section, frozen=True):
    """Hold calls with `commit=False` or `step=` until their row is committed. Every pipeline has it once."""


class Summarize(Section, frozen=True):
    """Keep the run's summary up to date: last values, and what `define_metric` asks for."""

    must_follow: ClassVar[str | None] = "merge"


class Filter(Section, frozen=True):
    """Let through only some keys of a row."""

    needs_one: ClassVar[tuple[str, ...]] = ("include", "exclude")
    must_follow: ClassVar[str | None] = "merge"

    include: Annotated[list[str] | None, Option("Globs of the keys to keep, such as `train/*`; all when null.")] = None
    exclude: Annotated[list[str] | None, Option("Globs of the keys to leave out; wins over `include`.")] = None


class Rename(Section, frozen=True):
    """Give keys other names."""

    needs_one: ClassVar[tuple[str, ...]] = ("keys", "pattern")
    together: ClassVar[tuple[str, ...]] = ("pattern", "replacement")
    must_follow: ClassVar[str | None] = "merge"

    keys: Annotated[dict[str, str] | None, Option("Old name to new name; the pattern is not tried on these.")] = None
    pattern: Annotated[
        str | None, Option("A regular expression, replaced in every key.", rule=rules.regular_expression)
    ] = None
    replacement: Annotated[str | None, Option(r"What replaces `pattern`; `\1` is its first group.")] = None


class Sample(Section, frozen=True):
    """Keep every Nth row."""

    needs_one: ClassVar[tuple[str, ...]] = ("every",)
    must_follow: ClassVar[str | None] = "merge"

    every: Annotated[int | None, Option("How many rows there are for one that is kept.", minimum=1)] = None


AggregateFunction = Literal["mean", "min", "max", "last", "sum", "count"]


class Aggregate(Section, frozen=True):
    """Make one row out of several, for loops too fast to keep every row."""

    needs_one: ClassVar[tuple[str, ...]] = ("every", "interval")
    must_follow: ClassVar[str | None] = "merge"

    every: Annotated[int | None, Option("Rows that make one.", minimum=1)] = None
    interval: Annotated[
        int | None, Option("Milliseconds whose rows make one; with `every`, whichever comes first.", minimum=1)
    ] = None
    using: Annotated[
        AggregateFunction | dict[str, AggregateFunction],
        Option("What becomes of the numbers of a key; or a mapping of key glob to that."),
    ] = "mean"


class Redact(Section, frozen=True):
    """Replace values that must not be stored."""

    needs_one: ClassVar[tuple[str, ...]] = ("keys", "patterns")
    must_follow: ClassVar[str | None] = "flatten"

    keys: Annotated[list[str], Option("Globs of the keys whose values are replaced, such as `*token*`.")] = []
    patterns: Annotated[
        list[str], Option("Regular expressions, replaced inside every text.", rule=rules.regular_expression)
    ] = []
    replacement: Annotated[str, Option("What is stored instead.")] = "***"


class EncodeMedia(Section, frozen=True):
    """Where media leave the row for the encoder. Every pipeline has it, behind `merge` unless it is named."""

    must_follow: ClassVar[str | None] = "flatten"


PROCESSORS: dict[str, type[Section]] = {
    "flatten": Flatten,
    "merge": Merge,
    "summarize": Summarize,
    "filter": Filter,
    "rename": Rename,
    "sample": Sample,
    "aggregate": Aggregate,
    "redact": Redact,
    "encode_media": EncodeMedia,
}
PIPELINE_ONLY = {  # and why no exporter has them
    "flatten": "makes flat keys, which an exporter gets already",
    "merge": "makes rows, which an exporter gets already",
    "summarize": "keeps the summary of the run, not of one exporter",
    "aggregate": "holds rows back, which an exporter would miss after a crash",
    "encode_media": "makes files of media, which an exporter gets already",
}


# Exporters.


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
    headers_list: Annotated[
        str | None,
        Option('More headers in one text, "a=1,b=2"; `headers` wins.', rule=rules.attributes_list, secret=True),
    ] = None
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
    detectors: Annotated[
        list[str],
        Option(
            "OpenTelemetry resource detectors, such as `os`, or `container` of an installed package; "
            "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS adds to them."
        ),
    ] = []


class PrometheusRemoteWrite(Section, frozen=True):
    """Numbers and histograms to Prometheus, VictoriaMetrics, Mimir and others, by remote write 1.0."""

    endpoint: Annotated[str, Option("The address that takes remote write, with its path.")] = (
        "http://localhost:9090/api/v1/write"
    )
    headers: Annotated[
        dict[str, AttributeValue] | None, Option("Headers, as a list of {name, value}.", pairs=True, secret=True)
    ] = None
    headers_list: Annotated[
        str | None,
        Option('More headers in one text, "a=1,b=2"; `headers` wins.', rule=rules.attributes_list, secret=True),
    ] = None
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
    detectors: Annotated[
        list[str],
        Option(
            "OpenTelemetry resource detectors, such as `os`, or `container` of an installed package; "
            "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS adds to them."
        ),
    ] = []


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
    detectors: Annotated[list[str], Option("OpenTelemetry resource detectors, as in `otlp`.")] = []


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


# Groups of the file.


class Resource(Section, frozen=True):
    """What the data is about, as OpenTelemetry's resource. `service.name` is the project unless set here."""

    attributes: Annotated[dict[str, AttributeValue], Option("Attributes, as a list of {name, value}.", pairs=True)] = {}
    attributes_list: Annotated[
        str | None,
        Option('More attributes in one text, "a=1,b=2"; `attributes` wins.', rule=rules.attributes_list),
    ] = None


class Journal(Section, frozen=True):
    """The run's record on disk, which every exporter reads."""

    keep: Annotated[
        Literal["all", "undelivered"],
        Option("Whether rows stay after every exporter has them; read-back, resume and later exporters need them."),
    ] = "all"
    max_bytes: Annotated[int | None, Option("Most bytes of one run's journal; no limit when null.", minimum=1)] = None
    min_free: Annotated[
        int | None,
        Option("Bytes of the disk left to others; the smaller of 1 GiB and 5 % of the disk when null.", minimum=0),
    ] = None


class Ring(Section, frozen=True):
    """The shared memory that holds rows until they are in the journal."""

    bytes: Annotated[int, Option("Bytes at the start.", minimum=65_536)] = 2 * 1024 * 1024
    max_bytes: Annotated[
        int, Option("Most bytes it grows to; it never takes more than an eighth of what is free.", minimum=65_536)
    ] = 64 * 1024 * 1024


class Media(Section, frozen=True):
    """Images and whatever else becomes a file."""

    encode_in: Annotated[
        Literal["process", "thread"],
        Option("Where files are encoded: a process of its own at low priority, or a thread of the program."),
    ] = "process"
    max_waiting_bytes: Annotated[
        int,
        Option(
            "Most shared memory that media take while they wait to be encoded; beyond, they wait on disk.", minimum=0
        ),
    ] = 256 * 1024 * 1024


class SystemMetrics(Section, frozen=True):
    """This program's CPU, memory, disk and GPUs, under OpenTelemetry's names."""

    enabled: Annotated[bool, Option("Whether the sampler runs.")] = True
    interval: Annotated[int, Option("Milliseconds between two samples.", minimum=100)] = 10_000


class ConsoleCapture(Section, frozen=True):
    """What the program writes to standard output and standard error."""

    enabled: Annotated[bool, Option("Whether it is kept with the run.")] = False
    max_bytes: Annotated[int, Option("Most bytes kept of one run.", minimum=1)] = 10 * 1024 * 1024


class Capture(Section, frozen=True):
    """What milepost gathers by itself. `capture: false` switches all of it off."""

    enabled: Annotated[bool, Option("False switches off all that follows.")] = True
    environment: Annotated[
        bool, Option("Command, host, Python, packages, and the ids of SLURM or torchrun; tokens are redacted.")
    ] = True
    git: Annotated[
        bool, Option("Commit, branch, remote without credentials, and the size of the uncommitted diff.")
    ] = True
    system_metrics: Annotated[SystemMetrics, Option()] = SystemMetrics()
    console: Annotated[ConsoleCapture, Option()] = ConsoleCapture()


class Shipper(Section, frozen=True):
    """What sends rows to exporters that need the network."""

    run_in: Annotated[
        Literal["process", "thread"],
        Option("A process that serves every run of the directory, or a thread of the program."),
    ] = "process"
    linger: Annotated[int, Option("Milliseconds the process waits for more work before it exits.", minimum=0)] = 60_000


class Finish(Section, frozen=True):
    """How long `finish()` may take to deliver what is left. What is late stays in the journal for `milepost sync`."""

    timeout: Annotated[int, Option("Milliseconds.", minimum=0)] = 30_000
    timeout_after_exception: Annotated[
        int, Option("Milliseconds, when the program ends in an exception.", minimum=0)
    ] = 5_000


class Layout(Section, frozen=True, kw_only=True):
    """Everything that a config file, or `settings=` of `init()`, can say."""

    file_format: Annotated[
        str, Option('The version of this format, in quotes: "1.0". A file must have it.', rule=rules.file_format)
    ] = "1.0"
    project: Annotated[
        str, Option("The project that the run belongs to.", environment="MILEPOST_PROJECT", rule=rules.project)
    ] = "uncategorized"
    name: Annotated[str | None, Option("A name for people; made up when null.", environment="MILEPOST_NAME")] = None
    id: Annotated[
        str | None,
        Option(
            "The run's id; made up when null. Ranks with the same id join one run.",
            environment="MILEPOST_RUN_ID",
            rule=rules.run_id,
        ),
    ] = None
    dir: Annotated[
        Path,
        Option(
            "The runs directory. In a file, a relative path starts at that file; else, at the working directory.",
            environment="MILEPOST_DIR",
        ),
    ] = Path("milepost-runs")
    group: Annotated[str | None, Option("What several runs have in common.", environment="MILEPOST_RUN_GROUP")] = None
    job_type: Annotated[str | None, Option('The part this run plays, such as "train" or "eval".')] = None
    tags: Annotated[
        tuple[str, ...],
        Option("Words to find the run by, up to 64 characters each.", environment="MILEPOST_TAGS", rule=rules.tag),
    ] = ()
    notes: Annotated[str | None, Option("A longer text about the run.", environment="MILEPOST_NOTES")] = None
    mode: Annotated[
        Literal["online", "offline", "disabled"],
        Option(
            "Online delivers as it goes; offline keeps rows for `milepost sync`; disabled does nothing.",
            environment="MILEPOST_MODE",
        ),
    ] = "online"
    resume: Annotated[
        Literal["allow", "must", "never", "auto"] | None,
        Option(
            "Whether a run with this id goes on; `auto` (or true) takes the last one that crashed here.",
            environment="MILEPOST_RESUME",
        ),
    ] = None
    resume_step: Annotated[
        int | None, Option("The step at which a resumed run goes on; older rows from there are superseded.", minimum=0)
    ] = None
    on_invalid: Annotated[
        Literal["raise", "placeholder", "raise_first"],
        Option(
            "What data that cannot be logged does: raise, leave a typed placeholder, or raise in the first 100 rows only.",
            environment="MILEPOST_ON_INVALID",
        ),
    ] = "raise"
    steps: Annotated[
        Literal["ordered", "unordered"],
        Option("Whether a call with an older step is dropped with a warning, or stored and ordered when read."),
    ] = "ordered"
    device_values: Annotated[
        Literal["read"],
        Option("How a value on an accelerator is logged: `read` waits for the device and stores the value."),
    ] = "read"
    strict: Annotated[
        bool, Option("Whether `init()` raises where the runs directory allows only a weaker promise than usual.")
    ] = False
    resource: Annotated[Resource, Option()] = Resource()
    processors: Annotated[
        tuple[Component, ...],
        Option("What every call passes, in order, on the caller's thread, before the journal.", components="processor"),
    ] = tuple(Component(name=name) for name in ("flatten", "merge", "summarize"))
    exporters: Annotated[
        tuple[Component, ...],
        Option(
            "Where rows go from the journal; several at once, each with its own `processors`.", components="exporter"
        ),
    ] = tuple(Component(name=name) for name in ("console", "file"))
    journal: Annotated[Journal, Option()] = Journal()
    ring: Annotated[Ring, Option()] = Ring()
    media: Annotated[Media, Option()] = Media()
    capture: Annotated[Capture, Option()] = Capture()
    shipper: Annotated[Shipper, Option()] = Shipper()
    finish: Annotated[Finish, Option()] = Finish()


class Settings(Layout, frozen=True, kw_only=True):
    """The settings in force, each from the highest of: arguments, MILEPOST_*, the config file, OTEL_*, the default.

    file:     the config file in force, None when there is none.
    warnings: texts to show once; nothing here prints.
    hidden:   keys and attributes whose value came from a variable named like a secret; `effective()` masks them.
    `dir` is absolute. `resource.attributes` holds all attributes, `service.name` among them.
    """

    url: Annotated[
        str | None, Option("The address of a milepost server.", environment="MILEPOST_URL", in_file=False)
    ] = None
    api_key: Annotated[
        str | None, Option("The key for that server.", environment="MILEPOST_API_KEY", secret=True, in_file=False)
    ] = None
    file: Path | None = None
    warnings: tuple[str, ...] = ()
    hidden: frozenset[str] = frozenset()
