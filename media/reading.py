"""Reading: media values of a row as objects: PIL images, arrays, DataFrames, dicts and texts.

A `Reader` belongs to each `_type`. `value` is the mapping of the row, and `value.open()` its file.
"""

import io
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from milepost.media.table_reading import to_dicts, to_pandas
from milepost.sdk.errors import UsageError

if TYPE_CHECKING:
    import PIL.Image
    from numpy.typing import NDArray


class Reader:
    """What a value can become. load: the usual form; the others where the type has them."""

    def __init__(
        self,
        load: Callable[[Any], Any],
        to_pil: Callable[[Any], Any] | None = None,
        to_numpy: Callable[[Any], Any] | None = None,
        to_pandas: Callable[[Any], Any] | None = None,
        to_dicts: Callable[[Any], Any] | None = None,
    ) -> None:
        self._load = load
        self.to_pil = to_pil
        self.to_numpy = to_numpy
        self.to_pandas = to_pandas
        self.to_dicts = to_dicts

    def __call__(self, value: Any) -> Any:
        """The usual form."""
        return self._load(value)


def _bytes(value: Any) -> bytes:
    with value.open() as file:
        content: bytes = file.read()
    return content


def _pil(value: Any) -> "PIL.Image.Image":
    import PIL.Image

    image = PIL.Image.open(io.BytesIO(_bytes(value)))
    image.load()
    return image


def _pixels(value: Any) -> "NDArray[Any]":
    import numpy as np

    pixels: NDArray[Any] = np.asarray(_pil(value))
    return pixels


def _each(convert: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    return lambda value: [convert(item) for item in value["files"]]


def _json(value: Any) -> Any:
    return json.loads(_bytes(value))


def _text(value: Any) -> str:
    return _bytes(value).decode()


def _samples(value: Any) -> "NDArray[Any]":
    """Numbers in [-1, 1], shape (samples,) or (samples, channels)."""
    from milepost.media.audio import decoded

    return decoded(_bytes(value))


def _frames(value: Any) -> "NDArray[Any]":
    """Pixels, shape (time, height, width, channels)."""
    from milepost.media.video import decoded

    return decoded(_bytes(value), str(value.get("path", "")).rpartition(".")[2])


def _points(value: Any) -> Any:
    """A point cloud as an array, a scene as a dict of arrays; the bytes of any other 3D file."""
    import numpy as np

    content = _bytes(value)
    if not str(value.get("path", "")).endswith(".pts.json"):
        return content
    loaded = json.loads(content)
    if isinstance(loaded, dict):
        return {key: np.asarray(item) if key == "points" else item for key, item in loaded.items()}
    return np.asarray(loaded)


def _cloud(value: Any) -> Any:
    """A point cloud or a scene, as `_points` has it. Raises UsageError for a mesh, which is no array."""
    found = _points(value)
    if isinstance(found, bytes):
        raise UsageError(
            f"a .{value.get('format')} file has no to_numpy(); open() and load() give its bytes, for a library such as trimesh"
        )
    return found


def _counts(value: Any) -> "tuple[NDArray[Any], NDArray[Any]]":
    """Counts and edges, as `numpy.histogram` gives them."""
    import numpy as np

    return np.asarray(value["values"]), np.asarray(value["bins"])


picture = Reader(_pil, to_pil=_pil, to_numpy=_pixels)
pictures = Reader(_each(_pil), to_pil=_each(_pil), to_numpy=_each(_pixels))
json_file = Reader(_json)
text_file = Reader(_text)
sound = Reader(_samples, to_numpy=_samples)
video = Reader(_frames, to_numpy=_frames)
object3d = Reader(_points, to_numpy=_cloud)
table = Reader(to_dicts, to_pandas=to_pandas, to_dicts=to_dicts)
histogram = Reader(_counts, to_numpy=_counts)
