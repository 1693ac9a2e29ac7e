"""log() with values made to break it, in the three modes of on_invalid."""

import contextlib
import gc
import itertools
import json
import logging
import math
import resource
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import MagicMock, Mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import milepost
from tests.sdk.runs import QUIET, Recorded, read_back, recorded


class Boom(Exception):
    """An error whose text is an error too."""

    def __str__(self) -> NoReturn:
        raise ZeroDivisionError

    __repr__ = __str__


def boom(*args: object, **keywords: object) -> Any:
    raise Boom


def raising(*methods: str) -> Any:
    """An object of a class of its own whose methods raise."""
    return type("Raising", (), dict.fromkeys(methods, boom))()


class ClassLies:
    __module__ = 5  # type: ignore[assignment]

    @property
    def __class__(self) -> Any:
        raise Boom

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise Boom


class Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        raise Boom


class OfMeta(metaclass=Meta):
    pass


class ClaimsToBe:
    """Says of itself that it is something else."""

    def __init__(self, what: type) -> None:
        self._what = what

    @property
    def __class__(self) -> Any:
        return self._what

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise Boom


class LyingDict(dict[Any, Any]):
    __iter__ = items = keys = values = __getitem__ = __contains__ = __len__ = boom


class LyingMapping(Mapping[str, Any]):
    __getitem__ = __len__ = boom

    def __iter__(self) -> Iterator[str]:
        raise Boom

    items = boom


class EndlessMapping(Mapping[str, Any]):
    def __getitem__(self, key: str) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        return (str(number) for number in itertools.count())

    def __len__(self) -> int:
        return 5


class SelfArray:
    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        array = np.empty(2, dtype=object)
        array[0] = array[1] = self
        return array


LAMBDA = lambda: None  # noqa: E731 - what it looks like is the point


def holding_itself() -> list[Any]:
    value: list[Any] = [1]
    value.append(value)
    return value


def unfolding() -> list[Any]:
    value: list[Any] = [1]
    for _ in range(60):
        value = [value, value]
    return value


def holding_each_other() -> list[Any]:
    one: list[Any] = []
    other: list[Any] = [one, one]
    one += [other, other]
    return one


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def deep_dict(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"end": 1}
    for _ in range(levels):
        value = {"k": value}
    return value


def dict_holding_itself() -> dict[str, Any]:
    value: dict[str, Any] = {"x": 1}
    value["a"] = value["b"] = value
    return value


def dict_unfolding() -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(60):
        value = {"a": value, "b": value}
    return value


def array_holding_itself() -> Any:
    array = np.empty(2, dtype=object)
    array[:] = [array, array]
    return array


def endless() -> Iterator[int]:
    yield from itertools.count()


def failing_generator() -> Iterator[int]:
    yield 1
    raise Boom


# Values without a form: raise refuses the call, placeholder stores their type and the rest of the row.
BAD: dict[str, Callable[[], Any]] = {
    "object": object,
    "a list that holds itself": holding_itself,
    "a list that unfolds into 2**60 items": unfolding,
    "two lists that hold each other twice": holding_each_other,
    "a list 200,000 deep": lambda: deep(200_000),
    "a dict 200,000 deep": lambda: deep_dict(200_000),
    "a dict that holds itself": dict_holding_itself,
    "a list 10,000 deep in a dict": lambda: {"n": deep(10_000)},
    "an array that holds itself": array_holding_itself,
    "an object whose array holds itself": SelfArray,
    "a generator without end": endless,
    "a generator that raises": failing_generator,
    "bytes that are no text": lambda: b"\xff\xfe",
    "an iterator without end": itertools.count,
    "a range": lambda: range(10),
    "a lock": threading.Lock,
    "a module": lambda: sys,
    "a frame": sys._getframe,
    "an exception": Boom,
    "an object whose class is a lie": ClassLies,
    "an object that claims to be a dict": lambda: ClaimsToBe(dict),
    "an object that claims to be a list": lambda: ClaimsToBe(list),
    "an object that claims to be a str": lambda: ClaimsToBe(str),
    "an object of a class that answers nothing": lambda: object.__new__(OfMeta),
    "an object that raises in __float__": lambda: raising("__float__", "__int__", "__index__"),
    "an object that raises in __array__": lambda: raising("__array__"),
    "an object that raises in __repr__": lambda: raising("__repr__", "__str__"),
    "an object that raises in __getattr__": lambda: raising("__getattr__", "__getattribute__"),
    "an object that raises in everything": lambda: raising(
        "__getattribute__", "__str__", "__repr__", "__hash__", "__eq__", "__len__", "__iter__", "__bool__", "__float__"
    ),
    "a mapping that raises": LyingMapping,
    "a mapping without end": EndlessMapping,
    "a mock": Mock,
    "a mock that answers to everything": MagicMock,
    "a structured value": lambda: np.zeros(1, dtype=[("a", int)])[0],
    "a list with a bad item": lambda: [1, 2, [3, object()]],
    "a memoryview": lambda: memoryview(b"abc"),
}

# Values that look bad and have a form.
ODD: dict[str, tuple[Callable[[], Any], Any]] = {
    "a surrogate": (lambda: "a\ud800b", "a\\ud800b"),
    "an int of 10,000 digits": (lambda: 10**10_000, math.inf),
    "a lambda": (lambda: LAMBDA, f"{__name__}.<lambda>"),
    "a class": (lambda: Boom, f"{__name__}.Boom"),
    "a set of mixed types": (lambda: {1}, [1]),
    "complex": (lambda: 1j, "1j"),
    "a list 190 deep": (lambda: deep(190), deep(190)),
}


@contextlib.contextmanager
def in_mode(mode: str) -> Iterator[Recorded]:
    with recorded(settings={"on_invalid": mode}) as run:
        yield run


@pytest.mark.parametrize("what", BAD)
def test_raise_refuses_the_call_and_leaves_everything_as_it_was(what: str) -> None:
    with in_mode("raise") as run:
        run.log({"row": 1})
        run.log({"pending": 2}, commit=False)
        with pytest.raises(milepost.DataError, match=r'"bad'):
            run.log({"good": 3, "bad": BAD[what]()})
        with pytest.raises(milepost.DataError, match=r'"n\.bad'):
            run.log({"n": {"good": 3, "bad": BAD[what]()}}, step=9, commit=True)
        assert run.run.step == 1
        assert run.summary() == {"row": 1}

        assert run.rows() == [{"_step": 0, "row": 1}, {"_step": 1, "pending": 2}]


@pytest.mark.parametrize("what", BAD)
def test_placeholder_never_raises_and_stores_the_rest_of_the_row_exactly(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    with in_mode("placeholder") as run:
        for _ in range(3):
            run.log({"before": -0.0, "n": {"bad": BAD[what](), "after": [1, math.inf]}})
        run.log({"fine": 1})

        rows = run.values()
        assert rows[-1] == {"fine": 1}
        for row in rows[:3]:
            assert struct.pack("<d", row["before"]) == struct.pack("<d", -0.0)
            assert row["n.after"] == [1, math.inf]
            bad = [value for name, value in row.items() if name.startswith("n.bad")]
            assert {value.get("_type") for value in bad if isinstance(value, dict)} == {"placeholder"}
            assert all(value["type"] and value["reason"] for value in bad if isinstance(value, dict))
        said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert len(said) == sum(isinstance(value, dict) for value in rows[0].values())  # once per name, not per row
        assert '"n.bad' in said[0]
        assert next(value["type"] for value in rows[0].values() if isinstance(value, dict)) in said[0]


def test_of_a_dict_that_holds_itself_only_that_is_left_out() -> None:
    inner: dict[str, Any] = {"x": 1, "list": [1, 2]}
    inner["self"] = inner
    data: dict[str, Any] = {"n": {"deep": inner, "y": 2}, "z": 3}
    data["again"] = data
    with in_mode("placeholder") as run:
        run.log(data)

        (row,) = run.values()
        kept = {name: value for name, value in row.items() if not isinstance(value, dict)}
        assert kept.items() >= {"n.deep.x": 1, "n.deep.list": [1, 2], "n.y": 2, "z": 3, "again.z": 3}.items()
        assert "n.deep.self" in row.keys() - kept.keys()


@pytest.mark.parametrize("mode", ["raise", "placeholder"])
@pytest.mark.parametrize("what", ODD)
def test_what_only_looks_bad_is_stored(what: str, mode: str) -> None:
    make, expected = ODD[what]
    with in_mode(mode) as run:
        run.log({"v": make(), "w": 1})

        assert run.values() == [{"v": expected, "w": 1}]


def test_raise_first_raises_within_the_first_100_rows_and_then_leaves_placeholders() -> None:
    with in_mode("raise_first") as run:
        for number in range(99):
            run.log({"a": number})
        with pytest.raises(milepost.DataError):
            run.log({"a": object()})
        assert run.run.step == 99
        run.log({"a": 99})
        run.log({"a": object(), "b": 1})
        run.log(5)  # type: ignore[arg-type]
        run.log({"a": 101}, step="x")  # type: ignore[arg-type]

        rows = run.values()
        assert len(rows) == 102
        assert rows[100]["b"] == 1
        assert rows[100]["a"]["_type"] == "placeholder"
        assert rows[101] == {"a": 101}


def test_placeholder_warns_once_per_name_and_type() -> None:
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("milepost").addHandler(handler)
    try:
        with in_mode("placeholder") as run:
            for _ in range(5):
                run.log({"a": object(), "b": object(), "n": {"c": b"\xff"}})
                run.log({"a": range(3)})
    finally:
        logging.getLogger("milepost").removeHandler(handler)

    assert sorted(message.split('"')[1] for message in messages) == ["a", "a", "b", "n.c"]


KEYS: dict[str, Callable[[], Any]] = {
    "a number": lambda: 1,
    "a tuple": lambda: (1, 2),
    "None": lambda: None,
    "bytes": lambda: b"k",
    "an object": object,
    "an object that cannot become text": lambda: raising("__str__", "__repr__"),
}


@pytest.mark.parametrize("what", KEYS)
def test_a_bad_key_is_refused_or_becomes_text(what: str) -> None:
    key = KEYS[what]()
    with in_mode("raise") as run, pytest.raises(milepost.DataError):
        run.log({"good": 1, key: 2})
    with in_mode("placeholder") as run:
        run.log({"good": 1, key: 2})

        (row,) = run.values()
        assert row.pop("good") == 1
        assert list(row.values()) == [2]


@pytest.mark.parametrize("what", KEYS)
def test_a_bad_nested_key_becomes_text_or_is_refused(what: str) -> None:
    key = KEYS[what]()
    with in_mode("raise") as run:
        if what == "an object that cannot become text":
            with pytest.raises(milepost.DataError, match="nested key"):
                run.log({"n": {key: 2}})
        else:
            run.log({"n": {key: 2}})
            assert list(run.values()[0].values()) == [2]
    with in_mode("placeholder") as run:
        run.log({"good": 1, "n": {key: 2}})
        assert list(run.values()[0].values()) == [1, 2]


class UnhashableLater(str):  # noqa: SLOT000 - as users write them
    """A text that can be a key, until it cannot."""

    broken = False

    def __hash__(self) -> int:
        if self.broken:
            raise Boom
        return str.__hash__(self)

    def __eq__(self, other: object) -> bool:
        if self.broken:
            raise Boom
        return str.__eq__(self, other)


@pytest.mark.parametrize("mode", ["raise", "placeholder"])
def test_a_key_that_raises_when_it_is_compared_or_hashed_is_read_as_the_text_it_is(mode: str) -> None:
    with in_mode(mode) as run:
        for _ in range(3):
            run.log({"key": 1.0})
            key = UnhashableLater("key")
            data: dict[str, Any] = {key: 2.0}
            vars(key)["broken"] = True
            run.log(data)
            run.log({"n": data})

        assert run.values() == [{"key": 1.0}, {"key": 2.0}, {"n.key": 2.0}] * 3


DATA: dict[str, Callable[[], Any]] = {
    "a list": lambda: [1],
    "None": lambda: None,
    "a mapping that raises": LyingMapping,
    "a mock": MagicMock,
    "an object that claims to be a dict": lambda: ClaimsToBe(dict),
    "an object whose class is a lie": ClassLies,
    "an object that raises in everything": lambda: raising("__getattribute__", "__iter__", "__len__", "__repr__"),
}


@pytest.mark.parametrize("what", DATA)
def test_data_that_cannot_be_read_is_refused_or_said_once(what: str, caplog: pytest.LogCaptureFixture) -> None:
    with in_mode("raise") as run, pytest.raises(milepost.DataError):
        run.log(DATA[what]())
    caplog.clear()
    with in_mode("placeholder") as run:
        for _ in range(3):
            run.log(DATA[what]())
        run.log({"a": 1})

        assert run.rows() == [{"_step": 0, "a": 1}]
    assert len(caplog.records) == 1


def test_a_dict_whose_methods_raise_is_stored_as_what_it_holds() -> None:
    data = LyingDict()
    dict.__setitem__(data, "a", 1)
    with in_mode("raise") as run:
        run.log(data)
        run.log({"n": data, "l": [data]})

        assert run.values() == [{"a": 1}, {"n.a": 1, "l": [{"a": 1}]}]


def test_a_mapping_without_end_is_read_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("milepost.sdk.snapshot.MAX_ITEMS", 1_000)
    with in_mode("placeholder") as run:
        run.log(EndlessMapping())

        assert len(run.values()[0]) == 1_000


@pytest.mark.parametrize("mode", ["placeholder"])
def test_a_bad_step_or_commit_keeps_the_values(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    with in_mode(mode) as run:
        run.log({"a": 1}, step=4.0)  # type: ignore[arg-type]
        run.log({"a": 2}, step=5.5)  # type: ignore[arg-type]
        run.log({"a": 3}, step="x", commit="y")  # type: ignore[arg-type]
        run.log({"a": 4}, step=raising("__index__", "__float__", "__repr__"))
        run.log({"a": 5}, commit=raising("__eq__", "__bool__", "__repr__"))
        run.log({"a": 6}, step=math.nan)  # type: ignore[arg-type]

        assert run.rows() == [{"_step": 4 + at, "a": 2 + at} for at in range(5)]
    assert "step must be a whole number" in caplog.text


class Make:
    """Names a bad value; hypothesis itself would stumble over the value."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __repr__(self) -> str:
        return f"BAD[{self.what!r}]()"


def made(value: Any) -> Any:
    """The value with the bad ones in their places."""
    if isinstance(value, Make):
        return BAD[value.what]()
    if isinstance(value, dict):
        return {key: made(item) for key, item in value.items()}
    return [made(item) for item in value] if isinstance(value, list) else value


QUICK = [what for what in BAD if "000" not in what and "2**60" not in what and "without end" not in what]
LEAVES = st.one_of(st.floats(), st.integers(), st.text(max_size=5), st.booleans(), st.none())
NESTS = st.recursive(
    st.one_of(
        LEAVES,
        LEAVES,
        st.sampled_from(QUICK).map(Make),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=10,
)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.dictionaries(st.text(max_size=3), NESTS, max_size=4), min_size=1, max_size=5))
def test_placeholder_never_raises_for_any_nest(calls: list[dict[str, Any]]) -> None:
    run = shared_run()
    before = run.run.step
    for data in calls:
        run.log({**made(data), "good": 0.1})

    assert run.run.step == before + len(calls)
    assert run.run.summary["good"] == 0.1


_shared: list[Any] = []


def shared_run() -> Recorded:
    """One run for all examples of a test: hypothesis makes many."""
    if not _shared or milepost.run is not _shared[1].run:
        manager = in_mode("placeholder")
        _shared[:] = [manager, manager.__enter__()]
    found: Recorded = _shared[1]
    return found


# F2: what is changed right after the call


def test_what_is_changed_right_after_the_call_is_stored_as_it_was() -> None:
    array, items, inner = np.zeros(8), [0.0] * 4, {"x": 0.0}
    data: dict[str, Any] = {"array": array, "items": items, "n": inner, "plain": 0.0}
    with recorded() as run:
        for number in range(2_000):
            array[:] = number
            items[:] = [float(number)] * 4
            inner["x"] = data["plain"] = float(number)
            run.log(data, commit=number % 2 == 1)
            array[:] = -1
            items.clear()
            inner["x"] = data["plain"] = "changed"  # type: ignore[assignment]

        rows = run.values()
        expected = [float(number) for number in range(1, 2_000, 2)]
        assert [row["plain"] for row in rows] == [row["n.x"] for row in rows] == expected
        assert [row["array"] for row in rows] == [[number] * 8 for number in expected]
        assert [row["items"] for row in rows] == [[number] * 4 for number in expected]


# F3: size


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("names", [100_000, pytest.param(1_000_000, marks=pytest.mark.gate)])
def test_a_row_of_a_million_names_is_stored(names: int) -> None:
    data = {f"name {number}": float(number) for number in range(names)}
    with recorded(exporters=[]) as run:
        before, started = peak_kib(), time.monotonic()
        run.log(data)
        assert time.monotonic() - started < 60
        assert peak_kib() - before < 200_000 + names
        run.log({"small": 1})
        run.run.finish()

        first, second = milepost.Api().run(run.run.path).scan_history()
        assert (first["name 0"], first[f"name {names - 1}"], len(first)) == (0.0, names - 1.0, names + 3)
        assert second["small"] == 1


def test_a_string_of_100_megabytes_is_cut_and_costs_no_more_than_itself() -> None:
    text = "x" * 100_000_000
    with recorded(exporters=[]) as run:
        before, started = peak_kib(), time.monotonic()
        run.log({"text": text, "n": {"text": text}})
        assert time.monotonic() - started < 30
        assert peak_kib() - before < 250_000
        run.run.finish()

        (row,) = milepost.Api().run(run.run.path).scan_history()
        assert row["text"] == row["n.text"]
        assert row["text"].endswith("[cut by milepost: 100000000 characters, 8388608 are kept]")


# F4: exact through every way out


EXACT = [
    0.0,
    -0.0,
    5e-324,
    -5e-324,
    2.2250738585072014e-308,
    1.7976931348623157e308,
    0.1,
    math.nan,
    math.inf,
    -math.inf,
    *[2**63 - 1, -(2**63), 2**53 + 1, 0, -1],
]


def bits(value: Any) -> Any:
    return ("nan" if value != value else struct.pack("<d", value)) if isinstance(value, float) else value


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.one_of(st.sampled_from(EXACT), st.floats(), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=40)
)
def test_numbers_are_exact_in_the_journal_the_api_an_exporter_and_the_history_file(numbers: list[Any]) -> None:
    with milepost.init(project="exact", exporters=["file", "memory"], settings=QUIET) as run:
        for number in numbers:
            run.log({"v": number})
            run.log({"l": [number], "n": {"v": number}})

    rows = read_back(run)
    lines = [json.loads(line) for line in (Path(run.dir) / "history.jsonl").read_text().splitlines()]
    texts: dict[Any, Any] = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}  # as strict JSON says them
    for found in (rows, lines):
        values = [row["v"] for row in found if "v" in row]
        lists = [row["l"][0] for row in found if "l" in row]
        nested = [row["n.v"] for row in found if "n.v" in row]
        for column in (values, lists, nested):
            read = [texts.get(value, value) if isinstance(value, str) else value for value in column]
            assert [bits(value) for value in read] == [bits(number) for number in numbers]


# F6: many names


def test_a_new_name_in_each_row_keeps_memory_bounded_and_every_row() -> None:
    rows = 20_000
    with recorded(exporters=[]) as run:
        for number in range(2_000):
            run.log({f"warm {number}": 1.0, "step": number})
        gc.collect()
        before = peak_kib()
        for number in range(rows):
            run.log({f"name {number}": 1.0, "step": number})
        assert peak_kib() - before < 64 * 1024
        run.run.finish()

        read = milepost.Api().run(run.run.path)
        assert sum(1 for _ in read.scan_history()) == rows + 2_000
        assert read.summary["name 19999"] == 1.0


# F5: a burst while every exporter is down


def test_a_burst_while_every_exporter_is_down_costs_disk_and_no_row() -> None:
    rows = 100_000

    def refusing(batch: Any) -> milepost.ExportResult:
        return milepost.ExportResult.retry("down")

    def failing(batch: Any) -> None:
        raise ConnectionError("down")

    with recorded(exporters=[refusing, failing]) as run:
        run.log({"a": 0.0, "b": 0})
        before = peak_kib()
        for number in range(1, rows):
            run.log({"a": float(number), "b": number})
        assert peak_kib() - before < 64 * 1024
        run.run.finish(timeout=0.1)

        read = milepost.Api().run(run.run.path)
        figures = read.accounting()
        assert figures["logged"] == rows
        for exporter in figures["exporters"].values():
            assert (exporter["delivered"], exporter["pending"], exporter["dropped"]) == (0, rows, {})
        assert sum(1 for _ in read.scan_history()) == rows
        assert sum(path.stat().st_size for path in Path(run.run.dir).rglob("*.mpj")) < 220 * rows
