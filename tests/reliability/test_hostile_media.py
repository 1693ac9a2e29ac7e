"""Hostile media (lines G2 and G3): bombs, files that are two things at once, links and pipes, names that lead elsewhere.

Each is refused when the object is made, or stored as it is, under a name and an extension that say what it is.
"""

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import milepost
from tests.media.logged import logged_row

ROOT = Path(__file__).parents[2]
SCRIPT = b"<script>alert(document.domain)</script>"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *, color: int = 0, rows: int | None = None, extra: bytes = b"") -> bytes:
    """A PNG of zeros, compressed a thousandfold. color: 0 for gray, 2 for RGB."""
    packer = zlib.compressobj(1)
    line = bytes(1 + width * (3 if color == 2 else 1))
    data = b"".join(packer.compress(line) for _ in range(height if rows is None else rows)) + packer.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def saved(form: str, size: tuple[int, int] = (5, 4), mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new(mode, size, 90 if mode == "P" else (200, 30, 90)).save(buffer, form, **options)
    return buffer.getvalue()


def patched(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def deep(count: int) -> bytes:
    return b"[" * count + b"]" * count


def wav(claimed: int) -> bytes:
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", claimed, b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16)
    return head + struct.pack("<4sI", b"data", claimed) + bytes(64)


REFUSED: dict[str, Callable[[], Any]] = {
    "png of 10^10 pixels": lambda: milepost.Image(png(100_000, 100_000, rows=1)),
    "png of 14,000 x 14,000 pixels": lambda: milepost.Image(png(14_000, 14_000)),
    "png that ends early": lambda: milepost.Image(png(500, 500, rows=3)),
    "png with a text of 64 MB": lambda: milepost.Image(
        png(3, 3, extra=chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**26), 9)))
    ),
    "gif of 65,535 x 65,535": lambda: milepost.Image(patched(saved("GIF"), 6, b"\xff\xff\xff\xff")),
    "bmp of 2^31 pixels a line": lambda: milepost.Image(patched(saved("BMP"), 18, b"\xff\xff\xff\x7f")),
    "jpeg that says 65,500 x 65,500": lambda: milepost.Image(
        saved("JPEG").replace(b"\x00\x04\x00\x05\x03", b"\xff\xdc\xff\xdc\x03", 1)
    ),
    "tiff without its pixels": lambda: milepost.Image(saved("TIFF")[:60]),
    "png with a row that has no filter": lambda: milepost.Image(
        png(3, 3).replace(png(3, 3)[33:-12], chunk(b"IDAT", zlib.compress(b"\x09" + bytes(11))))
    ),
    "webp that unfolds a thousandfold": lambda: milepost.Image(saved("WEBP", (5000, 5000), quality=1, method=0)),
    "gif that unfolds a thousandfold": lambda: milepost.Image(saved("GIF", (8200, 8200), mode="P")),
    "webp cut in half": lambda: milepost.Image(saved("WEBP")[:30]),
    "array of 2 x 10^10 pixels": lambda: milepost.Image(np.broadcast_to(np.uint8(7), (150_000, 150_000))),
    "video screen of 65,535 x 65,535": lambda: milepost.Video(patched(saved("GIF"), 6, b"\xff\xff\xff\xff")),
    "video array without end": lambda: milepost.Video(np.broadcast_to(np.uint8(7), (100, 3, 40_000, 40_000))),
    "mp4 whose box reaches beyond the end": lambda: milepost.Video(
        b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp41" + b"\xff\xff\xff\xf0moov" + bytes(20)
    ),
    "wav that says 4 GB": lambda: milepost.Audio(wav(2**32 - 1)),
    "flac of a header only": lambda: milepost.Audio(b"fLaC\x80\x00\x00\x22" + bytes(34)),
    "glb that says 4 GB": lambda: milepost.Object3D(
        io.BytesIO(b"glTF\x02\x00\x00\x00\xff\xff\xff\xff" + bytes(16)), file_type="glb"
    ),
    "ply of 10^9 vertices": lambda: milepost.Object3D(
        io.BytesIO(b"ply\nformat ascii 1.0\nelement vertex 1000000000\nproperty float x\nend_header\n1\n"),
        file_type="ply",
    ),
    "stl of 2^32 triangles": lambda: milepost.Object3D(
        io.BytesIO(bytes(80) + b"\xff\xff\xff\xff" + bytes(50)), file_type="stl"
    ),
    "points nested 100,000 deep": lambda: milepost.Object3D(io.BytesIO(deep(100_000)), file_type="pts.json"),
    "gltf nested 100,000 deep": lambda: milepost.Object3D(io.BytesIO(deep(100_000)), file_type="gltf"),
    "svg as a picture": lambda: milepost.Image(b"<svg xmlns='http://www.w3.org/2000/svg'>" + SCRIPT + b"</svg>"),
    "page as a picture": lambda: milepost.Image(b"<html>" + SCRIPT),
    "page behind the first bytes of a gif": lambda: milepost.Image(b"GIF89a/*" + SCRIPT + b"*/=1;"),
    "script behind the first bytes of a wav": lambda: milepost.Audio(b"RIFF=1/*WAVE*/;alert(1)"),
    "zip as a picture": lambda: milepost.Image(b"PK\x03\x04" + bytes(60)),
    "page as a molecule": lambda: milepost.Molecule(io.BytesIO(b"<html>" + SCRIPT), file_type="xyz"),
    "a link to what is no picture": lambda: milepost.Image("link.png"),
    "a pipe": lambda: milepost.Image("pipe.png"),
    "a device": lambda: milepost.Image("/dev/zero"),
    "a folder": lambda: milepost.Audio("folder.wav"),
    "an address": lambda: milepost.Image("http://127.0.0.1:1/x.png"),
    "a file of the kernel": lambda: milepost.Image("/proc/self/environ"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_hostile_is_refused_by_name(case: str) -> None:
    Path("link.png").symlink_to("/etc/passwd")
    os.mkfifo("pipe.png")
    Path("folder.wav").mkdir()

    with pytest.raises((milepost.DataError, FileNotFoundError)) as caught:
        REFUSED[case]()

    text = str(caught.value)
    assert text.startswith(("Image: ", "Video: ", "Audio: ", "Object3D: ", "Molecule: "))
    assert len(text) < 600
    assert text.isprintable()


def with_box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", 8 + len(data)) + kind + data


INERT: dict[str, tuple[Callable[[], Any], bytes, str]] = {
    "png and page": (lambda: milepost.Image(png(3, 3) + SCRIPT), png(3, 3) + SCRIPT, "png"),
    "png with a page inside": (
        lambda: milepost.Image(png(3, 3, extra=chunk(b"tEXt", b"k\0" + SCRIPT))),
        png(3, 3, extra=chunk(b"tEXt", b"k\0" + SCRIPT)),
        "png",
    ),
    "jpeg and script": (lambda: milepost.Image(saved("JPEG") + SCRIPT), saved("JPEG") + SCRIPT, "jpg"),
    "gif and script": (lambda: milepost.Image(saved("GIF") + b"/*" + SCRIPT), saved("GIF") + b"/*" + SCRIPT, "gif"),
    "mp4 and page": (
        lambda: milepost.Video(
            io.BytesIO(
                with_box(b"ftyp", b"isom\0\0\2\0isom") + with_box(b"moov", b"") + with_box(b"mdat", SCRIPT)
            ),
            format="mp4",
        ),
        with_box(b"ftyp", b"isom\0\0\2\0isom") + with_box(b"moov", b"") + with_box(b"mdat", SCRIPT),
        "mp4",
    ),
    "mesh that names a file": (
        lambda: milepost.Object3D(io.BytesIO(b"mtllib ../../etc/passwd\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"), file_type="obj"),
        b"mtllib ../../etc/passwd\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
        "obj",
    ),
    "scene that names a file": (
        lambda: milepost.Object3D(
            io.BytesIO(b'{"asset": {"version": "2.0"}, "buffers": [{"uri": "file:///etc/passwd", "byteLength": 9}]}'),
            file_type="gltf",
        ),
        b'{"asset": {"version": "2.0"}, "buffers": [{"uri": "file:///etc/passwd", "byteLength": 9}]}',
        "gltf",
    ),
    "page": (lambda: milepost.Html(SCRIPT.decode(), inject=False), SCRIPT, "html"),
}  # fmt: skip


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (8, 8), (13, 5)])
def test_an_interlaced_png_is_whole_down_to_its_last_row(size: tuple[int, int]) -> None:
    def interlaced(short: int) -> bytes:
        steps = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
        parts = [(len(range(left, size[0], x)), len(range(top, size[1], y))) for left, top, x, y in steps]
        rows = sum((columns + 1) * count for columns, count in parts if columns)
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 1))
        data = chunk(b"IDAT", zlib.compress(bytes(rows - short)))
        return b"\x89PNG\r\n\x1a\n" + head + data + chunk(b"IEND", b"")

    assert milepost.Image(interlaced(0)).width == size[0]
    with pytest.raises(milepost.DataError, match="before the last row"):
        milepost.Image(interlaced(1))


def test_what_is_two_things_at_once_is_stored_as_what_it_is_logged_as() -> None:
    row = logged_row({name.replace(" ", "_"): make() for name, (make, _, _) in INERT.items()})

    for name, (_, content, extension) in INERT.items():
        value = row[name.replace(" ", "_")]
        with value.open() as file:
            assert file.read() == content
        assert value["path"].endswith("." + extension)


def test_a_file_is_named_by_what_it_holds_and_not_by_its_own_name() -> None:
    for name in ("x.html", "x.svg", "x.png.exe", "x"):
        Path(name).write_bytes(saved("PNG"))
        assert milepost.Image(name).format == "png"


BOMBS = """
import resource
from pathlib import Path
import milepost
from tests.reliability import test_hostile_media as cases

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
whole = [cases.png(13_000, 13_000), cases.png(9_000, 9_000, color=2), Path("large.jpg").read_bytes()]
for name in ("png of 10^10 pixels", "png of 14,000 x 14,000 pixels", "png with a text of 64 MB", "gif of 65,535 x 65,535",
             "bmp of 2^31 pixels a line", "array of 2 x 10^10 pixels", "video array without end"):
    try:
        cases.REFUSED[name]()
    except milepost.DataError:
        pass
for content in whole:
    milepost.Image(content)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_bombs_take_less_than_200_mb_of_memory() -> None:
    Path("large.jpg").write_bytes(saved("JPEG", (8_000, 8_000), quality=1))
    done = subprocess.run(
        [sys.executable, "-c", BOMBS],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 200


NAMES = [
    "../../../tmp/x", "/etc/passwd", "a/../../b", "..\\..\\x", "C:\\x", "nul", "a\0b", "%2e%2e%2fx", "x/", "/", ".", "..", "~/x",
    "k" * 300, "\u202egnp.exe", "\uff0e\uff0e/x", "a\nb", "-rf", "x;rm -rf *", "\U0001f600" * 80, "<script>", "\u0430/\u0430",
]  # fmt: skip


def test_no_name_leads_out_of_the_run_and_every_value_opens() -> None:
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    outside = {path for path in Path.cwd().parent.rglob("*") if "milepost-runs" not in path.parts}
    values: dict[str, Any] = {name: milepost.Image(picture + at, caption=name) for at, name in enumerate(NAMES)}
    values["list"] = [milepost.Image(picture[:3], caption="../../x"), milepost.Image(picture[:2])]

    row = logged_row(values)

    for at, name in enumerate(NAMES):
        value = row[name]
        assert (value.to_numpy() == picture + at).all()
        assert value["caption"] == name
        file = value.file.resolve()
        assert file.is_relative_to(Path.cwd() / "milepost-runs")
        assert all(part.isprintable() or "\u202e" in part for part in Path(value["path"]).parts)
    assert row["list"]["captions"] == ["../../x", None]
    assert {path for path in Path.cwd().parent.rglob("*") if "milepost-runs" not in path.parts} == outside


@pytest.mark.parametrize(
    "path", ["../../../etc/passwd", "/etc/passwd", "media/../../x", "media\\..\\..\\x", "C:/x", "media/link/passwd"]
)
def test_a_row_that_names_a_file_elsewhere_opens_nothing(path: str) -> None:
    from milepost.sdk.reading.media import MediaValue

    Path("media").mkdir()
    Path("media/link").symlink_to("/etc")
    value = MediaValue(json.loads(json.dumps({"_type": "image-file", "path": path, "sha256": "0"})), Path.cwd())

    with pytest.raises(milepost.Error, match="leads out of the run"):
        value.open()
