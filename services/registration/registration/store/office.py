"""The office that registers: one application per person and round in the whole country, whichever door it came by."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import inf
from time import monotonic

import msgspec
from msgspec.structs import replace

from base.clock import Clock
from base.ids import uuid7
from contracts.commands import Refused
from contracts.envelope import Context
from contracts.subjects import round_subject
from kernel.commands import CommandMetadata, Result, execute, execute_many
from kernel.errors import KeyReused, UniqueViolation
from kernel.store import Store
from observability import metrics
from programme.calendar import tehran_day
from programme.policies import policy
from registration.domain import round as rounds
from registration.domain.applicant import Register
from registration.domain.application import Accepted, Typed, accept
from registration.store.persons import Persons

KNOWN = 1.0  # seconds after which an amended round has reached the desks of every process


class Desk(msgspec.Struct, frozen=True):
    """A round as an application meets it now."""

    round: rounds.State
    now: datetime

    def accept(self, typed: Typed) -> Accepted:
        """The application in these answers. Raises NotAccepted."""
        return accept(typed, tehran_day(self.now), policy(self.round.policy))

    def admit(self, accepted: Accepted) -> None:
        """Lets it in now. Raises Refused: intake_closed, field_not_open."""
        rounds.admit(self.round, accepted.province, accepted.field, self.now)


class Office:
    """Registers people in the rounds of one store."""

    def __init__(self, store: Store, persons: Persons, clock: Clock) -> None:
        self.store, self.persons, self.clock = store, persons, clock
        self.known: dict[str, tuple[float, rounds.State]] = {}  # round -> machine time of the look, what was found

    async def desk(self, round_id: str) -> Desk:
        """The desk of a round, as it was at most KNOWN seconds ago. Raises Refused: round_unknown."""
        looked, found = self.known.get(round_id, (-inf, None))
        if found is None or monotonic() - looked >= KNOWN:
            subject = round_subject(round_id)
            looked, found = monotonic(), (await self.store.read([subject]))[subject].state
            if not found.round:
                raise Refused("round_unknown")
            self.known[round_id] = looked, found
        return Desk(found, self.clock().at)

    def amended(self, round_id: str) -> None:
        """A round was opened or amended here: the next desk looks again."""
        self.known.pop(round_id, None)

    async def register(self, desk: Desk, accepted: Accepted, channel: str, ask: CommandMetadata) -> Result:
        """Registers somebody, again after a withdrawal under the same id.

        Raises Refused (already_registered, which says that and nothing else; intake_closed, field_not_open), KeyReused.
        """
        try:
            desk.admit(accepted)
        except Refused:
            if answered := await self._answered(ask):  # what was accepted in time stays so
                return await execute(self.store, answered, _register(desk, accepted, channel), self.clock, ask)
            raise
        try:
            return await self._register(uuid7(), desk, accepted, channel, replace(ask, new=True))
        except UniqueViolation as taken:
            holder = await self._holder(desk, accepted) if taken.field == "person" else None
            if holder is None:
                raise
        try:
            return await self._register(holder, desk, accepted, channel, ask)
        except Refused:
            metrics.ALREADY_REGISTERED.labels(channel).inc()
            raise

    async def register_many(
        self, desk: Desk, accepted: Mapping[int, Accepted], channel: str, asks: Mapping[int, CommandMetadata]
    ) -> dict[int, Result | Refused]:
        """Registers many in one transaction, each for itself; by the number of their row. Raises KeyReused."""
        indexes = {index: n for n, each in accepted.items() for index in self._indexes(desk, each)}
        holders = {indexes[index]: s for index, s in (await self.store.holders("person", indexes.keys())).items()}
        rows = {holders.get(n) or uuid7(): n for n in accepted}
        at, outcomes = self.clock().recorded, {}
        commands = {subject: _register(desk, accepted[n], channel) for subject, n in rows.items()}
        sealed = {
            subject: replace(asks[n], private=await self.persons.private(subject, desk.round.round, accepted[n], at))
            for subject, n in rows.items()
        }
        done = await execute_many(self.store, commands, self.clock, sealed)
        for subject, n in rows.items():
            outcome = done[subject]
            if isinstance(outcome, UniqueViolation):  # somebody registered this person at the same moment, elsewhere
                try:
                    outcome = await self.register(desk, accepted[n], channel, asks[n])
                except Refused as refused:
                    outcome = refused
            elif isinstance(outcome, Refused):
                metrics.ALREADY_REGISTERED.labels(channel).inc()
            if isinstance(outcome, KeyReused):
                raise outcome
            outcomes[n] = outcome
        return outcomes

    async def _register(
        self, subject: str, desk: Desk, accepted: Accepted, channel: str, ask: CommandMetadata
    ) -> Result:
        private = await self.persons.private(subject, desk.round.round, accepted, self.clock().recorded)
        command = _register(desk, accepted, channel)
        return await execute(self.store, subject, command, self.clock, replace(ask, private=private))

    async def _answered(self, ask: CommandMetadata) -> str | None:
        return (await self.store.holders("answered", [ask.key])).get(ask.key) if ask.key else None

    async def _holder(self, desk: Desk, accepted: Accepted) -> str | None:
        return next(iter((await self.store.holders("person", self._indexes(desk, accepted))).values()), None)

    def _indexes(self, desk: Desk, accepted: Accepted) -> Sequence[str]:
        return self.persons.indexes(desk.round.round, accepted.person.national_id)


def _register(desk: Desk, accepted: Accepted, channel: str) -> Register:
    place = Context(
        round=desk.round.round,
        province=accepted.province,
        county=accepted.county,
        field=accepted.field,
        policy=desk.round.policy,
    )
    return Register(
        place=place,
        sex=accepted.sex,
        age_band=accepted.age_band,
        work_mode=accepted.work_mode,
        intake_channel=channel,
    )
