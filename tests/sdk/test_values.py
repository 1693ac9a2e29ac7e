"""Which form each kind of value takes in a row."""

import collections
import datetime
import decimal
import enum
import fractions
import functools
import itertools
import math
import pathlib
import struct
import uuid
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

import milepost
from tests.sdk.runs import label, recorded


class Colour(enum.Enum):
    RED = "r"


class Size(enum.IntEnum):
    LARGE = 3


class Point(NamedTuple):
    x: int
    y: int


def function() -> None:
    pass


def logged(value: Any) -> Any:
    """The value as an exporter gets it."""
    with recorded() as run:
        run.log({"v": value})
        (values,) = run.values()
        return values["v"]


def same(one: Any, other: Any) -> bool:
    """Equal in type and value; NaN equals NaN, 0.0 is not -0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack("<d", one) == struct.pack("<d", other) or (one != one and other != other)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


@pytest.mark.parametrize(
    "value",
    [None, True, False, 0, 1, -1, 2**63 - 1, -(2**63), 0.0, -0.0, 1.0, 0.1, 5e-324, 1.7976931348623157e308,
     math.inf, -math.inf, math.nan, "", "text", "é🚀", "a\x00b", "line\n", [], [1, 2.5, "x", None, True],
     [[1, [2]], [math.nan]], [{"a": 1}]],
    ids=label,
)  # fmt: skip
def test_plain_values_stay_exactly_what_they_are(value: Any) -> None:
    assert same(logged(value), value)


UTC = datetime.UTC


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, 2), [1, 2]),
        (Point(1, 2), [1, 2]),
        ({3, 1, 2}, [1, 2, 3]),
        pytest.param(frozenset("ba"), ["a", "b"], id="frozenset"),  # its text differs between workers
        ((number * 2 for number in range(3)), [0, 2, 4]),
        (collections.OrderedDict(), None),
        (b"bytes", "bytes"),
        (bytearray("é", "utf-8"), "é"),
        (2**63, 9.223372036854775808e18),
        (-(2**63) - 1, -9.223372036854775808e18),
        (10**400, math.inf),
        (-(10**400), -math.inf),
        (1 + 2j, "1+2j"),
        (2j, "2j"),
        (decimal.Decimal("1.10"), "1.10"),
        (fractions.Fraction(1, 3), "1/3"),
        (datetime.datetime(2024, 5, 1, 12, 30, tzinfo=UTC).replace(tzinfo=None), "2024-05-01T12:30:00"),
        (datetime.datetime(2024, 5, 1, 12, 30, 0, 5, tzinfo=UTC), "2024-05-01T12:30:00.000005+00:00"),
        (datetime.date(2024, 5, 1), "2024-05-01"),
        (datetime.time(12, 30), "12:30:00"),
        (datetime.timedelta(days=1), "P1D"),
        (datetime.timedelta(days=1, hours=2, microseconds=500000), "P1DT7200.5S"),
        (datetime.timedelta(0), "PT0S"),
        (datetime.timedelta(seconds=-1), "-PT1S"),
        (pathlib.PurePosixPath("a/b"), "a/b"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (Colour.RED, "r"),
        (Size.LARGE, 3),
        (function, f"{__name__}.function"),
        (len, "builtins.len"),
        (Point, f"{__name__}.Point"),
        (int, "builtins.int"),
        (test_plain_values_stay_exactly_what_they_are, f"{__name__}.test_plain_values_stay_exactly_what_they_are"),
    ],
    ids=label,
)
def test_other_values_of_python_get_a_plain_form(value: Any, expected: Any) -> None:
    if isinstance(value, dict):
        with recorded() as run:
            run.log({"v": value})
            assert run.values() == [{}]
    else:
        assert same(logged(value), expected)


def test_text_is_kept_up_to_8_mebibytes_and_then_cut_with_a_note() -> None:
    limit = 8 * 2**20
    assert logged("x" * limit) == "x" * limit
    cut = logged("x" * (limit + 1))
    assert cut.startswith("x" * limit)
    assert cut.endswith(f"... [cut by milepost: {limit + 1} characters, {limit} are kept]")


def test_text_that_is_no_valid_unicode_is_escaped() -> None:
    assert logged("a\udc80b") == "a\\udc80b"


class Text(str):  # noqa: SLOT000 - as users write them
    def __str__(self) -> str:
        return "a lie"

    def __len__(self) -> int:
        return 0


class Number(int):
    def __int__(self) -> int:
        return -1

    def __index__(self) -> int:
        return -1


class Float(float):
    def __float__(self) -> float:
        return -1.0


class List(list[Any]):
    def __iter__(self) -> Any:
        return iter(["a lie"])


class Dict(dict[str, Any]):
    def items(self) -> Any:
        return [("a lie", 1)]

    def __contains__(self, key: object) -> bool:
        return True


@pytest.mark.parametrize(
    ("value", "expected"),
    [(Text("text"), "text"), (Number(5), 5), (Float(0.5), 0.5), (List([1, 2]), [1, 2])],
    ids=label,
)
def test_subclasses_are_stored_as_what_they_hold_not_as_what_they_say(value: Any, expected: Any) -> None:
    assert same(logged(value), expected)


def test_a_dict_whose_items_lie_is_stored_as_what_it_holds() -> None:
    with recorded() as run:
        run.log({"n": Dict(x=1), "l": [Dict(y=2)]})
        run.log(Dict(z=3))

        assert run.values() == [{"n.x": 1, "l": [{"y": 2}]}, {"z": 3}]


# numpy


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(0.1), 0.1),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.float16(0.1), float(np.float16(0.1))),
        (np.longdouble("0.1"), 0.1),
        (np.float32("nan"), math.nan),
        (np.float16("inf"), math.inf),
        (np.float64(-0.0), -0.0),
        (np.int8(-5), -5),
        (np.uint64(2**64 - 1), 1.8446744073709552e19),
        (np.int64(-(2**63)), -(2**63)),
        (np.bool_(True), True),
        (np.str_("text"), "text"),
        (np.bytes_(b"text"), "text"),
        (np.complex64(1 + 2j), "1+2j"),
        (np.datetime64("2024-05-01T12:30"), "2024-05-01T12:30"),
        (np.timedelta64(90, "s"), "PT90S"),
        (np.array(5), 5),
        (np.array([5]), 5),
        (np.array([[True]]), True),
        (np.array(math.nan), math.nan),
        (np.array([]), []),
        (np.zeros((0, 3)), []),
        (np.array([1, 2]), [1, 2]),
        (np.array([[1.5, math.inf], [2, 3]]), [[1.5, math.inf], [2.0, 3.0]]),
        (np.array([True, False]), [True, False]),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array(["2024-05-01", "NaT"], "datetime64[D]"), ["2024-05-01", "NaT"]),
        (np.array([1, "a", None], dtype=object), [1, "a", None]),
        (np.array([2**63, 1], dtype=np.uint64), [9.223372036854775808e18, 1]),
        (np.arange(32), list(range(32))),
        (np.ma.array([1.0, 2.0], mask=[False, True]), [1.0, math.nan]),
        (np.ma.masked, math.nan),
        (np.dtype("float32"), "float32"),
        (np.float32, "numpy.float32"),
        (np.sin, "numpy.sin"),
    ],
    ids=label,
)  # fmt: skip
def test_values_of_numpy_become_plain_ones(value: Any, expected: Any) -> None:
    if value is np.sin:
        assert "sin" in logged(value)
    else:
        assert same(logged(value), expected)


@pytest.mark.parametrize(
    "array", [np.arange(33), np.arange(36.0).reshape(6, 6), np.arange(64) % 2 == 0], ids=lambda a: str(a.dtype)
)
def test_an_array_of_more_than_32_numbers_becomes_a_histogram_of_32_bins(array: Any) -> None:
    value = logged(array)

    assert value["_type"] == "histogram"
    assert (len(value["values"]), len(value["bins"]), sum(value["values"])) == (32, 33, array.size)


def test_nan_and_infinities_in_a_large_array_are_counted_beside_its_histogram() -> None:
    array = np.arange(100.0)
    array[:3] = math.nan, math.inf, -math.inf
    value = logged(array)

    assert (sum(value["values"]), value["nonfinite"]) == (97, 3)


def test_a_large_array_of_text_stays_a_list() -> None:
    assert logged(np.array(["x"] * 40)) == ["x"] * 40


def test_a_list_of_more_than_32_numbers_stays_a_list() -> None:
    assert logged([float(number) for number in range(5000)]) == [float(number) for number in range(5000)]


def test_numpy_scalars_inside_lists_and_dicts_are_converted_one_by_one() -> None:
    with recorded() as run:
        run.log(
            {
                "l": [np.float32(0.5), (np.int64(1), {np.bool_(True)})],
                "n": {"x": np.float64(2)},
                "d": [{"k": np.int8(3)}],
            }
        )

        (values,) = run.values()
        assert same(values, {"l": [0.5, [1, [True]]], "n.x": 2.0, "d": [{"k": 3}]})


def test_a_structured_value_is_refused_with_what_to_do() -> None:
    with recorded() as run, pytest.raises(milepost.DataError, match="fields one by one"):
        run.log({"v": np.array([(1, 2.0)], dtype=[("a", int), ("b", float)])[0]})


# pandas


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (pd.NA, None),
        (pd.NaT, None),
        (pd.Timestamp("2024-05-01 12:30", tz="UTC"), "2024-05-01T12:30:00+00:00"),
        (pd.Timedelta(days=1, seconds=1), "P1DT1S"),
        (pd.Series([1, 2]), [1, 2]),
        (pd.Series([1, None], dtype="Int64"), [1.0, math.nan]),
        (pd.Series(["a", "b"]), ["a", "b"]),
        (pd.Index([1.5, 2.5]), [1.5, 2.5]),
    ],
    ids=label,
)
def test_values_of_pandas_become_plain_ones(value: Any, expected: Any) -> None:
    assert same(logged(value), expected)


def test_a_large_series_becomes_a_histogram() -> None:
    assert logged(pd.Series(range(100)))["_type"] == "histogram"


def test_a_data_frame_is_a_table() -> None:
    assert logged(pd.DataFrame({"a": [1]}))["_type"] == "table-file"


# Other frameworks are recognised by the module of the type, and never imported: these fakes have that and the few methods
# that the real types are read by. tests/sdk/test_values_torch.py does the same with the real PyTorch where it is installed.


class FakeTorch:
    """Stands for the module `torch`."""

    float16, float32, float64, bfloat16, float8_e4m3fn = "f2", "f4", "f8", "bf16", "f8e4"
    Tensor: Any = None


class FakeTensor:
    """A tensor that knows an array, a dtype and whether somebody detached it and took it to the CPU."""

    def __init__(self, array: Any, dtype: Any = None, steps: tuple[str, ...] = ()) -> None:
        self._array = np.asarray(array)
        self.dtype = dtype or {"f": "f4", "i": "i8", "b": "b"}[self._array.dtype.kind]
        self.steps = steps
        self.is_sparse = self.is_quantized = False

    def _then(self, step: str, dtype: Any = None) -> "FakeTensor":
        return FakeTensor(self._array, dtype or self.dtype, (*self.steps, step))

    def detach(self) -> "FakeTensor":
        return self._then("detach")

    def cpu(self) -> "FakeTensor":
        return self._then("cpu")

    def resolve_conj(self) -> "FakeTensor":
        return self

    resolve_neg = resolve_conj

    def numel(self) -> int:
        return int(self._array.size)

    def __float__(self) -> float:
        assert {"detach", "cpu"} <= set(self.steps)
        return float(self._array.reshape(())[()])

    def numpy(self) -> Any:
        assert {"detach", "cpu"} <= set(self.steps)
        assert self.dtype not in ("bf16", "f8e4"), "numpy has no such type"
        return self._array

    def float(self) -> "FakeTensor":
        return self._then("float", "f4")


FakeTensor.__module__ = "torch"
FakeTorch.Tensor = FakeTensor


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (FakeTensor(0.5), 0.5),
        (FakeTensor([0.5]), 0.5),
        (FakeTensor(3), 3),
        (FakeTensor(True), True),
        (FakeTensor(0.25, "bf16"), 0.25),
        (FakeTensor([0.25, 0.5], "bf16"), [0.25, 0.5]),
        (FakeTensor([0.25, 0.5], "f8e4"), [0.25, 0.5]),
        (FakeTensor([[1, 2]]), [[1, 2]]),
    ],
)
def test_tensors_are_read_off_their_device(tensor: Any, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", FakeTorch)

    assert same(logged(tensor), expected)


class FakeJaxArray:
    """What `jax.Array` is read by: `__array__`."""

    def __init__(self, array: Any) -> None:
        self._array = np.asarray(array)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self._array


FakeJaxArray.__module__ = "jaxlib._jax"


class FakeTfTensor:
    """What `tensorflow.Tensor` is read by: `numpy()`, which may also give a bare scalar."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def numpy(self) -> Any:
        return self._value


FakeTfTensor.__module__ = "tensorflow.python.framework.ops"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (FakeJaxArray(0.5), 0.5),
        (FakeJaxArray([1, 2]), [1, 2]),
        (FakeTfTensor(np.float32(0.5)), 0.5),
        (FakeTfTensor(np.array([1, 2])), [1, 2]),
        (FakeTfTensor(b"text"), "text"),
    ],
)
def test_arrays_of_other_frameworks_become_plain_values(value: Any, expected: Any) -> None:
    assert same(logged(value), expected)


def test_no_framework_is_imported_for_that() -> None:
    import subprocess
    import sys

    script = (
        "import sys, milepost\n"
        "with milepost.init(project='t', exporters=[]) as run:\n"
        "    run.log({'a': 1.0, 'n': {'b': [1]}, 't': (1,), 'd': __import__('decimal').Decimal(1)})\n"
        "print([name for name in ('torch', 'jax', 'tensorflow', 'pandas') if name in sys.modules])"
    )
    outcome = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert outcome.stdout.strip() == "[]"


# Media


def test_a_histogram_is_stored_whole() -> None:
    assert logged(milepost.Histogram([1.0, 2.0, 3.0], num_bins=2)) == {
        "_type": "histogram",
        "values": [1, 2],
        "bins": [1.0, 2.0, 3.0],
    }


@pytest.mark.parametrize(
    "numbers",
    [[2**60, 2**60 + 1], [-(2**62), 2**62], [5e-324, 0.0], [-1e-320, 1e-320], [1.0, 1.0 + 2**-52], [2**60] * 3],
)
def test_numbers_that_lie_very_close_or_far_apart_have_a_histogram(numbers: list[Any]) -> None:
    made = milepost.Histogram(numbers)

    assert sum(made.counts) == len(numbers)
    assert all(low < high for low, high in itertools.pairwise(made.edges))


@pytest.mark.parametrize("bins", [0, 513, 2.5, "9", None])
def test_a_number_of_bins_that_cannot_be_is_named(bins: Any) -> None:
    with pytest.raises(
        milepost.DataError, match=f"num_bins={bins!r} is out of range; use a whole number from 1 to 512"
    ):
        milepost.Histogram([1.0, 2.0], num_bins=bins)


def test_histograms_in_a_list_are_a_list_of_histograms() -> None:
    one = milepost.Histogram([1.0, 2.0], num_bins=1)

    assert [value["_type"] for value in logged([one, one])] == ["histogram", "histogram"]


class Own:
    """A type of a user's that knows its form in a row."""

    def as_value(self) -> dict[str, Any]:
        return {"_type": "own", "size": np.int64(5)}


def test_a_type_of_ones_own_can_be_logged_when_it_says_its_form() -> None:
    assert logged(Own()) == {"_type": "own", "size": 5}


@pytest.mark.parametrize(
    "value", [functools.partial(len), iter([1]), type("X", (), {})(), range(2), memoryview(b"a")], ids=label
)
def test_what_has_no_form_is_refused(value: Any) -> None:
    with recorded() as run, pytest.raises(milepost.DataError, match='"v"'):
        run.log({"v": value})
