"""Four services in one process, over memory, joined by logs: events may be repeated, late, reordered or lost once."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import msgspec

from base.clock import Moment
from contracts.codes import CONDITIONS
from contracts.commands import Refused
from contracts.envelope import Context, decode, digest
from contracts.subjects import PARTITIONS, partition_of, round_subject
from contracts.topics import topic_of, topics_consumed_by
from kernel.batch import drain, process
from kernel.commands import CommandMetadata, execute
from kernel.errors import Fenced, Transient, UniqueViolation
from kernel.record import LogPosition, Message, Parked, Private
from kernel.roles.scheduler import Scheduler
from kernel.service import Service
from kernel.store import Effects, due_query
from market.domain.connection import Connect, End, RaiseEvidence
from market.domain.offer import Answer, MakeOffer
from market.service import service as market
from programme.policies import CURRENT
from registration.domain.applicant import RecordIdentityCheck, Register, Withdraw, has_left
from registration.domain.identity import Correct
from registration.domain.round import OpenRound, Window
from registration.erasures import Erasures
from registration.jobs.seat_allocation import Allocator
from registration.queries import erasing, promotable_ledgers, unsettled_ledgers
from registration.service import service as registration
from reporting.ranking_cache import RankingCache
from reporting.service import service as reporting
from reporting.tallies import MemoryTallies
from screening.domain.appeal import DecideAppeal, FileAppeal
from screening.domain.capacity import IdentifyCapacity
from screening.domain.case import Decide
from screening.domain.info import RecordInfo, RequestInfo
from screening.service import service as screening
from security.encryption import Keyring, MemoryKeyBlocks
from tests.journeys.optimistic_store import OptimisticStore
from tests.journeys.two_persons import set_quota

ROUND = "1404"
START = datetime(2025, 10, 1, 8, tzinfo=UTC)
PROVINCES = ("IR-20", "IR-10", "IR-07")
FIELDS = ("JF001", "JF002")
OFFICERS = ("a", "b", "c")  # each in any role
YES = dict.fromkeys(CONDITIONS, True)
PROFILE = {"sex": "female", "age_band": "25-34", "work_mode": "independent"}
DECLARATIONS: Mapping[str, Service[Any]] = {each.name: each for each in (registration, screening, market, reporting)}
SERVICES = tuple(DECLARATIONS)
CONSUMED = {name: topics_consumed_by(name) for name in SERVICES}
ALL = frozenset(range(PARTITIONS))
QUIET_ROUNDS = 2  # of work that must change nothing before the platform counts as quiet
Log = dict[int, list[Message]]  # partition -> what was written, in order


def people_key(person: int) -> str:
    """Return the unique value of a person in the round."""
    return f"{ROUND}/{person}"


class InProcessPlatform:
    """All services, their logs, and the random errors that they meet.

    `error_rate` is the probability of a repeated batch, a lost mark, a second worker; half of it that of a failing
    database command.
    """

    def __init__(self, random: Random, error_rate: float = 0.1) -> None:
        self.random, self.error_rate = random, error_rate
        self.now = START
        self.tallies = MemoryTallies()
        self.stores = {
            name: OptimisticStore(name, each.rules, each.unique, self.tallies) for name, each in DECLARATIONS.items()
        }
        self.logs: dict[str, Log] = {topic_of(name): {p: [] for p in ALL} for name in SERVICES}  # by topic
        self.faults: list[Parked] = []  # heads that met an exception of the rules
        self.requests = 0
        self.acknowledged: set[str] = set()
        writing = asyncio.Lock()
        self.allocator = Allocator(self.stores["registration"], self.clock)
        self.keys = MemoryKeyBlocks(Keyring("master", "index"))
        self.erasures = Erasures(self.stores["registration"], self.keys, self.clock)
        self.erased: set[str] = set()
        self.schedulers = {name: Scheduler(name, store, self.clock, writing) for name, store in self.stores.items()}
        for store in self.stores.values():
            self._inject_errors(store)

    def clock(self) -> Moment:
        """Return the programme time, which stands still between the steps; machine time is the same."""
        return Moment(self.now, self.now)

    # What people do

    async def open_round(self, quotas: Sequence[int]) -> None:
        """Open a round with a quota for each province."""
        window = Window(START - timedelta(days=1), START + timedelta(days=300))
        command = OpenRound(round=ROUND, policy=CURRENT, fields=FIELDS, window=window)
        await self.request("registration", round_subject(ROUND), command)
        for province, quota in zip(PROVINCES, quotas, strict=True):
            await set_quota(self, province, quota)

    async def subject_of(self, person: int) -> str | None:
        """Return the applicant id of a person who is registered."""
        key = people_key(person)
        return (await self.stores["registration"].find_by_unique("person", [key])).get(key)

    async def advance(self, person: int, province: int) -> None:
        """Request the next step for a person, of each service that knows them."""
        subject = await self.subject_of(person) or f"{person:08x}-0000-7000-8000-{self.requests:012x}"
        state: dict[str, Any] = {
            name: (await self.stores[name].read([subject]))[subject].state
            for name in ("registration", "screening", "market")
        }
        applicant = state["registration"]
        if not applicant.application or has_left(applicant):
            await self._register(person, subject, PROVINCES[province % 3])
            return
        if not applicant.current.identity and self.random.random() < 0.5:
            result = self.random.choice(["match", "match", "mismatch", "unavailable"])
            check = RecordIdentityCheck(applicant.application, result, applicant.current.corrections)
            await self.request("registration", subject, check)
        await self._ask(subject, state["screening"])
        if not state["screening"].info.requested or self.random.random() < 0.6:
            await self.request("screening", subject, self._decision())
        await self._appeal(subject, state["screening"])
        if state["screening"].seat:
            capacity = IdentifyCapacity("processing", "kilogram", "10-49", "skilled")
            await self.request("screening", subject, capacity)
        if state["market"].readied:
            await self._sell(subject, state["market"])

    async def _register(self, person: int, subject: str, province: str) -> None:
        context = Context(round=ROUND, province=province, county=f"{province[3:]}01", field=FIELDS[0], policy=CURRENT)
        command = Register(context=context, profile=PROFILE, intake_channel="web")
        if await self.subject_of(person) is None:
            self.keys.stored[f"key-{person}"] = b"wrapped"
        content = {"key_id": f"key-{person}", "sealed": b"an identity", "consent": {"version": "1404-1"}}
        private = Private({"person": people_key(person), "tracking": f"t-{person}"}, content)
        actor = self.random.choice(["web:", self._officer("registrar")])
        if await self.request("registration", subject, command, private, actor):
            self.acknowledged.add(subject)

    def _officer(self, *roles: str) -> str:
        return f"{self.random.choice(roles)}:{self.random.choice(OFFICERS)}"

    def _decision(self) -> Decide:
        by = self._officer("screener", "manager")
        if self.random.random() < 0.75:
            return Decide("approved", checklist=YES, by=by)
        return Decide("rejected", ("incomplete",), by=by)

    async def _ask(self, subject: str, screening: Any) -> None:
        """Ask for a paper, or record that it came, also twice, late, after a decision or without a request."""
        if self.random.random() < 0.3:
            await self.request("screening", subject, RequestInfo(("sample_photo",), by="screener:s"))
        if self.random.random() < (0.4 if screening.info.requested else 0.05):
            await self.request("screening", subject, RecordInfo(("sample_photo",)))

    async def _appeal(self, subject: str, screening: Any) -> None:
        """File an appeal, or decide one: as an officer who may, or as one who decided first, filed or registered."""
        if screening.case.outcome == "rejected" and self.random.random() < 0.7:
            form = FileAppeal(f"{screening.province[3:]}-1404-{self.requests}")
            await self.request("screening", subject, form, actor=self._officer("registrar", "manager"))
        if screening.appeal.filed:
            await self.request("screening", subject, DecideAppeal(self._decision()))

    async def _sell(self, subject: str, producer: Any) -> None:
        step = self.random.choice(["offer", "connect", "raise", "raise", "end"])
        if step == "offer":
            await self.request("market", subject, MakeOffer("direct"))
            await self.request("market", subject, Answer(f"o{len(producer.offers) + 1}", accepted=True))
        elif step == "connect" or not producer.connections:
            grade = self.random.choice(["E0", "E1", "E2"])
            await self.request("market", subject, Connect("export", "company", grade, role="manager"))
        else:
            name = self.random.choice(sorted(producer.connections))
            command = End(name, "completed") if step == "end" else RaiseEvidence(name, "E2", role="manager")
            await self.request("market", subject, command)

    async def withdraw(self, person: int) -> None:
        """Withdraw the application of a person."""
        if subject := await self.subject_of(person):
            await self.request("registration", subject, Withdraw("other"), actor=self._officer("registrar"))

    async def correct(self, person: int) -> None:
        """Move a person to another county or job field, and correct their identity half of the time."""
        if subject := await self.subject_of(person):
            state = (await self.stores["registration"].read([subject]))[subject].state
            county = f"{state.context.province[3:]}0{self.random.randint(1, 2)}"
            command = Correct(
                application=state.application,
                context=msgspec.structs.replace(state.context, county=county, field=self.random.choice(FIELDS)),
                profile=PROFILE,
                identity=self.random.random() < 0.5,
                corrections=state.current.corrections,
            )
            await self.request("registration", subject, command, actor=self._officer("registrar"))

    async def erase(self, person: int) -> None:
        """Erase a person who is registered, perhaps once more."""
        while subject := await self.subject_of(person):
            with suppress(Transient):
                await self.erasures.erase(subject, "request", CommandMetadata("officer:"))
                self.erased.add(subject)
                return

    async def request(
        self, service: str, subject: str, command: Any, private: Private | None = None, actor: str = "officer:"
    ) -> bool:
        """Send a command by its key until it is answered, a decision by its officer; return whether it is accepted."""
        self.requests += 1
        decision = command.decision if isinstance(command, DecideAppeal) else command
        actor = decision.by if isinstance(decision, Decide) else actor
        metadata = CommandMetadata(actor, f"key-{self.requests}", b"", private)
        while True:
            try:
                await execute(self.stores[service], subject, command, self.clock, metadata)
                return True
            except Transient:
                continue
            except (Refused, UniqueViolation):
                return False

    # What workers do

    async def publish(self, service: str) -> None:
        """Write some pending events to the log. The mark may be lost, and any event may be written again."""
        store = self.stores[service]
        pending = await store.pending(ALL, 1_000)
        self.random.shuffle(pending)
        for each in pending:
            count = self.random.randint(0, len(each.events)) if self.random.random() < 0.3 else len(each.events)
            self.append(service, each.events[:count])
            if self.random.random() > self.error_rate:
                await store.mark_published({each.subject: each.published + count})
        if self.random.random() < self.error_rate:  # a second relay, or a republication after a loss of the log
            for events in self.random.sample(list(store.events.values()), min(2, len(store.events))):
                self.append(service, events)

    def append(self, service: str, events: Sequence[bytes]) -> None:
        """Write events to the topic of a service."""
        topic = topic_of(service)
        for raw in events:
            envelope = decode(raw)
            log = self.logs[topic][partition := partition_of(envelope.subject)]
            log.append(Message(envelope, raw, LogPosition(topic, partition, len(log))))

    async def consume(self, service: str) -> None:
        """Handle a batch from the cursors on; sometimes two workers both believe that it is theirs."""
        store = self.stores[service]
        cursors = await store.cursors([(topic, p) for topic in CONSUMED[service] for p in ALL])
        ranges, parts = {}, []
        for (topic, p), start in cursors.items():
            end = len(self.logs[topic][p])
            if start < end and self.random.random() >= 0.7:
                end = self.random.randint(start, end)
            if start < end:
                ranges[topic, p] = (start, end)
                parts.append(self.logs[topic][p][start:end])
        self.random.shuffle(parts)  # between partitions and topics any order
        messages = [message for part in parts for message in part]

        async def once() -> None:
            with suppress(Transient, Fenced):
                await process(store, messages, ranges, self.clock, self.projection(service))

        if ranges:
            await asyncio.gather(*(once() for _ in range(self._workers())))

    async def drain(self, service: str) -> None:
        """Handle parked events that are ready, sometimes by two workers at once; sometimes after an assignment."""
        store = self.stores[service]
        if self.random.random() < self.error_rate:
            await store.parked.release(["early"], partitions=ALL)  # as on assignment: it may be ready, or park again

        async def once() -> None:
            with suppress(Transient, Fenced):
                while await drain(store, ALL, self.clock, self.projection(service)):
                    pass

        await asyncio.gather(*(once() for _ in range(self._workers())))

    async def run_jobs(self, service: str) -> None:
        """Allocate seats, sometimes by two allocators at once, and send ticks to subjects that are due."""
        if service == "registration":
            self.erasures.queried_at = self.allocator.promotions_at = -math.inf  # machine time stands still
            with suppress(Transient):
                await self.erasures(ALL)
            self.allocator.faults.reported.clear()
            passes = [self.allocator(ALL) for _ in range(self._workers())]
            await asyncio.gather(*passes, return_exceptions=True)
        self.schedulers[service].retry_unresponsive()
        with suppress(Transient):
            await self.schedulers[service].once(ALL)

    async def work(self, service: str) -> None:
        """Do everything that a worker of this service does, in any order."""
        steps: list[Callable[[str], Awaitable[None]]] = [self.publish, self.consume, self.drain, self.run_jobs]
        self.random.shuffle(steps)
        if self.random.random() < self.error_rate:  # a worker that has lost its partitions and does not know it yet
            await asyncio.gather(*(step(service) for step in steps))
            return
        for step in steps:
            await step(service)

    def projection(self, service: str) -> Any:
        """Return the projection of a service."""
        return self.tallies.move if service == "reporting" else None

    async def settle(self) -> None:
        """Work without errors until the platform is quiet, and check that it stays so."""
        self.error_rate = 0.0
        for _ in range(100):
            await self._work_everywhere()
            if await self.is_quiet():
                break
        else:
            raise AssertionError("the platform does not come to rest")
        versions = self.versions()
        for _ in range(QUIET_ROUNDS):
            await self._work_everywhere()
        assert await self.is_quiet() and self.versions() == versions, "it was quiet for a moment only"

    async def _work_everywhere(self) -> None:
        for service in self.stores:
            await self.work(service)

    def versions(self) -> dict[tuple[str, str], int]:
        """Return the version of every record: unchanged means that nothing was written."""
        return {(name, s): r.version for name, store in self.stores.items() for s, r in store.records.items()}

    async def is_quiet(self) -> bool:
        """Return whether nothing is pending, behind, ready, due or to be allocated."""
        for service, store in self.stores.items():
            if (
                await store.pending(ALL, 1)
                or await store.parked.ready(ALL, 1)
                or await store.count(due_query(ALL, self.now, 1))
            ):
                return False
            partitions = [(topic, p) for topic in CONSUMED[service] for p in ALL]
            cursors = await store.cursors(partitions)
            if any(at < len(self.logs[topic][p]) for (topic, p), at in cursors.items()):
                return False
        registration = self.stores["registration"]
        if await registration.count(erasing(ALL, 1)):
            return False
        return not await unsettled_ledgers(registration) and not await promotable_ledgers(registration)

    def _workers(self) -> int:
        return 2 if self.random.random() < self.error_rate else 1

    def _inject_errors(self, store: OptimisticStore) -> None:
        """Let the database fail: before it has stored anything, or afterwards, so that only the answer is lost."""
        swap, transact = store.swap, store.transact

        def failing(command: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
            async def run(*args: Any, **options: Any) -> Any:
                if self.random.random() < self.error_rate / 2:
                    raise Transient("before")
                result = await command(*args, **options)
                if isinstance(result, Effects):
                    self.faults += [each for each in (*result.parked, *result.heads.values()) if each.reason == "fault"]
                if self.random.random() < self.error_rate / 2:
                    raise Transient("after")
                return result

            return run

        vars(store).update(swap=failing(swap), transact=failing(transact))

    # What is true in the end

    def emitted_events(self) -> dict[str, list[dict[str, Any]]]:
        """Return by subject all events as a subscriber reads them; check that sequences are dense, hashes a chain."""
        found: dict[str, list[dict[str, Any]]] = {}
        for service in ("registration", "screening", "market"):
            for subject, stored in self.stores[service].events.items():
                events = [json.loads(raw) for raw in stored]
                assert [e["sequence"] for e in events] == list(range(1, len(events) + 1))
                assert [e.get("previous", "") for e in events] == ["", *map(digest, stored)][: len(events)]
                found.setdefault(subject, []).extend(events)
        return found

    def ranking(self) -> RankingCache:
        """Return what reporting shows."""
        return RankingCache(self.stores["reporting"], self.tallies, self.clock, pause=0)
