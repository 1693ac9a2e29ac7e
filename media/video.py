"""Video: moving pictures from an array, a file or bytes.

The pixels of an array are copied when the object is made; gif is written by Pillow, mp4, webm and ogg by ffmpeg
(imageio-ffmpeg). Files are checked to be whole and kept byte for byte.
"""

import io
import math
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from milepost.media.base import FileMedia, Payload
from milepost.media.container import check_gif, check_mp4, check_ogg, check_webm, gif_parts
from milepost.media.files import is_bytes, is_path, read, suffix
from milepost.media.pixels import MAX_PIXELS, as_array, to_uint8, told_array, warn
from milepost.sdk.errors import DataError, MissingDependencyError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMATS: Final = ("gif", "mp4", "webm", "ogg")
MAX_SIDE: Final = 65_535
"""Pixels of one side of a gif, whose header has 16 bits for it."""
_CODECS: Final = {
    "mp4": ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-preset", "veryfast", "-crf", "18", "-movflags", "+faststart"),
    "webm": (
        "-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p", "-crf", "24", "-b:v", "0", "-deadline", "realtime", "-cpu-used", "6",
    ),
    "ogg": ("-c:v", "libtheora", "-pix_fmt", "yuv420p", "-q:v", "8"),
}  # fmt: skip
_CHECKS: Final = {"gif": check_gif, "mp4": check_mp4, "webm": check_webm, "ogg": check_ogg}


class Video(FileMedia):
    """Moving pictures.

    data_or_path: numbers of shape (time, channels, height, width), or (batch, time, channels, height, width), whose videos are
                  shown in a grid; 1, 3 or 4 channels, scaled as pictures are (`pixels.py`). Or the path or bytes of a gif, mp4,
                  webm or ogg file, or an open one.
    caption:      a text shown with it.
    fps:          pictures a second, 4 by default; without effect for files, which have their own.
    format:       "gif" (default), "mp4", "webm" or "ogg".

    Raises DataError (a ValueError) that names shape, dtype or file, MediaFileError for a path that is not there,
    MissingDependencyError where mp4, webm or ogg need imageio-ffmpeg and it is not installed.
    """

    type_name = "video-file"

    def __init__(
        self, data_or_path: Any, caption: Any = None, fps: float | None = None, format: str | None = None
    ) -> None:
        if format is not None and format not in FORMATS:
            raise DataError(f"Video: format is {format!r}; it can be {', '.join(FORMATS)}")
        if fps is not None and (isinstance(fps, bool) or not 0 < _number(fps) <= 1000):
            raise DataError(f"Video: fps must be pictures a second, above 0 and up to 1000; got {fps!r}")
        if self._defer(data_or_path, lambda media, value: Video.__init__(media, value, caption, fps, format)):
            return
        if is_path(data_or_path) or is_bytes(data_or_path):
            if fps is not None:
                warn("fps", "Video: fps has no effect on a file, which has its own")
            payload, fields = _from_file(data_or_path, format)
        else:
            payload, fields = _from_array(data_or_path, 4 if fps is None else fps, format or "gif")
        self._keep(payload, fields, caption)

    @classmethod
    def group(cls, items: Sequence["Video"]) -> dict[str, Any]:
        """Videos of one row."""
        return {
            "_type": "videos",
            "count": len(items),
            "videos": [item.as_value() for item in items],
            "captions": [False if item.caption is None else item.caption for item in items],
        }


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def ffmpeg() -> str:
    """The path of ffmpeg. Raises MissingDependencyError."""
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        raise MissingDependencyError(
            'Video: mp4, webm and ogg need imageio-ffmpeg; install it with: pip install "milepost[media]", or use gif'
        ) from None


def encode(data: memoryview, options: dict[str, Any], target: BinaryIO) -> None:
    """Write raw pixels as a video file. options: shape (time, height, width, channels), fps, format."""
    import numpy as np

    frames: NDArray[np.uint8] = np.frombuffer(data, np.uint8).reshape(options["shape"])
    if options["format"] == "gif":
        _encode_gif(frames, options["fps"], target)
    else:
        _encode_ffmpeg(data, options["shape"], options["fps"], options["format"], target)


def _encode_gif(frames: "NDArray[np.uint8]", fps: float, target: BinaryIO) -> None:
    """Every frame with a palette of its own, exact where it has up to 256 colours; equal frames stay apart."""
    height, width = frames.shape[1:3]
    delay = min(max(round(100 / fps), 1), 65_535).to_bytes(2, "little")
    target.write(b"GIF89a" + width.to_bytes(2, "little") + height.to_bytes(2, "little") + bytes(3))
    target.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01" + bytes(3))  # for ever
    for frame in frames:
        single = io.BytesIO()
        _indexed(frame).save(
            single, "GIF", interlace=0
        )  # Pillow would write rows in another order, and say so in a flag
        descriptor, palette, pixels = gif_parts(single.getvalue())
        target.write(b"\x21\xf9\x04\x04" + delay + bytes(2))
        target.write(descriptor[:9] + bytes([0x80 | len(palette).bit_length() - 3]) + palette + pixels)
    target.write(b";")


def _indexed(frame: "NDArray[np.uint8]") -> Any:
    """A frame as a PIL image with a palette."""
    import numpy as np
    import PIL.Image

    colours = np.broadcast_to(frame, (*frame.shape[:2], 3)) if frame.shape[2] == 1 else frame[..., :3]
    codes = colours.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    found, index = np.unique(codes, return_inverse=True)
    if len(found) > 256:
        image = PIL.Image.fromarray(np.ascontiguousarray(colours))
        return image.quantize(256, dither=PIL.Image.Dither.FLOYDSTEINBERG)
    image = PIL.Image.fromarray(index.reshape(codes.shape).astype(np.uint8))
    image.putpalette(np.stack([found >> 16, found >> 8 & 255, found & 255], 1).astype(np.uint8).tobytes())
    return image


def _encode_ffmpeg(data: memoryview, shape: Sequence[int], fps: float, format: str, target: BinaryIO) -> None:
    _, height, width, channels = shape
    pixels = {1: "gray", 3: "rgb24", 4: "rgba"}[channels]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"video.{format}"
        command = [
            ffmpeg(), "-hide_banner", "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", pixels, "-s", f"{width}x{height}",
            "-r", f"{fps:g}", "-i", "-", "-an", "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", *_CODECS[format],
            "-threads", "1", "-fflags", "+bitexact", "-flags:v", "+bitexact", str(path),
        ]  # fmt: skip
        done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=580)
        if done.returncode:
            raise ValueError(f"ffmpeg: {done.stderr.decode(errors='replace').strip()[-300:]}")
        target.write(path.read_bytes())


def decoded(content: bytes, format: str) -> "NDArray[Any]":
    """The pixels of a video file, shape (time, height, width, 3)."""
    import numpy as np

    if format == "gif":
        import PIL.Image
        import PIL.ImageSequence

        with PIL.Image.open(io.BytesIO(content)) as image:
            pictures = [np.asarray(frame.convert("RGB")) for frame in PIL.ImageSequence.Iterator(image)]
        stacked: NDArray[Any] = np.stack(pictures)
        return stacked
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"video.{format}"
        path.write_bytes(content)
        done = subprocess.run(
            [ffmpeg(), "-hide_banner", "-loglevel", "error", "-i", str(path), "-fps_mode", "passthrough",
             "-f", "image2pipe", "-c:v", "ppm", "-"],
            capture_output=True,
            check=False,
        )  # fmt: skip
    if done.returncode:
        raise ValueError(f"ffmpeg: {done.stderr.decode(errors='replace').strip()[-300:]}")
    head = done.stdout.split(b"\n", 3)[:3]  # P6, width height, 255: the same before every frame
    width, height = map(int, head[1].split())
    size = len(b"\n".join(head)) + 1
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, size + 3 * width * height)
    pixels: NDArray[Any] = frames[:, size:].reshape(-1, height, width, 3)
    return pixels


def _from_array(data: Any, fps: float, format: str) -> tuple[Payload, dict[str, Any]]:
    array = as_array(data, "Video")
    about = told_array(array)
    needed = "an array of shape (time, channels, height, width) or (batch, time, channels, height, width)"
    if array.ndim not in (4, 5) or array.size == 0:
        raise DataError(f"Video: {needed} is needed, got {about}")
    if array.shape[-3] not in (1, 3, 4):
        axes = (0, 3, 1, 2) if array.ndim == 4 else (0, 1, 4, 2, 3)
        hint = f"; channels come before height and width: use array.transpose{axes}"
        raise DataError(
            f"Video: {needed} with 1, 3 or 4 channels is needed, got {about}{hint if array.shape[-1] in (1, 3, 4) else ''}"
        )
    rows, columns = _grid_size(array.shape[0]) if array.ndim == 5 else (1, 1)
    height, width = array.shape[-2] * rows, array.shape[-1] * columns
    if height * width > MAX_PIXELS or max(height, width) > MAX_SIDE:
        raise DataError(
            f"Video: {about} makes pictures of {width} x {height} pixels; at most {MAX_PIXELS:,} are accepted, and {MAX_SIDE:,} "
            "a side: make it smaller, as with array[..., ::2, ::2]"
        )
    if format != "gif":
        ffmpeg()
    pixels = to_uint8(array, "Video")
    if pixels.ndim == 5:
        pixels = _grid(pixels)
    import numpy as np

    frames = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
    options = {"shape": list(frames.shape), "fps": float(fps), "format": format}
    payload = Payload(memoryview(frames.reshape(-1).data), "videos", format, "milepost.media.video:encode", options)
    if format != "gif":  # their colours need an even number of pixels: one row or column is added
        height, width = height + height % 2, width + width % 2
    return payload, {"format": format, "width": width, "height": height, "fps": float(fps), "frames": len(frames)}


def _grid_size(count: int) -> tuple[int, int]:
    """Rows and columns of the grid for so many videos."""
    whole = 1 << (count - 1).bit_length()
    rows = 1 << (whole.bit_length() - 1) // 2
    return rows, whole // rows


def _grid(batch: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
    """Videos side by side: their number is filled up with black to a power of two, in as square a grid as that allows."""
    import numpy as np

    count, time, channels, height, width = batch.shape
    rows, columns = _grid_size(count)
    if rows * columns > count:
        batch = np.concatenate([batch, np.zeros((rows * columns - count, *batch.shape[1:]), batch.dtype)])
    batch = batch.reshape(rows, columns, time, channels, height, width)
    return batch.transpose(2, 3, 0, 4, 1, 5).reshape(time, channels, rows * height, columns * width)


def _from_file(data: Any, format: str | None) -> tuple[Payload, dict[str, Any]]:
    content = read(data, "Video")
    name: Any = data if is_path(data) else getattr(data, "name", None)
    shown = str(name) if is_path(name) else f"{len(content)} bytes"
    given = suffix(name) if is_path(name) else (format or "")
    if is_path(data) and given not in (*FORMATS, "ogv"):
        raise DataError(f"Video: {shown} is called .{given or '(nothing)'}; files can be {', '.join(FORMATS)}")
    kind = _kind(content)
    if kind is None:
        raise DataError(f"Video: {shown} is no video that can be read (its content is not {', '.join(FORMATS)})")
    if given and given.replace("ogv", "ogg") != kind:
        if not is_path(name):
            raise DataError(f"Video: format is {given!r}, and the content of {shown} is {kind}; give format={kind!r}")
        raise DataError(f"Video: {shown} is called .{given} and its content is {kind}; rename it to .{kind}")
    try:
        _CHECKS[kind](content)
    except ValueError as error:
        raise DataError(f"Video: {shown} is damaged or cut short: {error}") from None
    return Payload(content, "videos", kind), {"format": kind}


def _kind(content: bytes) -> str | None:
    if content[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if content[4:8] == b"ftyp":
        return "mp4"
    if content[:4] == b"\x1a\x45\xdf\xa3":
        return "webm"
    return "ogg" if content[:4] == b"OggS" else None
