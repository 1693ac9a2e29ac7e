"""`milepost export`: the whole, exact history of a run as CSV, JSON lines or Parquet, a few MiB of it in memory at a time.

              NaN, infinities                    lists, media      None        a row without the key
csv           NaN, Infinity, -Infinity           JSON text         empty       empty
jsonl         "NaN", "Infinity", "-Infinity"     JSON              null        the key is left out
parquet       as floats                          JSON text         null        null
"""

import contextlib
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Final, Literal

import click

from milepost.sdk.cli import out
from milepost.sdk.cli.card import count_rows
from milepost.sdk.cli.courses import matching
from milepost.sdk.cli.media_files import Files
from milepost.sdk.cli.runs import attempt_option, dir_option, find_run
from milepost.sdk.errors import MissingDependencyError, UsageError
from milepost.sdk.reading.history import Selection
from milepost.sdk.reading.result import why_empty
from milepost.sdk.reading.rows import Row, Wish, Wrap
from milepost.sdk.strict_json import json_lines, jsonable, strict_json
from milepost.sdk.values import INT_MAX

Format = Literal["csv", "jsonl", "parquet"]
Advance = Callable[[int], None]

_SLICE: Final = 512
_EXACT_INT: Final = 2**53
_ROW_GROUP_VALUES: Final = 1_000_000
_CLOCKS: Final = ("_step", "_timestamp", "_runtime")
_MARKS: Final = ("_writer", "_rank")


class Table:
    """The rows to export, which can be read several times.

    final:   called with each mapping (or list of some) of a row, for what stands in its place.
    columns: the union of their keys, the clocks first. known: whether `columns` is known without reading every row.
    """

    def __init__(
        self, selection: Selection, globs: Sequence[str], *, marked: bool, run: str, final: Wrap = lambda value: value
    ) -> None:
        self._selection = selection
        self._final = final
        self._globs = list(globs)
        self.rows_expected = count_rows(selection)
        keys = matching(selection.keys(), globs)
        if selection.has_inline_keys:
            keys = matching(_all_keys(selection), globs)
        if globs and not keys:
            raise UsageError(why_empty(selection, Wish(tuple(globs)), run))
        self.columns = [*_CLOCKS, *(_MARKS if marked else ()), *keys]
        self._wish = Wish(marked=marked)
        if globs:
            self._wish = Wish(tuple(keys), along=tuple(self.columns[: -len(keys)]), require="any", marked=marked)

    def __iter__(self) -> Iterator[Row]:
        return self._selection.scan(self._wish, self._final)


@click.command()
@click.argument("run")
@dir_option
@click.option(
    "--format",
    "-f",
    "form",
    type=click.Choice(["csv", "jsonl", "parquet"]),
    help="By default, what FILE ends in; else csv.",
)
@click.option("--output", "-o", metavar="FILE", help="Where to write; by default, or as -, to standard output.")
@click.option("--keys", "-k", multiple=True, metavar="GLOB", help="Only these keys, and rows that hold one of them.")
@click.option("--writer", "-w", metavar="WRITER", help='A rank, a writer\'s id, or "all"; by default, the lowest rank.')
@click.option(
    "--media", metavar="FOLDER", help="Copy the files of the rows' media to FOLDER; the rows' paths start there."
)
@attempt_option
def command(
    run: str,
    directory: str | None,
    form: str | None,
    output: str | None,
    keys: tuple[str, ...],
    writer: str | None,
    media: str | None,
    attempt: int | None,
) -> None:
    """Write every row of RUN: "project/id", an id or name, or the path of its directory.

    Columns are _step, _timestamp (seconds since 1970, UTC), _runtime (seconds), then the union of all keys. NaN and the
    infinities are NaN, Infinity and -Infinity in CSV, the same as text in JSON, and floats in Parquet. Lists and media
    are JSON text in CSV and Parquet. FILE is put in place when it is complete.
    """
    chosen = form or _ending(output) or "csv"
    to_stdout = output in (None, "-")
    if chosen == "parquet" and to_stdout and sys.stdout.isatty():
        raise UsageError("parquet is not for a terminal; name a file: -o history.parquet")
    if chosen == "parquet":
        _pyarrow()
    found = find_run(run, directory, attempt)
    selection = found.reader().select(_writer(writer))
    files = Files(found.dir, None if media is None else Path(media))
    table = Table(selection, keys, marked=writer == "all", run=found.path, final=files.final)
    write = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}[chosen]
    passes = 2 if chosen == "parquet" else 1
    with out.progress(f"exporting {found.path}", passes * table.rows_expected) as advance:
        if to_stdout:
            sys.stdout.flush()
            rows = write(table, sys.stdout.buffer, advance)
        else:
            with _in_place(Path(str(output))) as file:
                rows = write(table, file, advance)
    if not to_stdout:
        out.note(f"{rows:,} rows of {found.path} in {output}")
    if media is not None:
        out.note(f"{files.copied:,} media files of {found.path} in {media}")


def write_csv(table: Table, file: IO[bytes], advance: Advance = lambda _: None) -> int:
    """Write comma-separated values, UTF-8, a header first; the number of rows."""
    import csv
    import io

    text = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="", write_through=True)
    try:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(table.columns)
        rows = 0
        for batch in _batches(table):
            writer.writerows([_csv_cell(row.get(column)) for column in table.columns] for row in batch)
            rows += len(batch)
            advance(len(batch))
    finally:
        text.detach()  # the file stays open for whoever opened it
    return rows


def write_jsonl(table: Table, file: IO[bytes], advance: Advance = lambda _: None) -> int:
    """Write one object per row, as in history.jsonl; the number of rows."""
    rows = 0
    for batch in _batches(table):
        file.write(json_lines(batch))
        rows += len(batch)
        advance(len(batch))
    return rows


def write_parquet(table: Table, file: IO[bytes], advance: Advance = lambda _: None) -> int:
    """Write a Parquet file; the number of rows. Reads the rows twice: the type of a column is that of all its values."""
    pyarrow, parquet = _pyarrow()
    return _write_typed(table, pyarrow, lambda schema: parquet.ParquetWriter(file, schema), advance)


def write_arrow(table: Table, file: IO[bytes], advance: Advance = lambda _: None) -> int:
    """Write a stream of Arrow's IPC format; the number of rows. Columns as in Parquet."""
    pyarrow, _ = _pyarrow()
    return _write_typed(table, pyarrow, lambda schema: pyarrow.ipc.new_stream(file, schema), advance)


def _write_typed(table: Table, pyarrow: Any, writer_of: Callable[[Any], Any], advance: Advance) -> int:
    kinds: dict[str, set[type]] = {column: set() for column in table.columns}
    for batch in _batches(table):
        for row in batch:
            for column, value in row.items():
                wide = type(value) is int and abs(value) > _EXACT_INT
                kinds[column].add((_WideInt if value <= INT_MAX else str) if wide else type(value))
        advance(len(batch))
    makers = {column: _parquet_type(found) for column, found in kinds.items()}
    types = {"bool": pyarrow.bool_(), "int": pyarrow.int64(), "float": pyarrow.float64(), "text": pyarrow.string()}
    schema = pyarrow.schema([(column, types[name]) for column, (name, _) in makers.items()])
    rows = 0
    size = max(1, _ROW_GROUP_VALUES // len(table.columns))
    with writer_of(schema) as writer:
        for batch in _batches(table, size):
            columns = [
                pyarrow.array([make(row.get(column)) for row in batch], type=schema.field(column).type)
                for column, (_, make) in makers.items()
            ]
            writer.write_batch(pyarrow.RecordBatch.from_arrays(columns, schema=schema))
            rows += len(batch)
            advance(len(batch))
    return rows


class _WideInt(int):
    """The kind of a whole number that no float holds: a column that has floats besides is text, so that none changes.

    A number beyond 64 bits, such as the step that follows the last of them, makes its column text as well.
    """


def _batches(table: Iterable[Row], size: int = _SLICE) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in table:
        batch.append(row)
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


def _csv_cell(value: Any) -> Any:
    kind = type(value)
    if kind is float:
        return value if math.isfinite(value) else jsonable(value)
    if kind is int or kind is str:
        return value
    if value is None:
        return ""
    return "true" if value is True else "false" if value is False else strict_json(value).decode()


def _parquet_type(found: set[type]) -> tuple[str, Callable[[Any], Any]]:
    """The name of the type that holds all values of a column, and what makes one of a value."""
    kinds = found - {type(None)}
    if kinds == {bool}:
        return "bool", lambda value: value
    if kinds and kinds <= {int, _WideInt}:
        return "int", lambda value: value
    if kinds and kinds <= {int, float}:
        return "float", lambda value: None if value is None else float(value)
    return "text", _parquet_text


def _parquet_text(value: Any) -> str | None:
    if value is None:
        return None
    return str(jsonable(value)) if isinstance(value, str) else strict_json(value).decode()


def _all_keys(selection: Selection) -> list[str]:
    """The keys of every row; only for a run whose rows carry their own."""
    found: dict[str, None] = {}
    for row in selection.scan(Wish(), lambda value: value):
        found.update(dict.fromkeys(row))
    return [key for key in found if key not in _CLOCKS]


def _writer(text: str | None) -> str | int | None:
    return int(text) if text is not None and text.isdigit() and len(text) < 10 else text


def _ending(output: str | None) -> Format | None:
    endings: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
    return endings.get(Path(output or "").suffix.lower())


def _pyarrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise MissingDependencyError(
            'parquet needs pyarrow; install it with: pip install "milepost[parquet]"'
        ) from None


@contextlib.contextmanager
def _in_place(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes its name when it is complete; what stood there stays when it does not get that far."""
    if path.exists() and not path.is_file():  # /dev/stdout, a named pipe
        with path.open("wb") as file:
            yield file
        return
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with fresh.open("wb") as file:
            yield file
        os.replace(fresh, path)
    except OSError as error:
        if error.filename == str(fresh):
            error.filename = str(path)
        raise
    finally:
        fresh.unlink(missing_ok=True)
