"""`peyvand generations`: list the generations of the figures, serve another one, drop those that nothing uses."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from peyvand.commands.output import GROUP, Json, Url, print_result
from peyvand.endpoints import CommandError, find_endpoints
from peyvand.local_cluster.topology import PROJECTION

if TYPE_CHECKING:
    from pymongo import MongoClient

    Client = MongoClient[dict[str, Any]]

ACTIONS = "operator_actions"  # what operators did: kept when a generation is dropped

Name = Annotated[str, typer.Argument(help="A generation, as `peyvand generations list` names it.")]


class GenerationStatus(msgspec.Struct, frozen=True):
    """One generation, and how many events it has counted."""

    generation: str
    served: bool
    built: bool
    this_version: bool  # of the code that this command belongs to
    events: int
    records: int


class GenerationChange(msgspec.Struct, frozen=True):
    """What was done with a generation: served or dropped."""

    generation: str
    done: str


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    group = typer.Typer(help="The generations of the figures: one for each set of rules and calendars.", **GROUP)
    group.command("list")(list_command)
    group.command("use")(use_command)
    group.command("drop")(drop_command)
    app.add_typer(group, name="generations")


def list_command(as_json: Json = False, url: Url = "") -> None:
    """List the generations: which is served, which are built, which is that of this version of the code."""
    from pymongo import MongoClient

    with MongoClient[dict[str, Any]](find_endpoints(url).require_mongo()) as client:
        found = statuses(client)
    print_result(found, as_json, _lines)


def use_command(name: Name, as_json: Json = False) -> None:
    """Serve another generation that is built, such as that of the version before, after a deployment is undone."""
    from pymongo import MongoClient

    from peyvand.local_cluster.restore_target import restore_target

    with restore_target() as mongo, MongoClient[dict[str, Any]](mongo, w="majority", journal=True) as client:
        use(client, name)
    print_result(GenerationChange(name, "served"), as_json, _line)


def drop_command(name: Name, as_json: Json = False) -> None:
    """Drop a generation that is not served, once no worker of its version runs; what operators did is kept."""
    from pymongo import MongoClient

    from peyvand.local_cluster.restore_target import restore_target

    with restore_target() as mongo, MongoClient[dict[str, Any]](mongo, w="majority", journal=True) as client:
        drop(client, name)
    print_result(GenerationChange(name, "dropped"), as_json, _line)


def statuses(client: "Client", home: str = PROJECTION) -> list[GenerationStatus]:
    """Return the generations that have a database, the served one first."""
    from recovery.generations import COLLECTION, POINTER, generations_of
    from reporting.service import service

    known, own = generations_of(client[home][COLLECTION].find_one({"_id": POINTER})), service.database_of(home)
    named = re.compile(rf"{home}_[0-9a-f]{{12}}")
    names = {each for each in client.list_database_names() if named.fullmatch(each)} | {*known.built}
    found = [
        GenerationStatus(
            generation=name,
            served=name == known.served,
            built=name in known.built,
            this_version=name == own,
            events=sum(_cursors(client, name).values()),
            records=client[name].records.estimated_document_count(),
        )
        for name in sorted(names)
    ]
    return sorted(found, key=lambda each: not each.served)


def use(client: "Client", name: str, home: str = PROJECTION) -> None:
    """Point to a generation. Raise CommandError if it is not built, or has counted less than the one that is served."""
    from recovery.generations import COLLECTION, POINTER

    found = {each.generation: each for each in statuses(client, home)}
    if name not in found or not found[name].built:
        raise CommandError(f"{name} is not built", "`peyvand generations list` shows which are")
    served = next((each.generation for each in found.values() if each.served), "")
    cursors = _cursors(client, name)
    if served and any(at > cursors.get(position, 0) for position, at in _cursors(client, served).items()):
        raise CommandError(
            f"{name} is behind {served}", "start the workers of its version, and wait until they are done"
        )
    client[home][COLLECTION].update_one({"_id": POINTER}, {"$set": {"served": name}})


def drop(client: "Client", name: str, home: str = PROJECTION) -> None:
    """Drop a generation and keep its operators' actions. Raise CommandError if it is served, or there is none."""
    from recovery.generations import COLLECTION, POINTER

    found = {each.generation: each for each in statuses(client, home)}
    if name not in found:
        raise CommandError(f"there is no generation {name}", "`peyvand generations list` shows which there are")
    if found[name].served:
        raise CommandError(
            f"{name} is served", "`peyvand generations use` or `peyvand rebuild` serves another one first"
        )
    client[home][COLLECTION].update_one({"_id": POINTER}, {"$pull": {"built": name}})
    for action in client[name][ACTIONS].find():
        client[home][ACTIONS].replace_one({"_id": action["_id"]}, action, upsert=True)
    client.drop_database(name)


def _cursors(client: "Client", name: str) -> Mapping[str, int]:
    return {each["_id"]: each["next"] for each in client[name].cursors.find()}


def _lines(found: list[GenerationStatus]) -> str:
    marks = {"served": "served", "built": "built", "this_version": "of this version"}
    return "\n".join(
        f"{each.generation:<28}{each.events:>14,} events{each.records:>12,} records   "
        + ", ".join(text for name, text in marks.items() if getattr(each, name))
        for each in found
    )


def _line(change: GenerationChange) -> str:
    return f"{change.generation} is {change.done}"
