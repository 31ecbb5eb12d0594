"""The graph of our own modules: who imports whom when it is imported, what that leads to, and where it is circular."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from tests.house.sources import PACKAGES, SERVICES, Source, code, imports_at_import

OWN = (*PACKAGES, *SERVICES, "peyvand")
KAFKA_CLIENTS = ("aiokafka", "faust", "kafka")
WEB_FRAMEWORKS = ("fastapi", "starlette", "uvicorn")

Graph = Mapping[str, frozenset[str]]  # module -> what it imports, our own modules and top names of libraries


def graph_of(files: Iterable[Source]) -> Graph:
    """Return the import graph of these files. Importing a module imports its packages first."""
    by_module = {each.module: each for each in files}
    graph: dict[str, frozenset[str]] = {}
    for module, source in by_module.items():
        found: set[str] = set()
        for _, name in imports_at_import(source):
            target = _module(name, by_module.keys())
            found.add(target or name.split(".")[0])
        graph[module] = frozenset(found - {module})
    return graph


@cache
def own_graph() -> Graph:
    """Return the import graph of everything that is no test."""
    return graph_of(each for each in code() if each.path != "deploy/setup.py")


def reachable(graph: Graph, module: str) -> set[str]:
    """Return everything that importing this module imports."""
    found, left = set[str](), [module]
    while left:
        for target in graph.get(left.pop(), frozenset()):
            if target not in found:
                found.add(target)
                left.append(target)
    return found


def leading_to(graph: Graph, libraries: Iterable[str]) -> set[str]:
    """Return the modules whose import loads one of these libraries."""
    wanted = set(libraries)
    return {module for module in graph if reachable(graph, module) & wanted}


def cycles(graph: Graph) -> list[str]:
    """Return the circles of modules that import one another, each once, as `a -> b -> a`."""
    found: dict[frozenset[str], str] = {}
    for component in _components(graph):
        if len(component) > 1:
            found[frozenset(component)] = " -> ".join(_circle(graph, component))
    return sorted(found.values())


def packages_of_services(graph: Graph) -> Graph:
    """Return the graph of the packages of each service, such as `market.api`; a module beside them is its own."""

    def package(module: str) -> str:
        return ".".join(module.split(".")[:2])

    found: dict[str, set[str]] = {}
    for module, targets in graph.items():
        if module.split(".")[0] in SERVICES and "." in module:
            inside = {package(each) for each in targets if each.startswith(f"{module.split('.')[0]}.")}
            found.setdefault(package(module), set()).update(inside - {package(module)})
    return {name: frozenset(targets) for name, targets in found.items()}


def _module(name: str, modules: Iterable[str]) -> str:
    """Return which of our modules an import of this name loads; empty if it is a library's."""
    if name.split(".")[0] not in OWN:
        return ""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


def _components(graph: Graph) -> Iterator[set[str]]:
    """Yield sets of modules each of which reaches all others of its set."""
    reach = {module: reachable(graph, module) for module in graph}
    seen = set[str]()
    for module in sorted(graph):
        if module not in seen and module in reach[module]:
            component = {other for other in reach[module] if other in graph and module in reach[other]}
            seen |= component
            yield component


def _circle(graph: Graph, component: set[str]) -> list[str]:
    """Return a shortest way from a module of the component back to it."""
    start = min(component)
    ways: list[list[str]] = [[start]]
    seen = set[str]()
    for way in ways:
        for target in sorted(graph[way[-1]] & component):
            if target == start:
                return [*way, start]
            if target not in seen:
                seen.add(target)
                ways.append([*way, target])
    return [start]
