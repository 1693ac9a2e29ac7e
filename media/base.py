"""Media: the contract between a type that can be logged and what stores it.

A media object knows two things: the mapping that stands in the row (`as_value`), and the files that belong to it, each as a
`Payload`: bytes that nothing can change any more, and the name of the function that makes the file of them. `log()` copies
the bytes to where SIGKILL cannot reach and returns; the function runs later, in another process. So:

    as_value()   says all that can be known at once (size, format, caption) and where the files will stand in the mapping
    Payload      is taken when the object is made: what the program does to its array afterwards changes nothing
    encoder      "module:function", called as function(data, options, target): it reads nothing but its arguments

    {"_type": "image-file", "width": 4, ..., **payload.fields()}   as it is logged
    {"_type": "image-file", "width": 4, ..., "path": "media/images/KEY_STEP_HASH.png", "sha256": ..., "size": ...}   as it is read

A list of objects of one type becomes one mapping when the type has `group`, else a list of the single mappings. Mappings
may be nested in any way, and one file may stand in several places: `fields`, `path` and `name` mark them.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol, runtime_checkable

from milepost.media.device import Deferrable

MARK: Final = "_payload"
"""The key under which a payload stands in a mapping that has not been stored yet."""
PATH, NAME = "_payload_path", "_payload_name"
"""Keys of a mapping that stands for a file's path, or for its name without folders."""

Buffer = bytes | bytearray | memoryview
"""What a payload's bytes may be. A memoryview must be contiguous, and of memory that nobody changes."""


class HeldFile:
    """The bytes of a large payload in a file of shared memory without a name, which `log()` gives one: they are copied once, not
    twice. The file goes with the last object that uses it, also when the program is killed.

    begin:   where the bytes begin. linked: whether a run has it by now.
    process: that made it; a forked child has the same file, and must leave it as it is.
    spare:   its name while no run has it: "" at first; where it lies since a run was done with it, for the next object.
    made_at: `forks` when it was made: a child of a later fork may read it for as long as it lives.
    mapping: of the whole file, where there is one.
    """

    total = 0
    """Bytes of all of them."""
    forks = 0
    """Goes up with every fork. Set by the SDK."""
    __slots__ = ("begin", "descriptor", "linked", "made_at", "mapping", "nbytes", "process", "spare")

    def __init__(self, descriptor: int, begin: int, nbytes: int, spare: str = "", mapping: Any = None) -> None:
        self.descriptor = descriptor
        self.begin = begin
        self.nbytes = nbytes
        self.linked = False
        self.process = os.getpid()
        self.made_at = HeldFile.forks
        self.spare = spare
        self.mapping = mapping
        HeldFile.total += nbytes

    def __bytes__(self) -> bytes:
        pieces: list[bytes] = []
        at = 0
        while at < self.nbytes and (piece := os.pread(self.descriptor, self.nbytes - at, self.begin + at)):
            pieces.append(piece)
            at += len(piece)
        return b"".join(pieces)

    def __del__(self) -> None:
        HeldFile.total -= self.nbytes
        if keep is None or not keep(self):
            os.close(self.descriptor)


LARGE: Final = 2**20
"""Bytes from which on a copy of an array is taken into a `HeldFile`, where that is possible."""
hold: Callable[[memoryview], HeldFile | None] | None = None
"""Copies bytes into a HeldFile, or gives None where there is no room. Set by the SDK."""
keep: Callable[[HeldFile], bool] | None = None
"""Takes the descriptor of a HeldFile that nobody uses any more, for the next one; whether it did. Set by the SDK."""


def copied(view: memoryview) -> Buffer | HeldFile:
    """A copy of an array's bytes that nothing can change any more."""
    held = hold(view) if hold is not None and view.nbytes >= LARGE else None
    return bytes(view) if held is None else held


class Payload:
    """One file to be. Made once per object; the same payload in two places, or logged twice, is one file.

    data:      the bytes that the encoder gets; they must not change any more (`copied` takes a copy that does not). With no
               encoder they are the file.
    folder:    of the file, below RUN_DIR/media ("images"; "metadata/boxes2D").
    extension: of the file, without the leading dot ("png", "table.json").
    encoder:   "package.module:function", called in another process as function(data: memoryview, options: dict, target: a
               binary file open for writing and reading); what it returns, a mapping or None, joins the value's fields.
    options:   its second argument: plain values, as msgpack holds them.
    children:  mappings, with payloads of their own, that the encoder is given as options["children"], in the form in which
               they are read back: a table's cells. Their files are made first.
    """

    __slots__ = ("children", "data", "encoder", "extension", "folder", "options", "stored")

    def __init__(
        self,
        data: Buffer | HeldFile,
        folder: str,
        extension: str,
        encoder: str = "",
        options: Mapping[str, Any] | None = None,
        children: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.data = data
        self.folder = folder
        self.extension = extension
        self.encoder = encoder
        self.options: dict[str, Any] = dict(options or {})
        self.children = list(children)
        self.stored: dict[str, int] = {}
        """Writer to the number it gave this payload: logged again, it is the same file."""

    def fields(self) -> dict[str, Any]:
        """Stands for `path`, `sha256` and `size` (and whatever the encoder adds) in the mapping it is merged into."""
        return {MARK: self}

    def path(self) -> dict[str, Any]:
        """Stands for the file's path as a text."""
        return {PATH: self}

    def name(self) -> dict[str, Any]:
        """Stands for the file's name, without folders, as a text."""
        return {NAME: self}


@runtime_checkable
class Media(Protocol):
    """A value that knows its own row form.

    Besides `as_value` a class may have

    group(items) -> mapping     a class method: the row form of a list of its objects; without it, a list of theirs
    type_name                   the `_type` of its values; `milepost_media` entry points are found by it when a value is opened
    read(value) -> anything     a static method: what `value.load()` gives; `value` is the mapping, and `value.open()` its file
    """

    def as_value(self) -> dict[str, Any]:
        """The mapping that stands in the row: `_type` and JSON-like fields, with `Payload.fields()` where files belong."""
        ...


class FileMedia(Deferrable):
    """A media object of one file: the base of most types. A subclass sets `type_name` and calls `_keep` in its constructor.

    caption: a text shown with it, or None.
    """

    type_name: ClassVar[str] = ""
    payload: Payload
    caption: str | None

    def _keep(self, payload: Payload, fields: Mapping[str, Any], caption: Any = None) -> None:
        """Keep the payload, the fields of the row form, and the caption (anything but None becomes text)."""
        self.payload = payload
        self._fields = dict(fields)
        self.caption = None if caption is None else str(caption)

    def as_value(self) -> dict[str, Any]:
        """The mapping that stands in the row."""
        value: dict[str, Any] = {"_type": self.type_name, **self.payload.fields(), **self._fields}
        if self.caption is not None:
            value["caption"] = self.caption
        return value

    @classmethod
    def group(cls, items: Sequence[Any]) -> Any:
        """The row form of a list: a list of the single ones, unless the type has a form of its own."""
        return [item.as_value() for item in items]


def captions(items: Sequence[FileMedia]) -> list[str | None] | None:
    """The captions of a group, None for an item without; None when no item has one."""
    found = [item.caption for item in items]
    return found if any(caption is not None for caption in found) else None
