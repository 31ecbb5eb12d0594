"""Four services in one process, over memory, joined by logs on which everything may be repeated, late or lost once."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from base.clock import Moment
from contracts.commands import Refused
from contracts.envelope import Context, decode, digest
from contracts.subjects import PARTITIONS, ledger_subject, partition_of, round_subject
from kernel.batch import process
from kernel.commands import CommandMetadata, execute
from kernel.errors import Fenced, Transient, UniqueViolation
from kernel.record import LogPosition, Message, Private
from kernel.roles.scheduler import Scheduler
from kernel.stores.memory import MemoryStore
from market import store as market
from market.domain.connection import Connect, End, RaiseEvidence
from market.domain.offer import Answer, MakeOffer
from programme.policies import CURRENT
from registration.consumer.seats import Allocator
from registration.domain.applicant import IdentityChecked, Register, Withdraw
from registration.domain.ledger import SetQuota
from registration.domain.round import OpenRound, Window
from registration.store import memory as registration
from reporting.domain import RULES as REPORTING
from reporting.store import Board, MemoryTallies
from screening import store as screening
from screening.domain.capacity import IdentifyCapacity
from screening.domain.case import Decide

ROUND = "1404"
START = datetime(2025, 10, 1, 8, tzinfo=UTC)
PROVINCES = ("IR-20", "IR-10", "IR-07")
FIELD = "JF001"
HEARS = {
    "registration": ("screening",),
    "screening": ("registration",),
    "market": ("registration", "screening"),
    "reporting": ("registration", "screening", "market"),
}
ALL = frozenset(range(PARTITIONS))
Log = dict[int, list[Message]]  # partition -> what was written, in order


class Nation:
    """The country, and what chance does to it."""

    def __init__(self, chance: Random, trouble: float = 0.1) -> None:
        self.chance, self.trouble = chance, trouble
        self.at = START
        self.stores: dict[str, MemoryStore] = {
            "registration": registration.memory_store(),
            "screening": screening.memory_store(),
            "market": market.memory_store(),
            "reporting": MemoryStore("reporting", REPORTING),
        }
        self.tallies = MemoryTallies()
        self.logs: dict[str, Log] = {name: {p: [] for p in ALL} for name in self.stores}
        self.faults: list[Any] = []
        self.asked = 0
        self.acknowledged: set[str] = set()
        writing = asyncio.Lock()
        questions = registration.MemoryQuestions(self.stores["registration"])
        self.allocator = Allocator(self.stores["registration"], questions, self.clock)
        self.timers = {name: Scheduler(name, store, self.clock, writing) for name, store in self.stores.items()}
        for store in self.stores.values():
            self._break(store)

    def clock(self) -> Moment:
        """Programme time stands still between the steps; machine time is the same."""
        return Moment(self.at, self.at)

    # What people do

    async def open(self, quotas: Sequence[int]) -> None:
        """A round with a quota for each province."""
        window = Window(START - timedelta(days=1), START + timedelta(days=300))
        await self.ask(
            "registration",
            round_subject(ROUND),
            OpenRound(round=ROUND, policy=CURRENT, fields=(FIELD,), window=window),
        )
        for province, quota in zip(PROVINCES, quotas, strict=True):
            await self.quota(province, quota)

    async def quota(self, province: str, quota: int) -> None:
        """A province's quota is set, or changed."""
        command = SetQuota(round=ROUND, province=province, policy=CURRENT, quota=quota)
        await self.ask("registration", ledger_subject(ROUND, province), command)

    async def advance(self, person: int, province: int) -> None:
        """Whatever comes next for this person is asked for, at whichever door knows them."""
        office = self.stores["registration"]
        subject = await office.holder("person", f"{ROUND}/{person}") or f"applicant-{person}-{self.asked}"
        applicant = (await office.read([subject]))[subject].state
        case = (await self.stores["screening"].read([subject]))[subject].state
        producer = (await self.stores["market"].read([subject]))[subject].state
        if not applicant.application or applicant.now.withdrawn_at:
            place = Context(round=ROUND, province=PROVINCES[province % 3], county="2001", field=FIELD, policy=CURRENT)
            command = Register(
                place=place, sex="female", age_band="25-34", work_mode="independent", intake_channel="web"
            )
            private = Private({"person": f"{ROUND}/{person}", "tracking": f"t-{person}"})
            if await self.ask("registration", subject, command, private):
                self.acknowledged.add(subject)
            return
        if not applicant.now.identity and self.chance.random() < 0.5:
            result = self.chance.choice(["match", "match", "mismatch", "unavailable"])
            await self.ask("registration", subject, IdentityChecked(applicant.application, result))
        await self.ask("screening", subject, self._decision(person))
        if case.seat:
            await self.ask("screening", subject, IdentifyCapacity("processing", "kilogram", "10-49", "skilled"))
        if producer.readied:
            await self._sell(subject, producer)

    def _decision(self, person: int) -> Decide:
        if self.chance.random() < 0.85:
            return Decide("approved", by="screener:s")
        return Decide("rejected", ("incomplete",), by="screener:s")

    async def _sell(self, subject: str, producer: Any) -> None:
        chosen = self.chance.choice(["offer", "connect", "raise", "raise", "end"])
        if chosen == "offer":
            await self.ask("market", subject, MakeOffer("direct"))
            await self.ask("market", subject, Answer(f"o{len(producer.offers) + 1}", accepted=True))
        elif chosen == "connect" or not producer.connections:
            grade = self.chance.choice(["E0", "E1", "E2"])
            await self.ask("market", subject, Connect("export", "company", grade, role="manager"))
        else:
            name = self.chance.choice(sorted(producer.connections))
            command = End(name, "completed") if chosen == "end" else RaiseEvidence(name, "E2", role="manager")
            await self.ask("market", subject, command)

    async def withdraw(self, person: int) -> None:
        """They leave."""
        if subject := await self.stores["registration"].holder("person", f"{ROUND}/{person}"):
            await self.ask("registration", subject, Withdraw("other"))

    async def ask(self, service: str, subject: str, command: Any, private: Private | None = None) -> bool:
        """A request with a key, repeated until it is answered, as a client does; says whether it was accepted."""
        self.asked += 1
        ask = CommandMetadata("somebody:", f"key-{self.asked}", b"", private)
        while True:
            try:
                await execute(self.stores[service], subject, command, self.clock, ask)
                return True
            except Transient:
                continue
            except (Refused, UniqueViolation):
                return False

    # What machines do

    async def relay(self, service: str) -> None:
        """Some of what waits is written to the log; the mark may be lost, and all of it may be written once more."""
        store, log = self.stores[service], self.logs[service]
        found = await store.waiting(ALL, 1_000)
        self.chance.shuffle(found)
        for waiting in found:
            some = waiting.emitted[
                : self.chance.randint(0, len(waiting.emitted)) if self.chance.random() < 0.3 else None
            ]
            self._write(service, log, some)
            if self.chance.random() > self.trouble:
                await store.mark_relayed({waiting.subject: waiting.relayed + len(some)})
        if self.chance.random() < self.trouble:  # a second relay, or a republication from what the owner emitted
            for emitted in self.chance.sample(list(store.emitted.values()), min(2, len(store.emitted))):
                self._write(service, log, emitted)

    def _write(self, service: str, log: Log, emitted: Sequence[bytes]) -> None:
        for raw in emitted:
            envelope = decode(raw)
            partition = partition_of(envelope.subject)
            log[partition].append(Message(envelope, raw, LogPosition(service, partition, len(log[partition]))))

    async def consume(self, service: str) -> None:
        """A batch from where the cursors stand; sometimes by two who both believe that it is theirs."""
        store = self.stores[service]
        cursors = await store.cursors([(topic, p) for topic in HEARS[service] for p in ALL])
        ranges, batch = {}, []
        for (topic, p), at in cursors.items():
            if at == (end := len(self.logs[topic][p])):
                continue
            upto = end if self.chance.random() < 0.7 else self.chance.randint(at, end)
            if upto > at:
                ranges[topic, p] = (at, upto)
                batch.append(self.logs[topic][p][at:upto])
        self.chance.shuffle(batch)  # between partitions and topics any order
        messages = [message for part in batch for message in part]
        projection = self.tallies.move if service == "reporting" else None

        async def once() -> None:
            with suppress(Transient, Fenced):
                done = await process(store, messages, ranges, self.clock, projection)
                self.faults += done.faults

        if ranges:
            await asyncio.gather(*(once() for _ in range(2 if self.chance.random() < self.trouble else 1)))

    async def call(self, service: str) -> None:
        """What is due, and seats; sometimes two allocators at once."""
        if service == "registration":
            self.allocator.looked = (
                -math.inf
            )  # it looks for promotions once a second of machine time, which stands still
            passes = [self.allocator(ALL) for _ in range(2 if self.chance.random() < self.trouble else 1)]
            await asyncio.gather(*passes, return_exceptions=True)
        self.timers[service].forget()
        with suppress(Transient):
            await self.timers[service].once(ALL)

    async def turn(self, service: str) -> None:
        """Everything that a worker of this service does, in any order."""
        steps: list[Callable[[str], Awaitable[None]]] = [self.relay, self.consume, self.call]
        self.chance.shuffle(steps)
        for step in steps:
            await step(service)

    async def settle(self) -> None:
        """Until nothing is unsent, every cursor is at its end and nothing is due."""
        self.trouble = 0.0
        for _ in range(100):
            for service in self.stores:
                await self.turn(service)
            if await self._quiet():
                return
        raise AssertionError("the country does not come to rest")

    async def _quiet(self) -> bool:
        for service, store in self.stores.items():
            if await store.waiting(ALL, 1) or await store.due(ALL, self.at, 1):
                return False
            tps = [(topic, p) for topic in HEARS[service] for p in ALL]
            if any(at < len(self.logs[topic][p]) for (topic, p), at in (await store.cursors(tps)).items()):
                return False
        questions = self.allocator.questions
        return not (await questions.unseated() or await questions.promotable())

    def _break(self, store: MemoryStore) -> None:
        """The database now and then fails: before it has stored anything, or after, so that only the answer is lost."""
        swap, transact = store.swap, store.transact

        def troubled(do: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
            async def done(*args: Any, **options: Any) -> Any:
                if self.chance.random() < self.trouble / 2:
                    raise Transient("before")
                result = await do(*args, **options)
                if self.chance.random() < self.trouble / 2:
                    raise Transient("after")
                return result

            return done

        vars(store).update(swap=troubled(swap), transact=troubled(transact))

    # What is true in the end

    def told(self) -> dict[str, list[dict[str, Any]]]:
        """All that the owners ever emitted, by subject, as an outsider reads it; sequences dense, hashes a chain."""
        found: dict[str, list[dict[str, Any]]] = {}
        for service in ("registration", "screening", "market"):
            for subject, emitted in self.stores[service].emitted.items():
                events = [json.loads(raw) for raw in emitted]
                assert [e["sequence"] for e in events] == list(range(1, len(events) + 1))
                assert [e.get("previous", "") for e in events] == ["", *map(digest, emitted)][:-1] if events else True
                found.setdefault(subject, []).extend(events)
        return found

    def board(self) -> Board:
        """What reporting shows."""
        return Board(self.tallies, self.clock, pause=0)
