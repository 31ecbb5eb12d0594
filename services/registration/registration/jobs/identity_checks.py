"""Check identities against the civil registry."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Protocol

from base.bisection import bisect
from base.clock import Clock
from kernel.commands import CommandMetadata, Outcome, Result, execute_many
from kernel.errors import Transient
from kernel.store import Store, read_snapshot
from registration import queries
from registration.domain.applicant import RecordIdentityCheck
from registration.domain.application import Values
from registration.jobs.faults import Faults
from registration.persons import Persons

CHECKS = 500  # identities in one request to the registry
CHECK_WAIT = 0.1  # seconds for which a call waits for the registry; the next call picks up a later answer
BORN = date(1970, 1, 1)  # of everyone whom the development registry does not match at once
CHECK_TIMEOUT = 10.0  # seconds, after which the registry counts as unavailable


class IdentityRegistry(Protocol):
    """Checks identities."""

    async def check(self, identities: Sequence[Values]) -> Sequence[str]:
        """Return `match`, `mismatch` or `unavailable` for each identity. Raise OSError, TimeoutError."""


class DevelopmentRegistry:
    """Answers from digits 4 to 9 of the national ID: of 100 serial numbers 97 match, 2 do not, 1 is unavailable.

    It takes the place of the civil registry in development; the same identity always gets the same answer. The 2 match
    as soon as their date of birth is corrected to BORN.
    """

    async def check(self, identities: Sequence[Values]) -> Sequence[str]:
        """Return an answer for each identity."""
        return [self.answer(each["national_id"], each["birth_date"]) for each in identities]

    def answer(self, national_id: str, born: date | None = None) -> str:
        """Return the answer for a national ID and a date of birth."""
        serial = int(national_id[3:9]) % 100
        return "unavailable" if serial == 0 else "mismatch" if serial <= 2 and born != BORN else "match"


class NoRegistry:
    """Answers `unavailable`: in production until the civil registry is connected. Applications do not wait for it."""

    async def check(self, identities: Sequence[Values]) -> Sequence[str]:
        """Return `unavailable` for each identity."""
        return ["unavailable"] * len(identities)


class IdentityChecks:
    """Checks due identities against the registry and records only its answer.

    A job blocks the other jobs of the worker, so the request to the registry runs as a task of its own.
    """

    def __init__(self, store: Store, persons: Persons, registry: IdentityRegistry, clock: Clock) -> None:
        self.store, self.persons, self.registry, self.clock = store, persons, registry, clock
        self.faults = Faults(store.service, "IdentityChecks")  # by applicant
        self.request: asyncio.Task[Mapping[str, RecordIdentityCheck]] | None = None

    async def __call__(self, partitions: frozenset[int]) -> int:
        """Send a request, or record the answers to it; return how many were recorded. Raise Transient."""
        if self.request is None:
            recent = self.faults.recent()
            query = queries.unchecked(partitions, self.clock().at, CHECKS + len(recent))
            due = [subject for subject in await self.store.find_subjects(query) if subject not in recent][:CHECKS]
            if not due:
                return 0
            self.request = asyncio.create_task(self._check(due))
            await asyncio.wait([self.request], timeout=CHECK_WAIT)
        if not self.request.done():
            return 0
        finished, self.request = self.request, None
        return await self._record(finished.result())

    async def _check(self, due: Sequence[str]) -> Mapping[str, RecordIdentityCheck]:
        snapshot = await read_snapshot(self.store, due)
        commands: dict[str, RecordIdentityCheck] = {}

        async def ask(subjects: Sequence[str]) -> None:
            identities = await self.persons.open([snapshot.records[subject] for subject in subjects])
            try:
                async with asyncio.timeout(CHECK_TIMEOUT):
                    results = await self.registry.check(list(identities.values()))
            except (OSError, TimeoutError):
                results = ["unavailable"] * len(identities)
            by_subject = dict(zip(identities, results, strict=True))
            for subject in subjects:
                state = snapshot.records[subject].state
                result = by_subject.get(subject, "unavailable")
                commands[subject] = RecordIdentityCheck(state.application, result, state.current.corrections)

        self.faults.report({subject: each.error for subject, each in snapshot.unreadable.items()})
        self.faults.report(await bisect(ask, list(snapshot.records), Transient))
        return commands

    async def _record(self, commands: Mapping[str, RecordIdentityCheck]) -> int:
        outcomes: dict[str, Outcome] = {}

        async def record(subjects: Sequence[str]) -> None:
            chunk = {subject: commands[subject] for subject in subjects}
            outcomes.update(await execute_many(self.store, chunk, self.clock, CommandMetadata(actor="identity:")))

        self.faults.report(await bisect(record, list(commands), Transient))
        self.faults.report({s: outcome for s, outcome in outcomes.items() if not isinstance(outcome, Result)})
        return sum(isinstance(outcome, Result) for outcome in outcomes.values())
