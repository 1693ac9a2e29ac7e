"""Mesh files: whether the bytes of a 3D file are what its extension says, and all there.

Each check raises ValueError with what is wrong. Nothing that a file refers to is opened.
"""

import json
import re
import struct
from collections.abc import Callable
from typing import Any, Final


def check_glb(content: bytes) -> None:
    """The 12-byte header and chunks that add up to the length it says. Source: glTF 2.0, "Binary glTF Layout"."""
    if content[:4] != b"glTF":
        raise ValueError('it does not begin with "glTF"')
    if len(content) < 20:
        raise ValueError("it ends in its header")
    version, length = struct.unpack_from("<II", content, 4)
    if version not in (1, 2):
        raise ValueError(f"its version is {version}")
    if length != len(content):
        raise ValueError(f"it says that it has {length:,} bytes, and {len(content):,} are there")
    at = 12
    while version == 2 and at < length:
        size, kind = struct.unpack_from("<I4s", content, at) if at + 8 <= length else (0, b"")
        if not kind or at + 8 + size > length:
            raise ValueError(f"the chunk at byte {at} reaches beyond the end")
        if at == 12:
            _gltf(content[at + 8 : at + 8 + size])
        at += 8 + size


def check_gltf(content: bytes) -> None:
    """JSON with an asset."""
    _gltf(content)


def _gltf(content: bytes) -> None:
    try:
        value: Any = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("its JSON cannot be read") from None
    if not isinstance(value, dict) or not isinstance(value.get("asset"), dict):
        raise ValueError('it has no "asset", as every glTF file')  # noqa: TRY004 - the content is wrong, not a type


def check_obj(content: bytes) -> None:
    """Text with vertices."""
    if b"\0" in content:
        raise ValueError("it is not text")
    if re.search(rb"^\s*v\s+[-+.\d]", content, re.MULTILINE) is None:
        raise ValueError("it has no vertices")


def check_stl(content: bytes) -> None:
    """ASCII from solid to endsolid, or as many binary triangles as announced."""
    if len(content) >= 84 and len(content) == 84 + 50 * int.from_bytes(content[80:84], "little"):
        return
    if content.lstrip()[:5].lower() == b"solid" and b"facet" in content:
        if b"endsolid" not in content[-4096:]:
            raise ValueError("it ends before its endsolid")
        return
    if len(content) < 84:
        raise ValueError("it ends in its header")
    count = int.from_bytes(content[80:84], "little")
    raise ValueError(f"it announces {count:,} triangles, {84 + 50 * count:,} bytes, and {len(content):,} are there")


_PLY_SIZES: Final = {
    "char": 1, "uchar": 1, "int8": 1, "uint8": 1, "short": 2, "ushort": 2, "int16": 2, "uint16": 2, "int": 4, "uint": 4,
    "int32": 4, "uint32": 4, "float": 4, "float32": 4, "double": 8, "float64": 8,
}  # fmt: skip


def check_ply(content: bytes) -> None:
    """A header, and at least as many bytes or lines as its elements need."""
    if not content.startswith(b"ply"):
        raise ValueError('it does not begin with "ply"')
    end = content.find(b"end_header")
    if end < 0:
        raise ValueError("it ends in its header")
    body = content[content.find(b"\n", end) + 1 :]
    binary = b"format ascii" not in content[:end]
    needed = lines = count = 0
    for line in content[:end].decode("latin-1").split("\n"):
        words = line.split()
        if words[:1] == ["element"] and len(words) == 3 and words[2].isdigit():
            count = int(words[2])
            lines += count
        elif words[:2] == ["property", "list"] and len(words) == 5:
            needed += count * _PLY_SIZES.get(words[2], 1)
        elif words[:1] == ["property"] and len(words) == 3:
            needed += count * _PLY_SIZES.get(words[1], 1)
    if not lines:
        raise ValueError("it has no elements")
    if binary and len(body) < needed:
        raise ValueError(f"its elements need at least {needed:,} bytes, and {len(body):,} are there")
    if not binary and len([line for line in body.splitlines() if line.strip()]) < lines:
        raise ValueError(f"its elements need {lines:,} lines, and fewer are there")


def check_json(content: bytes) -> None:
    """JSON: a list or an object."""
    try:
        value: Any = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("its JSON cannot be read") from None
    if not isinstance(value, (list, dict)):
        raise ValueError("its JSON is neither a list nor an object")  # noqa: TRY004 - as above


CHECKS: Final[dict[str, Callable[[bytes], None]]] = {
    "obj": check_obj,
    "gltf": check_gltf,
    "glb": check_glb,
    "stl": check_stl,
    "ply": check_ply,
    "babylon": check_json,
    "pts.json": check_json,
}
