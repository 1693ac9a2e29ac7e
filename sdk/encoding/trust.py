"""Trust: which encoders may be called on the word of a file.

What a run's files say may have been written by anybody: a run directory is copied, mailed, served. A program calls the encoders
that its own media objects name. Whoever encodes what a file says (a reader, `milepost sync`) calls only those of milepost, of
installed distributions that register media types, and of modules that the program has imported itself; never one of Python's.
"""

import sys

MEDIA_GROUP = "milepost_media"


class EncoderRefused(Exception):
    """A file names an encoder that is not called on its word."""


def check(encoder: str) -> None:
    """Raise EncoderRefused for an encoder, "module:function", that only a program may name."""
    module = encoder.partition(":")[0]
    root = module.partition(".")[0]
    if root == "milepost":
        trusted = module.startswith("milepost.media.")
    else:
        trusted = root not in sys.stdlib_module_names and (module in sys.modules or root in _registered())
    if not trusted:
        raise EncoderRefused(
            f"the encoder {encoder!r} belongs to no installed media type (entry points {MEDIA_GROUP}); import {module!r} first"
        )


def _registered() -> set[str]:
    """The top packages of the distributions that register media types."""
    from importlib.metadata import entry_points

    return {point.module.partition(".")[0] for point in entry_points(group=MEDIA_GROUP)}
