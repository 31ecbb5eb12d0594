"""`peyvand restore`: write what the archive holds into empty stores."""

import asyncio
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pymongo.errors import PyMongoError

from contracts.topics import TOPICS
from peyvand.commands.output import Json
from peyvand.endpoints import CommandError
from peyvand.local_cluster.topology import ARCHIVE, ARCHIVED, KEY_ARCHIVE, SERVICES
from peyvand.local_cluster.workspace import current_workspace, development_secrets
from peyvand.terminal.progress_bars import progress_bars

Archive = Annotated[Path | None, typer.Option(help="The archive of the data; by default that of this folder.")]
Keys = Annotated[Path | None, typer.Option(help="The archive of the wrapped keys; by default that of this folder.")]
To = Annotated[str, typer.Option(help="The last second to restore, such as 2026-01-31T12:00:00Z; by default the end.")]


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("restore")(restore)


def restore(
    to: To = "",
    archive: Archive = None,
    keys: Keys = None,
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="Restore without the keys: identities stay encrypted.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the archive, and show what it holds.")] = False,
    as_json: Json = False,
) -> None:
    """Write the archive into empty stores while the services are down; they complete it from the log at their start."""
    from peyvand.archive.frames import archive_key
    from peyvand.archive.restore import restore as write
    from peyvand.archive.restore import restore_point
    from peyvand.local_cluster.restore_target import restore_target

    instant, workspace = _instant(to), current_workspace()
    sources = {ARCHIVE: (archive or workspace.archive, _secret("PEYVAND_ARCHIVE_KEY", "archive_key"))}
    if not without_keys:
        secret = _secret("PEYVAND_KEY_ARCHIVE_KEY", "key_archive_key")
        sources[KEY_ARCHIVE] = (keys or workspace.key_archive, secret)
    points = {
        name: restore_point(folder / name, archive_key(secret), instant)
        for each, (folder, secret) in sources.items()
        for name in ARCHIVED[each]
    }
    topics = {service: producer_topic(service) for service in ARCHIVED[ARCHIVE]}
    if not dry_run:
        with progress_bars(as_json) as progress, restore_target() as mongo:
            write(mongo, points, topics, progress)
            _create_indexes(mongo)
    if as_json:
        print(json.dumps({name: each.archived_at.isoformat() for name, each in points.items()}))
        return
    for name, each in points.items():
        what = f"{each.documents:,} documents, {each.changes:,} changes"
        print(f"{name:<20}{each.archived_at:%Y-%m-%d %H:%M:%S} UTC   {what}")
    print("what was stored after these instants is in the log at most")
    print("the figures are counted from the log: a worker begins by itself, `peyvand rebuild` is faster")
    if not dry_run:
        print(
            "start the services: each completes its store from its own topic, and serves requests when it is complete"
        )


def _create_indexes(mongo: str) -> None:
    """Create the indexes of the restored stores, without which no API opens. Raise CommandError."""
    from peyvand.commands.apply import indexes

    try:
        asyncio.run(indexes(mongo))
    except PyMongoError as e:
        raise CommandError(
            f"the documents are restored, but not their indexes: {e}", "see deploy/runbooks/missing-indexes.md"
        ) from e


def _instant(text: str) -> datetime | None:
    """Return the instant that an operator names, UTC unless it has a zone. Raise CommandError."""
    if not text:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as e:
        raise CommandError(f"{text} is not an instant", "write it as 2026-01-31T12:00:00Z") from e
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _secret(variable: str, name: str) -> str:
    """Return the key of an archive: from the environment, else of the local platform."""
    return os.environ.get(variable) or getattr(development_secrets(current_workspace(), SERVICES), name)


def producer_topic(service: str) -> str:
    """Return the topic that a service publishes to; empty if it publishes nothing."""
    return next((each.name for each in TOPICS if each.producer == service), "")
