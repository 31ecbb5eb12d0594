"""Identity checks: a worker's duty asks the registry about whoever is due, and says what it answered."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from base.clock import Clock
from kernel.commands import CommandMetadata, execute_many
from kernel.store import Store
from registration.domain.applicant import IdentityChecked
from registration.domain.application import Person
from registration.store.persons import Persons
from registration.store.questions import Questions

BATCH = 500  # applicants asked about at once
PROMPT = 0.1  # seconds that a duty waits for the registry; what comes later is taken up by the next call
PATIENCE = 10.0  # seconds, after which the registry counts as away
ACTOR = "identity:"


class IdentityRegistry(Protocol):
    """Where identities are checked. An answer per person: match, mismatch or unavailable."""

    async def check(self, persons: Sequence[Person]) -> Sequence[str]:
        """What the registry says of each."""


class DevelopmentRegistry:
    """Answers from the national ID alone, always the same: of 100 serial numbers 97 match, 2 do not, 1 is unavailable.

    It stands where the civil registry's service will stand, and looks at nothing but digits 4 to 9.
    """

    async def check(self, persons: Sequence[Person]) -> Sequence[str]:
        """What these digits say."""
        return [self.answer(person.national_id) for person in persons]

    def answer(self, national_id: str) -> str:
        """By the last two of digits 4 to 9."""
        serial = int(national_id[3:9]) % 100
        return "unavailable" if serial == 0 else "mismatch" if serial <= 2 else "match"


class NoRegistry:
    """Outside development, until the civil registry is connected: nobody is confirmed, and nobody is held up."""

    async def check(self, persons: Sequence[Person]) -> Sequence[str]:
        """That there is no answer."""
        return ["unavailable"] * len(persons)


class IdentityChecks:
    """The duty. The worker opens the sealed identity to ask, and keeps nothing but the registry's word.

    Duties hold the worker's turn, so a slow registry is not waited for: it is asked on the side.
    """

    def __init__(
        self, store: Store, questions: Questions, persons: Persons, registry: IdentityRegistry, clock: Clock
    ) -> None:
        self.store, self.questions, self.persons, self.registry, self.clock = store, questions, persons, registry, clock
        self.asking: asyncio.Task[Mapping[str, IdentityChecked]] | None = None

    async def __call__(self, partitions: frozenset[int]) -> int:
        """Asks about who is due, or says what was answered; returns how many were. Raises Transient."""
        if self.asking is None:
            due = await self.questions.unchecked(partitions, self.clock().at, BATCH)
            if not due:
                return 0
            self.asking = asyncio.create_task(self._ask(due))
            await asyncio.wait([self.asking], timeout=PROMPT)
        if not self.asking.done():
            return 0
        answered, self.asking = self.asking, None
        commands = answered.result()
        await execute_many(self.store, commands, self.clock, CommandMetadata(actor=ACTOR))
        return len(commands)

    async def _ask(self, due: Sequence[str]) -> Mapping[str, IdentityChecked]:
        records = await self.store.read(due)
        persons = await self.persons.open(list(records.values()))
        try:
            async with asyncio.timeout(PATIENCE):
                results = await self.registry.check(list(persons.values()))
        except (OSError, TimeoutError):
            results = ["unavailable"] * len(persons)
        answers = dict(zip(persons, results, strict=True))
        return {
            subject: IdentityChecked(record.state.application, answers.get(subject, "unavailable"))
            for subject, record in records.items()
        }
