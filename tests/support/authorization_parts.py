"""What every world of the authorisation tests has: places, and the operators' routes."""

from collections.abc import Mapping
from typing import Any

from recovery.reconciliation.client import PATH
from tests.support.authorization import Operation
from tests.support.service_api import subject_of

OWNER = ("partitions/{partition}/digests", "partitions/{partition}/lines", "histories")
NOTHING = subject_of(999)  # there is no such subject
REASON = {"reason": "a test", "dry_run": True}


def place(area: str) -> dict[str, str]:
    """Return province and county of an area."""
    return {"province": area[:5], "county": area[6:]}


def operators(prefix: str) -> dict[tuple[str, str], Operation]:
    """Return the operators' routes, which every service has; they are nationwide."""

    def nation(body: Mapping[str, Any] | None = None) -> Operation:
        return Operation("nation", lambda area: {"json": body} if body else {})

    letters = {**REASON, "letters": ["x"]}
    return {
        ("GET", f"{prefix}/v1/dead-letters"): nation(),
        ("GET", f"{prefix}/v1/dead-letters/letters"): nation(),
        ("POST", f"{prefix}/v1/dead-letters/retry"): nation(letters),
        ("POST", f"{prefix}/v1/dead-letters/discard"): nation(letters),
        ("POST", f"{prefix}/v1/replays/cursor-resets"): nation({**REASON, "topic": "peyvand.none"}),
        ("POST", f"{prefix}/v1/replays/republications"): nation({"reason": ""}),  # 422: memory has no log
        ("GET", f"{prefix}/v1/reconciliation"): nation(),
        ("POST", f"{prefix}/v1/reconciliation"): nation({"of": "all"}),  # 422: likewise
        **{("POST", f"{prefix}{PATH}/{path}"): nation({}) for path in OWNER},  # no officer's: services only
    }
