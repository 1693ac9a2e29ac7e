"""server: rows, events and files of a run to a milepost server, each row exactly once.

A batch names the interval of numbers it covers, so that sending it again, or cut in another way, changes nothing there. Rows
do not wait for their media: they refer to them, an event says what became of each, and its file follows, by the hash of its
content, when the server does not have it. Until then whoever reads the row is told that the file is not here yet.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import quote, urlsplit

from milepost.sdk import wire
from milepost.sdk.batch import Batch, Rows, parts
from milepost.sdk.credentials import stored_key
from milepost.sdk.errors import ConfigurationError, Error
from milepost.sdk.event import Event
from milepost.sdk.exporter import ExportResult, Position, RunInfo
from milepost.sdk.reading.files import Unreadable, read_json
from milepost.sdk.reading.media import inside

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("milepost")

WANTS: Final = frozenset(
    (
        "row", "run.start", "run.finish", "environment", "config", "summary", "file", "metric", "meta", "rewind", "system",
        "console", "alert", "gap", "media",
    )
)  # fmt: skip
BEAT_TIMEOUT_S: Final = 5.0
PIECE: Final = 4 << 20
"""Bytes of a file in one request: what a broken connection costs at the most."""
MAX_SENDS: Final = 3
"""How often a file that arrives damaged is sent."""
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
    Raises ConfigurationError when there is no address, or none of a server.
    """

    name = "server"
    network: ClassVar[bool] = True
    media: ClassVar[str] = "pending"
    takes_rows = True
    wants = WANTS

    def __init__(self, url: str | None = None, api_key: str | None = None, timeout: int = 30_000) -> None:
        if not url:
            raise ConfigurationError("server: url is not set; give the server's address, or set MILEPOST_URL")
        told = urlsplit(url)
        if told.scheme not in ("http", "https") or not told.hostname or told.username or told.query:
            raise ConfigurationError(
                f"server: url is {url!r}; it must be an address such as https://milepost.example.org"
            )
        self._url = url.rstrip("/")
        self._key = api_key
        self._timeout_s = timeout / 1000
        self._client: httpx.Client | None = None
        self._run: RunInfo | None = None
        self._through = -1
        self._created = self._started = 0
        self._sent: dict[str, str] = {}
        self._said: set[str] = set()

    @staticmethod
    def with_environment(options: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
        """The options with what they leave open filled from MILEPOST_URL, MILEPOST_API_KEY and `milepost login`."""
        filled = dict(options)
        for option, variable in (("url", "MILEPOST_URL"), ("api_key", "MILEPOST_API_KEY")):
            if not filled.get(option) and environ.get(variable):
                filled[option] = environ[variable]
        if filled.get("url") and not filled.get("api_key") and (key := stored_key(str(filled["url"]))):
            filled["api_key"] = key
        return filled

    def start(self, run: RunInfo, position: Position | None) -> None:
        """Note the run; the connection is opened by the first export."""
        self._run = run
        self._through = int((position or {}).get("through", -1))
        self._created = _moment(run.dir / "run.json", "created_unix_nano")
        self._started = _moment(run.dir / "journal" / run.writer / "writer.json", "started_unix_nano")

    def position(self) -> dict[str, Any]:
        """The number up to which everything is accounted for."""
        return {"through": self._through}

    def export(self, batch: Sequence[Event]) -> ExportResult:
        """Send the batch: its rows and events, then the files it tells of."""
        import httpx

        run = self._run
        if run is None:
            return ExportResult.retry("the exporter was not started")
        whole = batch if isinstance(batch, Batch) else Batch([list(batch)])
        last = whole.last_seq
        # What was filtered out between two batches counts as accounted for; a batch of before a crash may come again.
        first = min(self._through + 1, whole.first_seq)
        sent = wire.batch_of(
            whole,
            first,
            last,
            project=run.project,
            writer=run.writer,
            attempt=run.attempt,
            rank=run.rank,
            parent=run.parent,
            host=run.host,
            started=self._started or _begun(whole),
            created=self._created,
        )
        try:
            self._client = self._client or self._open()
            answer = self._client.post(
                f"/api/v1/runs/{quote(run.id, safe='')}/batches",
                content=wire.encode(sent),
                headers={"Content-Type": wire.MEDIA_TYPE, "Content-Encoding": "zstd"},
            )
            if answer.status_code == 410:
                return ExportResult.rejected(whole.rows, f"HTTP 410: {_said(answer)}")
            result = self._result(answer)
            if result is ExportResult.SUCCESS:
                result = self._send_files(self._client, run, whole) or result
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            self._close()
            return ExportResult.retry(f"{self._url} cannot be reached: {error}"[:300])
        if result is ExportResult.SUCCESS:
            self._through = max(self._through, last)
        return result

    def beat(self, alive: bool) -> None:
        """Tell the server that the program lives, though it logs nothing, or that it is gone. Nothing hangs on it."""
        import httpx

        run = self._run
        if run is None or self._through < 0:
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
        said = _said(answer)
        if status in _LATER:
            return ExportResult.retry(f"{self._url} answers {status}: {said}", _retry_after(answer))
        if status in _SETTINGS or status < 400:
            return ExportResult.retry(f"{self._url} answers {status}: {_SETTINGS.get(status, said)}", 30.0)
        return ExportResult.refused(f"HTTP {status}: {said}")

    def _send_files(self, client: "httpx.Client", run: RunInfo, batch: Batch) -> ExportResult | None:
        """Send the files that the batch tells of and the server lacks; None when all is there that can be."""
        for value in _files(batch, run.dir):
            path, sha256 = value["path"], value["sha256"]
            if self._sent.get(path) == sha256:
                continue
            try:
                file = inside(run.dir, path)
                size = file.stat().st_size
            except (OSError, ValueError, Error) as error:
                self._say(f"the file {path} cannot be sent, its row is: {error}")
                continue
            if size != value.get("size", size):
                if path.startswith("media/"):  # which nobody writes again
                    why = f"it has {size:,} bytes, and had {value['size']:,}"
                    self._say(f"the file {path} is set aside, its row is sent: {why}; it stays in {file}")
                continue  # saved again since: what it is now is told by an event behind this one
            refused = self._send_file(client, run, file, path, size, sha256)
            if isinstance(refused, str):
                self._say(f"the file {path} is set aside, its row is sent: {refused}; it stays in {file}")
            elif refused is not None:
                return self._result(refused)
            else:
                self._sent[path] = sha256
        return None

    def _send_file(
        self, client: "httpx.Client", run: RunInfo, file: Path, path: str, size: int, sha256: str
    ) -> "httpx.Response | str | None":
        """Send one file and name it. None: done; a text: it is refused for good; an answer: not now.

        One that arrives damaged is sent again, and so is one that the server forgot before it had its name.
        """
        address, told = f"/api/v1/blobs/sha256/{sha256}", {"project": run.project, "sha256": sha256, "size": size}
        why = ""
        for _ in range(MAX_SENDS):
            answer = self._send_content(client, address, run.project, file, size)
            if answer is None:
                answer = client.put(f"/api/v1/runs/{quote(run.id, safe='')}/files/{quote(path)}", json=told)
                if answer.status_code < 400:
                    return None
            why = _said(answer)
            if answer.status_code == 422 and not _has_hash(file, sha256):
                return "it was changed since it was logged"
            if answer.status_code in (410, 413, 415):
                return why
            if answer.status_code not in (404, 409, 422) or (answer.status_code == 404 and not _is_problem(answer)):
                return answer
        return f"it was sent {MAX_SENDS} times: {why}"

    def _send_content(
        self, client: "httpx.Client", address: str, project: str, file: Path, size: int
    ) -> "httpx.Response | None":
        """Send what the server lacks of a content, from where an earlier try was cut; the answer that refused it, or None."""
        asked = client.head(address, params={"project": project})
        if asked.status_code == 200:
            return None
        if asked.status_code != 404:
            return client.get(address, params={"project": project})  # the same refusal, with its reason
        offset = int(asked.headers.get("upload-offset", "0"))
        with file.open("rb") as source:
            while True:
                source.seek(offset)
                piece = source.read(PIECE)
                headers = {"Upload-Offset": str(offset), "Upload-Length": str(size)}
                answer = client.patch(address, params={"project": project}, content=piece, headers=headers)
                if answer.status_code not in (200, 204):
                    return answer
                offset += len(piece)
                if offset >= size or not piece:
                    return None

    def _say(self, text: str) -> None:
        if text not in self._said and len(self._said) < 20:
            self._said.add(text)
            logger.warning("milepost: server: %s", text)

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


def _files(batch: Batch, run_dir: Path) -> Iterator[dict[str, Any]]:
    """What names a file: saved ones, and media values at any depth: in lists, masks of pictures, cells of tables."""
    for part in parts(batch):
        if isinstance(part, Rows):
            columns = part.columns[4:]
            values = (value for column in columns if not {dict, list}.isdisjoint(map(type, column)) for value in column)
        else:
            values = (value for event in part for value in _that_name_files(event))
        for value in values:
            if isinstance(value, dict | list):
                for each in _within(value):
                    if each.get("nmedia"):
                        yield from _in_cells(run_dir, each["path"])
                    yield each


def _that_name_files(event: Event) -> Iterator[Any]:
    """The values of an event that may name files; a file that was saved, and one of media, is named by the event as a whole."""
    if event.kind in ("file", "media"):
        yield event.values
    elif event.kind in ("row", "summary"):
        yield from event.values.values()


def _has_hash(file: Path, sha256: str) -> bool:
    with file.open("rb") as opened:
        found: str = hashlib.file_digest(opened, "sha256").hexdigest()
    return found == sha256


def _is_problem(answer: "httpx.Response") -> bool:
    """Whether a milepost server says so, and not something else at its address."""
    return str(answer.headers.get("content-type")).startswith("application/problem+json")


def _within(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping with a file in a value."""
    if isinstance(value, dict):
        if isinstance(value.get("path"), str) and isinstance(value.get("sha256"), str):
            yield value
        for item in value.values():
            yield from _within(item)
    elif isinstance(value, list):
        for item in value:
            yield from _within(item)


def _in_cells(run_dir: Path, path: str) -> Iterator[dict[str, Any]]:
    """The media in the cells of a table's file, which its row only counts."""
    try:
        yield from _within(json.loads(inside(run_dir, path).read_bytes()))
    except (OSError, ValueError, Error):
        return  # the file itself is what cannot be sent, and that is said


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


def _said(answer: "httpx.Response") -> str:
    try:
        told = answer.json()
        return str(told.get("detail") or told.get("title"))[:300]
    except (ValueError, AttributeError):
        return answer.text[:100].strip() or answer.reason_phrase


def _retry_after(answer: "httpx.Response") -> float | None:
    text = answer.headers.get("retry-after", "")
    return min(float(text), 3600.0) if text.replace(".", "", 1).isdigit() else None
