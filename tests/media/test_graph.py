"""Graphs and Bokeh documents: the JSON of their files, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from bokeh.document import Document
from bokeh.layouts import row
from bokeh.plotting import figure

from milepost.media.adopt import adopted
from milepost.media.bokeh_document import Bokeh
from milepost.media.graph import Graph, Node
from milepost.sdk.errors import DataError, MediaFileError


def content(value: Any) -> Any:
    return json.loads(bytes(value.as_value()["_payload"].data))


def test_the_file_of_a_graph_holds_its_nodes_and_edges() -> None:
    graph = Graph()
    first = graph.add_node(Node(0, name="input", class_name="Input", output_shape=(None, 28)))
    graph.add_node(id=1, name="dense", units=10)
    graph.add_edge(first, 1)

    assert content(graph) == {
        "format": "keras",
        "nodes": [
            {"id": 0, "name": "input", "class_name": "Input", "output_shape": [None, 28]},
            {"id": 1, "name": "dense", "units": 10},
        ],
        "edges": [[0, 1]],
    }
    value = graph.as_value()
    assert (value["_type"], value["nnodes"], value["nedges"]) == ("graph-file", 2, 1)


def test_a_graph_with_nodes_and_edges_like_those_of_networkx_becomes_one() -> None:
    class Networkx:
        def nodes(self, data: bool) -> dict[str, dict[str, int]]:
            return {"a": {"weight": 1}, "b": {}}

        def edges(self) -> list[tuple[str, str]]:
            return [("a", "b")]

    assert content(Graph.of(Networkx()))["edges"] == [["a", "b"]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Graph(nodes=[{"name": None}]), "a node needs an id"),
        (lambda: Graph(nodes=[{"id": 1}, {"id": 1}]), "there is a node 1 already"),
        (lambda: Graph(nodes=[{"id": 1}], edges=[(1, 2)]), "leads to 2, which is no node"),
        (lambda: Graph(nodes=[{"id": 1, "size": object()}]).as_value(), "object has no form"),
        (lambda: Graph.of(3), "a networkx graph is needed, got int"),
        (lambda: Bokeh(3), "got int"),
        (lambda: Bokeh(object()), "got object"),
    ],
)
def test_a_mistake_is_named(make: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()


def drawing() -> Any:
    plot = figure(title="Title")
    plot.line([1, 2], [3, float("nan")])
    return plot


@pytest.mark.parametrize("wrap", [lambda plot: plot, row])
def test_a_bokeh_figure_reads_back_as_a_document(wrap: Any) -> None:
    value = Bokeh(wrap(drawing()))

    document = Document.from_json(content(value))

    assert document.roots
    assert document.select_one({"text": "Title"}) is not None
    assert value.as_value()["_type"] == "bokeh-file"


def test_a_bokeh_figure_can_be_logged_as_it_is_and_used_afterwards() -> None:
    plot = drawing()

    values = [adopted(plot), adopted(plot)]
    document = Document()
    document.add_root(plot)

    assert content(values[0])["roots"] == content(values[1])["roots"] == content(adopted(document))["roots"]
    assert adopted(figure) is None


def test_a_documents_file_is_taken_and_anything_else_refused(tmp_path: Path) -> None:
    path = tmp_path / "document.json"
    document = Document()
    document.add_root(drawing())
    path.write_text(json.dumps(document.to_json(deferred=False)), encoding="utf-8")

    assert content(Bokeh(path)) == json.loads(path.read_text(encoding="utf-8"))
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="it has no roots"):
        Bokeh(str(path))
    path.write_text("no json", encoding="utf-8")
    with pytest.raises(DataError, match="is not JSON"):
        Bokeh(str(path))
    with pytest.raises(MediaFileError, match="there is no file"):
        Bokeh(tmp_path / "absent.json")
