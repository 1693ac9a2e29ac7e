"""Figures: matplotlib figures, axes and `plt`, logged directly: interactive where plotly can say all of them, else a picture.

plotly's conversion loses what it does not know, often without a word: areas, error bars, texts, category and date axes, polar
and 3-D axes. So a figure is converted only if it consists of what comes through whole (lines, bars, plain scatters on linear
or logarithmic axes), and plotly is installed. Everything else is drawn by matplotlib.
"""

import json
import logging
import warnings
from importlib.util import find_spec
from typing import Any, Final

logger = logging.getLogger("milepost")

_SCALES: Final = ("linear", "log")


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
    if find_spec("plotly") is not None and comes_through_whole(figure):
        from milepost.media.plotly_figure import Plotly

        try:
            return Plotly(figure)
        except Exception as error:  # noqa: BLE001 - a conversion that fails must not cost the figure
            logger.debug("milepost: a matplotlib figure is stored as a picture: %s", error)
    from milepost.media.image import Image

    return Image(figure)


def converted(figure: Any) -> Any:
    """The JSON of the plotly figure that plotly makes of a matplotlib figure, which is left open.

    Raises whatever plotly raises for what it cannot convert, ImportError without plotly.
    """
    from plotly.matplotlylib import Exporter, PlotlyRenderer

    renderer = PlotlyRenderer()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Exporter(renderer, close_mpl=False).run(figure)
    text: Any = renderer.plotly_fig.to_json()
    return json.loads(text)


def comes_through_whole(figure: Any) -> bool:
    """Whether a figure consists of nothing but what plotly's conversion keeps."""
    if not figure.axes or getattr(figure, "subfigs", None):
        return False
    if any(getattr(figure, name) for name in ("texts", "lines", "images", "legends", "artists", "patches")):
        return False
    places = [tuple(axes.get_position().bounds) for axes in figure.axes]
    return len(set(places)) == len(places) and all(_is_plain(axes) for axes in figure.axes)


def _is_plain(axes: Any) -> bool:
    from matplotlib.collections import PathCollection
    from matplotlib.container import BarContainer
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    if (
        axes.name != "rectilinear"
        or axes.child_axes
        or axes.texts
        or axes.images
        or axes.tables
        or not axes.get_visible()
    ):
        return False
    if any(axis.have_units() or axis.get_scale() not in _SCALES for axis in (axes.xaxis, axes.yaxis)):
        return False
    boxes = [box for box in axes.containers if isinstance(box, BarContainer)]
    bars = {id(bar) for box in boxes for bar in box.patches} if len(boxes) == 1 and _is_even(boxes[0]) else set()
    named = axes.get_legend() is not None
    for artist in (*axes.lines, *axes.patches, *axes.collections, *axes.artists):
        if isinstance(artist, Line2D):
            whole = artist.get_transform() == axes.transData and artist.get_drawstyle() == "default"
        elif isinstance(artist, Rectangle):
            whole = id(artist) in bars and not named
        elif isinstance(artist, PathCollection):
            alike = artist.get_array() is None and len(artist.get_facecolor()) == len(artist.get_sizes()) == 1
            whole = alike and artist.get_offset_transform() == axes.transData and not named
        else:
            whole = False
        if not (whole and artist.get_visible()):
            return False
    return bool(axes.lines or axes.patches or axes.collections)


def _is_even(bars: Any) -> bool:
    """Whether all bars begin at 0 and have one colour."""
    begins = {bar.get_x() if bars.orientation == "horizontal" else bar.get_y() for bar in bars.patches}
    return begins == {0} and len({bar.get_facecolor() for bar in bars.patches}) == 1
