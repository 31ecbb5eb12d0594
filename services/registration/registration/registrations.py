"""Register applications, one per person and round nationwide; what the service opens to do so."""

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from math import inf
from time import monotonic
from typing import Any

import msgspec
from msgspec.structs import replace

from base.clock import Clock, Moment
from base.ids import uuid7, uuid7s
from base.tasks import TimeSlices
from contracts.commands import Refused
from contracts.envelope import Context
from contracts.subjects import round_subject
from kernel.commands import CommandMetadata, Outcome, Result, decide_one, execute, execute_many, stored_response
from kernel.errors import UniqueViolation
from kernel.record import Private, Record, reindex
from kernel.service import Runtime
from kernel.store import Store, read_snapshot
from kernel.stores.mongodb import MongoStore
from programme.calendar import tehran_day
from programme.numbers import national_id
from programme.policies import policy
from registration import metrics, queries
from registration.domain import applicant
from registration.domain import round as rounds
from registration.domain.applicant import Register, ReissueCode
from registration.domain.application import (
    Accepted,
    Answers,
    accept,
    profile_of,
)
from registration.erasures import Erasures
from registration.import_runs import ImportRuns, MongoDocuments
from registration.persons import NOTHING, Persons, with_kept
from registration.settings import RegistrationSettings
from registration.tracking_codes import TrackingCodes
from security.audit import Audit, MongoAudit
from security.encryption import KeyBlocks, Keyring

MILLISECOND = timedelta(milliseconds=1)  # the precision of registered_at
CACHED = 1.0  # seconds after which every process uses an amended round


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

    def __init__(self, store: Store, persons: Persons, codes: TrackingCodes, clock: Clock) -> None:
        self.store, self.persons, self.codes, self.clock = store, persons, codes, clock
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
            if response := await stored_response(self.store, metadata):
                return response
            raise
        try:
            return await self._execute(uuid7(), accepted, command, replace(metadata, new_subject=True))
        except UniqueViolation as violation:
            known = await self._registered(self.persons.indexes(accepted)) if violation.field == "person" else None
            if known is None:
                raise
        try:
            return await self._execute(known.subject, accepted, command, metadata, known.private)
        except Refused:
            metrics.ALREADY_REGISTERED.labels(channel).inc()
            raise

    async def register_many(
        self,
        snapshot: RoundSnapshot,
        accepted: Mapping[int, Accepted],
        channel: str,
        metadata: Mapping[int, CommandMetadata],
        after: datetime | None = None,
    ) -> dict[int, Result | Refused]:
        """Register many people, each independent of the others; by row number.

        In the published order they come after `after` and in the order of their rows, those who return after a
        withdrawal among them: they have an older id, so that the row before ends its transaction. Usually there is one.
        Raise KeyReused, NewerRules, UnreadableRecord, Transient.
        """
        by_subject, known = await self._subjects(accepted)
        slices = TimeSlices()
        before = {subject: record.private for subject, record in known.items()}
        own: dict[str, CommandMetadata] = {}
        for subject, row in by_subject.items():
            own[subject] = await self._sealed(subject, accepted[row], metadata[row], before.get(subject, NOTHING))
            await slices()
        commands = {subject: _command(accepted[row], channel) for subject, row in by_subject.items()}
        done: dict[str, Outcome] = {}
        registered_now = {subject for subject, record in known.items() if not applicant.has_left(record.state)}
        for run in _runs(by_subject, registered_now):
            part = {subject: commands[subject] for subject in run}
            done |= await execute_many(self.store, part, _later_clock(self.clock, after), own)
            after = last_registered((done[subject] for subject in run), after)
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

    async def rehearse_many(
        self, accepted: Mapping[int, Accepted], channel: str, metadata: Mapping[int, CommandMetadata]
    ) -> dict[int, Result | Refused]:
        """Return what `register_many` would return, by the same rules, and store nothing; ids and codes are not theirs.

        Raise KeyReused, NewerRules, UnreadableRecord, Transient.
        """
        by_subject, known = await self._subjects(accepted)
        slices, moment = TimeSlices(), self.clock()
        outcomes: dict[int, Result | Refused] = {}
        for subject, row in by_subject.items():
            record = known.get(subject) or Record(subject=subject, state=applicant.State())
            try:
                outcomes[row] = decide_one(self.store, record, _command(accepted[row], channel), metadata[row], moment)
            except Refused as refused:
                outcomes[row] = await stored_response(self.store, metadata[row]) or refused
            await slices()
        return outcomes

    async def _subjects(self, accepted: Mapping[int, Accepted]) -> tuple[dict[str, int], Mapping[str, Record]]:
        """Return the row of each subject, new or known, in the order of the rows, and the records of the known."""
        rows: dict[str, int] = {}
        slices = TimeSlices()
        for row, each in accepted.items():
            rows |= dict.fromkeys(self.persons.indexes(each), row)
            await slices()
        registered = await self.store.find_by_unique("person", rows.keys()) if rows else {}
        subjects = {rows[index]: subject for index, subject in registered.items()}
        new = iter(uuid7s(len(accepted)))
        by_subject = {subjects.get(row) or next(new): row for row in accepted}
        known = (await read_snapshot(self.store, subjects.values())).records if subjects else {}
        return by_subject, known

    async def answered(self, metadata: Mapping[int, CommandMetadata]) -> set[int]:
        """Return the rows that were registered under their keys."""
        rows = {each.idempotency_key: row for row, each in metadata.items() if each.idempotency_key}
        return {rows[key] for key in await self.store.find_by_unique("idempotency_key", rows)} if rows else set()

    async def registered_under(self, key: str) -> Record | None:
        """Return the applicant who was registered under an idempotency key, as they were."""
        response = await stored_response(self.store, CommandMetadata(idempotency_key=key))
        return response.record if response else None

    async def find_person(self, round_id: str, scope: str, number: str) -> Record | None:
        """Return the applicant with a national ID in a round and a scope; by the same queries if there is none."""
        people = self.persons.indexes_of(round_id, number)
        return await self._selected(round_id, scope, (await self.store.find_by_unique("person", people)).values())

    async def search(self, round_id: str, scope: str, typed: str) -> Record:
        """Return the applicant of a round and a scope with this national ID or tracking code, in any spelling.

        One who is outside the scope is searched for by the same queries as one who does not exist, and found by none.
        Raise Refused: search_unreadable, person_not_found; Transient.
        """
        codes = self.codes.hashes(typed)
        try:
            people = self.persons.indexes_of(round_id, national_id(typed))
        except Refused as refused:
            if not codes:
                raise Refused("search_unreadable", field="query") from refused
            people = []
        subjects = [*(await self.store.find_by_unique("person", people)).values()] if people else []
        subjects += (await self.store.find_by_unique("tracking", codes)).values() if codes else []
        if not (found := await self._selected(round_id, scope, subjects)):
            raise Refused("person_not_found", field="query")
        return found

    async def _selected(self, round_id: str, scope: str, subjects: Iterable[str]) -> Record | None:
        found = await self.store.find(queries.selected(round_id, scope, next(iter(subjects), "")))
        return found[0] if found else None

    def restored(self, before: Record, after: Record) -> Record:
        """Return a record with the events that only the log had after a restore, and as it was in the archive.

        The present tracking code finds the applicant again. The identity is in no event: it was sealed before what the
        events say of it, if the application is another one or was corrected since, or there is none.
        """
        state = after.state
        if not isinstance(state, applicant.State) or not state.application or state.erased_at:
            return after
        if applicant.identity_version(before.state) != applicant.identity_version(state):
            state = replace(state, unidentified=True)
        return reindex(self.codes.found_again(replace(after, state=state)), applicant)

    async def identify(self, subject: str, accepted: Accepted) -> Record:
        """Attach the identity to an applicant whose identity was lost. Raise Refused, Transient.

        identity_known: it was not lost. identity_differs: the application is not the one that the log has, or the
        national ID is that of another person.
        already_registered: the person has another application in the round.
        """
        while True:
            before = (await self.store.read([subject]))[subject]
            if not before.state.unidentified:
                raise Refused("identity_known")
            known = before.state
            day = tehran_day(known.current.registered_at)
            profile = {**accepted.profile, **profile_of(accepted.identity, day)}  # the age is that of the registration
            if _place(accepted.context) != _place(known.context) or profile != known.current.profile:
                raise Refused("identity_differs")
            people = before.private.indexed.get("person", ())  # of whom the identity was lost, not the index
            if people and set(people).isdisjoint(self.persons.indexes(accepted)):
                raise Refused("identity_differs")
            own = await self.persons.private(subject, accepted, self.clock().recorded, before.private)
            private = Private({**before.private.indexed, **own.indexed}, {**before.private.content, **own.content})
            after = replace(before, state=replace(before.state, unidentified=False), private=private)
            try:
                if stored := await self.store.swap(before, reindex(after, applicant)):
                    return stored
            except UniqueViolation as violation:
                raise Refused("already_registered", field="national_id") from violation

    async def reissue_code(self, subject: str, metadata: CommandMetadata) -> Record:
        """Issue the next tracking code to an applicant and return the record. Raise Refused, KeyReused, Transient."""
        own = replace(metadata, prepare=self.codes.issue)
        return (await execute(self.store, subject, ReissueCode(), self.clock, own)).record

    async def _execute(
        self,
        subject: str,
        accepted: Accepted,
        command: Register,
        metadata: CommandMetadata,
        before: Private = NOTHING,
    ) -> Result:
        sealed = await self._sealed(subject, accepted, metadata, before)
        return await execute(self.store, subject, command, self.clock, sealed)

    async def _sealed(
        self, subject: str, accepted: Accepted, metadata: CommandMetadata, before: Private
    ) -> CommandMetadata:
        """Return the metadata of a registration: identity, blind indexes and the next tracking code go with it."""
        private = await self.persons.private(subject, accepted, self.clock().recorded, before)
        return replace(metadata, prepare=lambda record: self.codes.issue(record, with_kept(private, record)))

    async def _registered(self, indexes: Sequence[str]) -> Record | None:
        """Return the applicant with one of these blind indexes."""
        found = list((await self.store.find_by_unique("person", indexes)).values())[:1]
        return (await self.store.read(found))[found[0]] if found else None


class Resources(msgspec.Struct, kw_only=True):
    """What registration opens beside its store; `api` is what only the API needs, see `api.dependencies`."""

    registrations: RegistrationService
    persons: Persons
    erasures: Erasures
    audit: Audit
    imports: ImportRuns
    api: Any = None


@asynccontextmanager
async def resources(runtime: Runtime[RegistrationSettings]) -> AsyncIterator[Resources]:
    """Open the keys of the identities, in a database of their own that backups of the data do not contain."""
    store = runtime.store
    assert isinstance(store, MongoStore), "a runtime over memory brings its resources"
    keyring = Keyring.of(runtime.settings)
    metrics.observe_keys(keyring.version, keyring.versions)
    persons = Persons(KeyBlocks(runtime.database("keys"), keyring), keyring)
    try:
        yield Resources(
            registrations=RegistrationService(store, persons, TrackingCodes.of(runtime.settings), runtime.clock),
            persons=persons,
            erasures=Erasures(store, persons.keys, runtime.clock),
            audit=MongoAudit(store.database),
            imports=ImportRuns(MongoDocuments(store.database), keyring),
        )
    finally:
        await persons.keys.close()


def last_registered(outcomes: Iterable[Outcome], after: datetime | None = None) -> datetime | None:
    """Return the latest time of these registrations and `after`."""
    times = [each.record.state.current.registered_at for each in outcomes if isinstance(each, Result)]
    return max([*times, *([after] if after else [])], default=None)


def _later_clock(clock: Clock, after: datetime | None) -> Clock:
    """Return the clock, always later than `after`, which may be this millisecond or from a clock that is ahead."""

    def now() -> Moment:
        moment = clock()
        return moment if after is None or moment.at > after else replace(moment, at=after + MILLISECOND)

    return now


def _runs(subjects: Iterable[str], registered: Collection[str]) -> Iterator[list[str]]:
    """Yield the subjects in runs whose ids grow; those who are registered need no place and end no run."""
    run: list[str] = []
    last = ""
    for subject in subjects:
        if subject not in registered:
            if subject <= last:
                yield run
                run = []
            last = subject
        run.append(subject)
    if run:
        yield run


def _place(where: Context) -> tuple[str, str, str]:
    return where.province, where.county, where.field


def _command(accepted: Accepted, channel: str) -> Register:
    return Register(context=accepted.context, profile=accepted.profile, intake_channel=channel)
