"""Lists of processors and exporters: one-key mappings in a file, also names and objects in `init()`.

A name is a built-in, or an entry point of the group `milepost_processor` or `milepost_exporter`. Only the metadata of installed
packages is read for that; nothing is imported before the whole configuration is right.
"""

from typing import Any, Literal

from milepost.sdk.configuration.declarations import Component
from milepost.sdk.configuration.exporter_options import EXPORTERS, ONCE
from milepost.sdk.configuration.node import Node, plain, shown
from milepost.sdk.configuration.processor_options import PIPELINE_ONLY, PROCESSORS
from milepost.sdk.configuration.validation import Mistakes, Reader, clip, join, suggest

Kind = Literal["processor", "exporter"]


class Components:
    """Reads lists of components, for `validation.Reader`."""

    def __init__(self, mistakes: Mistakes) -> None:
        self._mistakes = mistakes
        self._registered: dict[str, set[str]] = {}
        self.reader = Reader(mistakes, self.read)

    def read(self, node: Node, path: str, kind: Kind) -> tuple[Component, ...]:
        """The components of a list, in order; a pipeline is checked for `merge`, exporters for their names."""
        if node.source != "file" and not isinstance(node.data, list | dict):  # init(exporters="console")
            node = Node(data=[node], place=node.place, source=node.source)
        if not isinstance(node.data, list):
            hint = '; begin each entry with "- "' if isinstance(node.data, dict) else ""
            self._mistakes.add(node, path, f"must be a list of {kind}s, not {shown(node)}{hint}")
            return ()
        read = [self._one(item, f"{path}[{i}]", kind) for i, item in enumerate(node.data)]
        found = [component for component in read if component is not None]
        names = [_role(component) for component in found]
        if len(found) < len(node.data):
            return tuple(found)  # a wrong entry may be the one that the rest misses
        if kind == "processor" and not _in_exporter(path) and names.count("merge") != 1:
            add = '; add "- merge:"' if "merge" not in names else ""
            problem = f'must have "merge" once, not {names.count("merge")} times: it makes rows of calls{add}'
            self._mistakes.add(node, path, problem)
        elif kind == "processor" and not _in_exporter(path):
            self._check_order(found)
        elif kind == "exporter":
            self._check_names(found)
        return tuple(found)

    def _check_order(self, found: list[Component]) -> None:
        """A processor that reads flat keys or whole rows stands behind what makes them."""
        seen: set[str] = set()
        for component in found:
            declared = PROCESSORS.get(component.name) if component.object is None else None
            before = declared.must_follow if declared is not None else None
            if before is not None and before not in seen:
                self._mistakes.say(f'{_place(component)}: must stand behind "{before}"; move it down')
            after = declared.must_precede if declared is not None else None
            if after is not None and after in seen:
                self._mistakes.say(f'{_place(component)}: must stand before "{after}"; move it up')
            seen.add(_role(component))

    def _check_names(self, found: list[Component]) -> None:
        first: dict[str, Component] = {}
        for component in found:
            before = first.setdefault(component.name, component)
            if before is not component and component.object is None and component.name in ONCE:
                self._mistakes.say(f"{_place(component)}: is named by {_path(before)} already; name each once")

    def _one(self, node: Node, path: str, kind: Kind) -> Component | None:
        data = node.data
        if isinstance(data, str) and node.source != "file":
            return self._named(data, Node(data=None, place=node.place, source=node.source), node.place, path, kind)
        if isinstance(data, dict) and len(data) == 1:
            ((name, options),) = data.items()
            return self._named(name, options, node.keys.get(name, node.place), path, kind)
        if isinstance(data, type):
            self._mistakes.add(node, path, f"must be an object, not the class {data.__name__}; write {data.__name__}()")
            return None
        if callable(data) or callable(getattr(data, "export", None)):
            name = getattr(data, "name", None) or getattr(data, "__name__", None) or type(data).__name__
            return Component(name=str(name), where=f"{node.place} {path}", object=data)
        if isinstance(data, str) and node.shown is None:
            problem = f'must be a mapping of one {kind}; write "- {clip(data)}:"'
        elif isinstance(data, dict):
            names = ", ".join(clip(name) for name in data)
            problem = f"must name one {kind}, not {len(data)}{f' ({names})' if names else ''}; "
            problem += 'options are indented below it, and the next one begins with its own "- "'
        else:
            problem = f"must be a mapping of one {kind}, not {shown(node)}"
        self._mistakes.add(node, path, problem)
        return None

    def _named(self, name: str, options: Node, place: str, path: str, kind: Kind) -> Component | None:
        at = join(path, name)
        problem = self._name_problem(name, kind, in_exporter=kind == "processor" and _in_exporter(path))
        if problem is not None:
            self._mistakes.add(options, at, problem, place)
            return None
        if options.data is not None and not isinstance(options.data, dict):
            self._mistakes.add(options, at, f"must have a mapping of options, not {shown(options)}")
            return None
        processors: tuple[Component, ...] = ()
        if kind == "exporter" and options.data:
            own = options.data.get("processors")
            if own is not None and own.data is not None:
                processors = self.read(own, f"{at}.processors", "processor")
            others = {key: value for key, value in options.data.items() if key != "processors"}
            options = Node(data=others, place=options.place, source=options.source, keys=options.keys)
        declared = (EXPORTERS if kind == "exporter" else PROCESSORS).get(name)
        read: dict[str, Any] = {}
        if declared is None:
            read = plain(options) or {}
        else:
            if options.data is None:  # so that a missing option is missed in "- rename:" too
                options = Node(data={}, place=place, source=options.source)
            also = ("processors",) if kind == "exporter" else ()
            read = self.reader.section(options, declared, at, also)
        return Component(name=name, options=read, processors=processors, where=f"{place} {at}")

    def _name_problem(self, name: str, kind: Kind, in_exporter: bool) -> str | None:
        built_in = EXPORTERS if kind == "exporter" else PROCESSORS
        if in_exporter and name in PIPELINE_ONLY:
            return f'"{name}" {PIPELINE_ONLY[name]}; move it to the processors at the top of the file'
        if name in built_in:
            return None
        others = self._registered.get(kind)
        if others is None:
            others = self._registered[kind] = _entry_points(f"milepost_{kind}")
        if name in others:
            return None
        valid = [*(n for n in built_in if not (in_exporter and n in PIPELINE_ONLY)), *sorted(others)]
        return f'unknown {kind} "{clip(name)}"{suggest(name, valid)}'


def _role(component: Component) -> str:
    """The name as a pipeline knows it: `Merge()` given to `init()` is the merge."""
    return component.name if component.object is None else component.name.lower()


def _place(component: Component) -> str:
    """Where it was written, as messages begin."""
    return ": ".join(component.where.rsplit(" ", 1))


def _path(component: Component) -> str:
    return component.where.rsplit(" ", 1)[-1]


def _in_exporter(path: str) -> bool:
    return path.startswith("exporters")


def _entry_points(group: str) -> set[str]:
    """The names that installed packages register in `group`."""
    import importlib.metadata  # some 20 ms, and only for a name that is no built-in

    return {entry_point.name for entry_point in importlib.metadata.entry_points(group=group)}
