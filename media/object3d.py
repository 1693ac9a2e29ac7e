"""Object3D: a mesh, a point cloud or a scene.

Files are checked to be what they claim (`mesh_file.py`) and kept byte for byte; points become a pts.json file, which is written
in another process.
"""

import json
import numbers
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal

from milepost.media.base import FileMedia, Payload
from milepost.media.files import is_path, read, suffix
from milepost.media.mesh_file import CHECKS
from milepost.media.pixels import as_array, told_array
from milepost.sdk.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMATS: Final = ("obj", "gltf", "glb", "stl", "ply", "babylon", "pts.json")
_ENCODER: Final = "milepost.media.object3d:encode"


class Object3D(FileMedia):
    """Something in three dimensions.

    data_or_path: points: numbers of shape (n, 3), (n, 4: with a category 1..14) or (n, 6: with red, green, blue 0..255).
                  A scene: {"type": "lidar/beta", "points": ..., "boxes": [{"corners": 8 points, "label", "color", "score"}],
                  "vectors": [{"start", "end"}]}.
                  A file: its path, or an open one, that ends in .obj, .gltf, .glb, .stl, .ply, .babylon or .pts.json.
    caption:      a text shown with it.
    file_type:    the format, without dot, of an open file or bytes without a name.

    Raises DataError (a ValueError) that names shape, dtype or file, MediaFileError for a path that is not there.
    """

    type_name = "object3D-file"

    def __init__(self, data_or_path: Any, caption: Any = None, file_type: str | None = None) -> None:
        is_file = is_path(data_or_path) or callable(getattr(data_or_path, "read", None))
        if is_file or isinstance(data_or_path, (bytes, bytearray)):
            payload, fields = _from_file(data_or_path, file_type)
        elif isinstance(data_or_path, Mapping):
            payload, fields = _from_scene(data_or_path)
        else:
            points = _points(data_or_path, "Object3D")
            payload = _points_payload(points, {})
            fields = {"format": "pts.json", "points": len(points)}
        self._keep(payload, fields, caption)

    @classmethod
    def from_file(cls, data_or_path: Any, file_type: str | None = None, caption: Any = None) -> "Object3D":
        """A file, by path or open."""
        return cls(data_or_path, caption, file_type)

    @classmethod
    def from_numpy(cls, data: Any, caption: Any = None) -> "Object3D":
        """Points, as an array."""
        return cls(data, caption)

    @classmethod
    def from_point_cloud(
        cls,
        points: Any,
        boxes: Sequence[Mapping[str, Any]] = (),
        vectors: Sequence[Mapping[str, Any]] | None = None,
        point_cloud_type: Literal["lidar/beta"] = "lidar/beta",
    ) -> "Object3D":
        """A scene of points, boxes and vectors, which may be lists."""
        return cls({"type": point_cloud_type, "points": points, "boxes": boxes, "vectors": vectors or ()})

    @classmethod
    def group(cls, items: Sequence["Object3D"]) -> dict[str, Any]:
        """Objects of one row."""
        return {
            "_type": "object3D",
            "count": len(items),
            "filenames": [item.payload.name() for item in items],
            "objects": [item.as_value() for item in items],
        }


def encode(data: memoryview, options: dict[str, Any], target: BinaryIO) -> None:
    """Write points as pts.json. options: shape; and the rest of a scene, when it is one."""
    import numpy as np

    points = np.frombuffer(data, "<f8").reshape(options["shape"]).tolist()
    points = [
        [int(number) if number == int(number) and at >= 3 else number for at, number in enumerate(row)]
        for row in points
    ]
    scene = options.get("scene")
    content: Any = points if scene is None else {**scene, "points": points}
    target.write(json.dumps(content, separators=(",", ":")).encode())


def _points(value: Any, owner: str) -> "NDArray[np.float64]":
    """Points as doubles, a copy, checked."""
    import numpy as np

    array = as_array(value, owner)
    about = told_array(array)
    if array.ndim != 2 or array.shape[1] not in (3, 4, 6) or not len(array):
        raise DataError(
            f"{owner}: points of shape (n, 3), (n, 4: with a category) or (n, 6: with red, green, blue) are needed, got {about}"
        )
    points = np.array(array, dtype="<f8", order="C")
    if not np.isfinite(points).all():
        raise DataError(
            f"{owner}: points are NaN or infinite ({about}); leave them out, as with array[numpy.isfinite(array).all(1)]"
        )
    more = points[:, 3:]
    if points.shape[1] == 4 and ((more != np.floor(more)) | (more < 1) | (more > 14)).any():
        raise DataError(
            f"{owner}: the fourth column is a category, a whole number 1..14; got {more.min():g} to {more.max():g}"
        )
    if points.shape[1] == 6 and ((more < 0) | (more > 255)).any():
        raise DataError(f"{owner}: columns 4 to 6 are red, green and blue 0..255; got {more.min():g} to {more.max():g}")
    return points


def _points_payload(points: "NDArray[np.float64]", more: dict[str, Any]) -> Payload:
    options = {"shape": list(points.shape), **more}
    return Payload(memoryview(points.reshape(-1).data).cast("B"), "object3D", "pts.json", _ENCODER, options)


def _from_scene(given: Mapping[str, Any]) -> tuple[Payload, dict[str, Any]]:
    kind = given.get("type")
    if kind != "lidar/beta":
        raise DataError(f'Object3D: a scene has "type": "lidar/beta", got {kind!r}')
    if "points" not in given:
        raise DataError('Object3D: a scene needs "points", numbers of shape (n, 3), (n, 4) or (n, 6)')
    points = _points(given["points"], 'Object3D "points"')
    scene: dict[str, Any] = {
        "type": kind,
        "boxes": _boxes(given.get("boxes")),
        "vectors": _vectors(given.get("vectors")),
    }
    fields = {
        "format": "pts.json",
        "points": len(points),
        "boxes": len(scene["boxes"]),
        "vectors": len(scene["vectors"]),
    }
    return _points_payload(points, {"scene": scene}), fields


def _boxes(given: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for at, box in enumerate(() if given is None else given):
        where = f"Object3D box {at}"
        if not isinstance(box, Mapping) or "corners" not in box:
            raise DataError(f'{where} must be a dict with "corners", got {str(box)[:100]}')
        kept: dict[str, Any] = {"corners": _floats(box["corners"], (8, 3), f"{where} corners")}
        for name in ("label", "color", "score"):
            if box.get(name) is not None:
                kept[name] = _plain(box[name], f"{where} {name}")
        found.append(kept)
    return found


def _vectors(given: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for at, vector in enumerate(() if given is None else given):
        where = f"Object3D vector {at}"
        if not isinstance(vector, Mapping) or "start" not in vector or "end" not in vector:
            raise DataError(f'{where} must be a dict with "start" and "end", got {str(vector)[:100]}')
        found.append({name: _floats(vector[name], (3,), f"{where} {name}") for name in ("start", "end")})
        if vector.get("color") is not None:
            found[-1]["color"] = _plain(vector["color"], f"{where} color")
    return found


def _floats(value: Any, shape: tuple[int, ...], where: str) -> Any:
    import numpy as np

    array = as_array(value, where)
    if array.shape != shape or not np.isfinite(array).all():
        raise DataError(f"{where} must be finite numbers of shape {shape}, got shape {tuple(array.shape)}")
    return array.astype(float).tolist()


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, numbers.Real):
        return float(value) if not isinstance(value, numbers.Integral) else int(value)
    return [_plain(item, where) for item in as_array(value, where).tolist()]


def _from_file(data: Any, file_type: str | None) -> tuple[Payload, dict[str, Any]]:
    name: Any = data if is_path(data) else getattr(data, "name", None)
    extension = (file_type or (suffix(name) if is_path(name) else "")).lower().lstrip(".")
    if extension not in FORMATS:
        what = f"file_type is {file_type!r}" if file_type else f"{name or 'what was given'} ends in no known extension"
        raise DataError(f"Object3D: {what}; it can be {', '.join(FORMATS)}")
    content = read(data, "Object3D")
    shown = str(name) if is_path(name) else f"{len(content)} bytes"
    try:
        CHECKS[extension](content)
    except ValueError as error:
        raise DataError(f"Object3D: {shown} is not a whole .{extension} file: {error}") from None
    return Payload(content, "object3D", extension), {"format": extension}
