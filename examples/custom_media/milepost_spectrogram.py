"""Spectrogram: how loud each frequency of a sound is over time, as a picture. A media type for milepost in one class."""

from typing import Any, BinaryIO

import numpy as np

from milepost import DataError
from milepost.media.base import FileMedia, Payload


class Spectrogram(FileMedia):
    """The spectrum of a sound over time.

    samples:     numbers of shape (n,).     sample_rate: samples a second.
    window:      samples that one column of the picture is made of.
    caption:     a text shown with it.
    """

    type_name = "spectrogram-file"

    def __init__(self, samples: Any, sample_rate: int, window: int = 256, caption: str | None = None) -> None:
        # What cannot be logged is refused here, where the caller is listening; and the samples are copied here, so that
        # nothing the program does to its array later changes what is logged.
        samples = np.array(samples, dtype="<f4", order="C")
        if samples.ndim != 1 or len(samples) < window or not np.isfinite(samples).all():
            raise DataError(
                f"Spectrogram: {window} finite samples or more of shape (n,) are needed, got shape {samples.shape}"
            )
        payload = Payload(
            samples.tobytes(),
            folder="spectrograms",
            extension="png",
            encoder="milepost_spectrogram:draw",
            options={"window": window},
        )
        self._keep(payload, {"sample_rate": int(sample_rate), "duration": len(samples) / sample_rate}, caption)

    @staticmethod
    def read(value: Any) -> Any:
        """What `value.load()` gives for a value that was read back: a PIL image."""
        import PIL.Image

        with value.open() as file:
            image = PIL.Image.open(file)
            image.load()
            return image


def draw(data: memoryview, options: dict[str, Any], target: BinaryIO) -> dict[str, Any]:
    """The encoder: called in another process, at low priority. What it returns joins the value's fields."""
    import PIL.Image

    window = options["window"]
    samples = np.frombuffer(data, "<f4")
    columns = samples[: len(samples) // window * window].reshape(-1, window) * np.hanning(window)
    power = np.log10(np.abs(np.fft.rfft(columns)).T[::-1] + 1e-6)
    scaled = (power - power.min()) / max(float(np.ptp(power)), 1e-9) * 255
    image = PIL.Image.fromarray(scaled.astype(np.uint8))
    image.save(target, "PNG")
    return {"width": image.width, "height": image.height}
