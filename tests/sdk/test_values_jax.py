"""Arrays of the real JAX, read and deferred. It is large, so the tests run where it is installed: pip install jax"""

from typing import Any

import pytest

import milepost
from milepost.exporters.memory import MemoryExporter

jax: Any = pytest.importorskip("jax", reason="JAX is not installed")


def logged(values: dict[str, Any], device_values: str) -> Any:
    memory = MemoryExporter()
    settings = {"capture": False, "device_values": device_values, "media": {"encode_in": "thread"}}
    with milepost.init(project="p", exporters=[memory], settings=settings) as run:
        run.log({key: make() for key, make in values.items()})
        run.log({"n": 1})
    first, second = [event.values for event in memory.events if event.kind == "row"]
    assert second == {"n": 1}
    return first


@pytest.mark.parametrize("device_values", ["read", "defer"])
def test_arrays_of_every_dtype_and_layout_become_plain_values(device_values: str) -> None:
    np_ = jax.numpy
    row = logged(
        {
            "scalar": lambda: jax.jit(lambda x: (x * 2).sum())(np_.ones(50)),
            "bf16": lambda: np_.asarray([1.5, 2.5], np_.bfloat16),
            "f16": lambda: np_.asarray(0.5, np_.float16),
            "int": lambda: np_.asarray(7),
            "bool": lambda: np_.asarray(True),
            "view": lambda: np_.arange(6).reshape(2, 3).T,
            "grad": lambda: jax.grad(lambda x: x**2)(3.0),
            "many": lambda: np_.arange(100.0),
            "nested": lambda: {"a": [np_.asarray(1), 2]},
        },
        device_values,
    )

    assert row["many"].pop("_type") == "histogram"
    assert sum(row.pop("many")["values"]) == 100
    assert row == {
        "scalar": 100.0, "bf16": [1.5, 2.5], "f16": 0.5, "int": 7, "bool": True, "view": [[0, 3], [1, 4], [2, 5]], "grad": 6.0,
        "nested.a": [1, 2],
    }  # fmt: skip


@pytest.mark.parametrize("device_values", ["read", "defer"])
def test_media_of_jax_arrays(device_values: str) -> None:
    np_ = jax.numpy
    row = logged(
        {
            "image": lambda: milepost.Image(np_.linspace(0, 1, 12).reshape(3, 4)),
            "histogram": lambda: milepost.Histogram(np_.arange(10, dtype=np_.bfloat16), num_bins=2),
            "audio": lambda: milepost.Audio(np_.zeros((100, 2)), sample_rate=8000),
            "video": lambda: milepost.Video(np_.zeros((2, 3, 8, 8), np_.uint8)),
        },
        device_values,
    )

    assert (row["image"]["width"], row["image"]["height"]) == (4, 3)
    assert row["histogram"]["values"] == [5, 5]
    assert row["audio"]["duration"] == 100 / 8000
    assert "path" in row["video"]


def test_an_array_that_was_given_away_leaves_a_placeholder() -> None:
    array = jax.numpy.ones(3)

    def delete() -> Any:
        array.delete()
        return array

    memory = MemoryExporter()
    with milepost.init(
        project="p", exporters=[memory], settings={"capture": False, "on_invalid": "placeholder"}
    ) as run:
        run.log({"gone": delete(), "n": 1})

    (row,) = [event.values for event in memory.events if event.kind == "row"]
    assert (row["n"], row["gone"]["_type"]) == (1, "placeholder")
