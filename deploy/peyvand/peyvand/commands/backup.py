"""`peyvand backup` and `peyvand restore`."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer
from pymongo.errors import PyMongoError

from contracts.topics import TOPICS
from peyvand.commands.output import Json, Url
from peyvand.endpoints import CommandError, find_endpoints
from peyvand.local_cluster.topology import DATABASES, SERVICES
from peyvand.terminal.progress_bars import progress_bars

KEYS = "registration_keys"  # folder of the wrapped keys

Folder = Annotated[Path, typer.Argument(file_okay=False, help="The folder of the backup.")]
Keys = Annotated[Path | None, typer.Option(help="The folder of the wrapped keys; DIR/registration_keys if not given.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command("backup")(backup)
    app.command("restore")(restore)


def backup(
    folder: Folder,
    keys: Keys = None,
    without_keys: Annotated[bool, typer.Option("--without-keys", help="Leave the wrapped keys out.")] = False,
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Write the four stores into a new folder, and the wrapped keys of identities into a separate one."""
    from peyvand import store_backup
    from peyvand.commands.status import log_ends

    endpoints = find_endpoints(url)
    mongo, mongo_keys = endpoints.require_mongo(), "" if without_keys else endpoints.require_mongo_keys()
    ends = log_ends(endpoints.require_kafka())  # before the stores are read: they then hold everything before the ends
    keys_folder = keys or folder / KEYS
    with progress_bars(as_json) as progress:
        topics = {service: producer_topic(service) for service in SERVICES}
        manifest = store_backup.backup(mongo, folder, topics, ends, progress)
        key_databases = {name: "" for each in DATABASES.values() for name in each if name not in SERVICES}
        key_manifest = (
            None
            if without_keys
            else store_backup.backup(mongo_keys, keys_folder, key_databases, {}, progress, services=False)
        )
    if as_json:
        result = {
            "folder": str(folder),
            "documents": manifest.documents,
            "keys": None if key_manifest is None else str(keys_folder),
        }
        print(json.dumps(result))
        return
    print(f"{manifest.documents:,} documents of {len(SERVICES)} stores are in {folder}")
    if key_manifest is not None:
        print(f"{key_manifest.documents:,} blocks of wrapped keys are in {keys_folder}: keep them apart from the data,")
        print("  and destroy them if an erasure must reach the backups; without them no identity can be decrypted")
    print("no backup holds PEYVAND_MASTER_KEY, PEYVAND_INDEX_KEY and PEYVAND_TRACKING_KEY: keep them yourself")


def restore(
    folder: Folder,
    keys: Keys = None,
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="Restore without the keys: identities stay encrypted.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a backup into empty stores while the services are down; they complete it from the log when they start."""
    from peyvand import store_backup
    from peyvand.commands.apply import indexes
    from peyvand.local_cluster.restore_target import restore_target

    keys_folder = keys or folder / KEYS
    if not without_keys and not keys_folder.exists():
        raise CommandError(f"{keys_folder} holds no keys", "name their folder with --keys, or give --without-keys")
    folders = [folder] if without_keys else [keys_folder, folder]
    with progress_bars(as_json) as progress, restore_target() as mongo:
        manifests = [store_backup.restore(mongo, each, progress) for each in folders]
        try:
            asyncio.run(indexes(mongo))
        except PyMongoError as e:
            raise CommandError(
                f"the documents are restored, but not their indexes: {e}", "see deploy/runbooks/missing-indexes.md"
            ) from e
    documents, made_at = sum(each.documents for each in manifests), manifests[-1].made_at
    if as_json:
        print(json.dumps({"documents": documents, "made_at": made_at.isoformat()}))
        return
    print(f"{documents:,} documents are restored, as of {made_at:%Y-%m-%d %H:%M:%S} UTC")
    print("start the services: each completes its store from its own topic, and serves requests when it is complete")


def producer_topic(service: str) -> str:
    """Return the topic that a service publishes to; empty if it publishes nothing."""
    return next((each.name for each in TOPICS if each.producer == service), "")
