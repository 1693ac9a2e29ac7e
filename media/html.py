"""Html: a page, kept as it is but for a few lines of style."""

import os
import re
from collections.abc import Sequence
from typing import Any, Final

from milepost.media.base import FileMedia, Payload
from milepost.media.files import is_path, read, suffix
from milepost.sdk.errors import DataError

_HEAD: Final = (
    '<base target="_blank"><style>body { font-family: system-ui, sans-serif; margin: 0.5rem; } '
    "table { border-collapse: collapse; }</style>"
)


class Html(FileMedia):
    """A page of HTML.

    data:    HTML as a text; the path of an existing file that ends in .html; or an object open for reading.
    inject:  whether a base and a plain style are put into its head: behind <head>, else into a head of their own behind <html>,
             else in front.
    data_is_not_path: True takes a text as HTML even if a file of that name exists.
    caption: a text shown with it.

    Scripts in it stay as they are: whoever shows the page keeps it in a sandbox. Raises DataError (a ValueError) for other input.
    """

    type_name = "html-file"

    def __init__(self, data: Any, inject: bool = True, data_is_not_path: bool = False, caption: Any = None) -> None:
        if isinstance(data, str) and (data_is_not_path or not _is_page(data)):
            text = data
        elif is_path(data) or callable(getattr(data, "read", None)):
            if is_path(data) and suffix(data) not in ("html", "htm"):
                raise DataError(f"Html: {data} must end in .html")
            try:
                text = read(data, "Html").decode()
            except UnicodeDecodeError as error:
                raise DataError(f"Html: {data} is not UTF-8: {error}") from None
        else:
            raise DataError(f"Html: a text, a path or an open file is needed, got {type(data).__name__}")
        if inject:
            text = _injected(text)
        self.html = text
        self._keep(Payload(text.encode("utf-8", "backslashreplace"), "html", "html"), {}, caption)

    @classmethod
    def group(cls, items: Sequence["Html"]) -> dict[str, Any]:
        """Pages of one row."""
        return {"_type": "html", "count": len(items), "html": [item.as_value() for item in items]}


def _is_page(text: str) -> bool:
    """Whether a text names a file that exists and ends in .html; a text with tags in it never does."""
    short = len(text) < 4096 and "<" not in text and "\n" not in text and "\0" not in text
    return short and suffix(text) in ("html", "htm") and os.path.isfile(text)


def _injected(text: str) -> str:
    for tag, more in (("head", _HEAD), ("html", f"<head>{_HEAD}</head>")):
        found = re.search(rf"<{tag}(\s[^<>]*)?>", text, re.IGNORECASE)
        if found is not None:
            return text[: found.end()] + more + text[found.end() :]
    return _HEAD + text
