"""All rows of a run as a file: JSON lines, CSV, Parquet, Arrow; written as the rows are read, so a long run takes no memory.

In JSON lines NaN and the infinities are the texts "NaN", "Infinity", "-Infinity"; in CSV these without quotes; Parquet and Arrow
have them as floats. Lists and media are JSON text in CSV, Parquet and Arrow.
"""

import io
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Any, cast
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from milepost.sdk.cli.export import Table, write_arrow, write_csv, write_jsonl, write_parquet
from milepost.server.forms import TYPES, VARY, check_pyarrow
from milepost.server.records import RunRecord
from milepost.server.store.ingest import NoSpace

Pages = Callable[[], Iterator[list[dict[str, Any]]]]

_CHUNK = 1 << 16


class _Rows:
    """Rows and their columns, as the writers of `milepost export` take them."""

    def __init__(self, pages: Pages, columns: list[str]) -> None:
        self._pages = pages
        self.columns = columns

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for page in self._pages():
            yield from page


def file_of(pages: Pages, run: RunRecord, form: str) -> Response:
    """The rows as an attachment. Raises `UsageError` for a query that cannot be answered, before anything is sent."""
    check_pyarrow(form)
    first = pages()
    if form == "jsonl":
        body = _parts_of(first, lambda page, file: write_jsonl(_table([page], []), file))
    else:
        columns = _columns(first)
        body = _csv(pages(), columns) if form == "csv" else _typed(pages, columns, form)
    name = quote(f"{run.project}-{run.id}.{form}", safe="")
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}", "X-Content-Type-Options": "nosniff"}
    return StreamingResponse(body, headers=headers | VARY, media_type=TYPES[form])


def _table(pages: Any, columns: list[str]) -> Table:
    return cast(Table, _Rows(lambda: iter(pages), columns))


def _columns(pages: Iterator[list[dict[str, Any]]]) -> list[str]:
    """The union of the rows' keys, the clocks first."""
    found: dict[str, None] = dict.fromkeys(("_step", "_timestamp", "_runtime"))
    seen: dict[str, None] = {}
    for page in pages:
        for row in page:
            seen.update(dict.fromkeys(row))
    return [*(key for key in found if key in seen), *(key for key in seen if key not in found)]


def _parts_of(
    pages: Iterator[list[dict[str, Any]]], write: Callable[[list[dict[str, Any]], IO[bytes]], object]
) -> Iterator[bytes]:
    for page in pages:
        file = io.BytesIO()
        write(page, file)
        yield file.getvalue()


def _csv(pages: Iterator[list[dict[str, Any]]], columns: list[str]) -> Iterator[bytes]:
    head = io.BytesIO()
    write_csv(_table([], columns), head)
    yield head.getvalue()
    length = len(head.getvalue())
    yield from (part[length:] for part in _parts_of(pages, lambda page, file: write_csv(_table([page], columns), file)))


def _typed(pages: Pages, columns: list[str], form: str) -> Iterator[bytes]:
    """Written to a temporary file first: a Parquet file has its directory at the end, and an error is still an answer."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the answer was sent
    try:
        write = write_parquet if form == "parquet" else write_arrow
        write(cast(Table, _Rows(pages, columns)), file)
    except BaseException as error:
        file.close()
        if isinstance(error, OSError):
            raise NoSpace(
                f"the file is made on the server's disk first, which does not take it: {error.strerror}"
            ) from None
        raise
    file.seek(0)

    def parts() -> Iterator[bytes]:
        with file:
            while chunk := file.read(_CHUNK):
                yield chunk

    return parts()
