"""Media values of a row, read back: the mapping that was stored, which also opens its file and turns into an object.

A value whose file is not there yet (the program runs, or was killed before it was encoded) is answered from the bytes that
were kept of it: they are encoded here, in memory, and nothing is written.
"""

import contextlib
import hashlib
import io
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final

from milepost.sdk.encoding.refs import PENDING, Facts, filled, parsed, refs
from milepost.sdk.errors import RunNotFoundError, UsageError

READERS: Final = {
    "image-file": "milepost.media.reading:picture",
    "mask": "milepost.media.reading:picture",
    "images/separated": "milepost.media.reading:pictures",
    "boxes2D": "milepost.media.reading:json_file",
    "audio-file": "milepost.media.reading:sound",
    "video-file": "milepost.media.reading:video",
    "object3D-file": "milepost.media.reading:object3d",
    "table-file": "milepost.media.reading:table",
    "chart-file": "milepost.media.reading:table",
    "incremental-table-file": "milepost.media.reading:table",
    "html-file": "milepost.media.reading:text_file",
    "molecule-file": "milepost.media.reading:text_file",
    "plotly-file": "milepost.media.reading:json_file",
    "bokeh-file": "milepost.media.reading:json_file",
    "graph-file": "milepost.media.reading:json_file",
    "histogram": "milepost.media.reading:histogram",
}
"""Per `_type`, the function that makes an object of a value; other types are looked up among installed distributions."""


_SAID_S: Final = 2.0
"""How long the journal may take to say where a file is whose payload is gone from its stash; mostly it is a tenth of a second."""
_KEPT: Final = 32
"""Files made in memory that are kept, for whoever opens them next."""


class Source:
    """Where the files of a run's media are: in its directory, or still in the stash of a writer."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._facts: Any = None
        self._made: dict[str, tuple[Facts, bytes]] = {}
        self._refs: dict[str, str] = {}
        """Path to reference of what was made here."""

    def final(self, value: dict[str, Any]) -> dict[str, Any]:
        """A stored value with everything filled in that is known, or can be made, now."""
        whole: dict[str, Any] = filled(value, self.lookup)
        return whole

    def lookup(self, ref: str) -> Facts | None:
        """The facts of a reference; what waits to be encoded is encoded in memory."""
        if self._facts is None:
            from milepost.sdk.encoding.facts import RunFacts

            self._facts = RunFacts(self.run_dir)
        facts: Facts | None = self._facts.lookup(ref)
        if facts is not None:
            return facts
        made = self._made.get(ref) or self._make(ref)
        if made is None:
            return None
        if len(self._made) > _KEPT:
            self._made.clear()
        self._made[ref] = made
        path = made[0].get("path")
        if path is not None:
            self._refs[path] = ref
        return made[0]

    def place(self, path: str) -> Path:
        """Where a file of the run is. Raises `UsageError` for a path that leads out of the run."""
        return inside(self.run_dir, path)

    def content(self, path: str) -> bytes | None:
        """The bytes of a file that is not in the run's directory yet."""
        ref = self._refs.get(path)
        if ref is None:
            return None
        made = self._made.get(ref) or self._make(ref)
        if made is not None:
            return made[1]
        # It was encoded meanwhile: under another name, where its encoder writes other bytes each time. The journal says so soon.
        until = time.monotonic() + _SAID_S
        while (facts := self._facts.lookup(ref)) is None and time.monotonic() < until:
            time.sleep(_SAID_S / 100)
        name = None if facts is None else facts.get("path")
        with contextlib.suppress(OSError, UsageError):
            return inside(self.run_dir, name).read_bytes() if isinstance(name, str) else None
        return None

    def _make(self, ref: str) -> tuple[Facts, bytes] | None:
        from milepost.sdk.encoding.encode import key_path, produce

        found = self._facts.raw(ref)
        if found is None:
            return None
        note, data = found
        target = io.BytesIO()
        try:
            more = produce(note, data, filled(note.children, self.lookup), target, of_files=True)
        except Exception as error:  # noqa: BLE001 - encoders are foreign code
            return {"error": f"{type(error).__name__}: {error}"}, b""
        content = target.getvalue()
        digest = hashlib.sha256(content).hexdigest()
        *folders, name = ("media", *key_path(note.folder), *key_path(note.key))
        path = "/".join((*folders, f"{name}_{note.step}_{digest[:20]}.{note.extension}"))
        return {"path": path, "sha256": digest, "size": len(content), **more}, content


class MediaValue(dict[str, Any]):
    """The JSON of a media value (`_type`, `path`, `sha256`, `caption`, ...), tied to the run it came from.

    `open` gives its file; `to_pil`, `to_numpy`, `to_pandas` and `load` an object, whichever its type has. Values inside (the
    masks of a picture, the files of a list) are media values, too.
    """

    def __init__(self, value: dict[str, Any], run_dir: "Path | Source") -> None:
        source = run_dir if isinstance(run_dir, Source) else Source(run_dir)
        if refs(value):
            value = source.final(value)
        super().__init__({key: _tied(item, source) for key, item in value.items()})
        self._source = source

    @property
    def file(self) -> Path:
        """Where its file is. Raises `UsageError` for a value without a file or with a path that leads out of the run."""
        path = self.get("path")
        if path is None and parsed(self.get(PENDING)) is not None:
            until = time.monotonic() + _SAID_S  # what was not known when the row was read may be known by now
            while PENDING in (whole := self._source.final(dict(self))) and time.monotonic() < until:
                time.sleep(_SAID_S / 100)
            if PENDING not in whole:
                self.clear()
                self.update({key: _tied(item, self._source) for key, item in whole.items()})
                path = self.get("path")
        if not isinstance(path, str) or not path:
            if parsed(self.get(PENDING)) is not None:
                raise UsageError("this media file is not encoded yet; read the row again in a moment")
            if "error" in self:
                raise UsageError(f"this {self.get('_type', 'value')} has no file: {self['error']}")
            raise UsageError(f"this {self.get('_type', 'value')} has no file; its content is in the mapping itself")
        return self._source.place(path)

    def open(self) -> BinaryIO:
        """The file, open for reading bytes. Raises `RunNotFoundError` when it is gone."""
        place = self.file
        try:
            return place.open("rb")
        except OSError as error:
            content = self._source.content(self["path"])
            if content is not None:
                return io.BytesIO(content)
            raise RunNotFoundError(f"cannot open {place}: {error.strerror}") from None

    def load(self) -> Any:
        """What the value is: a PIL image, an array, a dict, a text, ..., by its type."""
        return self._reader()(self)

    def to_pil(self) -> Any:
        """A picture as a PIL image."""
        return self._as("to_pil")

    def to_numpy(self) -> Any:
        """A picture, sound, video, point cloud or histogram as an array."""
        return self._as("to_numpy")

    def to_pandas(self) -> Any:
        """A table, or the table of a chart, as a DataFrame."""
        return self._as("to_pandas")

    def to_dicts(self) -> list[dict[Any, Any]]:
        """A table, or the table of a chart, as a list of dicts, one per row."""
        rows: list[dict[Any, Any]] = self._as("to_dicts")
        return rows

    def beside(self, value: Any) -> Any:
        """Another value of the same run, such as a cell of a table: what is media in it is a media value."""
        return _tied(value, self._source)

    def _as(self, form: str) -> Any:
        convert: Callable[[MediaValue, str], Any] | None = getattr(self._reader(), form, None)
        if convert is None:
            raise UsageError(f"a value of type {self.get('_type')!r} has no {form}(); use load() or open()")
        return convert(self)  # type: ignore[call-arg]

    def _reader(self) -> Any:
        kind = self.get("_type")
        place = READERS.get(kind) if isinstance(kind, str) else None
        if place is not None:
            module, _, name = place.partition(":")
            return getattr(import_module(module), name)
        from milepost.sdk.plugins import media_type

        found = media_type(str(kind))
        read = None if found is None else getattr(found, "read", None)
        if read is None:
            raise UsageError(f"nothing here reads values of type {kind!r}; open() gives their file, if they have one")
        return read


def tied(value: Any, source: Source) -> Any:
    """A value of a row, with every media value in it opening its file."""
    if type(value) is list and refs(value):
        value = filled(value, source.lookup)
    return _tied(value, source)


def _tied(value: Any, source: Source) -> Any:
    if type(value) is dict:
        if "_type" in value or ("path" in value and "sha256" in value):
            return MediaValue(value, source)
        return {key: _tied(item, source) for key, item in value.items()}
    if type(value) is list and any(type(item) is dict or type(item) is list for item in value):
        return [_tied(item, source) for item in value]
    return value


def inside(root: Path, path: str) -> Path:
    """A relative path below root, with no way out of it. Raises `UsageError`."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    if not parts or "\x00" in path or ".." in parts or parts[0].startswith("/") or ":" in parts[0]:
        raise UsageError(f"the path {path!r} leads out of the run's directory {root}; it is not opened")
    found = root.joinpath(*parts)
    if not found.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"the path {path!r} leads out of the run's directory {root} through a link; it is not opened")
    return found
