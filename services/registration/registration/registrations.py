"""Register applications, one per person and round nationwide, and set quotas; what the service opens to do so."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from math import inf
from time import monotonic
from typing import Any

import msgspec
from msgspec.structs import replace

from base.clock import Clock
from base.ids import uuid7
from contracts.commands import Refused
from contracts.envelope import Context
from contracts.subjects import round_subject
from kernel.commands import CommandMetadata, Result, execute, execute_many
from kernel.errors import UniqueViolation
from kernel.record import emit, event_time
from kernel.service import Runtime
from kernel.store import Effects, Snapshot, Store
from kernel.stores.mongodb import MongoStore
from programme.calendar import tehran_day
from programme.policies import policy
from registration import metrics
from registration.domain import ledger
from registration.domain import round as rounds
from registration.domain.applicant import Register
from registration.domain.application import Accepted, Answers, accept
from registration.domain.ledger import SetQuota
from registration.persons import Persons
from registration.settings import RegistrationSettings
from security.audit import AuditChain, MongoAuditChain
from security.encryption import KeyBlocks, Keyring

CACHED = 1.0  # seconds after which every process uses an amended round


class QuotasRefused(Exception):
    """At least one quota was refused and none was set; `refused` is by ledger."""

    def __init__(self, refused: Mapping[str, Refused]) -> None:
        super().__init__(", ".join(f"{subject}: {each.code}" for subject, each in refused.items()))
        self.refused = refused


class RoundSnapshot(msgspec.Struct, frozen=True):
    """A round at an instant."""

    round: rounds.State
    at: datetime

    def accept(self, answers: Answers) -> Accepted:
        """Return the application in these answers. Raise InvalidApplication."""
        context = Context(round=self.round.round, policy=self.round.policy)
        return accept(answers, tehran_day(self.at), policy(self.round.policy), context)

    def check_intake(self, accepted: Accepted) -> None:
        """Check that the round takes the application now. Raise Refused: intake_closed, field_not_open."""
        rounds.check_intake(self.round, accepted.context.province, accepted.context.field, self.at)


class RegistrationService:
    """Registers applications in the rounds of one store."""

    def __init__(self, store: Store, persons: Persons, clock: Clock) -> None:
        self.store, self.persons, self.clock = store, persons, clock
        self.rounds: dict[str, tuple[float, rounds.State]] = {}  # by id: machine time of the read, state

    async def round_snapshot(self, round_id: str) -> RoundSnapshot:
        """Return a round, at most CACHED seconds old. Raise Refused: round_unknown."""
        read_at, state = self.rounds.get(round_id, (-inf, None))
        if state is None or monotonic() - read_at >= CACHED:
            subject = round_subject(round_id)
            read_at, state = monotonic(), (await self.store.read([subject]))[subject].state
            if not state.round:
                raise Refused("round_unknown")
            self.rounds[round_id] = read_at, state
        return RoundSnapshot(state, self.clock().at)

    def invalidate(self, round_id: str) -> None:
        """Read a round again on the next request, after it was amended by this process."""
        self.rounds.pop(round_id, None)

    async def register(
        self, snapshot: RoundSnapshot, accepted: Accepted, channel: str, metadata: CommandMetadata
    ) -> Result:
        """Register a person; after a withdrawal under the same id.

        Raise Refused (already_registered without any detail, intake_closed, field_not_open), KeyReused, Transient.
        """
        command = _command(accepted, channel)
        try:
            snapshot.check_intake(accepted)
        except Refused:
            # A response given before the window closed is repeated.
            if subject := await self._subject_under_key(metadata):
                return await execute(self.store, subject, command, self.clock, metadata)
            raise
        try:
            return await self._execute(uuid7(), accepted, command, replace(metadata, new_subject=True))
        except UniqueViolation as violation:
            subject = await self._subject_of(accepted) if violation.field == "person" else None
            if subject is None:
                raise
        try:
            return await self._execute(subject, accepted, command, metadata)
        except Refused:
            metrics.ALREADY_REGISTERED.labels(channel).inc()
            raise

    async def register_many(
        self,
        snapshot: RoundSnapshot,
        accepted: Mapping[int, Accepted],
        channel: str,
        metadata: Mapping[int, CommandMetadata],
    ) -> dict[int, Result | Refused]:
        """Register many people in one transaction, each independent of the others; by row number.

        Raise KeyReused, NewerRules, UnreadableRecord, Transient.
        """
        rows = {index: row for row, each in accepted.items() for index in self.persons.indexes(each)}
        registered = await self.store.find_by_unique("person", rows.keys()) if rows else {}
        subjects = {rows[index]: subject for index, subject in registered.items()}
        by_subject = {subjects.get(row) or uuid7(): row for row in accepted}
        at = self.clock().recorded
        sealed = {
            subject: replace(metadata[row], private=await self.persons.private(subject, accepted[row], at))
            for subject, row in by_subject.items()
        }
        commands = {subject: _command(accepted[row], channel) for subject, row in by_subject.items()}
        done = await execute_many(self.store, commands, self.clock, sealed)
        outcomes: dict[int, Result | Refused] = {}
        for subject, row in by_subject.items():
            outcome = done[subject]
            if isinstance(outcome, UniqueViolation):  # the person was registered by another request meanwhile
                try:
                    outcome = await self.register(snapshot, accepted[row], channel, metadata[row])
                except Refused as refused:
                    outcome = refused
            elif isinstance(outcome, Refused):
                metrics.ALREADY_REGISTERED.labels(channel).inc()
            if not isinstance(outcome, Result | Refused):
                raise outcome
            outcomes[row] = outcome
        return outcomes

    async def set_quotas(self, commands: Mapping[str, SetQuota], metadata: CommandMetadata) -> int:
        """Set all quotas, by ledger, or none; return how many changed. Raise QuotasRefused, Transient."""

        def change(snapshot: Snapshot) -> Effects:
            moment, changes, refused = self.clock(), [], {}
            for subject, command in commands.items():
                before = snapshot.record(subject)
                try:
                    events = ledger.decide(before.state, command, event_time(before, moment))
                except Refused as e:
                    refused[subject] = e
                    continue
                actor, traceparent = metadata.actor, metadata.traceparent
                after = emit(before, ledger, self.store.service, events, moment, actor=actor, traceparent=traceparent)
                if after is not before:
                    changes.append((before, after))
            if refused:
                raise QuotasRefused(refused)
            return Effects(changes)

        return len((await self.store.transact(list(commands), change)).changes)

    async def repeated_tracking_code(self, key: str) -> str | None:
        """Return the tracking code of the application that was registered under an idempotency key."""
        subject = (await self.store.find_by_unique("idempotency_key", [key])).get(key)
        if subject is None:
            return None
        tracking: str = (await self.store.read([subject]))[subject].private.indexed["tracking"]
        return tracking

    async def _execute(self, subject: str, accepted: Accepted, command: Register, metadata: CommandMetadata) -> Result:
        private = await self.persons.private(subject, accepted, self.clock().recorded)
        return await execute(self.store, subject, command, self.clock, replace(metadata, private=private))

    async def _subject_under_key(self, metadata: CommandMetadata) -> str | None:
        key = metadata.idempotency_key
        return (await self.store.find_by_unique("idempotency_key", [key])).get(key) if key else None

    async def _subject_of(self, accepted: Accepted) -> str | None:
        found = await self.store.find_by_unique("person", self.persons.indexes(accepted))
        return next(iter(found.values()), None)


class Resources(msgspec.Struct, kw_only=True):
    """What registration opens beside its store; `api` is what only the API needs, see `api.dependencies`."""

    registrations: RegistrationService
    persons: Persons
    audit: AuditChain
    api: Any = None


@asynccontextmanager
async def resources(runtime: Runtime[RegistrationSettings]) -> AsyncIterator[Resources]:
    """Open the keys of the identities, in a database of their own that backups of the data do not contain."""
    store = runtime.store
    assert isinstance(store, MongoStore), "a runtime over memory brings its resources"
    keyring = Keyring.of(runtime.settings)
    persons = Persons(KeyBlocks(runtime.database("keys"), keyring), keyring)
    try:
        yield Resources(
            registrations=RegistrationService(store, persons, runtime.clock),
            persons=persons,
            audit=MongoAuditChain(store.database),
        )
    finally:
        await persons.keys.close()


def _command(accepted: Accepted, channel: str) -> Register:
    return Register(context=accepted.context, profile=accepted.profile, intake_channel=channel)
