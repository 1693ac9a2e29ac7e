"""Image: every input, what it is scaled to, how it reads back, and what is refused."""

import io
import re
import sys
import types
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import milepost
from tests.media.logged import logged, logged_row

RNG = np.random.default_rng(7)
RGB = RNG.integers(0, 256, (12, 17, 3), dtype=np.uint8)


def png(array: Any = RGB, form: str = "PNG") -> bytes:
    target = io.BytesIO()
    PIL.Image.fromarray(array).save(target, form)
    return target.getvalue()


def test_pixels_of_an_array_read_back_exactly() -> None:
    value = logged(milepost.Image(RGB, caption="noise"))

    assert (value.to_numpy() == RGB).all()
    assert {key: value[key] for key in ("_type", "format", "width", "height", "caption")} == {
        "_type": "image-file", "format": "png", "width": 17, "height": 12, "caption": "noise",
    }  # fmt: skip
    assert re.fullmatch(r"media/images/v_0_[0-9a-f]{20}\.png", value["path"])
    assert value["path"][-24:-4] == value["sha256"][:20]
    with value.open() as file:
        assert len(file.read()) == value["size"]


@pytest.mark.parametrize(
    ("given", "pixels"),
    [
        ([[0, 0.25], [0.5, 1]], [[0, 63], [127, 255]]),
        ([[-1, -0.5], [0, 1.0]], [[0, 63], [127, 255]]),
        ([[True, False]], [[255, 0]]),
        ([[1, 0]], [[255, 0]]),
        ([[0, 7], [200, 255]], [[0, 7], [200, 255]]),
        ([[-5.0, 300.0]], [[0, 255]]),
        (np.array([[1, 0]], np.int8), [[255, 0]]),
        (np.array([[1, 0, -1]], np.int8), [[255, 127, 0]]),
        (np.array([[0, 0.5, 1]], ">f4"), [[0, 127, 255]]),
        (np.array([[2, 255, 7]], ">u2"), [[2, 255, 7]]),
    ],
)
def test_numbers_are_scaled_by_one_rule(given: Any, pixels: Any) -> None:
    assert logged(milepost.Image(np.array(given))).to_numpy().tolist() == pixels


def test_masked_pixels_are_black() -> None:
    masked = np.ma.masked_array(RGB, RGB > 100)

    assert (logged(milepost.Image(masked)).to_numpy() == np.where(RGB > 100, 0, RGB)).all()


def test_normalize_false_only_cuts() -> None:
    assert logged(milepost.Image(np.array([[0.5, 1.0, 2.9]]), normalize=False)).to_numpy().tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (1, 5, 6)])
def test_one_channel_is_grey(shape: tuple[int, ...]) -> None:
    array = RNG.integers(2, 256, shape, dtype=np.uint8)

    assert (logged(milepost.Image(array)).to_numpy() == array.reshape(5, 6)).all()


def test_four_channels_keep_their_transparency_and_jpg_drops_it(caplog: pytest.LogCaptureFixture) -> None:
    array = RNG.integers(2, 256, (8, 9, 4), dtype=np.uint8)

    assert (logged(milepost.Image(array)).to_numpy() == array).all()
    assert logged(milepost.Image(array, file_type="jpg")).to_pil().mode == "RGB"


@pytest.mark.parametrize(("file_type", "form"), [("jpg", "JPEG"), ("jpeg", "JPEG"), ("webp", "WEBP"), ("bmp", "BMP")])
def test_other_file_types_are_what_they_say(file_type: str, form: str) -> None:
    value = logged(milepost.Image(RGB, file_type=file_type))

    assert (value.to_pil().format, value["format"], value["path"].rpartition(".")[2]) == (form, file_type, file_type)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_a_file_is_kept_byte_for_byte(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"picture.{ {'JPEG': 'jpg', 'TIFF': 'tif'}.get(form, form.lower()) }"
    path.write_bytes(png(form=form))

    with path.open("rb") as opened:
        given = [milepost.Image(one) for one in (path, str(path), path.read_bytes(), opened)]

    row = logged_row({str(at): image for at, image in enumerate(given)})

    for at in range(len(given)):
        with row[str(at)].open() as file:
            assert file.read() == path.read_bytes()


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"]
)
def test_pil_images_of_any_mode(mode: str) -> None:
    image = PIL.Image.fromarray(RGB).convert("L" if mode == "I;16" else mode)
    image = image.convert("I").convert(mode) if mode == "I;16" else image

    found = logged(milepost.Image(image)).to_pil()
    assert found.size == (17, 12)
    assert len(found.getbands()) >= len(image.getbands()) - (mode in ("CMYK", "RGBX"))


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_a_pil_image_of_16_bits_keeps_them(mode: str) -> None:
    deep = RNG.integers(0, 65_536, (12, 17), dtype=np.uint16)
    image = PIL.Image.frombytes("I;16", (17, 12), deep.astype("<u2").tobytes())
    image = image if mode == "I;16" else image.convert("I") if mode == "I" else image.convert("I").convert("I;16B")

    assert (logged(milepost.Image(image)).to_numpy() == deep).all()


def test_an_open_file_that_is_no_file_of_bytes_is_named(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(png())

    with (
        path.open(encoding="utf-8") as opened,
        pytest.raises(milepost.DataError, match=r"picture\.png raised .*open\(path, 'rb'\)"),
    ):
        milepost.Image(opened)


def test_an_image_of_an_image_is_the_same_file() -> None:
    image = milepost.Image(RGB, caption="first", grouping=3, classes={1: "cat"})
    row = logged_row({"a": image, "b": milepost.Image(image), "c": image})

    assert row["a"]["path"] == row["b"]["path"] == row["c"]["path"]
    assert row["b"]["caption"] == "first"
    assert {**row["a"]} == {**row["b"]}


def test_what_is_done_to_the_array_later_changes_nothing() -> None:
    array = RGB.copy()
    image = milepost.Image(array)
    array[:] = 0

    assert (logged(image).to_numpy() == RGB).all()


def test_a_list_is_one_value() -> None:
    value = logged([milepost.Image(RGB), milepost.Image(RGB[:5], caption="half")])

    assert (value["_type"], value["count"], value["width"], value["height"]) == ("images/separated", 2, 17, 12)
    assert value["captions"] == [None, "half"]
    assert value["filenames"] == [file["path"] for file in value["files"]]
    assert [array.shape for array in value.to_numpy()] == [(12, 17, 3), (5, 17, 3)]


def test_a_long_list_is_kept_whole() -> None:
    assert logged([milepost.Image(RGB[:2, : n + 1]) for n in range(17)] * 8)["count"] == 136


def test_boxes_and_masks_are_files_of_their_own() -> None:
    box = {"position": {"minX": 0.1, "maxX": 0.5, "minY": 0, "maxY": 1}, "class_id": 1, "scores": {"p": 0.5}}
    pixel = {
        "position": {"middle": [3, 4], "width": 2, "height": 2},
        "class_id": 2,
        "domain": "pixel",
        "box_caption": "b",
    }
    mask = np.array([[0, 1], [2, 255]])

    value = logged(
        milepost.Image(
            RGB,
            classes=[{"id": 1, "name": "cat"}],
            boxes={"truth": {"box_data": [box, pixel], "class_labels": {2: "dog"}}},
            masks={"guess": {"mask_data": mask}},
        )
    )

    assert value["boxes"]["truth"]["_type"] == "boxes2D"
    assert value["boxes"]["truth"].load() == {
        "box_data": [box, pixel], "class_labels": {"1": "cat", "2": "dog"},
    }  # fmt: skip
    assert re.fullmatch(r"media/metadata/boxes2D/v_0_[0-9a-f]{20}\.boxes2D\.json", value["boxes"]["truth"]["path"])
    assert (value["masks"]["guess"].to_numpy() == mask).all()
    assert re.fullmatch(r"media/images/mask/v_0_[0-9a-f]{20}\.mask\.png", value["masks"]["guess"]["path"])
    assert value["masks"]["guess"]["class_labels"] == {"0": "class_0", "1": "cat", "2": "class_2", "255": "class_255"}


@pytest.mark.parametrize(
    ("boxes", "text"),
    [
        (["a"], "dict of named sets"),
        ({"a": {}}, "box_data"),
        ({"a": {"box_data": [{"class_id": 1}]}}, "position"),
        ({"a": {"box_data": [{"position": {"minX": 0, "maxX": 1, "minY": 0}, "class_id": 1}]}}, "position"),
        ({"a": {"box_data": [{"position": {"middle": [1], "width": 1, "height": 1}, "class_id": 1}]}}, "middle"),
        (
            {"a": {"box_data": [{"position": dict.fromkeys(("minX", "maxX", "minY", "maxY"), 0), "class_id": "1"}]}},
            "class_id",
        ),
        (
            {
                "a": {
                    "box_data": [
                        {"position": dict.fromkeys(("minX", "maxX", "minY", "maxY"), 0), "class_id": 1, "scores": 3}
                    ]
                }
            },
            "scores",
        ),
    ],
)
def test_bad_boxes_are_named(boxes: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        milepost.Image(RGB, boxes=boxes)


@pytest.mark.parametrize(
    "mask", [np.zeros((2, 2, 2), int), np.zeros((2, 2)), np.full((2, 2), 256), np.full((2, 2), -1)]
)
def test_bad_masks_are_named(mask: Any) -> None:
    with pytest.raises(TypeError, match=r"mask_data must be"):
        milepost.Image(RGB, masks={"m": {"mask_data": mask}})


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (np.zeros((3, 8, 9)), r"\(3, 8, 9\).*float64.*transpose"),
        (np.zeros((4, 4, 7)), r"\(4, 4, 7\)(?!.*transpose)"),
        (np.zeros((2, 8, 9, 3)), "list"),
        (np.zeros(5), r"\(5,\)"),
        (np.zeros((0, 4)), "empty"),
        (np.array([[np.nan, 1.0]]), "1 of 2 values are NaN"),
        (np.array([[np.inf, 1.0]]), "infinite"),
        (np.array([["a"]]), "dtype <U1"),
        (np.zeros((2, 2), complex), "complex128"),
        (object(), "object"),
        (b"no picture", "no picture"),
        (b"", "empty"),
        ("https://example.org/x.png", "address"),
        (Path("/dev/zero"), "regular file"),
        (Path("/"), "cannot be read|regular file"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason(given: Any, text: str) -> None:
    with pytest.raises(milepost.DataError, match=text) as caught:
        milepost.Image(given)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, TypeError)


def test_a_missing_file_is_a_file_not_found_error() -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing_here\.png"):
        milepost.Image("nothing_here.png")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF"])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"cut.{form.lower()}"
    whole = png(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8), form)
    path.write_bytes(whole[: len(whole) // 2])

    with pytest.raises(milepost.DataError, match=f"cut.{form.lower()}.*(damaged|cut short)"):
        milepost.Image(path)


def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lie.png").write_bytes(png(form="JPEG"))

    with pytest.raises(milepost.DataError, match=r"called \.png and its content is JPEG"):
        milepost.Image(tmp_path / "lie.png")


def test_a_picture_that_unfolds_into_too_much_is_refused(tmp_path: Path) -> None:
    header = bytearray(png())
    header[16:24] = (60_000).to_bytes(4, "big") * 2
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4, "big")

    with pytest.raises(milepost.DataError, match="pixels"):
        milepost.Image(bytes(header))


def test_a_wrong_mode_or_file_type_is_named() -> None:
    with pytest.raises(milepost.DataError, match="mode 'L' does not fit"):
        milepost.Image(RGB, mode="L")
    with pytest.raises(ValueError, match="file_type is 'exe'"):
        milepost.Image(RGB, file_type="exe")


def test_a_tensor_has_its_channels_first(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tensor:
        """What Image reads of a PyTorch tensor; tests/sdk/test_values_torch.py has the real one where it is installed."""

        def __init__(self, array: Any) -> None:
            self.array = array
            self.dtype = "float32"

        def detach(self) -> "Tensor":
            return self

        cpu = resolve_conj = resolve_neg = detach

        def numpy(self) -> Any:
            return self.array

    fake = types.ModuleType("torch")
    fake.Tensor = Tensor  # type: ignore[attr-defined]
    fake.bfloat16 = "bfloat16"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", fake)

    assert (logged(milepost.Image(Tensor(RGB.transpose(2, 0, 1)))).to_numpy() == RGB).all()
    with pytest.raises(milepost.DataError, match="batch"):
        milepost.Image(Tensor(RGB.transpose(2, 0, 1)[None]))


def test_pictures_mixed_with_other_values_in_a_list_are_refused() -> None:
    with pytest.raises(milepost.DataError, match="a list holds media and a value of type int"):
        logged([milepost.Image(RGB), 3])


def test_floats_that_leave_their_range_by_a_little_are_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("milepost.media.pixels._said", set())
    milepost.Image(np.array([[0.0, 1.02]]))

    assert "floats from 0 to 1.02 lie in neither [0, 1] nor [-1, 1]" in caplog.text


@pytest.mark.parametrize("part", [0.4, 0.7, 0.999])
def test_a_gif_of_several_pictures_that_is_cut_short_behind_the_first_is_refused(part: float) -> None:
    target = io.BytesIO()
    frames = [PIL.Image.fromarray(np.full((40, 50, 3), 9 * n, np.uint8)) for n in range(5)]
    frames[0].save(target, "GIF", save_all=True, append_images=frames[1:])
    whole = target.getvalue()

    assert milepost.Image(whole).format == "gif"
    with pytest.raises(milepost.DataError, match="cut short"):
        milepost.Image(whole[: int(len(whole) * part)])
