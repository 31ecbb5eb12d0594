"""Quotas of many provinces at once: all or nothing, in one transaction."""

from collections.abc import Mapping

from msgspec.structs import replace

from base.clock import Clock
from contracts.commands import Refused
from kernel.commands import CommandMetadata
from kernel.record import emit, event_time
from kernel.store import Changes, Known, Store
from registration.domain import ledger
from registration.domain.ledger import SetQuota


class QuotasRefused(Exception):
    """At least one quota was refused, so none was set; by ledger."""

    def __init__(self, refused: Mapping[str, Refused]) -> None:
        super().__init__(", ".join(f"{subject}: {each.code}" for subject, each in refused.items()))
        self.refused = refused


async def set_quotas(store: Store, commands: Mapping[str, SetQuota], clock: Clock, ask: CommandMetadata) -> int:
    """Sets every quota; returns how many are new. Repeating it changes nothing. Raises QuotasRefused, Transient."""
    changed = 0

    def change(known: Known) -> Changes:
        nonlocal changed
        moment, changes, refused = clock(), [], {}
        for subject, command in commands.items():
            before = known[subject]
            try:
                events = ledger.decide(before.state, command, event_time(before, moment))
            except Refused as why:
                refused[subject] = why
                continue
            after = emit(before, ledger, store.service, events, moment, actor=ask.actor, traceparent=ask.traceparent)
            if after is not before:
                changes.append((before, replace(after, version=before.version + 1)))
        if refused:
            raise QuotasRefused(refused)
        changed = len(changes)
        return changes

    await store.transact(list(commands), change)
    return changed
