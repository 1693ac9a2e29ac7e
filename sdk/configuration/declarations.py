"""Every key of the config file, once: name, type, default and one sentence.

Validation, `milepost.schema.json`, `docs/configuration.md` and the table of environment variables are read from here.
Durations are whole milliseconds and sizes whole bytes, as OpenTelemetry writes them. The keys at the top carry the names of
the keyword arguments of `init()`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from milepost.sdk.configuration import rules
from milepost.sdk.configuration.option import AttributeValue, Option, Section


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
    ] = 512 * 1024 * 1024


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
        Literal["read", "defer"],
        Option(
            "How a value on an accelerator is logged: `read` waits for the device and stores the value; `defer` copies it "
            "without waiting, and SIGKILL loses the rows whose values had not arrived."
        ),
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
