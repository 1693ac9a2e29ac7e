"""Graph: nodes and the edges between them, as a model's layers or a computation."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from milepost.media.base import FileMedia, Payload
from milepost.media.cells import NoCell, plain
from milepost.sdk.errors import DataError


class Node:
    """One node: an id that its edges name, and whatever else is known of it.

    name, class_name: texts. size, parameters, output_shape, is_output, num_parameters: as a layer of a network has them.
    attributes: anything else that JSON can say.
    """

    def __init__(
        self,
        id: Any = None,
        name: str | None = None,
        class_name: str | None = None,
        size: Any = None,
        parameters: Any = None,
        output_shape: Any = None,
        is_output: bool | None = None,
        num_parameters: int | None = None,
        **attributes: Any,
    ) -> None:
        self.id = id if id is not None else name
        known = {
            "name": name,
            "class_name": class_name,
            "size": size,
            "parameters": parameters,
            "output_shape": output_shape,
            "is_output": is_output,
            "num_parameters": num_parameters,
        }
        self.attributes = {key: value for key, value in (known | attributes).items() if value is not None}

    def as_json(self) -> dict[str, Any]:
        """The node in its graph's file."""
        return {"id": self.id, **self.attributes}


class Graph(FileMedia):
    """Nodes and edges.

    nodes: `Node`s, or dicts with an "id"; `add_node` adds more. edges: pairs of ids, (from, to); `add_edge` adds more.
    format: a word that says what kind of graph it is ("keras").

    A networkx graph, or whatever has `nodes` and `edges` like one, becomes one with `Graph.of(graph)`.
    Raises DataError for a node without an id, an id that comes twice, an edge to no node.
    """

    type_name = "graph-file"

    def __init__(self, format: str = "keras", nodes: Iterable[Any] = (), edges: Iterable[Any] = ()) -> None:
        self.format = str(format)
        self.nodes: dict[Any, Node] = {}
        self.edges: list[tuple[Any, Any]] = []
        self.caption = None
        for node in nodes:
            self.add_node(node)
        for edge in edges:
            self.add_edge(*edge)

    @classmethod
    def of(cls, graph: Any) -> "Graph":
        """The graph of an object with nodes and edges, such as one of networkx."""
        try:
            described = dict(graph.nodes(data=True))
            return cls("networkx", [{"id": node, **fields} for node, fields in described.items()], graph.edges())
        except (AttributeError, TypeError) as error:
            raise DataError(f"Graph.of: a networkx graph is needed, got {type(graph).__name__} ({error})") from None

    def add_node(self, node: Any = None, **fields: Any) -> Node:
        """Add a `Node`, or one made of a dict or of keywords."""
        if isinstance(node, Mapping):
            made = Node(**{str(key): value for key, value in node.items()})
        else:
            made = node if isinstance(node, Node) else Node(**({"id": node} | fields))
        if made.id is None:
            raise DataError("Graph: a node needs an id (or a name), by which edges refer to it")
        if made.id in self.nodes:
            raise DataError(f"Graph: there is a node {made.id!r} already; give each its own id")
        self.nodes[made.id] = made
        return made

    def add_edge(self, from_node: Any, to_node: Any) -> tuple[Any, Any]:
        """Add an edge between two nodes, by node or id."""
        ends = tuple(node.id if isinstance(node, Node) else node for node in (from_node, to_node))
        unknown = [end for end in ends if end not in self.nodes]
        if unknown:
            raise DataError(f"Graph: the edge {ends} leads to {unknown[0]!r}, which is no node; add the node first")
        self.edges.append((ends[0], ends[1]))
        return self.edges[-1]

    def as_value(self) -> dict[str, Any]:
        """The mapping that stands in the row."""
        try:
            content = plain(
                {
                    "format": self.format,
                    "nodes": [node.as_json() for node in self.nodes.values()],
                    "edges": [list(edge) for edge in self.edges],
                }
            )
        except NoCell as error:
            raise DataError(f"Graph: {error}") from None
        data = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        fields = {"nnodes": len(self.nodes), "nedges": len(self.edges), "format": self.format}
        self._keep(Payload(data, "graph", "graph.json"), fields)
        return super().as_value()
