# ruff: noqa: E501
"""The layers of the code and what each may import: one table, which CONTRIBUTING.md prints and the guards read."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache

from tests.house.modules import KAFKA_CLIENTS, WEB_FRAMEWORKS, leading_to, own_graph
from tests.house.sources import PACKAGES, SERVICES, Source, imports

ANY = ("any",)


@dataclass(frozen=True)
class Layer:
    """A layer: its files, its purpose, and which layers and libraries its code may import."""

    name: str
    files: str  # patterns from the root of the repository; a file belongs to the first layer that matches
    holds: str
    layers: tuple[
        str, ...
    ] = ()  # a package (`kernel`), a module (`programme.messages`) or a layer of the same service (`own domain`)
    libraries: tuple[str, ...] = ()  # besides the standard library
    without: tuple[
        str, ...
    ] = ()  # modules of `layers` that it may not import, `kafka` for all that load a Kafka client


BELOW = ("contracts", "base", "observability")
PORTS = ("kernel.kafka", "kernel.roles", "kafka")
HTTP = ("fastapi", "markupsafe", "msgspec", "pydantic", "starlette")
MESSAGES = ("programme.messages", "programme.http_messages")

LAYERS = (
    Layer("publish", "shared/contracts/publish.py", "command that generates the published schemas, examples and AsyncAPI",
          ("contracts",), ("msgspec", "yaml")),
    Layer("contracts", "shared/contracts/*", "events, codes, envelope, topics, subjects, commands; published schemas and examples",
          (), ("msgspec",)),
    Layer("programme", "shared/programme/*", "what the programme knows: reference data, calendar, policies, Persian text, messages",
          ("contracts",), ("msgspec", "persiantools")),
    Layer("base", "shared/base/*", "settings, clock, ids, tasks, back-off, HTTP client; no word of the programme, no framework",
          ("contracts",), ("httpx", "msgspec", "pydantic", "pydantic_settings")),
    Layer("observability", "shared/observability/*", "metrics registry, logging, health",
          ("contracts", "base"), ("msgspec", "prometheus_client", "structlog")),
    Layer("kernel", "shared/kernel/*", "records, commands, batches, queries, service declaration, stores, Kafka, roles; no web framework, no word of the programme",
          BELOW, ("aiokafka", "bson", "faust", "kafka", "mode", "msgspec", "pymongo", "structlog")),
    Layer("recovery", "shared/recovery/*", "dead letters, replay, restore",
          (*BELOW, "kernel"), ("aiokafka", "bson", "msgspec", "pymongo", "structlog")),
    Layer("security", "shared/security/*", "authentication, scopes, permissions, encryption, audit; no Kafka client",
          (*BELOW, "kernel"), ("bson", "cryptography", "joserfc", "msgspec", "pydantic", "pymongo", "structlog"), PORTS),
    Layer("page frame", "shared/web/pages.py", "templates and their filters: dates, numbers, names of provinces; so the one file of `web` that needs more of `programme` than messages",
          ("programme", *BELOW, "kernel", "security", "web"), ANY, PORTS),
    Layer("web", "shared/web/*", "HTTP: application, middleware, problems, idempotency, pages, admin API; no Kafka client",
          (*MESSAGES, *BELOW, "kernel", "recovery", "security"), ANY, PORTS),
    Layer("run", "shared/run/*", "composes kernel, recovery and web: `python -m run SERVICE api|worker`",
          (*BELOW, "programme", "kernel", "recovery", "security", "web"), ANY),
    Layer("domain", "services/*/*/domain/*", "the rules, one module per kind of subject: decide, react, evolve; pure",
          ("contracts", "programme"), ("msgspec",)),
    Layer("queries", "services/*/*/queries*, services/*/*/tallies.py", "questions across many records, indexes, projection",
          (*BELOW, "programme", "kernel", "own domain", "own metrics"), ("bson", "msgspec", "pymongo"), PORTS),
    Layer("metrics", "services/*/*/metrics.py", "the metrics of one service", (), ("prometheus_client",)),
    Layer("settings", "services/*/*/settings.py", "the settings of a service with needs of its own", ("base",), ("pydantic",)),
    Layer("application", "services/*/*/persons.py, services/*/*/erasures.py, services/*/*/import_runs.py, services/*/*/registrations.py, services/*/*/acts.py, services/*/*/quota_changes.py, services/*/*/tracking_codes.py, services/*/*/ranking_cache.py, services/*/*/generation.py",
          "classes that API, pages and jobs of one service share",
          (*BELOW, "programme", "kernel", "security", "own domain", "own queries", "own metrics", "own settings"), ("msgspec",), PORTS),
    Layer("jobs", "services/*/*/jobs*", "periodic jobs",
          (*BELOW, "programme", "kernel", "security", "own domain", "own queries", "own application", "own metrics", "own settings"), ("msgspec", "structlog"), PORTS),
    Layer("schemas", "services/*/*/schemas*", "request and response models",
          (*BELOW, "programme", "kernel", "security", "web", "own domain", "own queries", "own application"), HTTP, PORTS),
    Layer("api", "services/*/*/api/*", "HTTP for programs",
          (*BELOW, "programme", "kernel", "security", "web", "own domain", "own queries", "own application", "own schemas", "own jobs", "own metrics", "own settings"), (*HTTP, "openpyxl"), PORTS),
    Layer("pages", "services/*/*/pages/*", "HTTP for people, with templates",
          (*BELOW, "programme", "kernel", "security", "web", "own domain", "own queries", "own application", "own schemas", "own jobs", "own metrics", "own settings", "own api"), (*HTTP, "structlog"), PORTS),
    Layer("service", "services/*/*/service.py", "the declaration of a service; loads neither a web framework nor a Kafka client",
          ("contracts", "base", "programme", "observability", "kernel.service", "kernel.query", "kernel.store", "security",
           "own domain", "own queries", "own application", "own jobs", "own metrics", "own settings"),
          ("msgspec",), (*PORTS, "web")),
    Layer("recount", "deploy/peyvand/peyvand/verify/recount.py", "the independent recount: shares no code with the services",
          (), ("bson", "pymongo")),
    Layer("setup", "deploy/setup.py", "what `make` runs before anything is installed"),
    Layer("operator", "deploy/peyvand/*", "the command `peyvand`: local cluster, gateway, development issuer, simulation, chaos",
          (*PACKAGES, "recount", "any service", "any jobs", "any settings"), ANY),
    Layer("tests", "tests/*", "a folder per question that a test answers", ("any",), ANY),
)  # fmt: skip

# Libraries that only these files import, so that an upgrade concerns few lines.
ONLY_IN = {
    "faust": ("shared/kernel/kafka/consumer_group.py",),
    "kafka": ("shared/kernel/kafka/relay.py", "shared/kernel/kafka/failed_connections.py", "deploy/peyvand/peyvand/*"),
    "aiokafka": ("shared/kernel/kafka/*", "shared/kernel/roles/*", "shared/recovery/*", "deploy/peyvand/peyvand/simulation/quiescence.py"),
    "persiantools": ("shared/programme/calendar.py",),
    "openpyxl": ("services/registration/registration/api/xlsx.py",),
}  # fmt: skip


def layer_of(path: str) -> Layer | None:
    """Return the layer of a file."""
    if path.startswith("services/") and path.count("/") == 3 and path.endswith("/__init__.py"):
        return Layer("package", path, "")  # a package itself, empty
    return next((layer for layer in LAYERS if any(fnmatch(path, each) for each in layer.files.split(", "))), None)


def violations(source: Source) -> list[str]:
    """Return the imports of this file that the table does not allow."""
    layer = layer_of(source.path)
    if layer is None:
        return [f"{source.path} belongs to no layer"]
    return [
        f"{source.path}:{line} ({layer.name}) imports {name}"
        for line, name in imports(source)
        if not _allowed(layer, source.path, name)
    ]


def misplaced_libraries(source: Source) -> list[str]:
    """Return the imports of libraries that only named files may import."""
    return [
        f"{source.path}:{line} imports {name}"
        for line, name in imports(source)
        if (files := ONLY_IN.get(name.split(".")[0]))
        and not source.path.startswith("tests/")
        and not any(fnmatch(source.path, pattern) for pattern in files)
    ]


def table() -> str:
    """Return the table as CONTRIBUTING.md prints it."""
    lines = ["| Layer | Files | Holds | May import |", "|---|---|---|---|"]
    for layer in LAYERS:
        libraries = ("any library",) if layer.libraries == ANY else layer.libraries
        may = "anything" if layer.layers == ANY else ", ".join((*layer.layers, *libraries)) or "the standard library"
        if layer.without:
            names = ["modules that load a Kafka client" if each == "kafka" else each for each in layer.without]
            may += f"; not {', '.join(names)}"
        files = ", ".join(f"`{each}`" for each in layer.files.split(", "))
        lines.append(f"| {layer.name} | {files} | {layer.holds} | {may} |")
    return "\n".join(lines) + "\n"


def table_of_libraries() -> str:
    """Return the second table: libraries that few files import."""
    lines = ["| Library | Only in |", "|---|---|"]
    lines += [f"| {library} | {', '.join(f'`{file}`' for file in files)} |" for library, files in ONLY_IN.items()]
    return "\n".join(lines) + "\n"


def _allowed(layer: Layer, path: str, name: str) -> bool:
    if layer.layers == ANY:
        return True
    if _matches(name, (each for each in layer.without if each != "kafka")):
        return False
    top, *rest = name.split(".")
    if top in (*PACKAGES, *SERVICES) and "kafka" in layer.without and _loads_kafka(name):
        return False
    if top in SERVICES:
        return _service_allowed(layer, path, top, rest)
    if top == "peyvand":
        return layer.name == "operator"
    if top in PACKAGES:
        return top in (layer.name, path.split("/")[1]) or _matches(name, layer.layers)
    if layer.name == "service" and top in (*KAFKA_CLIENTS, *WEB_FRAMEWORKS):
        return False
    return top in sys.stdlib_module_names or layer.libraries == ANY or top in layer.libraries


def _service_allowed(layer: Layer, path: str, service: str, rest: list[str]) -> bool:
    folder = f"services/{service}/{service}/"
    part = rest[0] if rest else ""
    target = layer_of(f"{folder}{part}.py") or layer_of(f"{folder}{part}/new.py")
    if target is None:
        return False
    if f"any {target.name}" in layer.layers:
        return True
    return path.startswith(folder) and (target.name == layer.name or f"own {target.name}" in layer.layers)


def _matches(name: str, allowed: Iterable[str]) -> bool:
    """Return whether one of these is the module that a name stands for, or a package above it."""
    return any(name == each or name.startswith(f"{each}.") for each in allowed)


def _loads_kafka(name: str) -> bool:
    loading = leading_to_kafka()
    return name in loading or name.rpartition(".")[0] in loading


@cache
def leading_to_kafka() -> set[str]:
    """Return our modules whose import loads a Kafka client."""
    return leading_to(own_graph(), KAFKA_CLIENTS)
