"""Runs of a server, read over HTTP: the same objects as over a directory, with the same answers.

What a run in a directory reads from its journal, a run of a server asks for; everything else is the one class `Run`.
"""

import atexit
import contextlib
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote

import msgspec

from milepost.sdk.errors import Error, MissingDependencyError, RunNotFoundError, UnreachableError, UsageError
from milepost.sdk.event import Event
from milepost.sdk.reader import Problem, RunReader
from milepost.sdk.reading.history import Selection
from milepost.sdk.reading.media import Source, inside
from milepost.sdk.reading.result import History, QueryError
from milepost.sdk.reading.rows import Row, Wish, Wrap
from milepost.sdk.reading.run import Run
from milepost.sdk.reading.run_files import File, target_of
from milepost.sdk.reading.wish import LAST_STEP, check_writer_form

if TYPE_CHECKING:
    import httpx

_decode: Final = msgspec.msgpack.Decoder().decode
_PAGE: Final = 1000


class Server:
    """A milepost server. key: an API key with the scope read; None for a server that asks for none.

    What goes wrong on the way is an `Error` that names the server, whatever library or proxy said it.
    """

    def __init__(self, url: str, key: str | None) -> None:
        try:
            import httpx
        except ImportError:
            raise MissingDependencyError("Api(URL) needs httpx; install it with: pip install httpx") from None
        self.url = url.rstrip("/")
        self._has_key = key is not None
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            self._client = httpx.Client(
                base_url=f"{self.url}/api/v1", headers=headers, timeout=120, follow_redirects=False
            )
        except (httpx.InvalidURL, UnicodeError, ValueError) as error:
            raise Error(f"{url!r} is no address of a server: {error}") from None
        weakref.finalize(self, self._client.close)

    def json(self, path: str, **query: Any) -> Any:
        """The answer to a GET. Raises `RunNotFoundError`, `QueryError` or `Error`."""
        answer = self._answer("GET", path, params={k: v for k, v in query.items() if v is not None})
        return self._decoded(msgspec.json.decode, answer.content)

    def packed(self, path: str) -> Any:
        """As `json`, of an answer in msgpack."""
        return self._decoded(_decode, self._answer("GET", path).content)

    def save(self, path: str, target: Path) -> None:
        """Put the bytes of an answer into a file, which has its name when it is complete; however large, a little at a time."""
        fresh = target.with_name(f".{target.name[:100]}.{os.getpid()}-{threading.get_ident()}.new")
        try:
            with self._stream("GET", path) as answer, fresh.open("wb") as file:
                for chunk in answer.iter_bytes(1 << 20):
                    file.write(chunk)
            os.replace(fresh, target)
        finally:
            fresh.unlink(missing_ok=True)

    def pages(self, path: str, asked: dict[str, Any]) -> Iterator[Any]:
        """The values of a stream, each behind its size in 4 bytes. Raises `Error` when it breaks off."""
        with self._stream("POST", path, json=asked) as answer:
            buffer = bytearray()
            for chunk in answer.iter_bytes():
                buffer += chunk
                at = 0
                while len(buffer) - at >= 4 and len(buffer) - at - 4 >= int.from_bytes(buffer[at : at + 4], "big"):
                    size = int.from_bytes(buffer[at : at + 4], "big")
                    yield self._decoded(_decode, buffer[at + 4 : at + 4 + size])
                    at += 4 + size
                del buffer[:at]

    @contextlib.contextmanager
    def _stream(self, method: str, path: str, **more: Any) -> Iterator["httpx.Response"]:
        """An answer that is read as it comes."""
        import httpx

        begun = False
        try:
            with self._client.stream(method, path, **more) as answer:
                begun = True
                if answer.status_code != 200:
                    answer.read()
                    self._raise(answer)
                yield answer
        except (httpx.HTTPError, httpx.StreamError) as error:
            what = "broke off in the middle of an answer" if begun else "cannot be reached"
            raise UnreachableError(f"{self.url} {what}: {error}") from None

    def _answer(self, method: str, path: str, **more: Any) -> "httpx.Response":
        import httpx

        try:
            answer = self._client.request(method, path, **more)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise UnreachableError(f"{self.url} cannot be reached: {error}") from None
        if answer.status_code != 200:
            self._raise(answer)
        return answer

    def _decoded(self, decode: Callable[[Any], Any], data: Any) -> Any:
        try:
            return decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Error(f"{self.url} does not answer as a milepost server does; is it one?") from None

    def _raise(self, answer: "httpx.Response") -> None:
        code = answer.status_code
        try:
            told = answer.json()
            said = str(told.get("detail") or told.get("title"))
        except (ValueError, AttributeError):
            said = answer.text[:200]
            if code == 404:  # a server says what it has not got
                raise Error(f"{self.url} does not answer as a milepost server does (404); is it one?") from None
        if code == 404:
            raise RunNotFoundError(said)
        if code in (400, 422):
            raise QueryError(said)
        if code == 401 and self._has_key:
            text = "it is wrong, expired or revoked: give another with MILEPOST_API_KEY, Api(url, api_key=...)"
            raise Error(f"{self.url} does not take this key; {text}, or milepost login")
        if code == 401:
            text = "set MILEPOST_API_KEY, give Api(url, api_key=...), or keep one with milepost login"
            raise Error(f"{self.url} asks for a key: {text}")
        if 300 <= code < 400:
            raise Error(f"{self.url} sends on to {answer.headers.get('location', 'nowhere')[:200]!r}; use that address")
        raise (UnreachableError if code >= 500 else Error)(f"{self.url} answers {code}: {said}")


class RemoteSelection:
    """The rows of some writers of a run, as `Selection` has them."""

    has_inline_keys = False

    def __init__(self, run: "RemoteRun", writer: str | int | None) -> None:
        self._run = run
        self._writer = writer

    def keys(self) -> list[str]:
        """The keys of the run."""
        keys: list[str] = self._run.whole()["keys"]
        return keys

    def pages(self, wish: Wish, wrap: Wrap) -> Iterator[list[Row]]:
        """Every row, in order, some at a time."""
        complete = False
        for page in self._run.server.pages(self._run.address("/read"), self._asked(wish)):
            complete = page is None
            if page:
                yield [_wrapped(row, wrap) for row in page]
        if not complete:
            raise Error(f"{self._run.server.url} broke off in the middle of the rows; read them again")

    def sample(self, wish: Wish, wrap: Wrap, samples: int | None) -> tuple[list[Row], int]:
        """At most `samples` rows, evenly spaced, and how many there are."""
        if samples is None:
            rows = [row for page in self.pages(wish, wrap) for row in page]
            return rows, len(rows)
        found = list(self._run.server.pages(self._run.address("/read"), {**self._asked(wish), "samples": samples}))
        if len(found) != 2:
            raise Error(f"{self._run.server.url} broke off in the middle of the rows; read them again")
        told, rows = found
        return [_wrapped(row, wrap) for row in rows], told["total"]

    def _asked(self, wish: Wish) -> dict[str, Any]:
        return {
            "keys": None if wish.keys is None else list(wish.keys),
            "along": list(wish.along),
            "require": wish.require,
            "low": _step(wish.low),
            "high": _step(wish.high),
            "writer": self._writer,
            "superseded": wish.superseded,
        }


def _step(step: int) -> int:
    """The nearest one to a number that a step can be, or the first that none can be."""
    return min(max(step, 0), LAST_STEP + 1)


def _wrapped(row: Row, wrap: Wrap) -> Row:
    made: Any = wrap
    return {key: made(value) if isinstance(value, (dict, list)) else value for key, value in row.items()}


class RemoteRun(Run):
    """A run of a server. Each call asks the server anew."""

    def __init__(self, server: Server, told: dict[str, Any]) -> None:
        super().__init__(Path(str(told["id"])))
        self.server = server
        self._told_of = told

    def address(self, more: str = "") -> str:
        """Its path in the API."""
        told = self._told_of
        return f"/runs/{quote(told['project'], safe='')}/{quote(told['id'], safe='')}{more}"

    def listed(self, word: str) -> str | None:
        """Its id or name as the list of runs had them."""
        value = self._told_of.get(word)
        return value if isinstance(value, str) else None

    def whole(self) -> dict[str, Any]:
        """Everything it says of itself now."""
        whole: dict[str, Any] = self.server.packed(self.address("/whole"))
        return whole

    def select(self, writer: str | int | None = None) -> Selection:
        """The rows of some writers. Raises `UsageError` for what cannot name any."""
        check_writer_form(writer)
        return cast(Selection, RemoteSelection(self, writer))

    def check_writer(self, writer: str | int | None) -> None:
        """Raise `QueryError` for a writer that the run does not have."""
        if writer is not None and writer != "all":
            for _ in self.select(writer).pages(Wish(low=0, high=0), lambda value: value):
                pass

    def _source(self) -> Source:
        return RemoteSource(self.server, self.address())

    @property
    def system(self) -> History:
        """Rows of system metrics."""
        return History(self.server.packed(self.address("/system")))

    def events(self, *kinds: str) -> Iterator[Event]:
        """Not answered by a server: `history`, `system` and the properties give what they hold."""
        raise UsageError("the events of a run are in its journal; a server gives rows, system metrics and properties")

    def reader(self) -> RunReader:
        """Not answered by a server."""
        raise UsageError("the journal of a run is in its directory; a server has none")

    @property
    def summary(self) -> dict[str, Any]:
        """The last value of each name, nested, and aggregates."""
        summary: dict[str, Any] = self.whole()["summary"]
        return summary

    @property
    def config(self) -> dict[str, Any]:
        """The config as nested plain values."""
        config: dict[str, Any] = self.whole()["config"]
        return config

    @property
    def metadata(self) -> dict[str, Any]:
        """What ran."""
        metadata: dict[str, Any] = self.whole()["metadata"]
        return metadata

    @property
    def state(self) -> str:
        """ "running", "finished", "failed", "preempted" or "crashed"."""
        return str(self.whole()["state"])

    @property
    def tags(self) -> list[str]:
        """Its tags."""
        return list(self.whole()["tags"])

    @property
    def created_unix_nano(self) -> int:
        """When it was first started, nanoseconds since 1970."""
        return round(float(self._told_of["created"]) * 1e9)

    @property
    def attempt(self) -> int:
        """Which attempt at this id is read."""
        return int(self.whole()["attempt"])

    @property
    def attempts(self) -> list[int]:
        """The attempts that there are."""
        return list(self.whole()["attempts"])

    @property
    def url(self) -> None:
        """None, until pages have addresses that do not change."""
        return

    @property
    def last_step(self) -> int | None:
        """The highest step of its rows, or None without rows."""
        step: int | None = self.whole()["last_step"]
        return step

    def files(self) -> list[File]:
        """Every file of the run, by name."""
        told = self.server.json(self.address("/files"))["files"]
        return [RemoteFile(self.server, self.address(), each["name"], each["size"]) for each in told]

    def accounting(self) -> dict[str, Any]:
        """Where every row is, as far as the server knows."""
        completeness: dict[str, Any] = self.whole()["completeness"]
        return completeness

    @property
    def damage(self) -> list[Problem]:
        """Nothing: what reached the server is whole."""
        return []

    def _text(self, name: str) -> str | None:
        value = self._told_of.get(name) if name in ("id", "project") else self.whole().get(name)
        return value if isinstance(value, str) and value else None


class RemoteFile(File):
    """One file of a run of a server. path: nothing is there."""

    def __init__(self, server: Server, address: str, name: str, size: int) -> None:
        super().__init__(Path(), name, size)
        self._server = server
        self._address = address

    def download(self, dir: Any = ".", replace: bool = False) -> Path:
        """Fetch it to dir/name; the path of the copy. Raises `UsageError`."""
        target = target_of(dir, self.name, replace)
        target.parent.mkdir(parents=True, exist_ok=True)
        self._server.save(f"{self._address}/files/{quote(self.name)}", target)
        return target


class RemoteSource(Source):
    """Where the files of a run's media are: fetched when they are opened, into a folder that ends with the program."""

    def __init__(self, server: Server, address: str) -> None:
        super().__init__(Path())
        self._server = server
        self._address = address

    @cached_property
    def _folder(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="milepost-media-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def final(self, value: dict[str, Any]) -> dict[str, Any]:
        """The value as it is: the server filled everything in."""
        return value

    def place(self, path: str) -> Path:
        """A copy of a file, fetched when it is first asked for."""
        copy = inside(self._folder, path)
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            self._server.save(f"{self._address}/files/{quote(path)}", copy)
        return copy


def runs_of(server: Server, project: str) -> Iterator[RemoteRun]:
    """The runs of a project, archived ones too, oldest first: what begins meanwhile comes last, and moves no page."""
    asked = {"limit": _PAGE, "filter": "archived or not archived", "sort": "created", "order": "asc"}
    seen: set[str] = set()
    offset = 0
    while True:
        page = server.json(f"/projects/{quote(project, safe='')}/runs", offset=offset, **asked)
        for told in page["runs"]:
            if told["id"] not in seen:
                seen.add(told["id"])
                yield RemoteRun(server, told)
        offset += _PAGE
        if offset >= page["total"]:
            return


def run_at(server: Server, project: str, run: str) -> RemoteRun | None:
    """The run of that id; None when there is none."""
    try:
        return RemoteRun(server, server.json(f"/runs/{quote(project, safe='')}/{quote(run, safe='')}"))
    except RunNotFoundError:
        return None


def projects_of(server: Server) -> list[str]:
    """The projects that hold runs, by name."""
    return [each["name"] for each in server.json("/projects")["projects"]]
