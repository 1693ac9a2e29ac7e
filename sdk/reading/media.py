"""Media values of a row, read back: the mapping that was stored, which also opens its file."""

from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from milepost.sdk.errors import RunNotFoundError, UsageError


class MediaValue(dict[str, Any]):
    """The JSON of a media value (`_type`, `path`, `sha256`, `caption`, ...), tied to the run's directory it came from."""

    def __init__(self, value: dict[str, Any], run_dir: Path) -> None:
        super().__init__(value)
        self._run_dir = run_dir

    @property
    def file(self) -> Path:
        """Where its file is. Raises `UsageError` for a value without a file or with a path that leads out of the run."""
        path = self.get("path")
        if not isinstance(path, str) or not path:
            raise UsageError(f"this {self.get('_type', 'value')} has no file; its content is in the mapping itself")
        return inside(self._run_dir, path)

    def open(self) -> BinaryIO:
        """The file, open for reading bytes. Raises `RunNotFoundError` when it is gone."""
        try:
            return self.file.open("rb")
        except OSError as error:
            raise RunNotFoundError(f"cannot open {self.file}: {error.strerror}") from None


def inside(root: Path, path: str) -> Path:
    """A relative path below root, with no way out of it. Raises `UsageError`."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    if not parts or "\x00" in path or ".." in parts or parts[0].startswith("/") or ":" in parts[0]:
        raise UsageError(f"the path {path!r} leads out of the run's directory {root}; it is not opened")
    found = root.joinpath(*parts)
    if not found.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"the path {path!r} leads out of the run's directory {root} through a link; it is not opened")
    return found
