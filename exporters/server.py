"""server: rows, events and files of a run to a milepost server, each row exactly once.

A batch names the interval of numbers it covers, so that sending it again, or cut in another way, changes nothing there. Rows
do not wait for their media: they refer to them, an event says what became of each, and its file follows (`server_files`).
Until then whoever reads the row is told that the file is not here yet. Files go their own way, with a cursor and a connection
of their own: no row waits behind a film.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import quote, urlsplit

from milepost.exporters import server_options
from milepost.exporters.server_files import Files, RowsFirst, said
from milepost.exporters.server_options import SIGNALS
from milepost.sdk import wire
from milepost.sdk.batch import Batch
from milepost.sdk.cursor import FILES
from milepost.sdk.errors import ConfigurationError
from milepost.sdk.event import Event
from milepost.sdk.exporter import ExportResult, Position, RunInfo
from milepost.sdk.reading.files import Unreadable, read_json

if TYPE_CHECKING:
    import httpx

WANTS: Final = frozenset(
    (
        "row", "run.start", "run.finish", "environment", "config", "summary", "file", "metric", "meta", "rewind", "system",
        "console", "alert", "gap", "media",
    )
)  # fmt: skip
ROWS_FIRST_S: Final = 5.0
"""How long a file waits for the rows that come before it until that is worth a word."""
BEAT_TIMEOUT_S: Final = 5.0
_LATER: Final = frozenset((408, 425, 429, 500, 502, 503, 504, 507))
_SETTINGS: Final = {
    401: "the server does not know this key; set api_key, or MILEPOST_API_KEY",
    403: "the key may not send to this project; ask for one with the scope ingest",
    404: "no milepost server answers there; look at url",
    405: "no milepost server takes rows there; look at url",
    415: "the server does not take this version of batches; install a newer one there",
    421: "another host answers there; look at url",
}


class ServerExporter:
    """Sends to one server.

    url: its address, such as `https://milepost.example.org`. api_key: a key with the scope ingest. timeout: milliseconds.
    signals: "rows" (all but files), "files", or both.
    Raises ConfigurationError when there is no address, or none of a server.
    """

    name = "server"
    network: ClassVar[bool] = True
    media: ClassVar[str] = "pending"
    takes_rows = True

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        timeout: int = 30_000,
        signals: Sequence[str] = SIGNALS,
    ) -> None:
        if not url:
            raise ConfigurationError("server: url is not set; give the server's address, or set MILEPOST_URL")
        told = urlsplit(url)
        if told.scheme not in ("http", "https") or not told.hostname or told.username or told.query:
            raise ConfigurationError(
                f"server: url is {url!r}; it must be an address such as https://milepost.example.org"
            )
        if not signals or not set(signals) <= set(SIGNALS):
            raise ConfigurationError(f"server: signals are some of {', '.join(SIGNALS)}, got {list(signals)}")
        self.wants = WANTS if "rows" in signals else FILES
        self._sends_rows = "rows" in signals
        self._sends_files = "files" in signals
        self._url = url.rstrip("/")
        self._key = api_key
        self._timeout_s = timeout / 1000
        self._client: httpx.Client | None = None
        self._run: RunInfo | None = None
        self._files: Files | None = None
        self._through = -1
        self._created = self._started = 0
        self._rows_missed_at = 0.0

    parts = staticmethod(server_options.parts)
    with_environment = staticmethod(server_options.with_environment)

    def start(self, run: RunInfo, position: Position | None) -> None:
        """Note the run; the connection is opened by the first export."""
        self._run = run
        self._files = Files(run) if self._sends_files else None
        self._through = int((position or {}).get("through", -1))
        self._created = _moment(run.dir / "run.json", "created_unix_nano")
        self._started = _moment(run.dir / "journal" / run.writer / "writer.json", "started_unix_nano")

    def position(self) -> dict[str, Any]:
        """The number up to which everything is accounted for."""
        return {"through": self._through}

    def export(self, batch: Sequence[Event]) -> ExportResult:
        """Send the batch: its rows and events, and the files it tells of."""
        import httpx

        run = self._run
        if run is None:
            return ExportResult.retry("the exporter was not started")
        whole = batch if isinstance(batch, Batch) else Batch([list(batch)])
        try:
            self._client = self._client or self._open()
            result = self._export_rows(self._client, run, whole) if self._sends_rows else ExportResult.SUCCESS
            if result is ExportResult.SUCCESS and self._files is not None:
                refused = self._files.send(self._client, whole)
                result = ExportResult.SUCCESS if refused is None else self._result(refused)
        except RowsFirst as first:
            now = time.monotonic()
            self._rows_missed_at = self._rows_missed_at or now
            why = f"{self._url}: {first}"
            return ExportResult.retry(why if now - self._rows_missed_at >= ROWS_FIRST_S else "", after_s=1.0)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            self._close()
            return ExportResult.retry(f"{self._url} cannot be reached: {error}"[:300])
        self._rows_missed_at = 0.0
        if result is ExportResult.SUCCESS:
            self._through = max(self._through, whole.last_seq)
        return result

    def _export_rows(self, client: "httpx.Client", run: RunInfo, batch: Batch) -> ExportResult:
        # What was filtered out between two batches counts as accounted for; a batch of before a crash may come again.
        first = min(self._through + 1, batch.first_seq)
        sent = wire.batch_of(
            batch,
            first,
            batch.last_seq,
            project=run.project,
            writer=run.writer,
            attempt=run.attempt,
            rank=run.rank,
            parent=run.parent,
            host=run.host,
            started=self._started or _begun(batch),
            created=self._created,
        )
        answer = client.post(
            f"/api/v1/runs/{quote(run.id, safe='')}/batches",
            content=wire.encode(sent),
            headers={"Content-Type": wire.MEDIA_TYPE, "Content-Encoding": "zstd"},
        )
        if answer.status_code == 410:
            return ExportResult.rejected(batch.rows, f"HTTP 410: {said(answer)}")
        return self._result(answer)

    def beat(self, alive: bool) -> None:
        """Tell the server that the program lives, though it logs nothing, or that it is gone. Nothing hangs on it."""
        import httpx

        run = self._run
        if run is None or self._through < 0 or not self._sends_rows:
            return
        try:
            self._client = self._client or self._open()
            self._client.post(
                f"/api/v1/runs/{quote(run.id, safe='')}/writers/{run.writer}/heartbeat",
                json={"project": run.project, "alive": alive},
                timeout=min(self._timeout_s, BEAT_TIMEOUT_S),
            )
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):
            self._close()  # the next export says what is wrong

    def _result(self, answer: "httpx.Response") -> ExportResult:
        status = answer.status_code
        if status == 200:
            return ExportResult.SUCCESS
        why = said(answer)
        if status in _LATER:
            return ExportResult.retry(f"{self._url} answers {status}: {why}", _retry_after(answer))
        if status in _SETTINGS or status < 400:
            return ExportResult.retry(f"{self._url} answers {status}: {_SETTINGS.get(status, why)}", 30.0)
        return ExportResult.refused(f"HTTP {status}: {why}")

    def _open(self) -> "httpx.Client":
        import httpx

        headers = {"User-Agent": "milepost"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        return httpx.Client(base_url=self._url, headers=headers, timeout=self._timeout_s, follow_redirects=False)

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held back: what was exported is on the server's disk."""
        return True

    def shutdown(self, timeout_millis: int = 30_000) -> None:
        """Close the connection."""
        self._close()


def _begun(batch: Batch) -> int:
    first = batch[0]
    return first.time_unix_nano if first.kind == "run.start" else 0


def _moment(path: Path, name: str) -> int:
    """A time that a small file of the run tells; 0 when it does not."""
    try:
        value = read_json(path).get(name)
    except Unreadable:
        return 0
    return value if isinstance(value, int) and 0 <= value < 2**63 else 0


def _retry_after(answer: "httpx.Response") -> float | None:
    text = answer.headers.get("retry-after", "")
    return min(float(text), 3600.0) if text.replace(".", "", 1).isdigit() else None
