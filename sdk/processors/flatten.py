"""flatten: nested dicts become dotted names, `{"train": {"loss": 1}}` -> `{"train.loss": 1}`."""

from typing import Any, ClassVar

import msgspec

from milepost.sdk.event import Event


class Flatten:
    """Joins the keys of nested dicts. A mapping that carries `_type` (media) is one value; an empty dict leaves no trace.

    separator: text between the levels of a name, "." by default.
    """

    must_precede: ClassVar[str] = (
        "merge"  # behind it, a call's dict has taken the place of the one before, leaves and all
    )

    def __init__(self, separator: str = ".") -> None:
        self.separator = separator

    def __call__(self, event: Event) -> Event:
        """The event with flat values, and in `nested` the names that stood for dicts."""
        if event.kind != "row" or dict not in set(map(type, event.values.values())):
            return event
        flat: dict[str, Any] = {}
        nested = list(event.nested)
        flatten_into(flat, nested, event.values, "", self.separator)
        return msgspec.structs.replace(event, values=flat, nested=tuple(nested))


def flatten_into(flat: dict[str, Any], nested: list[str], values: dict[str, Any], prefix: str, separator: str) -> bool:
    """Add the leaves of a nested dict to `flat`, and the names of its inner dicts that have leaves to `nested`.

    Whether there was a leaf.
    """
    found = False
    for key, value in values.items():
        name = prefix + key
        if type(value) is dict and "_type" not in value:
            if flatten_into(flat, nested, value, name + separator, separator):
                nested.append(name)
                found = True
        else:
            flat[name] = value
            found = True
    return found
