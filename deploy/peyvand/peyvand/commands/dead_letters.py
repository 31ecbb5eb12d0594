"""`peyvand dead-letters`: list, retry and discard parked events and undecodable records, through each service's API."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from peyvand.commands import events
from peyvand.commands.output import GROUP, DryRun, Json, Url, print_result, signed_in_client
from peyvand.endpoints import CommandError, find_endpoints
from peyvand.local_cluster.topology import SERVICES, prefix
from peyvand.terminal.progress_bars import ReportProgress, progress_bars

if TYPE_CHECKING:
    from peyvand.api_client import ApiClient

BATCH = 200  # letters in one request
PAGE = 200
ADVANCED = ("drained", "discarded", "gone")  # outcomes after which a letter no longer waits
FINGERPRINT_LENGTH = 12

Service = Annotated[str, typer.Option(help="Only of this service.")]
Selector = Annotated[str, typer.Argument(help="A fingerprint, a subject, or a letter's id.")]


class ServiceLetters(msgspec.Struct, frozen=True):
    """Letters and the service that holds them."""

    service: str
    letters: tuple[Mapping[str, Any], ...]


class ActionResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a retry or discard, or of its dry run: `drained` counts events, the others count letters."""

    action: str
    dry_run: bool
    letters: int
    drained: int
    left: int = 0  # letters that still meet a fault; of a retry also those that met another one behind them
    gone: int = 0  # letters that were no dead letters any more
    faults: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing of it is left."""
        return not self.left


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    group = typer.Typer(help="Events that an operator must decide on: faults, and undecodable records.", **GROUP)
    verbs = (("list", list_command), ("show", show_command), ("retry", retry_command), ("discard", discard_command))
    for name, verb in verbs:
        group.command(name)(verb)
    app.add_typer(group, name="dead-letters")


def list_command(service: Service = "", as_json: Json = False, url: Url = "") -> int:
    """List groups by fault, place in the code and type of event; exit code 1 if there are any."""
    from peyvand.terminal.rendering import dead_letter_groups

    found = groups(_operator(url), service)
    print_result(found, as_json, dead_letter_groups)
    return 1 if found else 0


def show_command(selector: Selector, service: Service = "", as_json: Json = False, url: Url = "") -> None:
    """Show the event, the cause, and the command that resolves it."""
    from peyvand.terminal.rendering import LETTERS_SHOWN, dead_letters

    found = find(_operator(url), selector, service)
    if not as_json:
        with suppress(CommandError):  # Kafka does not answer, or may not be read from here
            found = with_events(found, url, LETTERS_SHOWN)
    print_result(found, as_json, dead_letters)


def retry_command(
    selector: Selector,
    reason: Annotated[str, typer.Option(help="What was fixed; it stays on record.")] = "",
    dry_run: DryRun = False,
    service: Service = "",
    as_json: Json = False,
    url: Url = "",
) -> int:
    """Retry letters in order, once the rules are fixed: dry run first, then those that would be handled."""
    return _run("retry", selector, reason, dry_run, service, as_json, _operator(url))


def discard_command(
    selector: Selector,
    reason: Annotated[str, typer.Option(help="Why; it stays on record.")],
    who: Annotated[str, typer.Option(help="Who decides (pseudonymous id); PEYVAND_TOKEN names them if set.")] = "",
    dry_run: DryRun = False,
    service: Service = "",
    as_json: Json = False,
    url: Url = "",
) -> int:
    """Discard letters for good, on record with reason and name, and retry the events that wait behind them."""
    if not who and not os.environ.get("PEYVAND_TOKEN"):
        raise CommandError(
            "it is not known who discards these letters", "give --who, or set PEYVAND_TOKEN to an operator's token"
        )
    return _run("discard", selector, reason, dry_run, service, as_json, _operator(url, who))


def _run(
    action: str, selector: str, reason: str, dry_run: bool, service: str, as_json: bool, client: "ApiClient"
) -> int:
    from peyvand.terminal.rendering import action_lines

    held_back = 0
    with progress_bars(as_json) as progress:
        found = find(client, selector, service)
        result, movable = act(client, action, found, reason, progress, dry_run=True)
        if not dry_run and movable:
            held_back = result.letters - sum(len(each.letters) for each in movable)
            result, _ = act(client, action, movable, reason, progress, dry_run=False)
    print_result(result, as_json, action_lines)
    if held_back and not as_json:
        print(f"{held_back:,} letters were not touched: they would meet their fault again")
    return 0 if result.complete and not held_back and (dry_run or movable) else 1


def api_path(service: str) -> str:
    """Return the path of a service's dead letters."""
    return f"{prefix(service)}/v1/dead-letters"


def groups(client: "ApiClient", service: str = "") -> list[dict[str, Any]]:
    """Return the groups by fingerprint, of all services or one. Raise CommandError."""
    return [{"service": each, **group} for each in _services(service) for group in client.get(api_path(each))]


def find(client: "ApiClient", selector: str, service: str = "") -> list[ServiceLetters]:
    """Return the letters of a fingerprint or a subject, or the one with this id. Raise CommandError if none match."""
    found = []
    for each in _services(service):
        if letters := tuple(_letters(client, each, selector)):
            found.append(ServiceLetters(each, letters))
    if not found:
        raise CommandError(
            f"no dead letter matches {selector}",
            "give a fingerprint, a subject or an id, as `peyvand dead-letters list` and `show` print them",
        )
    return found


def with_events(found: Sequence[ServiceLetters], url: str, limit: int) -> list[ServiceLetters]:
    """Return the letters, the first of each service with the events of the log that their service does not show.

    They are shown as `peyvand events show` does, to those who may read the topics. Raise CommandError.
    """
    log = events.EventLog(find_endpoints(url).require_kafka())
    try:
        return [
            ServiceLetters(each.service, (*(_with_event(x, log) for x in each.letters[:limit]), *each.letters[limit:]))
            for each in found
        ]
    finally:
        log.close()


def _with_event(letter: Mapping[str, Any], log: "events.EventLog") -> Mapping[str, Any]:
    if letter["event"] or letter["kind"] != "parked" or not letter["position"]:
        return letter
    entry = log.at(letter["position"])
    found = entry.envelope if entry else None
    if entry is None or found is None or f"{found.source}/{found.subject}/{found.sequence}" != letter["id"]:
        return letter  # its topic was recreated
    return {**letter, "event": events.cloud_event(entry)["event"]}


def act(
    client: "ApiClient",
    action: str,
    found: Sequence[ServiceLetters],
    reason: str,
    progress: ReportProgress,
    *,
    dry_run: bool,
) -> tuple[ActionResult, list[ServiceLetters]]:
    """Retry or discard; return the result, and the letters that advance by it. Raise CommandError."""
    outcomes: list[dict[str, Any]] = []
    movable: list[ServiceLetters] = []
    total = sum(len(each.letters) for each in found)
    for each in found:
        moved = []
        for start in range(0, len(each.letters), BATCH):
            batch = each.letters[start : start + BATCH]
            body = {"letters": [letter["id"] for letter in batch], "reason": reason, "dry_run": dry_run}
            path = f"{api_path(each.service)}/{action}"
            response = client.post(path, json.dumps(body).encode(), "application/json").json()
            outcomes += response["outcomes"]
            advanced = {o["id"] for o in response["outcomes"] if o["drained"] or o["outcome"] in ADVANCED}
            moved += [letter for letter in batch if letter["id"] in advanced]
            progress(f"{action}{' (dry run)' if dry_run else ''}", len(batch), total)
        if moved:
            movable.append(ServiceLetters(each.service, tuple(moved)))
    result = ActionResult(
        action=action,
        dry_run=dry_run,
        letters=total,
        drained=sum(o["drained"] for o in outcomes),
        left=sum(bool(o["fault"]) and o["outcome"] != "discarded" for o in outcomes),
        gone=sum(o["outcome"] == "gone" for o in outcomes),
        faults=tuple(sorted({o["fault"] for o in outcomes if o["fault"]}))[:10],
    )
    return result, movable


def _services(service: str) -> tuple[str, ...]:
    if service and service not in SERVICES:
        raise CommandError(f"there is no service {service}", f"one of {', '.join(SERVICES)}")
    return (service,) if service else SERVICES


def _letters(client: "ApiClient", service: str, selector: str) -> Iterator[Mapping[str, Any]]:
    is_fingerprint = len(selector) == FINGERPRINT_LENGTH and all(c in "0123456789abcdef" for c in selector)
    is_position = "@" in selector
    is_event = not is_position and selector.count("/") >= 2 and selector.rpartition("/")[2].isdigit()
    query = {"fingerprint": selector} if is_fingerprint else {}
    if is_event:
        query = {"subject": selector.partition("/")[2].rpartition("/")[0]}
    elif not is_fingerprint and not is_position:
        query = {"subject": selector}
    after = None
    while True:
        page = client.get(f"{api_path(service)}/letters", limit=PAGE, after=after, **query)
        for each in page["items"]:
            if not (is_position or is_event) or each["id"] == selector:
                yield each
            elif selector in each["next"]:
                raise CommandError(
                    f"{selector} waits behind {each['id']}",
                    f"its turn comes after that one: `peyvand dead-letters show {each['id']}`",
                )
        after = page["next"]
        if after is None:
            return


def _operator(url: str, who: str = "") -> "ApiClient":
    return signed_in_client(url, "operator", sub=who)
