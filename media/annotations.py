"""Annotations of pictures: bounding boxes, kept as a JSON file each, and segmentation masks, kept as a grey picture each."""

import json
import math
import numbers
from collections.abc import Mapping
from typing import Any, Final

from milepost.media.base import Payload
from milepost.media.files import is_path, read
from milepost.sdk.errors import DataError

_CORNERS: Final = ("minX", "maxX", "minY", "maxY")
_MIDDLE: Final = ("middle", "width", "height")


class Classes:
    """Names of class ids, for `Image(classes=...)`: [{"id": 1, "name": "cat"}, ...]."""

    def __init__(self, class_set: Any) -> None:
        self.class_set = class_list(class_set)


def class_list(classes: Any) -> list[dict[str, Any]]:
    """Classes in whatever form, as [{"id": 1, "name": "cat"}, ...]. Raises DataError."""
    if classes is None:
        return []
    if isinstance(classes, Classes):
        return classes.class_set
    if isinstance(classes, Mapping):
        classes = [{"id": key, "name": name} for key, name in classes.items()]
    try:
        return [{"id": int(item["id"]), "name": str(item["name"])} for item in classes]
    except (TypeError, KeyError, ValueError):
        raise DataError(
            f'Image: classes must be [{{"id": 1, "name": "cat"}}, ...] or {{1: "cat"}}, got {str(classes)[:100]}'
        ) from None


class Boxes:
    """The sets of boxes of one picture, checked. See `Image` for their form."""

    def __init__(self, boxes: Mapping[str, Any], classes: list[dict[str, Any]]) -> None:
        self._values: dict[str, dict[str, Any]] = {}
        for name, one in _sets(boxes, "boxes").items():
            if not isinstance(one.get("box_data"), (list, tuple)):
                raise DataError(f'Image: boxes[{name!r}] needs "box_data", a list of boxes; it has {_keys(one)}')
            data = [_box(box, f"boxes[{name!r}] box {at}") for at, box in enumerate(one["box_data"])]
            labels = _labels(one.get("class_labels"), classes, {box["class_id"] for box in data}, f"boxes[{name!r}]")
            content = json.dumps({"box_data": data, "class_labels": labels}, ensure_ascii=False).encode()
            payload = Payload(content, "metadata/boxes2D", "boxes2D.json")
            self._values[name] = {"_type": "boxes2D", **payload.fields(), "count": len(data), "class_labels": labels}

    def as_value(self) -> dict[str, Any]:
        """Name to mapping."""
        return {name: dict(value) for name, value in self._values.items()}


class Masks:
    """The masks of one picture, checked. See `Image` for their form."""

    def __init__(self, masks: Mapping[str, Any], classes: list[dict[str, Any]]) -> None:
        self._values: dict[str, dict[str, Any]] = {}
        for name, one in _sets(masks, "masks").items():
            payload, found = _mask(one, f"masks[{name!r}]")
            labels = _labels(one.get("class_labels"), classes, found, f"masks[{name!r}]")
            self._values[name] = {"_type": "mask", **payload.fields(), "class_labels": labels}

    def as_value(self) -> dict[str, Any]:
        """Name to mapping."""
        return {name: dict(value) for name, value in self._values.items()}


def _sets(given: Any, what: str) -> dict[str, Mapping[str, Any]]:
    if not isinstance(given, Mapping):
        raise DataError(f"Image: {what} must be a dict of named sets, got {type(given).__name__}")
    for name, one in given.items():
        if not isinstance(name, str) or not isinstance(one, Mapping):
            raise DataError(f"Image: {what} must be a dict of text to dict, got {name!r}: {type(one).__name__}")
    return dict(given)


def _keys(one: Mapping[str, Any]) -> str:
    return ", ".join(map(str, one)) or "nothing"


def _number(value: Any, where: str) -> float | int:
    value = value.item() if hasattr(value, "item") and getattr(value, "size", 1) == 1 else value
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(float(value)):
        raise DataError(f"Image: {where} must be a finite number, got {value!r}")
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def _box(box: Any, where: str) -> dict[str, Any]:
    """One box, as it stands in the file."""
    if not isinstance(box, Mapping):
        raise DataError(f"Image: {where} must be a dict, got {type(box).__name__}")
    position = box.get("position")
    if isinstance(position, Mapping) and all(key in position for key in _CORNERS):
        place: dict[str, Any] = {key: _number(position[key], f'{where} position["{key}"]') for key in _CORNERS}
    elif isinstance(position, Mapping) and all(key in position for key in _MIDDLE):
        middle = position["middle"]
        if not hasattr(middle, "__len__") or len(middle) != 2:
            raise DataError(f'Image: {where} position["middle"] must be two numbers, got {middle!r}')
        place = {
            "middle": [_number(part, f'{where} position["middle"]') for part in middle],
            "width": _number(position["width"], f'{where} position["width"]'),
            "height": _number(position["height"], f'{where} position["height"]'),
        }
    else:
        raise DataError(
            f'Image: {where} needs "position" with {", ".join(_CORNERS)} or with {", ".join(_MIDDLE)}, got {position!r}'
        )
    kept: dict[str, Any] = {"position": place}
    domain = box.get("domain")
    if domain is not None:
        if domain != "pixel":
            raise DataError(
                f'Image: {where} domain must be "pixel", or left out for fractions of the picture; got {domain!r}'
            )
        kept["domain"] = domain
    class_id = box.get("class_id")
    class_id = class_id.item() if class_id is not None and hasattr(class_id, "item") else class_id
    if isinstance(class_id, bool) or not isinstance(class_id, int):
        raise DataError(f"Image: {where} class_id must be a whole number, got {class_id!r}")
    kept["class_id"] = class_id
    scores = box.get("scores")
    if scores is not None:
        if not isinstance(scores, Mapping):
            raise DataError(f"Image: {where} scores must be a dict of names to numbers, got {type(scores).__name__}")
        kept["scores"] = {str(key): _number(value, f"{where} scores[{key!r}]") for key, value in scores.items()}
    text = box.get("box_caption")
    if text is not None:
        if not isinstance(text, str):
            raise DataError(f"Image: {where} box_caption must be text, got {type(text).__name__}")
        kept["box_caption"] = text
    return kept


def _labels(given: Any, classes: list[dict[str, Any]], used: set[int], where: str) -> dict[str, str]:
    """Class id (as text, as JSON has it) to name; an id in use without a name is called class_N."""
    labels = {str(item["id"]): item["name"] for item in classes}
    if given is not None:
        if not isinstance(given, Mapping):
            raise DataError(f"Image: {where} class_labels must be a dict of ids to names, got {type(given).__name__}")
        for key, name in given.items():
            if isinstance(key, bool) or not isinstance(key, (int, numbers.Integral)):
                raise DataError(f"Image: {where} class_labels has the key {key!r}; keys are whole numbers")
            labels[str(int(key))] = str(name)
    for number in sorted(used):
        labels.setdefault(str(number), f"class_{number}")
    return labels


def _mask(one: Mapping[str, Any], where: str) -> tuple[Payload, set[int]]:
    import numpy as np

    from milepost.media.image import check_picture, pixels_payload
    from milepost.media.pixels import as_array, told_array

    if "mask_data" in one:
        array = as_array(one["mask_data"], f"Image: {where} mask_data")
        about = told_array(array)
        if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "iub":
            raise DataError(f"Image: {where} mask_data must be whole numbers of shape (height, width), got {about}")
        if array.min() < 0 or array.max() > 255:
            raise DataError(
                f"Image: {where} mask_data must be class ids 0..255, got {array.min()} to {array.max()} ({about})"
            )
        pixels = np.array(array, dtype=np.uint8, order="C")
        return pixels_payload(pixels, "images/mask", "mask.png"), set(
            np.flatnonzero(np.bincount(pixels.ravel())).tolist()
        )
    if "path" in one and is_path(one["path"]):
        content = read(one["path"], "Image")
        image, form = check_picture(content, one["path"])
        with image:
            found = {int(value) for value in np.unique(np.asarray(image.convert("L")))}
        if form != "PNG":
            raise DataError(f"Image: {where} path must be a png file, got {form}")
        return Payload(content, "images/mask", "mask.png"), found
    raise DataError(f'Image: {where} needs "mask_data" or "path"; it has {_keys(one)}')
