"""Inert: files of users as answers that can do nothing in a browser.

A file is shown in place only when its first bytes say that it is a picture, a sound or a video; whatever its name or the
program that logged it claims. Everything else is downloaded, with a type that no browser interprets.
"""

from pathlib import Path
from typing import Final
from urllib.parse import quote

from starlette.responses import FileResponse

_SIGNATURES: Final = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "application/ogg"),
    (0, b"ID3", "audio/mpeg"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
)

HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, max-age=60",
}


def shown_type(head: bytes) -> str | None:
    """The media type of bytes that may be shown in place; None for all others."""
    if head[:2] == b"BM" and head[6:10] == bytes(4):  # two letters alone begin many a text
        return "image/bmp"
    for offset, signature, kind in _SIGNATURES:
        if offset == 8 and head[:4] != b"RIFF":
            continue
        if head[offset : offset + len(signature)] == signature:
            return kind
    return None


def inert(path: Path, name: str) -> FileResponse:
    """The file as an answer; ranges are honoured, so that videos can be wound."""
    with path.open("rb") as file:
        kind = shown_type(file.read(16))
    plain = name.rpartition("/")[2]
    disposition = "inline" if kind else "attachment"
    headers = {**HEADERS, "Content-Disposition": f"{disposition}; filename*=UTF-8''{quote(plain, safe='')}"}
    return FileResponse(path, headers=headers, media_type=kind or "application/octet-stream")
