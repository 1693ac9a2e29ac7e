"""`run.summary`: the live summary as nested dicts that can be read, set and deleted."""

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from milepost.sdk.errors import DataError
from milepost.sdk.summary import nest
from milepost.sdk.text import shown, type_name


class RunSummary(MutableMapping[str, Any]):
    """The summary, or the part of it below a name. Items and attributes are the same; a missing one raises.

    Setting writes at once, makes no row, and from then on `log` leaves that name alone.
    """

    def __init__(
        self,
        read: Callable[[], dict[str, Any]],
        write: Callable[[str, Any], None],
        remove: Callable[[str], None],
        prefix: str = "",
    ) -> None:
        self.__dict__.update(_read=read, _write=write, _remove=remove, _prefix=prefix)

    def __getitem__(self, key: str) -> Any:
        if not isinstance(key, str):
            raise KeyError(key)
        flat = self._read()
        path = self._prefix + key
        if path in flat:
            return flat[path]
        below = path + "."
        if any(other.startswith(below) for other in flat):
            return RunSummary(self._read, self._write, self._remove, below)
        raise KeyError(key)

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise DataError(
                f"summary names are text, got {shown(key)} of type {type_name(type(key))}: use str(key). "
                "The summary is unchanged."
            )
        self._write(self._prefix + key, value)

    def __delitem__(self, key: str) -> None:
        if isinstance(key, str):
            self._remove(self._prefix + key)

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):
            raise AttributeError(key)
        try:
            return self[key]
        except KeyError:
            raise AttributeError(f"the summary has no {self._prefix + key!r}") from None

    def __setattr__(self, key: str, value: Any) -> None:
        self[key] = value

    def __delattr__(self, key: str) -> None:
        del self[key]

    def _nested(self) -> dict[str, Any]:
        flat = self._read()
        size = len(self._prefix)
        return nest({path[size:]: value for path, value in flat.items() if path.startswith(self._prefix)})

    def __iter__(self) -> Iterator[str]:
        return iter(self._nested())

    def __len__(self) -> int:
        return len(self._nested())

    def as_dict(self) -> dict[str, Any]:
        """A copy as nested dicts."""
        return self._nested()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, RunSummary):
            other = other._nested()
        return self._nested() == other

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return repr(self._nested())
