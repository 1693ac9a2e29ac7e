"""Image: a picture from an array, a tensor, a PIL image, a file, bytes or a matplotlib figure.

Of arrays the pixels are copied (and scaled, see `pixels.py`) when the object is made; the picture file is made of them in
another process. Files are checked and kept byte for byte.
"""

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from milepost.media.annotations import Boxes, Masks, class_list
from milepost.media.base import FileMedia, Payload, captions, copied
from milepost.media.container import check_gif
from milepost.media.figures import figure_of
from milepost.media.files import is_bytes, is_path, read, suffix
from milepost.media.pixels import MAX_PIXELS, as_array, is_tensor, to_uint8, told_array, warn
from milepost.media.png_file import check_png
from milepost.sdk.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    from numpy.typing import NDArray

_FORMATS: Final = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "bmp": "BMP", "webp": "WEBP"}
"""What a picture made of pixels can be written as, by file type."""
_LARGE: Final = 2**26
"""Bytes of pixels from which on a file is checked without all of them in memory, or refused where that cannot be."""
_RATIO: Final = 100
_READ: Final = {
    "PNG": ("png",), "JPEG": ("jpg", "jpeg"), "BMP": ("bmp",), "WEBP": ("webp",), "GIF": ("gif",), "TIFF": ("tif", "tiff"),
}  # fmt: skip
"""What a picture's file may be, and the extensions that fit."""
_MODES: Final = {
    1: {"L", "P", "1"}, 2: {"LA"}, 3: {"RGB", "YCbCr", "HSV", "LAB"}, 4: {"RGBA", "CMYK", "RGBX"},
}  # fmt: skip
_DEFAULT_MODE: Final = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


class Image(FileMedia):
    """A picture.

    data_or_path: numbers of shape (height, width), (height, width, 1), (height, width, 3: RGB) or (height, width, 4: RGBA):
                  numpy, JAX, TensorFlow, nested lists; of PyTorch (channels, height, width) or (height, width).
                  Booleans, whole numbers and floats are scaled as `pixels.py` says. Or a PIL image; a matplotlib figure, axes
                  or `plt`; another Image; the path or bytes of a png, jpg, bmp, webp, gif or tiff file, or an open one.
    mode:         what the channels mean, as Pillow names it ("L", "RGB", "RGBA", "HSV", "CMYK", ...).
    caption:      a text shown with it. grouping: a number that a page may group pictures by.
    classes:      names of class ids for boxes and masks: [{"id": 1, "name": "cat"}, ...], or {1: "cat"}.
    boxes:        {name: {"box_data": [{"position": {"minX", "maxX", "minY", "maxY"} or {"middle", "width", "height"},
                  "class_id": 1, "domain": "pixel", "scores": {name: number}, "box_caption": text}], "class_labels": {1: "cat"}}}
    masks:        {name: {"mask_data": (height, width) whole numbers 0..255, or "path": file, "class_labels": {1: "cat"}}}
    file_type:    "png" (default), "jpg", "jpeg", "bmp" or "webp", for what is no file already.
    normalize:    False leaves numbers unscaled: they are cut to 0..255.

    Raises DataError (a ValueError and TypeError) that names shape, dtype or file and what is accepted, MediaFileError for a
    path that is not there.
    """

    type_name = "image-file"

    def __init__(
        self,
        data_or_path: Any,
        mode: str | None = None,
        caption: Any = None,
        grouping: int | None = None,
        classes: Any = None,
        boxes: Mapping[str, Any] | None = None,
        masks: Mapping[str, Any] | None = None,
        file_type: str | None = None,
        normalize: bool = True,
    ) -> None:
        if file_type is not None and file_type not in _FORMATS:
            raise DataError(f"Image: file_type is {file_type!r}; it can be {', '.join(_FORMATS)}")
        if self._defer(
            data_or_path,
            lambda media, value: Image.__init__(
                media, value, mode, caption, grouping, classes, boxes, masks, file_type, normalize
            ),
        ):
            return
        payload, fields = _load(data_or_path, mode, file_type, normalize)
        labels = class_list(fields.get("classes") if classes is None else classes)
        self.boxes = Boxes(boxes, labels) if boxes else None
        self.masks = Masks(masks, labels) if masks else None
        if grouping is not None:
            fields["grouping"] = grouping
        if labels:
            fields["classes"] = labels
        self._keep(payload, fields, caption)
        if isinstance(data_or_path, Image):
            self.boxes = self.boxes or data_or_path.boxes
            self.masks = self.masks or data_or_path.masks
            self.caption = data_or_path.caption if caption is None else self.caption

    @property
    def width(self) -> int:
        """Pixels."""
        return int(self._fields["width"])

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self._fields["height"])

    @property
    def format(self) -> str:
        """The extension of its file: "png", ..."""
        return str(self._fields["format"])

    def as_value(self) -> dict[str, Any]:
        """The mapping that stands in the row."""
        value = super().as_value()
        if self.boxes:
            value["boxes"] = self.boxes.as_value()
        if self.masks:
            value["masks"] = self.masks.as_value()
        return value

    @classmethod
    def group(cls, items: Sequence["Image"]) -> dict[str, Any]:
        """Pictures of one row: the size of the first, and per picture its file, caption, boxes and masks."""
        first = items[0]
        if any((item.width, item.height) != (first.width, first.height) for item in items):
            warn(
                "sizes",
                "Image: pictures of different sizes in one list; width and height of the row are those of the first",
            )
        value: dict[str, Any] = {
            "_type": "images/separated",
            "width": first.width,
            "height": first.height,
            "format": first.format,
            "count": len(items),
            "filenames": [item.payload.path() for item in items],
            "files": [
                {**item.payload.fields(), "width": item.width, "height": item.height, "format": item.format}
                for item in items
            ],
        }
        texts = captions(items)
        if texts is not None:
            value["captions"] = texts
        if any(item.boxes for item in items):
            value["all_boxes"] = [item.boxes.as_value() if item.boxes else False for item in items]
        if any(item.masks for item in items):
            value["all_masks"] = [item.masks.as_value() if item.masks else False for item in items]
        return value


def adopt(value: Any) -> Any:
    """A PIL image that is logged directly, as an Image."""
    import PIL.Image

    return Image(value) if isinstance(value, PIL.Image.Image) else None


def encode(data: memoryview, options: dict[str, Any], target: BinaryIO) -> None:
    """Write raw pixels as a picture file: what the encoder's process calls.

    options: mode (of the bytes), width, height, format, and `to`, the mode to convert to first.
    """
    import PIL.Image

    buffer: Any = data  # any contiguous buffer is taken, whatever the annotation says
    image = PIL.Image.frombuffer(
        options["mode"], (options["width"], options["height"]), buffer, "raw", options["mode"], 0, 1
    )
    save(image if options.get("to") is None else image.convert(options["to"]), options["format"], target)


def save(image: "PIL.Image.Image", format: str, target: BinaryIO) -> None:
    """Write a PIL image. format: of the file, as an extension.

    Level 1 of PNG's compression takes half the time of level 6 for photographs of 256 x 256 (5 ms), which are then 5 % larger;
    for smoother pictures a fifth.
    """
    if format == "png":
        image.save(target, "PNG", compress_level=1)
    elif format in ("jpg", "jpeg"):
        image.save(target, "JPEG", quality=90)
    else:
        image.save(target, _FORMATS[format])


def pixels_payload(
    array: "NDArray[np.uint8]", folder: str, extension: str, mode: str | None = None, *, owned: bool = True
) -> Payload:
    """The payload of a picture of 8-bit pixels, shape (height, width) or (height, width, channels), contiguous.

    owned: whether nobody else can change the array; else it is copied.
    """
    height, width = array.shape[:2]
    channels = 1 if array.ndim == 2 else array.shape[2]
    given = mode or _DEFAULT_MODE[channels]
    form = extension.rpartition(".")[2]
    options: dict[str, Any] = {"mode": given, "width": width, "height": height, "format": form}
    if given not in ("1", "L", "LA", "RGB", "RGBA"):
        options["to"] = "RGB"
    if form in ("jpg", "jpeg", "bmp") and given in ("LA", "RGBA"):
        warn("alpha", f"Image: a {form} file has no transparency; it is left out. Use png or webp to keep it")
        options["to"] = "RGB"
    view = memoryview(array.reshape(-1).data)
    return Payload(view if owned else copied(view), folder, extension, "milepost.media.image:encode", options)


def _load(data: Any, mode: str | None, file_type: str | None, normalize: bool) -> tuple[Payload, dict[str, Any]]:
    """The payload of whatever was given, and its format and size."""
    if isinstance(data, Image):
        return data.payload, dict(data._fields)
    if is_path(data) or is_bytes(data):
        return _from_file(data, mode, file_type)
    if type(data).__module__.partition(".")[0] == "PIL":
        return _from_pil(data, mode, file_type)
    figure = None if type(data).__module__.partition(".")[0] in ("numpy", "torch") else figure_of(data)
    if figure is not None:
        return _from_figure(figure, file_type)
    return _from_array(data, mode, file_type, normalize)


def _from_array(data: Any, mode: str | None, file_type: str | None, normalize: bool) -> tuple[Payload, dict[str, Any]]:
    import numpy as np

    given = array = as_array(data, "Image")
    if is_tensor(data):
        accepted = "a tensor of shape (height, width) or (channels, height, width) with 1, 3 or 4 channels"
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            array = array.transpose(1, 2, 0)
        elif array.ndim != 2:
            more = "; log a batch as a list: [Image(one) for one in batch]" if array.ndim == 4 else ""
            raise DataError(f"Image: {accepted} is needed, got {told_array(given)}{more}")
    else:
        while array.ndim > 3 and 1 in array.shape[:-3]:
            array = array.squeeze(array.shape.index(1))
        if array.ndim == 3 and array.shape[2] not in (1, 2, 3, 4) and array.shape[0] == 1:
            array = array[0]
        if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
            more = ""
            if array.ndim == 3 and array.shape[0] in (3, 4) and array.shape[0] < min(array.shape[1:]):
                more = "; channels come last in arrays: use array.transpose(1, 2, 0)"
            elif array.ndim == 4:
                more = "; log a batch as a list: [Image(one) for one in batch]"
            raise DataError(
                "Image: an array of shape (height, width) or (height, width, channels) with 1, 3 or 4 channels is needed, "
                f"got {told_array(given)}{more}"
            )
    if 0 in array.shape:
        raise DataError(f"Image: the array is empty: {told_array(given)}")
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise DataError(
            f"Image: {told_array(given)} has more than {MAX_PIXELS:,} pixels; make it smaller, as with array[::2, ::2]"
        )
    channels = 1 if array.ndim == 2 else int(array.shape[2])
    if mode is not None and mode not in _MODES[channels]:
        raise DataError(
            f"Image: mode {mode!r} does not fit {told_array(given)}; it can be {', '.join(sorted(_MODES[channels]))}"
        )
    pixels = to_uint8(array, "Image", normalize, copy=False)
    owned = not np.may_share_memory(pixels, array)
    if channels == 1:
        pixels, mode = pixels.reshape(pixels.shape[:2]), "L"
    return _pixels(pixels, file_type or "png", mode, owned=owned)


def _pixels(
    pixels: "NDArray[np.uint8]", format: str, mode: str | None, *, owned: bool = True
) -> tuple[Payload, dict[str, Any]]:
    payload = pixels_payload(pixels, "images", format, mode, owned=owned)
    return payload, {"format": format, "width": int(pixels.shape[1]), "height": int(pixels.shape[0])}


def _from_pil(image: Any, mode: str | None, file_type: str | None) -> tuple[Payload, dict[str, Any]]:
    import numpy as np

    about = f"a PIL image of mode {image.mode}, {image.width} x {image.height}"
    if not image.width or not image.height:
        raise DataError(f"Image: {about} is empty")
    if mode is not None and mode != image.mode:
        try:
            image = image.convert(mode)
        except ValueError as error:
            raise DataError(f"Image: {about} cannot become {mode!r}: {error}") from None
    try:
        if image.mode.startswith(("I", "F")):
            array = as_array(image, "Image")
            if file_type in (None, "png") and _has_16_bits(image.mode, array):
                return _pixels_of_16_bits(array)
            return _pixels(to_uint8(array, "Image"), file_type or "png", None)
        if image.mode not in ("L", "LA", "RGB", "RGBA", "HSV", "CMYK", "YCbCr", "LAB"):
            plain = {"P": "RGB", "PA": "RGBA", "RGBX": "RGB", "RGBa": "RGBA", "La": "LA"}.get(image.mode, "L")
            image = image.convert("RGBA" if "transparency" in image.info else plain)
        return _pixels(np.array(image), file_type or "png", image.mode)
    except OSError as error:
        raise DataError(f"Image: {about} cannot be read: {error}") from None


def _has_16_bits(mode: str, array: "NDArray[Any]") -> bool:
    """Whether a PIL image has 16 bits a pixel; of mode "I", which older versions of Pillow open such files as, by its numbers."""
    return mode.startswith("I;16") or (mode == "I" and array.min() >= 0 and 255 < array.max() < 65_536)


def _pixels_of_16_bits(array: "NDArray[Any]") -> tuple[Payload, dict[str, Any]]:
    import numpy as np

    height, width = array.shape
    pixels = np.array(array, dtype="<u2", order="C")
    options = {"mode": "I;16", "width": width, "height": height, "format": "png"}
    data = memoryview(pixels.reshape(-1).data).cast("B")
    fields = {"format": "png", "width": width, "height": height}
    return Payload(data, "images", "png", "milepost.media.image:encode", options), fields


def _from_figure(figure: Any, file_type: str | None) -> tuple[Payload, dict[str, Any]]:
    """The figure as matplotlib draws it: its own size and resolution. This takes its time, on the caller's thread."""
    buffer = io.BytesIO()
    try:
        figure.savefig(buffer, format="png")
    except Exception as error:  # noqa: BLE001 - drawing runs the user's own code
        raise DataError(f"Image: drawing the {type(figure).__name__} failed: {type(error).__name__}: {error}") from None
    if file_type in (None, "png"):
        width, height = int.from_bytes(buffer.getvalue()[16:20], "big"), int.from_bytes(buffer.getvalue()[20:24], "big")
        payload = Payload(buffer.getvalue(), "images", "png")
        return payload, {"format": "png", "width": width, "height": height}
    import PIL.Image

    with PIL.Image.open(buffer) as image:
        return _from_pil(image.convert("RGB"), None, file_type)


def _from_file(data: Any, mode: str | None, file_type: str | None) -> tuple[Payload, dict[str, Any]]:
    content = read(data, "Image")
    name: Any = data if is_path(data) else getattr(data, "name", None)
    name = name if is_path(name) else None
    image, form = check_picture(content, name)
    with image:
        extensions = _READ[form]
        if mode is not None or (file_type is not None and file_type not in extensions):
            return _from_pil(image, mode, file_type)
        given = "" if name is None else suffix(name)
        extension = given if given in extensions else file_type or extensions[0]
        fields = {"format": extension, "width": image.width, "height": image.height}
        return Payload(content, "images", extension), fields


def check_picture(content: bytes, name: Any = None) -> "tuple[PIL.Image.Image, str]":
    """A picture file that is whole, and its format as Pillow names it. A small file never takes much memory here.

    name: the path it came from, whose extension must fit. Raises DataError for what is no picture, another one than its name
    says, damaged, cut short, or larger in pixels than `MAX_PIXELS`.
    """
    import PIL.Image

    shown = f"{name}" if name is not None else f"{len(content)} bytes"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = PIL.Image.open(io.BytesIO(content), formats=tuple(_READ))
    except PIL.Image.DecompressionBombError:
        raise DataError(f"Image: {shown} has more pixels than the {MAX_PIXELS:,} that are accepted") from None
    except Exception:  # noqa: BLE001 - of a hostile file a decoder may raise anything
        accepted = ", ".join(extension for extensions in _READ.values() for extension in extensions)
        raise DataError(f"Image: {shown} is no picture that can be read (its content is not {accepted})") from None
    form = str(image.format)
    extension = suffix(name) if name is not None else ""
    if extension in {other for extensions in _READ.values() for other in extensions} and extension not in _READ[form]:
        raise DataError(
            f"Image: {shown} is called .{extension} and its content is {form}; rename it to .{_READ[form][0]}"
        )
    if image.width * image.height > MAX_PIXELS:
        raise DataError(
            f"Image: {shown} unfolds to {image.width} x {image.height} pixels; {MAX_PIXELS:,} are accepted at the most"
        )
    unfolded = image.width * image.height * max(len(image.getbands()), 1)
    if form not in ("PNG", "JPEG") and unfolded > _LARGE and unfolded > _RATIO * len(content):
        raise DataError(
            f"Image: {shown} of {len(content):,} bytes unfolds to {image.width} x {image.height} pixels, {unfolded:,} bytes; "
            f"above {_LARGE:,} bytes a {form} file may unfold to {_RATIO} times its size"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if form == "GIF":  # Pillow is content with a first picture that is whole
                check_gif(content)
            if form == "PNG":
                check_png(content)
            elif unfolded > _LARGE and form == "JPEG":  # all of it is read, and an eighth of each side decoded
                smaller = PIL.Image.open(io.BytesIO(content))
                smaller.draft(None, (image.width // 8, image.height // 8))
                smaller.load()
            else:
                image.load()
    except Exception as error:  # noqa: BLE001 - as above
        raise DataError(f"Image: {shown} is damaged or cut short ({type(error).__name__}: {error})") from None
    return image, form
