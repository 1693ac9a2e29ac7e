"""Bokeh: an interactive document of the Bokeh library, as its JSON."""

import json
from typing import Any

from milepost.media.base import FileMedia, Payload
from milepost.media.files import is_path, read
from milepost.sdk.errors import DataError


class Bokeh(FileMedia):
    """A Bokeh figure, layout or document, or the path of a document's JSON.

    data_or_path: a bokeh model (a figure, a row of figures, a widget), a bokeh Document, or a .json file of one.

    Its file is that JSON; `bokeh.document.Document.from_json(value.load())` makes the document again. Raises DataError.
    """

    type_name = "bokeh-file"

    def __init__(self, data_or_path: Any) -> None:
        text = _from_file(data_or_path) if is_path(data_or_path) else _from_bokeh(data_or_path)
        self._keep(Payload(text.encode(), "bokeh", "bokeh.json"), {})


def adopt(value: Any) -> Any:
    """The media object for a bokeh model or document that is logged directly, or None for another object of bokeh."""
    return Bokeh(value) if _names(value) & {"Model", "Document"} else None


def _from_file(path: Any) -> str:
    try:
        content = json.loads(read(path, "Bokeh"))
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"Bokeh: {path} is not JSON: {error}") from None
    if not isinstance(content, dict) or "roots" not in content:
        raise DataError(f"Bokeh: {path} is no document of bokeh: it has no roots")
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _from_bokeh(value: Any) -> str:
    if "Document" in _names(value):
        return _json(value)
    if "Model" not in _names(value):
        raise DataError(
            f"Bokeh: a bokeh figure, document or the path of its JSON is needed, got {type(value).__name__}"
        )
    if value.document is not None:
        return _json(value.document)
    from bokeh.document import Document

    document = Document()
    document.add_root(value)
    try:
        return _json(document)
    finally:
        document.remove_root(value)  # the figure stays the program's, which may show it


def _json(document: Any) -> str:
    from bokeh.core.json_encoder import serialize_json

    return str(serialize_json(document.to_json()))


def _names(value: Any) -> set[str]:
    """The classes of bokeh that a value is of."""
    return {base.__name__ for base in type(value).__mro__ if (base.__module__ or "").partition(".")[0] == "bokeh"}
