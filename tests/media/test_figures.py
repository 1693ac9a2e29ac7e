"""Figures of matplotlib and plotly that are logged directly: interactive where nothing is lost, else a picture."""

import datetime
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
import pytest

from milepost.media.adopt import adopted
from milepost.media.image import Image
from milepost.media.plotly_figure import Plotly
from milepost.sdk.errors import DataError, MissingDependencyError


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def content(plotly: Plotly) -> Any:
    return json.loads(bytes(plotly.payload.data))


def line(axes: Any) -> None:
    axes.plot([1, 2, 3], [1, 4, 9], "--", label="squares")
    axes.legend()
    axes.set_title("Title")
    axes.set_xlabel("x axis")


WHOLE: list[Callable[[Any], Any]] = [
    line,
    lambda axes: axes.semilogy([1, 10, 100]),
    lambda axes: axes.bar([1, 2, 3], [3, 1, 2]),
    lambda axes: axes.barh([1, 2, 3], [3, 1, 2]),
    lambda axes: axes.hist([0.5, 1.5, 1.5, 2.5], bins=[0, 1, 2, 3]),
    lambda axes: axes.scatter([1, 2], [3, 4]),
]
PARTLY: list[Callable[[Any], Any]] = [
    lambda axes: axes.imshow(np.zeros((2, 2))),
    lambda axes: axes.boxplot([[1, 2, 3], [2, 3, 4]]),
    lambda axes: axes.fill_between([1, 2], [1, 2], [2, 4]),
    lambda axes: axes.errorbar([1, 2], [1, 2], yerr=0.1),
    lambda axes: axes.pie([1, 2]),
    lambda axes: axes.contourf(np.arange(16).reshape(4, 4)),
    lambda axes: axes.pcolormesh(np.arange(16).reshape(4, 4)),
    lambda axes: axes.quiver([1], [1], [1], [1]),
    lambda axes: axes.step([1, 2], [1, 2]),
    lambda axes: axes.bar(["a", "b"], [1, 2]),
    lambda axes: axes.bar([1, 2], [1, 2], bottom=[1, 1]),
    lambda axes: axes.scatter([1, 2], [3, 4], c=[0.1, 0.9]),
    lambda axes: axes.plot([datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)], [1, 2]),
    lambda axes: (axes.plot([1, 2]), axes.axvline(1)),
    lambda axes: (axes.plot([1, 2]), axes.text(1, 1, "text")),
    lambda axes: (axes.plot([1, 2]), axes.twinx().plot([2, 1])),
    lambda axes: (axes.plot([1, 2]), axes.figure.suptitle("title")),
    lambda axes: (axes.plot([1, 2]), axes.set_yscale("symlog")),
    lambda axes: None,
]


@pytest.mark.parametrize("draw", WHOLE, ids=range(len(WHOLE)))
def test_a_figure_that_plotly_can_say_whole_is_interactive(draw: Callable[[Any], Any]) -> None:
    figure, axes = plt.subplots()
    draw(axes)

    value = adopted(figure)

    assert isinstance(value, Plotly)
    assert value.as_value()["_type"] == "plotly-file"
    assert len(content(value)["data"]) == 1


@pytest.mark.parametrize("draw", PARTLY, ids=range(len(PARTLY)))
def test_a_figure_that_would_lose_something_is_a_picture(draw: Callable[[Any], Any]) -> None:
    figure, axes = plt.subplots()
    draw(axes)

    value = adopted(figure)

    assert isinstance(value, Image)
    assert (value.format, value.width, value.height) == ("png", 640, 480)


@pytest.mark.parametrize("projection", ["polar", "3d"])
def test_other_projections_are_pictures(projection: str) -> None:
    figure = plt.figure()
    figure.add_subplot(projection=projection)

    assert isinstance(adopted(figure), Image)


def test_data_title_and_names_of_a_converted_figure_are_those_of_the_original() -> None:
    figure, axes = plt.subplots()
    line(axes)

    made = content(adopted(figure))

    assert (made["data"][0]["x"], made["data"][0]["y"]) == ([1, 2, 3], [1, 4, 9])
    assert made["data"][0]["name"] == "squares"
    assert made["layout"]["title"]["text"] == "Title"
    assert made["layout"]["xaxis"]["title"]["text"] == "x axis"


def test_several_axes_are_all_there() -> None:
    figure, (left, right) = plt.subplots(1, 2)
    left.plot([1, 2])
    right.plot([2, 1])

    assert [trace["y"] for trace in content(adopted(figure))["data"]] == [[1, 2], [2, 1]]


def test_the_module_and_axes_stand_for_their_figure_which_stays_open() -> None:
    plt.plot([1, 2])

    values = [adopted(plt), adopted(plt.gca()), adopted(plt.gcf()), adopted(plt)]

    assert [content(value)["data"][0]["y"] for value in values] == [[1, 2]] * 4
    assert len(plt.get_fignums()) == 1


def test_an_empty_figure_is_a_picture_and_no_error() -> None:
    assert isinstance(adopted(plt.figure()), Image)


def test_without_plotly_figures_are_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("milepost.media.figures.find_spec", lambda name: None)
    plt.plot([1, 2])

    assert isinstance(adopted(plt), Image)


def test_a_conversion_that_fails_costs_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(figure: Any) -> Any:
        raise KeyError("bottom")

    monkeypatch.setattr("milepost.media.figures.converted", fail)
    plt.plot([1, 2])

    assert isinstance(adopted(plt), Image)
    with pytest.raises(DataError, match=r"plotly cannot convert.*KeyError.*log the figure itself"):
        Plotly(plt)


def test_a_line_of_a_trained_model_reads_back_from_the_figure_of_plotly() -> None:
    figure = go.Figure(go.Scatter(x=np.arange(3), y=np.array([1.5, np.nan, np.inf])))

    value = adopted(figure)

    assert content(value)["data"] == [{"x": [0, 1, 2], "y": [1.5, None, None], "type": "scatter"}]


def test_packed_arrays_become_lists_of_their_shape() -> None:
    figure = go.Figure(go.Heatmap(z=np.arange(6, dtype=np.float32).reshape(2, 3)))

    assert content(Plotly(figure))["data"][0]["z"] == [[0, 1, 2], [3, 4, 5]]


def test_the_json_of_a_figure_makes_the_same_figure() -> None:
    figure = go.Figure(go.Bar(x=["a", "b"], y=[1, 2]), layout={"title": {"text": "Bars"}})

    assert go.Figure(content(Plotly(figure))) == figure


def test_a_dict_with_data_is_a_figure() -> None:
    value = Plotly({"data": [{"y": np.array([1, 2])}], "layout": {"title": "t"}})

    assert content(value) == {"data": [{"y": [1, 2]}], "layout": {"title": "t"}}


@pytest.mark.parametrize("value", [None, 3, "figure.json", [1, 2], {}, {"data": 3}, object()])
def test_anything_else_is_an_error_that_names_what_is_accepted(value: Any) -> None:
    with pytest.raises(ValueError, match=f"Plotly: a plotly figure, a dict.*got {type(value).__name__}"):
        Plotly(value)


def test_converting_without_plotly_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly.matplotlylib", None)
    plt.plot([1, 2])

    with pytest.raises(MissingDependencyError, match="pip install plotly"):
        Plotly(plt)


def test_what_logging_a_figure_would_store_can_be_asked_for() -> None:
    figure, axes = plt.subplots()
    axes.imshow(np.zeros((2, 2)))

    assert isinstance(Plotly.make_plot_media(figure), Image)
    assert isinstance(Plotly.make_plot_media(go.Figure()), Plotly)
