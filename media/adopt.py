"""Adopt: objects of other libraries that are logged as they are, such as matplotlib figures, as the media type that shows them.

`FOREIGN` names, per top-level module of a value's class, the function that is asked: it takes the object and returns a media
object, or None for what is not its matter. The library is loaded already when one of its objects is logged; nothing else is.
"""

from importlib import import_module
from types import ModuleType
from typing import Any, Final

FOREIGN: Final = {
    "bokeh": "milepost.media.bokeh_document:adopt",
    "matplotlib": "milepost.media.figures:adopt",
    "pandas": "milepost.media.table:adopt",
    "PIL": "milepost.media.image:adopt",
    "plotly": "milepost.media.plotly_figure:adopt",
    "polars": "milepost.media.table:adopt",
    "pyarrow": "milepost.media.table:adopt",
}


def adopted(value: Any) -> Any:
    """The media object for an object of another library, or None. Errors of the type that takes it pass."""
    if isinstance(value, ModuleType):
        place = "milepost.media.figures:adopt" if value.__name__ == "matplotlib.pyplot" else None
    else:
        place = FOREIGN.get((type(value).__module__ or "").partition(".")[0])
    if place is None:
        return None
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)(value)
