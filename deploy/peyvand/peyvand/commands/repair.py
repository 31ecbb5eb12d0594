"""The verbs by which an operator nurses the country: dead letters, a lost log, backup, restore."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from peyvand.endpoints import Trouble, addresses
from peyvand.terminal.progress_bars import bars

Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of words.")]
Url = Annotated[str, typer.Option("--url", help="The country's public address, if not the one of this clone.")]
Service = Annotated[str, typer.Option(help="Only of this service.")]
Which = Annotated[str, typer.Argument(help="A fingerprint, a subject, or a letter's id.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")]
Folder = Annotated[Path, typer.Argument(file_okay=False, help="The folder of the backup.")]
Keys = Annotated[Path | None, typer.Option(help="The folder of the wrapped keys; DIR/registration_keys if not given.")]


def nursing(app: typer.Typer, group: dict[str, Any]) -> None:
    """Adds them to the command."""
    dead = typer.Typer(help="What waits for a person: faulty events, and what nobody can read.", **group)
    for name, verb in (("list", list_letters), ("show", show), ("retry", retry), ("discard", discard)):
        dead.command(name)(verb)
    app.add_typer(dead, name="dead-letters")
    log = typer.Typer(help="A log that lost something: truncated, wiped, made anew.", **group)
    log.command("reread")(reread)
    log.command("republish")(republish)
    app.add_typer(log, name="log")
    app.command("backup")(backup)
    app.command("restore")(restore)


def list_letters(service: Service = "", as_json: Json = False, url: Url = "") -> int:
    """Groups of the same fault, the same place in the code and the same type of event; 1 where there are any."""
    from peyvand.commands.dead_letters import groups
    from peyvand.commands.main import tell
    from peyvand.terminal.rendering import dead_letter_groups

    found = groups(_operator(url), service)
    tell(found, as_json, dead_letter_groups)
    return 1 if found else 0


def show(which: Which, service: Service = "", as_json: Json = False, url: Url = "") -> None:
    """The event, the cause, and the command that mends it."""
    from peyvand.commands.dead_letters import find
    from peyvand.commands.main import tell
    from peyvand.terminal.rendering import dead_letters

    tell(find(_operator(url), which, service), as_json, dead_letters)


def retry(
    which: Which,
    reason: Annotated[str, typer.Option(help="What was mended; it stays on record.")] = "",
    dry_run: DryRun = False,
    service: Service = "",
    as_json: Json = False,
    url: Url = "",
) -> int:
    """Tries letters again, in order, once the rules are mended: rehearses first, then does what would get on."""
    return _act("retry", which, reason, dry_run, service, as_json, _operator(url))


def discard(
    which: Which,
    reason: Annotated[str, typer.Option(help="Why; it stays on record.")],
    who: Annotated[str, typer.Option(help="Who gives them up (pseudonymous id); with PEYVAND_TOKEN it says who.")] = "",
    dry_run: DryRun = False,
    service: Service = "",
    as_json: Json = False,
    url: Url = "",
) -> int:
    """Gives letters up for good, on record with reason and name, and tries what waits behind them."""
    if not who and not os.environ.get("PEYVAND_TOKEN"):
        raise Trouble("nobody gives these letters up", "say --who, or set PEYVAND_TOKEN to an operator's token")
    return _act("discard", which, reason, dry_run, service, as_json, _operator(url, who))


def _act(action: str, which: str, reason: str, dry_run: bool, service: str, as_json: bool, client: Any) -> int:
    from peyvand.commands.dead_letters import act, find
    from peyvand.commands.main import tell
    from peyvand.terminal.rendering import mended_lines

    with bars(as_json) as advance:
        found = find(client, which, service)
        done, moving = act(client, action, found, reason, advance, dry_run=True)
        if not dry_run and moving:
            held_back = done.letters - sum(len(each.letters) for each in moving)
            done, _ = act(client, action, moving, reason, advance, dry_run=False)
        else:
            held_back = 0
    tell(done, as_json, mended_lines)
    if held_back and not as_json:
        print(f"{held_back:,} letters were not touched: they would meet their fault again")
    return 0 if done.done and not held_back and (dry_run or moving) else 1


def reread(
    topic: Annotated[str, typer.Argument(help="Such as peyvand.registration.")],
    reason: Annotated[str, typer.Option(help="Why; it stays on record.")],
    service: Annotated[str, typer.Option(help="Only this service; else all that hear the topic.")] = "",
    dry_run: DryRun = False,
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Reads a topic again from where its log begins now; what was handled is known for a repeat."""
    from peyvand.commands import replay
    from peyvand.commands.main import tell

    kafka = addresses(url).needs_kafka()
    tell(replay.reread(_operator(url), kafka, topic, service, reason, dry_run=dry_run), as_json, _reread_lines)


def republish(
    service: Annotated[str, typer.Argument(help="registration, screening or market.")],
    reason: Annotated[str, typer.Option(help="Why; it stays on record.")],
    dry_run: DryRun = False,
    as_json: Json = False,
    url: Url = "",
) -> None:
    """A service's workers say everything again that Kafka was ever told; whoever has heard it knows it."""
    from peyvand.commands import replay
    from peyvand.commands.main import tell

    tell(replay.republish(_operator(url), service, reason, dry_run=dry_run), as_json, _republished_line)


def _reread_lines(found: Any) -> str:
    would = "would be" if found[0].dry_run else "are, within seconds,"
    return "\n".join(
        f"{each.service}: the cursors of {each.partitions} partitions of {each.topic} {would} set "
        f"(sum of offsets {each.cursors:,} -> {each.begins:,})"
        for each in found
    )


def _republished_line(found: Any) -> str:
    when = "would be said again" if found.dry_run else "are said again by its workers, from now on"
    return f"{found.service}: {found.events:,} events about {found.records:,} subjects {when}"


def backup(
    folder: Folder,
    keys: Keys = None,
    without_keys: Annotated[bool, typer.Option("--without-keys", help="Leave the wrapped keys out.")] = False,
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Writes the four stores as they are into a new folder; the wrapped keys of identities apart, in a folder."""
    from peyvand.commands import backup as kept
    from peyvand.commands.status import log_ends
    from peyvand.local_cluster.topology import DATABASES, SERVICES

    at = addresses(url)
    mongo, ends = at.needs_mongo(), log_ends(at.needs_kafka())  # the log first: all before its end is in the stores
    apart = keys or folder / KEYS
    with bars(as_json) as advance:
        made = kept.backup(mongo, folder, {each: topic(each) for each in SERVICES}, ends, advance)
        names = {name: "" for each in DATABASES.values() for name in each if name not in SERVICES}
        held = None if without_keys else kept.backup(mongo, apart, names, {}, advance, services=False)
    told = {"folder": str(folder), "documents": made.documents, "keys": None if held is None else str(apart)}
    if as_json:
        print(json.dumps(told))
        return
    print(f"{made.documents:,} documents of {len(SERVICES)} stores are in {folder}")
    if held is not None:
        print(f"{held.documents:,} blocks of wrapped keys are in {apart}: move them where the data is not,")
        print("  and destroy them when an erasure shall reach the backups; without them no identity can be read")
    print("the master key and the index key are in no backup: keep PEYVAND_MASTER_KEY and PEYVAND_INDEX_KEY yourself")


def restore(
    folder: Folder,
    keys: Keys = None,
    without_keys: Annotated[bool, typer.Option("--without-keys", help="Identities stay unreadable.")] = False,
    as_json: Json = False,
) -> None:
    """Writes a backup into empty stores, with the services ended; they complete it from the log when they start."""
    from peyvand.commands import backup as kept
    from peyvand.local_cluster.restore_target import stores

    apart = keys or folder / KEYS
    if not without_keys and not apart.exists():
        raise Trouble(f"{apart} holds no keys", "name their folder with --keys, or say --without-keys")
    with bars(as_json) as advance, stores() as mongo:
        manifests = [kept.restore(mongo, each, advance) for each in ([folder] if without_keys else [apart, folder])]
    documents = sum(each.documents for each in manifests)
    if as_json:
        print(json.dumps({"documents": documents, "made_at": manifests[-1].made_at.isoformat()}))
        return
    print(f"{documents:,} documents are back, as of {manifests[-1].made_at:%Y-%m-%d %H:%M:%S} UTC")
    print("start the services: each completes its store from its own topic, and opens when it is whole")


KEYS = "registration_keys"


def topic(service: str) -> str:
    """The topic that a service speaks on, empty where it says nothing."""
    from contracts.topics import TOPICS

    return next((each.name for each in TOPICS if each.producer == service), "")


def _operator(url: str, who: str = "") -> Any:
    from peyvand.api_client import Client, sign_in

    at = addresses(url)
    return Client(at.public_url, sign_in(at.public_url, "operator", sub=who))
