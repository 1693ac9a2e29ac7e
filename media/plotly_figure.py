"""Plotly: an interactive figure, from plotly, from its JSON as a dict, or converted from matplotlib."""

import json
import math
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from milepost.media.base import FileMedia, Payload
from milepost.media.cells import NoCell, plain
from milepost.media.figures import adopt as adopt_matplotlib
from milepost.media.figures import figure_of
from milepost.sdk.errors import DataError, MissingDependencyError


class Plotly(FileMedia):
    """An interactive figure.

    val: a plotly figure; a dict of one, {"data": [...], "layout": {...}}; or a matplotlib figure, axes or `plt`, which plotly
         converts as far as it can (a matplotlib figure that is logged as it is becomes a picture where it cannot).

    Its file is the figure's JSON, with arrays as lists, and null for NaN and the infinities, which plotly shows as gaps.
    Raises DataError for what is no figure or cannot be converted, MissingDependencyError when plotly is needed and not there.
    """

    type_name = "plotly-file"

    def __init__(self, val: Any) -> None:
        if _is_plotly(val):
            content = json.loads(val.to_json())
        elif isinstance(val, Mapping) and isinstance(val.get("data"), list | tuple):
            try:
                content = plain(dict(val))
            except NoCell as error:
                raise DataError(f"Plotly: the figure's dict cannot be stored: {error}") from None
        elif (figure := figure_of(val)) is not None:
            content = _from_matplotlib(figure)
        else:
            raise DataError(
                f"Plotly: a plotly figure, a dict with 'data', or a matplotlib figure is needed, got {type(val).__name__}"
            )
        content = _clean(content)
        data = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        self._keep(Payload(data, "plotly", "plotly.json"), {})

    @classmethod
    def make_plot_media(cls, val: Any) -> Any:
        """A Plotly or, for a matplotlib figure that does not convert, an Image: what logging the figure itself stores."""
        return cls(val) if _is_plotly(val) else adopt_matplotlib(val) or cls(val)


def adopt(value: Any) -> Any:
    """The media object for a plotly figure that is logged directly, or None for another object of plotly."""
    return Plotly(value) if _is_plotly(value) else None


def _is_plotly(value: Any) -> bool:
    module = (type(value).__module__ or "").partition(".")[0]
    modules = {(base.__module__ or "").partition(".")[0] for base in type(value).__mro__}
    return (module == "plotly" or "plotly" in modules) and hasattr(value, "to_json") and hasattr(value, "layout")


def _from_matplotlib(figure: Any) -> Any:
    from milepost.media.figures import converted

    try:
        return converted(figure)
    except ImportError:
        raise MissingDependencyError(
            "Plotly: converting a matplotlib figure needs plotly; install it with: pip install plotly, or log the figure "
            "itself, as a picture"
        ) from None
    except Exception as error:  # noqa: BLE001 - the conversion raises anything for what it does not know
        raise DataError(
            f"Plotly: plotly cannot convert this matplotlib figure ({type(error).__name__}: {error}); log the figure itself: it "
            "becomes a picture"
        ) from None


def _clean(value: Any) -> Any:
    """JSON without NaN, and without the packed arrays in which newer versions of plotly write numbers."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("bdata"), str) and isinstance(value.get("dtype"), str):
        import numpy as np

        array = np.frombuffer(b64decode(value["bdata"]), dtype=value["dtype"])
        shape = value.get("shape")
        if shape is not None:
            array = array.reshape([int(length) for length in str(shape).split(",")])
        return _clean(array.tolist())
    return {key: _clean(item) for key, item in value.items()}
