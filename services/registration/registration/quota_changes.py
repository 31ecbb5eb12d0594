"""Change quotas by two persons: what is proposed, and the transaction in which a signature takes effect."""

from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from base.clock import Clock
from base.ids import uuid7
from contracts.commands import Refused
from contracts.subjects import ledger_subject, proposal_subject
from kernel.commands import CommandMetadata, decide_one, execute, stored_response
from kernel.record import Record
from kernel.store import Effects, Snapshot, Store
from programme.deadlines import proposal_until
from registration.domain import ledger
from registration.domain import round as rounds
from registration.domain.ledger import SetQuota
from registration.domain.proposal import Change, Decline, Make, Sign, State, Withdraw


class QuotasRefused(Exception):
    """At least one quota was refused and nothing is proposed; `refused` is by province."""

    def __init__(self, refused: Mapping[str, Refused]) -> None:
        super().__init__(", ".join(f"{province}: {each.code}" for province, each in refused.items()))
        self.refused = refused


class Proposals:
    """Makes and closes proposals about the seats of one store."""

    def __init__(self, store: Store, clock: Clock, new_id: Callable[[], str] = uuid7) -> None:
        self.store, self.clock, self.new_id = store, clock, new_id

    async def set_quotas(
        self, round_: rounds.State, quotas: Mapping[str, int], reason: str, metadata: CommandMetadata
    ) -> Record:
        """Propose quotas by province. Raise QuotasRefused, Refused, KeyReused, Transient."""
        if response := await stored_response(self.store, metadata):
            return response.record
        now = await self._ledgers(round_.round, quotas)
        changes = tuple(Change(province, now[province].quota, quota) for province, quota in quotas.items())
        return await self._make(round_, "set_quotas", reason, changes, now, metadata)

    async def move_seats(
        self, round_: rounds.State, source: str, target: str, seats: int, reason: str, metadata: CommandMetadata
    ) -> Record:
        """Propose to move free seats to another province. Raise Refused, KeyReused, Transient."""
        if response := await stored_response(self.store, metadata):
            return response.record
        if source == target:
            raise Refused("same_province", field="target")
        now = await self._ledgers(round_.round, (source, target))
        if not 0 < seats <= ledger.available(now[source]):
            raise Refused("seats_not_free", field="seats", available=ledger.available(now[source]))
        changes = (
            Change(source, now[source].quota, now[source].quota - seats),
            Change(target, now[target].quota, now[target].quota + seats),
        )
        return await self._make(round_, "move_seats", reason, changes, now, metadata)

    async def sign(self, subject: str, control: str, metadata: CommandMetadata) -> Record:
        """Sign a proposal and change its quotas, all or nothing, in one transaction: there is no between to crash in.

        Raise Refused (what the rules of proposal and ledger refuse), KeyReused, Transient.
        """
        if response := await stored_response(self.store, metadata):
            return response.record
        proposed: State = (await self.store.read([subject]))[subject].state
        ledgers = [ledger_subject(proposed.round, each.province) for each in proposed.changes]
        unkeyed = replace(metadata, idempotency_key="", fingerprint=b"")
        signed: list[Record] = []

        def change(snapshot: Snapshot) -> Effects:
            moment, before = self.clock(), snapshot.record(subject)
            done = decide_one(self.store, before, Sign(metadata.actor, control), metadata, moment)
            signed[:] = [done.record]
            if done.repeated:
                return Effects()
            changes = [(before, done.record)]
            for each in commands_of(subject, before.state):
                seats = snapshot.record(ledger_subject(each.round, each.province))
                changes.append((seats, decide_one(self.store, seats, each, unkeyed, moment).record))
            return Effects([(old, new) for old, new in changes if new is not old])

        written = await self.store.transact([subject, *ledgers], change)
        return next((after for _, after in written.changes if after.subject == subject), signed[0])

    async def close(self, subject: str, command: Decline | Withdraw, metadata: CommandMetadata) -> Record:
        """Decline or withdraw a proposal. Raise Refused, KeyReused, Transient."""
        return (await execute(self.store, subject, command, self.clock, metadata)).record

    async def _ledgers(self, round_id: str, provinces: Sequence[str] | Mapping[str, int]) -> dict[str, ledger.State]:
        subjects = {each: ledger_subject(round_id, each) for each in provinces}
        found = await self.store.read(list(subjects.values()))
        return {each: found[subject].state for each, subject in subjects.items()}

    async def _make(
        self,
        round_: rounds.State,
        action: str,
        reason: str,
        changes: Sequence[Change],
        now: Mapping[str, ledger.State],
        metadata: CommandMetadata,
    ) -> Record:
        """Make a proposal that could be signed at once, as far as it is seen now. Raise QuotasRefused, Refused."""
        at, made = self.clock().at, self.new_id()
        command = Make(
            round=round_.round,
            policy=round_.policy,
            action=action,
            reason=reason,
            changes=tuple(each for each in changes if each.before != each.after),
            expires=proposal_until(at, round_.policy),
        )
        refused: dict[str, Refused] = {}
        for each in command.changes:
            try:
                ledger.decide(now[each.province], _command(command.round, command.policy, each), at)
            except Refused as e:
                refused[each.province] = e
        if refused:
            raise QuotasRefused(refused)
        own = replace(metadata, new_subject=True)
        return (await execute(self.store, proposal_subject(round_.round, made), command, self.clock, own)).record


def commands_of(subject: str, proposed: State) -> list[SetQuota]:
    """Return what a signature does to each ledger."""
    moved = [each.province for each in proposed.changes] if proposed.action == "move_seats" else []
    return [
        replace(
            _command(proposed.round, proposed.policy, each),
            counterpart=next((other for other in moved if other != each.province), ""),
            proposal=subject.rpartition("/")[2],
        )
        for each in proposed.changes
    ]


def _command(round_id: str, policy: str, change: Change) -> SetQuota:
    return SetQuota(round=round_id, province=change.province, policy=policy, quota=change.after, previous=change.before)
