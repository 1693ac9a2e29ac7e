"""Audio: a sound from samples, a file or bytes.

Samples become 16 bits when the object is made; wav is written by Python itself, flac and ogg by libsndfile (soundfile).
Files are checked to be whole and kept byte for byte.
"""

import contextlib
import io
import struct
import wave
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from milepost.media.base import FileMedia, Payload
from milepost.media.files import is_bytes, is_path, read, suffix
from milepost.media.ogg_file import number_stream
from milepost.media.pixels import as_array, is_tensor, told_array, warn
from milepost.sdk.errors import DataError, MissingDependencyError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILE_TYPES: Final = ("wav", "flac", "ogg")
MAX_CHANNELS: Final = 64
_MAGIC: Final = {"wav": b"RIFF", "flac": b"fLaC", "ogg": b"OggS"}


class Audio(FileMedia):
    """A sound.

    data_or_path: samples of shape (n,) or (n, channels): floats in [-1, 1], or whole numbers of 8, 16 or 32 bits. Or the path or
                  bytes of a wav, flac, ogg or mp3 file, or an open one.
    sample_rate:  samples a second; needed for samples, and taken from the file for files.
    caption:      a text shown with it.
    file_type:    "wav" (default), "flac" or "ogg", for samples.

    Raises DataError (a ValueError) that names shape, dtype or file, MediaFileError for a path that is not there,
    MissingDependencyError where flac, ogg or mp3 need soundfile and it is not installed.
    """

    type_name = "audio-file"

    def __init__(
        self, data_or_path: Any, sample_rate: float | None = None, caption: Any = None, file_type: str | None = None
    ) -> None:
        if file_type is not None and file_type not in FILE_TYPES:
            raise DataError(f"Audio: file_type is {file_type!r}; it can be {', '.join(FILE_TYPES)}")
        if self._defer(
            data_or_path, lambda media, value: Audio.__init__(media, value, sample_rate, caption, file_type)
        ):
            return
        if is_path(data_or_path) or is_bytes(data_or_path):
            payload, fields = _from_file(data_or_path)
        else:
            payload, fields = _from_samples(data_or_path, sample_rate, file_type or "wav")
        self._keep(payload, fields, caption)

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return int(self._fields["sample_rate"])

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self._fields["duration"])

    @classmethod
    def group(cls, items: Sequence["Audio"]) -> dict[str, Any]:
        """Sounds of one row."""
        value: dict[str, Any] = {
            "_type": "audio",
            "count": len(items),
            "audio": [item.as_value() for item in items],
            "sampleRates": [item.sample_rate for item in items],
            "durations": [item.duration for item in items],
        }
        if any(item.caption is not None for item in items):
            value["captions"] = [item.caption or "" for item in items]
        return value


def soundfile() -> Any:
    """The module soundfile. Raises MissingDependencyError."""
    try:
        import soundfile as module
    except (ImportError, OSError):
        raise MissingDependencyError(
            "Audio: flac, ogg, mp3 and wav of other than 16 bits need soundfile; install it with: "
            'pip install "milepost[media]", or log samples as wav'
        ) from None
    return module


def encode(data: memoryview, options: dict[str, Any], target: BinaryIO) -> None:
    """Write 16-bit samples as a sound file. options: channels, sample_rate, file_type."""
    if options["file_type"] == "wav":
        with wave.open(target, "wb") as file:
            file.setnchannels(options["channels"])
            file.setsampwidth(2)
            file.setframerate(options["sample_rate"])
            file.writeframes(data)
        return
    import numpy as np

    samples = np.frombuffer(data, "<i2").reshape(-1, options["channels"])
    soundfile().write(target, samples, options["sample_rate"], format=options["file_type"].upper())
    if options["file_type"] == "ogg":
        number_stream(target)


def decoded(content: bytes) -> "NDArray[np.float64]":
    """The samples of a sound file, in [-1, 1], shape (n,) or (n, channels). What Python reads itself needs no soundfile."""
    import numpy as np

    if _kind(content) == "wav":
        with contextlib.suppress(wave.Error, EOFError), wave.open(io.BytesIO(content)) as file:
            if file.getsampwidth() == 2:
                whole = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
                samples: NDArray[np.float64] = whole / 32768
                return samples[:, 0] if samples.shape[1] == 1 else samples
    found: NDArray[np.float64] = soundfile().read(io.BytesIO(content))[0]
    return found


def _from_samples(data: Any, sample_rate: Any, file_type: str) -> tuple[Payload, dict[str, Any]]:
    samples = as_array(data, "Audio")
    about = told_array(samples)
    if isinstance(sample_rate, bool) or not _is_rate(sample_rate):
        raise DataError(f"Audio: sample_rate must be the samples a second, a whole number above 0; got {sample_rate!r}")
    if is_tensor(data) and samples.ndim == 2 and samples.shape[0] <= 2 < samples.shape[1]:
        samples = samples.T  # torchaudio's (channels, n)
    if samples.ndim not in (1, 2) or samples.size == 0:
        raise DataError(f"Audio: samples of shape (n,) or (n, channels) are needed, got {about}")
    channels = 1 if samples.ndim == 1 else int(samples.shape[1])
    if channels > MAX_CHANNELS:
        hint = "; channels come last: use array.T" if samples.shape[0] <= MAX_CHANNELS else ""
        raise DataError(f"Audio: at most {MAX_CHANNELS} channels are kept, got {about}{hint}")
    if file_type != "wav":
        soundfile()
    rate = int(sample_rate)
    sixteen = _to_int16(samples, about)
    options = {"channels": channels, "sample_rate": rate, "file_type": file_type}
    fields = {"sample_rate": rate, "duration": len(samples) / rate, "channels": channels}
    return Payload(
        memoryview(sixteen.reshape(-1).data).cast("B"), "audio", file_type, "milepost.media.audio:encode", options
    ), fields


def _is_rate(value: Any) -> bool:
    try:
        return 0 < int(value) < 2**31 and int(value) == float(value)
    except (TypeError, ValueError, OverflowError):
        return False


def _to_int16(samples: "NDArray[Any]", about: str) -> "NDArray[np.int16]":
    """Samples of 16 bits, little-endian, a copy."""
    import numpy as np

    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    kind = samples.dtype.kind
    if kind == "f":
        low, high = samples.min(), samples.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            raise DataError(f"Audio: samples are NaN or infinite ({about}); replace them, as with numpy.nan_to_num")
        if low < -1 or high > 1:
            warn("loud", f"Audio: samples from {low:g} to {high:g} were cut to [-1, 1] ({about})")
        return np.ascontiguousarray(np.rint(samples.clip(-1, 1).astype(np.float64) * 32767).astype("<i2"))
    if samples.dtype == np.uint8:
        return np.ascontiguousarray(((samples.astype(np.int16) - 128) * 256).astype("<i2"))
    if samples.dtype == np.int8:
        return np.ascontiguousarray((samples.astype(np.int16) * 256).astype("<i2"))
    if samples.dtype == np.int16:
        return np.array(samples, dtype="<i2", order="C")
    if samples.dtype == np.int32:
        return np.ascontiguousarray((samples >> 16).astype("<i2"))
    if kind in "iu" and samples.min() >= -32768 and samples.max() <= 32767:
        return np.ascontiguousarray(samples.astype("<i2"))
    raise DataError(f"Audio: samples are floats in [-1, 1] or whole numbers of 8, 16 or 32 bits, got {about}")


def _from_file(data: Any) -> tuple[Payload, dict[str, Any]]:
    content = read(data, "Audio")
    name: Any = data if is_path(data) else getattr(data, "name", None)
    shown = str(name) if name is not None else f"{len(content)} bytes"
    kind = _kind(content)
    if kind is None:
        raise DataError(f"Audio: {shown} is no sound file that can be read (its content is not wav, flac, ogg or mp3)")
    given = suffix(str(name)) if is_path(name) else ""
    if given in ("wav", "flac", "ogg", "oga", "mp3") and given.replace("oga", "ogg") != kind:
        raise DataError(f"Audio: {shown} is called .{given} and its content is {kind}; rename it to .{kind}")
    fields = _wav_facts(content, shown) if kind == "wav" else _other_facts(content, shown)
    return Payload(content, "audio", kind), fields


def _kind(content: bytes) -> str | None:
    if content[:4] == b"RIFF" and content[8:12] == b"WAVE":
        return "wav"
    for kind in ("flac", "ogg"):
        if content.startswith(_MAGIC[kind]):
            return kind
    if content[:3] == b"ID3" or (content[:1] == b"\xff" and len(content) > 1 and content[1] & 0xE0 == 0xE0):
        return "mp3"
    return None


def _wav_facts(content: bytes, shown: str) -> dict[str, Any]:
    """Rate, duration and channels of a wav file, whose chunks must all be there."""
    at, rate, channels, width, size = 12, 0, 0, 0, None
    while at + 8 <= len(content):
        name, length = struct.unpack_from("<4sI", content, at)
        if name == b"fmt " and at + 24 <= len(content):
            _, channels, rate, _, width, _ = struct.unpack_from("<HHIIHH", content, at + 8)
        elif name == b"data":
            size = length
            if at + 8 + length > len(content):
                raise DataError(
                    f"Audio: {shown} is cut short: {length:,} bytes of samples are announced, {len(content) - at - 8:,} are there"
                )
        at += 8 + length + (length & 1)
    if not rate or not channels or not width or not size:
        raise DataError(f"Audio: {shown} is damaged: it has no format or no samples")
    return {"sample_rate": rate, "duration": size / width / rate, "channels": channels}


def _other_facts(content: bytes, shown: str) -> dict[str, Any]:
    """The same of a flac, ogg or mp3 file, which is decoded to be sure that it is whole."""
    module = soundfile()
    try:
        with module.SoundFile(io.BytesIO(content)) as file:
            rate, channels, announced, frames = int(file.samplerate), int(file.channels), int(file.frames), 0
            while block := len(file.read(1 << 16, dtype="int16")):
                frames += block
    except Exception as error:  # noqa: BLE001 - of a hostile file a decoder may raise anything
        raise DataError(f"Audio: {shown} is damaged or cut short ({error})") from None
    if not frames or (frames < announced < 2**62):
        raise DataError(f"Audio: {shown} is cut short: {announced:,} samples are announced, {frames:,} are there")
    return {"sample_rate": rate, "duration": frames / rate, "channels": channels}
