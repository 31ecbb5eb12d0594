# ruff: noqa: E501
"""The rooms of the house and what each may import: one table, which CONTRIBUTING.md prints and the guards read."""

import sys
from dataclasses import dataclass
from fnmatch import fnmatch

from tests.house.sources import SERVICES, Source, imports

ANY = ("any",)


@dataclass(frozen=True)
class Room:
    """A room: which files are in it, what it is for, which rooms and libraries its code may import."""

    name: str
    files: str  # pattern from the repository's root; the first room that fits is the file's
    holds: str
    rooms: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()  # beside the standard library


ROOMS = (
    Room("contracts", "shared/contracts/*", "events, codes, envelope, topics, subjects, refusals; published schemas and examples",
         (), ("msgspec", "yaml")),
    Room("programme", "shared/programme/*", "what the programme knows: reference data, calendar, policies, Persian text, messages",
         ("contracts",), ("msgspec", "persiantools")),
    Room("base", "shared/base/*", "settings, clocks, ids, tasks, back-off, HTTP client; no word of the programme, no framework",
         (), ("msgspec", "pydantic", "pydantic_settings", "httpx")),
    Room("observability", "shared/observability/*", "metrics registry, logging, health",
         ("contracts", "base", "kernel"), ("msgspec", "prometheus_client", "structlog")),
    Room("kernel", "shared/kernel/*", "records, commands, batches, queries, stores, Kafka, worker; no web framework",
         ("contracts", "base", "observability", "recovery"),
         ("aiokafka", "faust", "kafka", "mode", "msgspec", "pymongo", "structlog")),
    Room("recovery", "shared/recovery/*", "dead letters, replay, completion after restore",
         ("contracts", "base", "observability", "kernel"), ("aiokafka", "msgspec", "pymongo", "structlog")),
    Room("security", "shared/security/*", "authentication, scopes, encryption; no Kafka client",
         ("contracts", "base", "observability", "kernel"),
         ("cryptography", "fastapi", "joserfc", "msgspec", "pydantic", "pymongo", "starlette", "structlog")),
    Room("web", "shared/web/*", "HTTP: application, middleware, problems, idempotency, pages, admin API; no Kafka client",
         ("contracts", "programme", "base", "observability", "kernel", "recovery", "security", "run"), ANY),
    Room("run", "shared/run/*", "runs a role of a service: composes kernel, recovery and web",
         ("contracts", "base", "observability", "kernel", "recovery", "security", "web"), ANY),
    Room("domain", "services/*/*/domain/*", "the rules, one module per kind of subject: decide, react, evolve; pure",
         ("contracts", "programme"), ("msgspec",)),
    Room("store", "services/*/*/store*", "queries across many records, indexes, projection",
         ("contracts", "programme", "base", "observability", "security", "kernel", "own domain", "own settings"), ("bson", "msgspec", "pymongo")),
    Room("settings", "services/*/*/settings.py", "the settings of a service with needs of its own", ("base",), ("pydantic",)),
    Room("consumer", "services/*/*/consumer*", "consumed topics, periodic jobs",
         ("contracts", "programme", "base", "observability", "security", "kernel", "own domain", "own store"), ("msgspec",)),
    Room("api", "services/*/*/api*", "HTTP for programs and people",
         ("contracts", "programme", "base", "observability", "security", "kernel", "web", "own domain", "own store", "own settings"),
         ("fastapi", "markupsafe", "msgspec", "pydantic", "starlette")),
    Room("main", "services/*/*/main.py", "settings and wiring, the roles api and worker",
         ("contracts", "base", "kernel", "recovery", "security", "web", "run", "own domain", "own store", "own consumer", "own api", "own settings"), ANY),
    Room("recount", "deploy/peyvand/peyvand/verify/recount.py", "the independent recount: shares no code with the services",
         (), ("bson", "pymongo")),
    Room("setup", "deploy/setup.py", "what `make` runs before anything is installed"),
    Room("operator", "deploy/peyvand/*", "the command `peyvand`: local cluster, gateway, development issuer, simulation, chaos",
         ("contracts", "programme", "base", "observability", "kernel", "recovery", "security", "web", "run", "recount", "any main"), ANY),
    Room("tests", "tests/*", "a folder per question a test answers", ("any",), ANY),
)  # fmt: skip

# Libraries that stand in few files only, so that an upgrade meets few lines.
ALONE = {
    "faust": ("shared/kernel/kafka/consumer_group.py",),
    "kafka": ("shared/kernel/kafka/relay.py", "deploy/peyvand/peyvand/*"),
    "aiokafka": ("shared/kernel/*", "shared/recovery/*", "deploy/peyvand/peyvand/simulation/quiescence.py"),
    "persiantools": ("shared/programme/calendar.py",),
}
SHARED = ("contracts", "programme", "base", "observability", "kernel", "recovery", "security", "web", "run")


def room_of(where: str) -> Room | None:
    """The room that a file stands in."""
    if where.startswith("services/") and where.count("/") == 3 and where.endswith("/__init__.py"):
        return Room("service", where, "")  # the package itself, empty
    return next((room for room in ROOMS if fnmatch(where, room.files)), None)


def trespasses(source: Source) -> list[str]:
    """The imports of this file that its room does not allow."""
    room = room_of(source.where)
    if room is None:
        return [f"{source.where} stands in no room"]
    return [
        f"{source.where}:{line} ({room.name}) imports {name}"
        for line, name in imports(source)
        if not _allowed(room, source.where, name)
    ]


def strays(source: Source) -> list[str]:
    """The imports of libraries that may stand in named files only."""
    return [
        f"{source.where}:{line} imports {name}"
        for line, name in imports(source)
        if (files := ALONE.get(name.split(".")[0]))
        and not source.where.startswith("tests/")
        and not any(fnmatch(source.where, pattern) for pattern in files)
    ]


def table() -> str:
    """The table as CONTRIBUTING.md prints it."""
    lines = ["| Room | Files | Holds | May import |", "|---|---|---|---|"]
    for room in ROOMS:
        libraries = ("any library",) if room.libraries == ANY else room.libraries
        may = "anything" if room.rooms == ANY else ", ".join((*room.rooms, *libraries)) or "the standard library"
        lines.append(f"| {room.name} | `{room.files}` | {room.holds} | {may} |")
    return "\n".join(lines) + "\n"


def alone() -> str:
    """The second table: libraries that stand in few files."""
    lines = ["| Library | Only in |", "|---|---|"]
    lines += [f"| {library} | {', '.join(f'`{file}`' for file in files)} |" for library, files in ALONE.items()]
    return "\n".join(lines) + "\n"


def _allowed(room: Room, where: str, name: str) -> bool:
    if room.rooms == ANY:
        return True
    top, *rest = name.split(".")
    if top in SERVICES:
        return _service_allowed(room, where, top, rest)
    if top == "peyvand":
        return room.name == "operator"
    if top in SHARED:
        return top == room.name or top in room.rooms
    return top in sys.stdlib_module_names or room.libraries == ANY or top in room.libraries


def _service_allowed(room: Room, where: str, service: str, rest: list[str]) -> bool:
    part = rest[0] if rest else ""
    if "any main" in room.rooms:
        return part in ("main", "settings")
    own = where.startswith(f"services/{service}/{service}/")
    return own and (part == room.name or f"own {part}" in room.rooms)
