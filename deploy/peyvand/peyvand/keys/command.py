"""`peyvand keys`: rotate the master, index and tracking key of registration; what was interrupted is run again.

In the local platform it takes the steps: it writes secrets and restarts processes. Elsewhere it shows which settings to
set, and checks that every process has them.
"""

import os
import time
from typing import Annotated

import msgspec
import typer

from peyvand.commands.output import GROUP, Json, Url, number_of, print_result, spinner, to_json
from peyvand.endpoints import CommandError, Endpoints, find_endpoints, parse_processes
from peyvand.keys.processes import KeyProcess, key_processes, left, restart
from peyvand.keys.remainder import Remainder, remainder
from peyvand.keys.steps import finish, prepare, switch
from peyvand.local_cluster.topology import SERVICES, as_user, read_state
from peyvand.local_cluster.workspace import (
    Workspace,
    current_workspace,
    development_key,
    development_secrets,
    replace_file,
    write_secrets,
)
from peyvand.terminal.progress_bars import progress_bars
from security.encryption import LAST_VERSION

POLL = 1.0  # seconds
Wait = Annotated[bool, typer.Option("--wait", help="Show progress until nothing is left.")]


class Shown(msgspec.Struct, frozen=True):
    """What the processes of registration report about a rotation."""

    version: int  # in use; 0 while processes differ
    processes: tuple[KeyProcess, ...]
    left: dict[str, int]  # by key; empty while a worker has not counted


def register(app: typer.Typer) -> None:
    """Add the group to the command."""
    group = typer.Typer(help="Rotate the keys of identities: begin, status, verify, end.", **GROUP)
    for verb in (begin, status, verify, end):
        group.command(verb.__name__)(verb)
    app.add_typer(group, name="keys")


def begin(as_json: Json = False, url: Url = "") -> None:
    """Begin a rotation to new keys, or go on with one that was interrupted; the workers do the rest."""
    endpoints, workspace = find_endpoints(url), _local(url)
    if workspace is None:
        _print_step(_shown(endpoints), as_json)
        return
    if development_secrets(workspace, SERVICES).key_version >= LAST_VERSION:
        raise CommandError(f"version {LAST_VERSION} of the keys is the last one", "there is no next version")
    restarted = []
    with spinner("restarting registration, one process after the other", as_json):
        for step in (lambda secrets: prepare(secrets, development_key), switch):
            write_secrets(workspace, step(development_secrets(workspace, SERVICES)))
            restarted += restart(workspace)
    version = development_secrets(workspace, SERVICES).key_version
    if as_json:
        print(to_json({"version": version, "restarted": restarted}))
        return
    print(f"registration uses version {version} of the keys: see `peyvand keys status --wait`, then `peyvand keys end`")


def status(wait: Wait = False, as_json: Json = False, url: Url = "") -> int:
    """Show which keys each process knows, and what the workers have left to do; exit code 1 if it is anything."""
    endpoints = find_endpoints(url)
    shown = _shown(endpoints)
    with progress_bars(as_json or not wait) as progress:
        total, done = dict(shown.left), dict.fromkeys(shown.left, 0)
        while wait and (not shown.left or any(shown.left.values())):
            time.sleep(POLL)
            shown = _shown(endpoints)
            for key, n in shown.left.items():
                total[key] = max(total.get(key, 0), n)
                progress(key, total[key] - n - done.get(key, 0), total[key])
                done[key] = total[key] - n
    print_result(shown, as_json, _lines)
    return 0 if shown.version and shown.left and not any(shown.left.values()) else 1


def verify(as_json: Json = False, url: Url = "") -> int:
    """Count in the database what still needs former keys; exit code 1 if it is anything."""
    found = _remainder(find_endpoints(url), _local(url))
    print_result(found, as_json, _counts)
    return 0 if found.done else 1


def end(as_json: Json = False, url: Url = "") -> None:
    """End a rotation when nothing is left: processes forget the former keys."""
    endpoints, workspace = find_endpoints(url), _local(url)
    found = _remainder(endpoints, workspace)
    if not found.done:
        raise CommandError(_counts(found), "the former keys stay: see `peyvand keys status`, and docs/operations.md")
    if workspace is None:
        print(_forget(_shown(endpoints)))
        return
    secrets = development_secrets(workspace, SERVICES)
    for version, keys in secrets.older_keys.items():  # an archive from before the rotation needs them
        replace_file(workspace.run / f"former-keys-{version}.json", to_json({version: keys}).encode())
    write_secrets(workspace, finish(secrets))
    with spinner("restarting registration, one process after the other", as_json):
        restarted = restart(workspace)
    if as_json:
        print(to_json({"restarted": restarted}))
        return
    print(
        "no process knows the former master and index keys any more; the tracking keys stay, for the codes under them"
    )
    print(f"{workspace.run}/former-keys-*.json: destroy them when no archive reaches back to before now")


def _local(url: str) -> Workspace | None:
    """Return the run folder of the local platform, unless another one is meant."""
    return None if url or os.environ.get("PEYVAND_PUBLIC_URL") else current_workspace()


def _shown(endpoints: Endpoints) -> Shown:
    """Return what the metrics of registration show. Raise CommandError if a process is not known or does not answer."""
    processes = key_processes(endpoints.processes or parse_processes(os.environ.get("PEYVAND_PROCESSES", "")))
    if not processes:
        raise CommandError(
            "the processes of registration are not known",
            "set PEYVAND_PROCESSES to all of them, as registration-api=HOST:PORT,registration-worker=HOST:PORT",
        )
    if silent := [each.name for each in processes if not each.versions]:
        raise CommandError(f"{', '.join(silent)} does not answer", "every process must: see `peyvand status`")
    in_use = {each.versions[0] for each in processes}
    return Shown(in_use.pop() if len(in_use) == 1 else 0, processes, left(processes))


def _remainder(endpoints: Endpoints, workspace: Workspace | None) -> Remainder:
    from base.clock import file_clock, system_clock

    shown = _shown(endpoints)
    if not shown.version:
        raise CommandError("the processes use different keys", "see `peyvand keys status`, and finish the rollout")
    mongo = os.environ.get("PEYVAND_MONGO") or os.environ.get("MONGO_URL", "")
    if not mongo and workspace is not None and (state := read_state(workspace)):
        user = "registration"  # the reader may not read the keys
        mongo = as_user(state.mongo, user, development_secrets(workspace, SERVICES).mongo_services[user])
    if not mongo:
        raise CommandError("MongoDB's address is not known", "set PEYVAND_MONGO to the URL that registration has")
    clock = file_clock(workspace.clock) if workspace else system_clock()
    return remainder(mongo, shown.version, clock().at)


def _print_step(shown: Shown, as_json: bool) -> None:
    """Print the next step of a deployment whose settings the command cannot write."""
    step = _next_step(shown)
    print(to_json({"version": shown.version, "step": step}) if as_json else step)


def _next_step(shown: Shown) -> str:
    """Return what to set next, given which keys the processes know."""
    known, version = {each.versions for each in shown.processes}, shown.version
    if len(known) > 1:
        return f"these processes know different keys; finish the rollout first\n{_lines(shown)}"
    ((_, *others),) = known
    if not others:
        keys = to_json({version + 1: [development_key().partition("-")[2] for _ in range(3)]})
        return (
            f"1. Set PEYVAND_OLDER_KEYS for every API and worker of registration, and restart them:\n{keys}\n"
            "2. Run this again: it checks that all of them know the new keys."
        )
    if max(others) > version:
        return (
            f"Every process knows version {max(others)}. For every API and worker of registration, set\n"
            f"PEYVAND_KEY_VERSION={max(others)};\n"
            "PEYVAND_MASTER_KEY, PEYVAND_INDEX_KEY and PEYVAND_TRACKING_KEY to the three keys that PEYVAND_OLDER_KEYS "
            f"has for {max(others)};\n"
            f"PEYVAND_OLDER_KEYS to version {version} with the three keys that they had before;\n"
            "and restart them. Then see `peyvand keys status --wait`."
        )
    return f"Every process uses version {version}: see `peyvand keys status --wait`, then `peyvand keys end`."


def _forget(shown: Shown) -> str:
    former = ", ".join(str(each) for each in sorted({v for p in shown.processes for v in p.versions[1:]}))
    if not former:
        return "no process knows a former key"
    return (
        f"Add the third key of version {former} in PEYVAND_OLDER_KEYS to PEYVAND_FORMER_TRACKING_KEYS (version to "
        "key), remove PEYVAND_OLDER_KEYS, and restart the APIs and then the workers of registration. Keep a copy of "
        "the former keys until no archive reaches back to before now."
    )


def _lines(shown: Shown) -> str:
    lines = [
        f"{each.name}: uses version {each.versions[0]}"
        + (f", knows {', '.join(map(str, each.versions[1:]))}" if each.versions[1:] else "")
        for each in shown.processes
    ]
    counted = (
        f"left: {shown.left['master']:,} keys, {shown.left['index']:,} applicants" if shown.left else "not counted"
    )
    return "\n".join([*lines, f"{counted} (the database is counted by `peyvand keys verify`)"])


def _counts(found: Remainder) -> str:
    codes = f"; {number_of(found.codes, 'tracking code')} of former keys, which stay valid" if found.codes else ""
    if found.done:
        return f"nothing needs a former master or index key{codes}"
    until = f" until {found.until:%Y-%m-%d %H:%M} UTC" if found.until else ""
    parts = (
        (found.keys, f"{number_of(found.keys, 'key')} of persons"),
        (found.applicants, number_of(found.applicants, "applicant")),
        (found.erased, f"{number_of(found.erased, 'erased applicant')}{until}"),
    )
    named = f": {', '.join(found.examples)}" if found.examples else ""
    return f"under former keys: {', '.join(text for n, text in parts if n)}{named}{codes}"
