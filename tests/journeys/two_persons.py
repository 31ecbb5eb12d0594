"""What two persons of the ministry do on an in-process platform: set a quota, move a seat."""

from collections.abc import Awaitable, Callable
from typing import Any

from contracts.commands import Refused
from contracts.subjects import round_subject
from kernel.commands import CommandMetadata
from kernel.errors import Transient
from kernel.record import Record
from registration.domain import round as rounds
from registration.domain.proposal import control_number
from registration.quota_changes import Proposals, QuotasRefused

ROUND = "1404"


async def set_quota(platform: Any, province: str, quota: int) -> None:
    """Set or change the quota of a province."""

    async def propose(proposals: Proposals, round_: rounds.State, metadata: CommandMetadata) -> Record:
        return await proposals.set_quotas(round_, {province: quota}, "demand", metadata)

    await _by_two_persons(platform, propose)


async def move_seat(platform: Any, source: str, target: str) -> None:
    """Move a free seat to another province."""

    async def propose(proposals: Proposals, round_: rounds.State, metadata: CommandMetadata) -> Record:
        return await proposals.move_seats(round_, source, target, 1, "demand", metadata)

    await _by_two_persons(platform, propose)


async def _by_two_persons(
    platform: Any, propose: Callable[[Proposals, rounds.State, CommandMetadata], Awaitable[Record]]
) -> None:
    """Propose something and sign it; each request is sent with its key until it is answered."""
    store = platform.stores["registration"]
    proposals = Proposals(store, platform.clock, lambda: f"00000000-0000-7000-8000-{platform.requests:012x}")
    made: Record | None = None
    for person in ("of-1", "of-2"):
        platform.requests += 1
        metadata = CommandMetadata(f"ministry_admin:{person}", f"key-{platform.requests}")
        while True:
            try:
                if made is None:
                    round_ = (await store.read([round_subject(ROUND)]))[round_subject(ROUND)].state
                    made = await propose(proposals, round_, metadata)
                else:
                    await proposals.sign(made.subject, control_number(made.state), metadata)
                break
            except Transient:
                continue
            except (Refused, QuotasRefused):
                return
