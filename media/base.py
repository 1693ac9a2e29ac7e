"""Media: what a value must offer to be logged as something other than a number or text."""

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Media(Protocol):
    """A value that knows its own row form."""

    def as_value(self) -> dict[str, Any]:
        """The mapping that stands in the row: `_type` and JSON-like fields."""
        ...
