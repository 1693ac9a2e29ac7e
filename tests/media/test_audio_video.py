"""Audio and Video: arrays and files, as they read back, and what is refused."""

import io
import re
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import milepost
from tests.media.logged import logged, logged_row

RNG = np.random.default_rng(3)
SOUND = np.sin(np.linspace(0, 200, 4000))
FRAMES = RNG.integers(0, 256, (5, 3, 16, 24), dtype=np.uint8)


def test_a_sound_reads_back_to_16_bits() -> None:
    value = logged(milepost.Audio(SOUND, sample_rate=8000, caption="a"))

    assert np.abs(value.to_numpy() - SOUND).max() < 1 / 16_000
    assert (value["_type"], value["sample_rate"], value["duration"], value["channels"]) == ("audio-file", 8000, 0.5, 1)
    with value.open() as file, wave.open(file) as opened:
        assert (opened.getframerate(), opened.getnframes()) == (8000, 4000)


@pytest.mark.parametrize("file_type", ["wav", "flac", "ogg"])
def test_sound_files_of_each_type(file_type: str) -> None:
    stereo = np.stack([SOUND, -SOUND], 1)

    value = logged(milepost.Audio(stereo, 44100, file_type=file_type))

    assert value["path"].endswith(f".{file_type}")
    assert value.to_numpy().shape == (4000, 2)


def test_whole_samples_are_kept_exactly() -> None:
    samples = RNG.integers(-32768, 32768, 999, dtype=np.int16)

    with logged(milepost.Audio(samples, 8000)).open() as file, wave.open(file) as opened:
        assert (np.frombuffer(opened.readframes(999), "<i2") == samples).all()


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (np.array([-128, 0, 127], np.int8), [-32768, 0, 127 * 256]),
        (np.array([0, 128, 255], np.uint8), [-32768, 0, 127 * 256]),
        (np.array([-(2**31), 0, 2**31 - 1], np.int32), [-32768, 0, 32767]),
        (np.array([-32768, 5, 32767], ">i2"), [-32768, 5, 32767]),
        (np.array([-(2**31), 2**17, 2**31 - 1], ">i4"), [-32768, 2, 32767]),
        (np.array([-32768, 5, 32767], np.int64), [-32768, 5, 32767]),
        (np.array([-1, 0, 0.5, 1], np.float16), [-32767, 0, 16384, 32767]),
        (np.array([-1, 0, 0.5, 1], ">f8"), [-32767, 0, 16384, 32767]),
        ([0, 1, -1], [0, 1, -1]),
    ],
)
def test_samples_of_each_dtype_become_16_bits(samples: Any, expected: list[int]) -> None:
    with logged(milepost.Audio(samples, 8000)).open() as file, wave.open(file) as opened:
        assert np.frombuffer(opened.readframes(len(expected)), "<i2").tolist() == expected


def test_a_wav_of_samples_reads_back_without_soundfile(monkeypatch: pytest.MonkeyPatch) -> None:
    stereo = RNG.integers(-32768, 32768, (99, 2), dtype=np.int16)
    value = logged(milepost.Audio(stereo, 8000))
    with_it = value.to_numpy()
    monkeypatch.setitem(sys.modules, "soundfile", None)

    assert (value.to_numpy() == with_it).all()
    assert (value.to_numpy() * 32768 == stereo).all()


def test_a_sound_file_is_kept_byte_for_byte(tmp_path: Path) -> None:
    for file_type in ("wav", "flac", "ogg"):
        with logged(milepost.Audio(SOUND, 8000, file_type=file_type)).open() as file:
            content = file.read()
        path = tmp_path / f"sound.{file_type}"
        path.write_bytes(content)
        with logged(milepost.Audio(path)).open() as file:
            assert file.read() == content
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(milepost.DataError, match=f"sound.{file_type}.*(damaged|cut short)"):
            milepost.Audio(path)


@pytest.mark.parametrize(
    ("given", "rate", "text"),
    [
        (SOUND, None, "sample_rate"),
        (SOUND, 0, "sample_rate"),
        (SOUND, 0.5, "sample_rate"),
        (np.zeros((2, 3, 4)), 8000, r"\(2, 3, 4\)"),
        (np.zeros((2, 4000)), 8000, "channels come last"),
        (np.array([np.nan]), 8000, "NaN"),
        (np.zeros(0), 8000, "needed"),
        (np.array([1, 2**40]), 8000, "int64"),
        (b"no sound", None, "no sound file"),
    ],
)
def test_what_is_no_sound_is_refused(given: Any, rate: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        milepost.Audio(given, sample_rate=rate)


def test_a_list_of_sounds_is_one_value() -> None:
    value = logged([milepost.Audio(SOUND, 8000), milepost.Audio(SOUND[:800], 16000, caption="b")])

    assert (value["_type"], value["count"], value["sampleRates"], value["durations"], value["captions"]) == (
        "audio", 2, [8000, 16000], [0.5, 0.05], ["", "b"],
    )  # fmt: skip
    assert [len(item.to_numpy()) for item in value["audio"]] == [4000, 800]


@pytest.mark.parametrize("form", ["gif", "mp4", "webm", "ogg"])
def test_a_video_of_each_format_plays(form: str) -> None:
    smooth = np.zeros((6, 3, 33, 47), np.uint8) + np.arange(6, dtype=np.uint8)[:, None, None, None] * 40

    value = logged(milepost.Video(smooth, fps=10, format=form, caption="c"))

    frames = value.to_numpy()
    assert (value["_type"], value["format"], value["width"], value["height"]) == (
        "video-file",
        form,
        *((47, 33) if form == "gif" else (48, 34)),
    )
    assert value["path"].endswith(f".{form}")
    assert (len(frames), frames.shape[3]) == (6, 3)
    assert np.abs(frames[:, :33, :47].mean((1, 2, 3)) - smooth.mean((1, 2, 3))).max() < 12


@pytest.mark.parametrize("samples", [1, 8000, 300_000])
@pytest.mark.parametrize("file_type", ["wav", "flac", "ogg"])
def test_equal_sounds_are_equal_files_that_play(file_type: str, samples: int) -> None:
    sound = np.sin(np.arange(samples) / 9)
    row = logged_row({name: milepost.Audio(sound, 8000, file_type=file_type) for name in ("a", "b")})

    assert row["a"]["path"] == row["b"]["path"]
    played = row["a"].to_numpy()
    assert played.shape == (samples,)
    assert np.abs(played - sound).mean() < 0.02


@pytest.mark.parametrize("form", ["mp4", "webm", "ogg"])
def test_equal_videos_are_equal_files(form: str) -> None:
    row = logged_row({name: milepost.Video(FRAMES, format=form) for name in ("a", "b")})

    assert row["a"]["path"] == row["b"]["path"]


def test_a_gif_of_grey_frames_is_exact() -> None:
    grey = RNG.integers(0, 256, (4, 1, 9, 7), dtype=np.uint8)

    assert (logged(milepost.Video(grey)).to_numpy()[..., 0] == grey[:, 0]).all()


def test_a_gif_of_few_colours_is_exact() -> None:
    frames = RNG.choice(np.array([0, 100, 255], np.uint8), (4, 3, 9, 7))

    assert (logged(milepost.Video(frames)).to_numpy() == frames.transpose(0, 2, 3, 1)).all()


def test_a_batch_is_a_grid_filled_up_with_black() -> None:
    batch = np.full((3, 2, 3, 4, 5), 255, np.uint8)

    frames = logged(milepost.Video(batch)).to_numpy()

    assert frames.shape == (2, 8, 10, 3)
    assert (frames[:, 4:, 5:] == 0).all()
    assert (frames[:, :4] == 255).all()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (np.zeros((3, 4, 5)), r"\(3, 4, 5\)"),
        (np.zeros((5, 16, 24, 3)), "transpose"),
        (np.zeros((1, 1, 1, 65_536)), "65,535 a side"),
        (np.zeros((3, 1, 1, 1, 40_000)), "80000 x 2 pixels"),
        (np.zeros((0, 3, 4, 5)), "needed"),
        (np.full((1, 3, 2, 2), np.nan), "NaN"),
        (b"nothing", "no video"),
    ],
)
def test_what_is_no_video_is_refused(given: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        milepost.Video(given)


@pytest.mark.parametrize("shape", [(5, 16, 24, 3), (2, 5, 16, 24, 4)])
def test_the_transpose_that_an_array_with_channels_last_is_told_to_take_is_the_right_one(
    shape: tuple[int, ...],
) -> None:
    with pytest.raises(milepost.DataError) as caught:
        milepost.Video(np.zeros(shape))
    axes = re.search(r"array\.transpose\(([\d, ]+)\)", str(caught.value))
    assert axes is not None

    assert logged(milepost.Video(np.zeros(shape).transpose([int(axis) for axis in axes[1].split(",")])))["width"] in (
        24,
        48,
    )


def test_a_gif_may_be_as_slow_as_can_be() -> None:
    assert len(logged(milepost.Video(FRAMES, fps=0.001)).to_numpy()) == 5


def test_a_wrong_format_or_extension_is_refused(tmp_path: Path) -> None:
    (tmp_path / "video.avi").write_bytes(b"x")
    (tmp_path / "lie.mp4").write_bytes(b"GIF89a" + bytes(50))

    with pytest.raises(ValueError, match="format is 'avi'"):
        milepost.Video(FRAMES, format="avi")
    with pytest.raises(ValueError, match=r"\.avi"):
        milepost.Video(tmp_path / "video.avi")
    with pytest.raises(ValueError, match="its content is gif"):
        milepost.Video(tmp_path / "lie.mp4")
    with pytest.raises(ValueError, match="give format='gif'"):
        milepost.Video(b"GIF89a" + bytes(50), format="mp4")
    with pytest.raises(FileNotFoundError):
        milepost.Video(tmp_path / "none.mp4")


@pytest.mark.parametrize("form", ["gif", "mp4", "webm", "ogg"])
def test_a_video_file_is_kept_whole_or_refused(tmp_path: Path, form: str) -> None:
    with logged(milepost.Video(FRAMES, format=form)).open() as file:
        content = file.read()
    path = tmp_path / f"video.{form}"

    path.write_bytes(content)
    with logged(milepost.Video(path)).open() as file:
        assert file.read() == content
    for cut in (len(content) // 2, len(content) - 5):
        path.write_bytes(content[:cut])
        with pytest.raises(milepost.DataError, match=f"video.{form}.*cut short"):
            milepost.Video(path)


def test_a_gif_as_a_picture_and_as_a_video_is_the_same_file() -> None:
    target = io.BytesIO()
    PIL.Image.fromarray(FRAMES[0].transpose(1, 2, 0)).save(target, "GIF")

    with logged(milepost.Video(target)).open() as file:
        assert file.read() == target.getvalue()


def test_videos_in_a_list() -> None:
    value = logged([milepost.Video(FRAMES), milepost.Video(FRAMES, caption="b")])

    assert (value["_type"], value["count"], value["captions"]) == ("videos", 2, [False, "b"])
    assert value["videos"][0]["path"] == value["videos"][1]["path"]
