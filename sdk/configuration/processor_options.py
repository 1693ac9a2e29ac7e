"""The options of the built-in processors, declared as in `declarations.py`.

They run on the caller's thread, before the journal; some also for one exporter.
"""

from typing import Annotated, ClassVar, Literal

from milepost.sdk.configuration import rules
from milepost.sdk.configuration.option import Option, Section


class Flatten(Section, frozen=True):
    """Join the keys of nested mappings into one name."""

    must_precede: ClassVar[str | None] = "merge"

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
    """Where media leave the row for the encoder. Every pipeline has it: behind `merge` and filters that follow, or as named."""

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
