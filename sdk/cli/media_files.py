"""The media files of exported rows, copied into a folder of the user's, under the paths that the rows have."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from milepost.sdk.cli import out
from milepost.sdk.errors import Error
from milepost.sdk.reading.media import MediaValue, Source, inside, tied


class Files:
    """Copies what rows refer to. folder: None copies nothing. copied: how many files are there now."""

    def __init__(self, run_dir: Path, folder: Path | None) -> None:
        self._source = Source(run_dir)
        self._folder = folder
        self._done: set[str] = set()

    @property
    def copied(self) -> int:
        """Files copied."""
        return len(self._done)

    def final(self, value: Any) -> Any:
        """A value of a row as it is exported; its files are copied on the way."""
        whole = tied(value, self._source)
        if self._folder is not None:
            self._copy(whole, self._folder)
        return whole

    def _copy(self, value: Any, folder: Path) -> None:
        if isinstance(value, dict):
            path = value.get("path")
            if isinstance(value, MediaValue) and isinstance(path, str) and path not in self._done:
                try:
                    target = inside(folder, path)
                    with value.open() as file:
                        target.parent.mkdir(parents=True, exist_ok=True)
                        with target.open("wb") as copy:
                            shutil.copyfileobj(file, copy)
                    self._done.add(path)
                except (Error, OSError) as error:
                    out.note(f"{path} is left out: {error}")
            if isinstance(value, MediaValue):
                for part in _named_by(value):
                    self._copy(part, folder)
            for item in value.values():
                self._copy(item, folder)
        elif isinstance(value, list):
            for item in value:
                self._copy(item, folder)


def _named_by(value: MediaValue) -> Iterator[Any]:
    """What a table's file needs beside it: the files of earlier rows, and the media in its cells."""
    for path in value.get("previous_increments_paths", ()):
        yield value.beside({"_type": "table-file", "path": path})
    if value.get("nmedia"):
        try:
            yield from (list(row.values()) for row in value.to_dicts())
        except (Error, OSError, ValueError) as error:
            out.note(f"the media in {value.get('path')} are left out: {error}")
