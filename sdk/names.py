"""Ids and names for runs that were given none."""

import os
from collections.abc import Sequence
from typing import Final, TypeVar

_Item = TypeVar("_Item")

_LETTERS: Final = "abcdefghijkmnpqrstuvwxyz23456789"  # without those that are mistaken for each other
_FIRST: Final = """
    amber azure bold brave bright calm clear coral crisp early fair fast fresh gentle golden green keen kind light lively
    lucky mellow misty noble quiet rapid silver smooth solid steady still sunny swift vivid warm wild wise young
""".split()  # noqa: SIM905 - words read better than a list of quotes
_SECOND: Final = """
    bay birch brook canyon cedar cliff cloud comet creek dawn delta dune ember falcon fern field fjord forest glade harbor
    hill island lake lark maple meadow moon otter peak pine rain reef ridge river robin sea sky spring star stone summit
    tide trail valley wave willow wind
""".split()  # noqa: SIM905 - words read better than a list of quotes


def run_id() -> str:
    """A new run id: 8 letters and digits, enough for millions of runs of one project."""
    return "".join(_choice(_LETTERS) for _ in range(8))


def run_name() -> str:
    """A name that people can say, such as "calm-river-37"."""
    return f"{_choice(_FIRST)}-{_choice(_SECOND)}-{_choice(range(1, 100))}"


def _choice(items: Sequence[_Item]) -> _Item:
    """One of the items, from the system's randomness: a seed that the program sets gives no two runs one name."""
    return items[int.from_bytes(os.urandom(8), "little") % len(items)]
