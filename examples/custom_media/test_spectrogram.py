"""The media type tested as a user of it would: logged and read back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from milepost_spectrogram import Spectrogram

import milepost

NOISE = np.random.default_rng(0).normal(size=4096)


def test_a_spectrogram_is_drawn_and_opens(tmp_path: Path) -> None:
    with milepost.init(project="test", dir=tmp_path) as run:
        run.log({"noise": Spectrogram(NOISE, 8000, window=128)})

    (row,) = milepost.Api(tmp_path).run(run.path).scan_history()

    assert row["noise"]["_type"] == "spectrogram-file"
    assert row["noise"].load().size == (row["noise"]["width"], row["noise"]["height"]) == (32, 65)


@pytest.mark.parametrize("samples", [NOISE[:10], NOISE.reshape(2, -1), np.full(4096, np.nan)])
def test_what_is_no_sound_is_refused(samples: Any) -> None:
    with pytest.raises(ValueError, match="finite samples"):
        Spectrogram(samples, 8000)
