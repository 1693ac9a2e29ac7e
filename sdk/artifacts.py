"""Artifact: what a script gives to wandb's registry at the end of training, kept in the run instead.

    with artifact.new_file("notes.txt") as file: ...
    artifact.add_file("model.pt")
    run.log_artifact(artifact)        # RUN_DIR/files/artifacts/NAME/v0/model.pt, and an event "artifact"

There is no registry: no version of a name over several runs, nothing to fetch by name. Each log of a name in one run gets a
folder of its own, so that no checkpoint takes the place of an earlier one.
"""

import contextlib
import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, Protocol, Self

from milepost.sdk.errors import DataError, Error
from milepost.sdk.saving import copy, make_folders
from milepost.sdk.text import shown

logger = logging.getLogger("milepost")

NO_REGISTRY: Final = (
    "milepost has no artifact registry: read the files of an earlier run with milepost.Api().run(...).files() and "
    ".file(name).download(), or give the program their path"
)
_MAX_VERSIONS: Final = 100_000
_said: set[str] = set()


class Target(Protocol):
    """What an artifact needs of a run."""

    @property
    def dir(self) -> str:
        """The run's directory."""
        ...

    def record(self, kind: str, values: Mapping[str, Any]) -> None:
        """Add an event to the run."""


class Artifact:
    """Files and notes under one name, to be copied into the run by `run.log_artifact(artifact)`.

    name:        letters of any kind, no "/"; the folder of its files is named so.
    type:        "model", "dataset", ...: free text that is kept with it.
    description, metadata: kept with it.

    Files are copied when the artifact is logged, so they must be there by then. Raises DataError (a ValueError) for a name that
    cannot be a folder's. wandb's other arguments are accepted and have no effect.
    """

    def __init__(
        self,
        name: str,
        type: str = "unspecified",
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **wandb_keywords: Any,
    ) -> None:
        if not _plain(name):
            raise DataError(
                f'Artifact() name must be text that can name a folder, such as "model" (no "/", not ".."), got {shown(name)}'
            )
        self.name = name
        self.type = str(type)
        self.description = description
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.aliases: list[str] = []
        self.tags: list[str] = []
        self.version: str | None = None
        """ "v0" once it was logged; the next one of that name in the same run is "v1"."""
        self.path: str | None = None
        """The folder of the copies, once it was logged."""
        self._files: dict[PurePosixPath, Path] = {}
        self._references: dict[str, str] = {}
        self._objects: dict[str, Any] = {}
        self._made: str | None = None
        """The folder of what `new_file` makes; it goes with the artifact."""

    def add_file(self, local_path: "str | os.PathLike[str]", name: str | None = None, **wandb_keywords: Any) -> None:
        """Add one file. name: its path within the artifact, by default its own name. Raises DataError when it is no file."""
        source = Path(os.path.abspath(os.path.expanduser(local_path)))
        if not source.is_file():
            raise DataError(f"Artifact.add_file(): {str(local_path)!r} is not a file; folders are added with add_dir()")
        self._files[_within(source.name if name is None else name)] = source

    def add_dir(self, local_path: "str | os.PathLike[str]", name: str | None = None, **wandb_keywords: Any) -> None:
        """Add all files below a folder. name: a folder within the artifact to put them in. Raises DataError for no folder."""
        source = Path(os.path.abspath(os.path.expanduser(local_path)))
        if not source.is_dir():
            raise DataError(f"Artifact.add_dir(): {str(local_path)!r} is not a folder; files are added with add_file()")
        below = PurePosixPath() if name in (None, "", ".") else _within(name)
        for folder, _, names in os.walk(source):
            for each in sorted(names):
                found = Path(folder, each)
                if found.is_file():
                    self._files[below / found.relative_to(source).as_posix()] = found

    def add_reference(self, uri: Any, name: str | None = None, **wandb_keywords: Any) -> None:
        """Note an address, such as "s3://bucket/file". It is kept as text: nothing is looked up, copied or checked."""
        text = str(uri)
        self._references[name or text.rstrip("/").rpartition("/")[2] or text] = text

    def add(self, obj: Any, name: str, overwrite: bool = False) -> None:
        """Add a table, image or other media value; it is stored as log() stores it, and named in the artifact's event."""
        self._objects[str(name)] = obj

    @contextlib.contextmanager
    def new_file(self, name: str, mode: str = "x", encoding: str | None = None) -> Iterator[IO[Any]]:
        """Open a new file of the artifact for writing; it is part of the artifact when the `with` block ends."""
        place = _within(name)
        if self._made is None:
            self._made = tempfile.mkdtemp(prefix="milepost-artifact-")
            weakref.finalize(self, shutil.rmtree, self._made, ignore_errors=True)
        made = Path(self._made) / place
        made.parent.mkdir(parents=True, exist_ok=True)
        with made.open(mode, encoding=encoding) as file:
            yield file
        self._files[place] = made

    def save(self) -> None:
        """Log it to the current run."""
        from milepost.sdk.current import required

        required("Artifact.save()").log_artifact(self)

    def wait(self, timeout: float | None = None) -> Self:
        """The artifact: its files were copied when it was logged."""
        return self

    def _no_registry(self, *args: Any, **keywords: Any) -> Any:
        raise Error(NO_REGISTRY)

    download = get = get_entry = get_path = checkout = _no_registry

    def __repr__(self) -> str:
        return f"<milepost artifact {self.name} ({self.type}, {len(self._files)} files)>"

    def copy_into(self, run: Target, aliases: Any, tags: Any) -> None:
        """Copy its files into the run and record the event. A file that cannot be copied is named in a warning."""
        self.aliases, self.tags = _texts(aliases), _texts(tags)
        files = Path(os.path.abspath(run.dir)) / "files"
        place = self._version_folder(files)
        size = count = 0
        for name, source in self._files.items():
            said = copy(source, files, place / name)
            if said is not None:
                run.record("file", said)
                size, count = size + said["size"], count + 1
        run.record(
            "artifact",
            {
                "name": self.name,
                "type": self.type,
                "version": self.version,
                "description": self.description,
                "metadata": self.metadata,
                "aliases": self.aliases,
                "tags": self.tags,
                "path": f"files/{place}",
                "files": count,
                "size": size,
                "references": self._references,
                "objects": self._objects,
            },
        )
        self.path = str(files / place)
        _say(
            "log_artifact",
            f"milepost has no artifact registry; the files of artifacts are copied into {files / 'artifacts'}, and cannot be "
            "fetched by name or alias from another run",
        )

    def _version_folder(self, files: Path) -> Path:
        """Take the next free folder artifacts/NAME/vN; whoever makes it has it, also of several ranks."""
        for number in range(_MAX_VERSIONS):
            self.version = f"v{number}"
            place = Path("artifacts", self.name, self.version)
            try:
                make_folders(files, place.parent)
                (files / place).mkdir()
            except FileExistsError:
                continue
            except OSError:
                break  # a disk that takes nothing: copying says so, file by file
            break
        return Path("artifacts", self.name, self.version or "v0")


def log_artifact(
    run: Target, artifact_or_path: Any, name: str | None, type: str | None, aliases: Any, tags: Any, default_name: str
) -> Artifact:
    """Copy an artifact, a file or a folder into the run; the artifact. Raises DataError for what is none of these."""
    if isinstance(artifact_or_path, Artifact):
        artifact = artifact_or_path
    elif isinstance(artifact_or_path, (str, os.PathLike)):
        text = os.fspath(artifact_or_path)
        artifact = Artifact(name or f"{default_name}-{_folder_name(text)}", type or "unspecified")
        if "://" in text:
            artifact.add_reference(text)
        elif os.path.isdir(text):
            artifact.add_dir(text)
        else:
            artifact.add_file(text)
    else:
        raise DataError(
            f"log_artifact() takes an Artifact or the path of a file or folder, got {shown(artifact_or_path)}"
        )
    artifact.copy_into(run, aliases, tags)
    return artifact


def link_artifact(*args: Any, **keywords: Any) -> None:
    """Say that there is no registry to link into. At the end of training that is no reason to fail."""
    _say("link_artifact", "link_artifact() has no effect: milepost has no artifact registry")


def _within(name: Any) -> PurePosixPath:
    """A path within the artifact. Raises DataError for one that would leave it."""
    text = os.fspath(name) if isinstance(name, (str, os.PathLike)) else None
    if isinstance(text, str):
        path = PurePosixPath(text.replace(os.sep, "/"))
        if path.parts and all(map(_plain, path.parts)):
            return path
    raise DataError(f'the name of a file in an artifact must be a relative path without "..", got {shown(name)}')


def _plain(part: object) -> bool:
    """Whether it can be the name of one file or folder."""
    return isinstance(part, str) and part not in ("", ".", "..") and "/" not in part and part.isprintable()


def _folder_name(path: str) -> str:
    """The last part of a path, as part of a name."""
    last = PurePosixPath(os.path.abspath(path) if "://" not in path else path).name
    return "".join(letter if letter.isprintable() and letter != "/" else "_" for letter in last) or "files"


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(each) for each in value] if isinstance(value, Sequence) else []


def _say(key: str, text: str) -> None:
    """Warn once."""
    if key not in _said:
        _said.add(key)
        logger.warning("milepost: %s", text)
