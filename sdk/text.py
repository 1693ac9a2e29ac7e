"""Text: names, values and errors as messages and rows can hold them: valid Unicode, bounded, safe for every object."""

from typing import Any, Final

MAX_TEXT: Final = 8 * 2**20
"""Characters of one string that are kept."""


def clean_text(value: str) -> str:
    """Text that can be written: valid Unicode, of bounded length."""
    if len(value) > MAX_TEXT:
        value = value[:MAX_TEXT] + f"... [cut by milepost: {len(value)} characters, {MAX_TEXT} are kept]"
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # lone surrogates, as os.fsdecode makes them, have no UTF-8 form
            return value.encode("utf-8", "backslashreplace").decode()
    return value


def type_name(kind: type) -> str:
    """The name a person knows a type by: "int", "numpy.ndarray"."""
    try:
        module, name = kind.__module__, kind.__qualname__
        return name if module == "builtins" else clean_text(f"{module}.{name}")[:200]
    except Exception:  # noqa: BLE001 - a metaclass may answer with anything
        return str(type.__dict__["__name__"].__get__(kind))


def shown(value: Any) -> str:
    """A value as a message shows it: short, and safe for every object."""
    try:
        text = clean_text(repr(value))
    except Exception:  # noqa: BLE001 - the value's own __repr__ may raise anything
        return f"<{type_name(type(value))}>"
    return text if len(text) <= 100 else text[:100] + "..."


def told(error: Exception) -> str:
    """An error of somebody else's code, in one short line."""
    try:
        return clean_text(f"{type_name(type(error))}: {error}")[:300]
    except Exception:  # noqa: BLE001 - its own __str__ may raise anything
        return type_name(type(error))
