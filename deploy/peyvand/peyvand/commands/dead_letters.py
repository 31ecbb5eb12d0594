"""What an operator does about dead letters, through the door of the service that holds them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from peyvand.api_client import Client
from peyvand.endpoints import Trouble
from peyvand.local_cluster.topology import SERVICES, prefix
from peyvand.terminal.progress_bars import Advance

AT_ONCE = 200  # letters in one request
PAGE = 200


class Found(msgspec.Struct, frozen=True):
    """Letters and the service that holds each."""

    service: str
    letters: tuple[Mapping[str, Any], ...]


class Mended(msgspec.Struct, frozen=True, kw_only=True):
    """What became of letters, or would: `drained` counts events, the others letters."""

    action: str
    dry_run: bool
    letters: int
    drained: int
    left: int = 0  # letters that meet a fault still, or another behind them
    gone: int = 0  # that were no dead letters any more
    faults: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """Nothing of it waits for a person any more."""
        return not self.left


def door(service: str) -> str:
    """Where a service's dead letters are."""
    return f"{prefix(service)}/v1/dead-letters"


def groups(client: Client, service: str = "") -> list[dict[str, Any]]:
    """What waits for a person, by fingerprint, of all services or one."""
    return [{"service": each, **group} for each in _services(service) for group in client.get(door(each))]


def find(client: Client, which: str, service: str = "") -> list[Found]:
    """The letters of a fingerprint, of a subject, or the one of this id. Raises Trouble where there are none."""
    found = []
    for each in _services(service):
        if letters := tuple(_letters(client, each, which)):
            found.append(Found(each, letters))
    if not found:
        raise Trouble(
            f"no dead letter is called {which}",
            "give a fingerprint, a subject or an id, as `peyvand dead-letters list` and `show` print them",
        )
    return found


def act(
    client: Client, action: str, found: Sequence[Found], reason: str, advance: Advance, *, dry_run: bool
) -> tuple[Mended, list[Found]]:
    """Retries or discards; gives also those letters that get on by it. Raises Trouble."""
    outcomes: list[dict[str, Any]] = []
    moving: list[Found] = []
    total = sum(len(each.letters) for each in found)
    for each in found:
        moved = []
        for start in range(0, len(each.letters), AT_ONCE):
            batch = each.letters[start : start + AT_ONCE]
            body = {"letters": [letter["id"] for letter in batch], "reason": reason, "dry_run": dry_run}
            answer = client.post(f"{door(each.service)}/{action}", json.dumps(body).encode(), "application/json").json()
            outcomes += answer["outcomes"]
            gets_on = {o["id"] for o in answer["outcomes"] if o["drained"] or o["outcome"] != "faulty"}
            moved += [letter for letter in batch if letter["id"] in gets_on]
            advance(f"{action}{' (rehearsed)' if dry_run else ''}", len(batch), total)
        if moved:
            moving.append(Found(each.service, tuple(moved)))
    return (
        Mended(
            action=action,
            dry_run=dry_run,
            letters=total,
            drained=sum(o["drained"] for o in outcomes),
            left=sum(bool(o["fault"]) for o in outcomes),
            gone=sum(o["outcome"] == "gone" for o in outcomes),
            faults=tuple(sorted({o["fault"] for o in outcomes if o["fault"]}))[:10],
        ),
        moving,
    )


def _services(service: str) -> tuple[str, ...]:
    if service and service not in SERVICES:
        raise Trouble(f"there is no service {service}", f"one of {', '.join(SERVICES)}")
    return (service,) if service else SERVICES


def _letters(client: Client, service: str, which: str) -> Iterator[Mapping[str, Any]]:
    is_print = len(which) == 12 and all(c in "0123456789abcdef" for c in which)
    is_place = "@" in which
    is_event = not is_place and which.count("/") >= 2 and which.rpartition("/")[2].isdigit()
    asked = {"fingerprint": which} if is_print else {}
    if is_event:
        asked = {"subject": which.partition("/")[2].rpartition("/")[0]}
    elif not is_print and not is_place:
        asked = {"subject": which}
    after = None
    while True:
        page = client.get(f"{door(service)}/letters", limit=PAGE, after=after, **asked)
        for each in page["items"]:
            if not (is_place or is_event) or each["id"] == which:
                yield each
        after = page["next"]
        if after is None:
            return
