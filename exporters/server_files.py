"""Files to a milepost server: those that events tell of, by the hash of their content, when the server does not have it.

A file goes in pieces, from where an earlier try was cut, and then gets its name in the run. What cannot be sent is set aside
with a warning: its row is there.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from milepost.sdk.errors import Error
from milepost.sdk.event import Event
from milepost.sdk.exporter import RunInfo
from milepost.sdk.reading.media import inside

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("milepost")

PIECE: Final = 4 << 20
"""Bytes of a file in one request: what a broken connection costs at the most."""
MAX_SENDS: Final = 3
"""How often a file that arrives damaged is sent."""


class RowsFirst(Exception):
    """A file of a run that was deleted, which the rows of this writer will make anew: they have not come yet."""


class Files:
    """Sends files of one run. Remembers what it sent: most files are told of once, some again and again."""

    def __init__(self, run: RunInfo) -> None:
        self._run = run
        self._address = f"/api/v1/runs/{quote(run.id, safe='')}"
        self._sent: dict[str, str] = {}
        self._said: set[str] = set()

    def send(self, client: "httpx.Client", events: Sequence[Event]) -> "httpx.Response | None":
        """Send the files that the events tell of and the server lacks. None when all is there that can be, else the answer
        that says why not now. Raises `RowsFirst`."""
        for value in _files(events, self._run.dir):
            path, sha256 = value["path"], value["sha256"]
            if self._sent.get(path) == sha256:
                continue
            try:
                file = inside(self._run.dir, path)
                size = file.stat().st_size
            except (OSError, ValueError, Error) as error:
                self._say(f"the file {path} cannot be sent, its row is: {error}")
                continue
            if size != value.get("size", size):
                if path.startswith("media/"):  # which nobody writes again
                    why = f"it has {size:,} bytes, and had {value['size']:,}"
                    self._say(f"the file {path} is set aside, its row is sent: {why}; it stays in {file}")
                continue  # saved again since: what it is now is told by an event behind this one
            refused = self._send_file(client, file, path, size, sha256)
            if isinstance(refused, str):
                self._say(f"the file {path} is set aside, its row is sent: {refused}; it stays in {file}")
            elif refused is not None:
                return refused
            else:
                self._sent[path] = sha256
        return None

    def _send_file(
        self, client: "httpx.Client", file: Path, path: str, size: int, sha256: str
    ) -> "httpx.Response | str | None":
        """Send one file and name it. None: done; a text: it is refused for good; an answer: not now.

        One that arrives damaged is sent again, and so is one that the server forgot before it had its name.
        """
        content = f"/api/v1/blobs/sha256/{sha256}"
        why = ""
        for _ in range(MAX_SENDS):
            answer = self._send_content(client, content, file, size)
            if answer is None:
                # size: servers before 25 November 2026 refuse a name without it, and newer ones look at the content itself.
                told = {"project": self._run.project, "sha256": sha256, "size": size}
                answer = client.put(f"{self._address}/files/{quote(path)}", json=told)
                if answer.status_code < 400:
                    return None
            why = said(answer)
            if answer.status_code == 422 and not _has_hash(file, sha256):
                return "it was changed since it was logged"
            if answer.status_code == 410:
                state = self._writer_state(client)
                if state.status_code == 200:
                    raise RowsFirst(why)
                if state.status_code != 410:
                    return state  # which of the two it is cannot be told now
            if answer.status_code in (410, 413):
                return why
            if answer.status_code not in (404, 409, 422) or (answer.status_code == 404 and not _is_problem(answer)):
                return answer
        return f"it was sent {MAX_SENDS} times: {why}"

    def _send_content(self, client: "httpx.Client", address: str, file: Path, size: int) -> "httpx.Response | None":
        """Send what the server lacks of a content, from where an earlier try was cut; the answer that refused it, or None."""
        project = self._run.project
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

    def _writer_state(self, client: "httpx.Client") -> "httpx.Response":
        """What the server has of this writer. 410: it was deleted with its run. 200: nothing yet, or rows; a writer that was not
        deleted makes the run anew with its first row."""
        return client.get(f"{self._address}/writers/{self._run.writer}", params={"project": self._run.project})

    def _say(self, text: str) -> None:
        if text not in self._said and len(self._said) < 20:
            self._said.add(text)
            logger.warning("milepost: server: %s", text)


def said(answer: "httpx.Response") -> str:
    """What an answer says in words."""
    try:
        told = answer.json()
        return str(told.get("detail") or told.get("title"))[:300]
    except (ValueError, AttributeError):
        return answer.text[:100].strip() or answer.reason_phrase


def _files(events: Sequence[Event], run_dir: Path) -> Iterator[dict[str, Any]]:
    """What names a file: saved ones, and media at any depth, which events of their own tell of; cells of tables."""
    for event in events:
        if event.kind in ("file", "media"):
            for each in _within(event.values):
                if each.get("nmedia"):
                    yield from _in_cells(run_dir, each["path"])
                yield each


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


def _has_hash(file: Path, sha256: str) -> bool:
    with file.open("rb") as opened:
        found: str = hashlib.file_digest(opened, "sha256").hexdigest()
    return found == sha256


def _is_problem(answer: "httpx.Response") -> bool:
    """Whether a milepost server says so, and not something else at its address."""
    return str(answer.headers.get("content-type")).startswith("application/problem+json")
