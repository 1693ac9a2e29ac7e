"""Figures: matplotlib figures, axes and `plt`, logged directly, as a picture."""

from typing import Any


def figure_of(value: Any) -> Any:
    """The matplotlib figure that a value is or belongs to: a figure, axes, an artist, `plt`, or several axes; None for others."""
    if getattr(value, "__name__", "") == "matplotlib.pyplot":
        return value.gcf()
    if callable(getattr(value, "savefig", None)):
        return value
    figure = getattr(value, "figure", None)
    return figure if callable(getattr(figure, "savefig", None)) else None


def adopt(value: Any) -> Any:
    """The media object for a figure that is logged directly, or None for another object of matplotlib."""
    figure = figure_of(value)
    if figure is None:
        return None
    from milepost.media.image import Image

    return Image(figure)
