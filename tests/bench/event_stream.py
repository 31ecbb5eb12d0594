"""A backlog of realistic events: lives that the four services' own rules make, of many people, thoroughly mixed.

Some thousand lives are lived through the rules; the rest are the same lives of other people: another id, and the
digests made anew. An event of 650 bytes costs 3 us so, and not 50.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle
from random import Random
from uuid import UUID

from aiokafka import AIOKafkaProducer

from base.clock import Moment
from contracts.codes import CHANNELS
from contracts.commands import Tick
from contracts.envelope import Context, decode, digest
from contracts.subjects import PARTITIONS, partition_of
from contracts.topics import topic_of
from kernel.record import Message, Record, emit, receive
from kernel.rules import Rules
from market.domain import producer as market
from market.domain.connection import Connect, RaiseEvidence
from programme.policies import CURRENT
from programme.reference import counties, job_fields
from registration.domain import applicant as registration
from registration.domain.applicant import Admit, IdentityChecked, Register, Waitlist, Withdraw
from screening.domain import applicant as screening
from screening.domain.capacity import IdentifyCapacity
from screening.domain.case import Decide

RULES: Mapping[str, Rules] = {"registration": registration, "screening": screening, "market": market}
HEARD_BY = {"registration": ("screening", "market"), "screening": ("registration", "market"), "market": ()}
START = datetime(2025, 10, 1, 6, tzinfo=UTC)
LIVED = 4_000  # lives that are lived, at most; the others resemble them
TWICE = 0.01  # of the events come a second time
BATCH_BYTES = 512 << 10

Life = dict[str, list[bytes]]  # what each service said about one person, in order


class Person:
    """One person in one round, in all services at once."""

    def __init__(self, subject: str, chance: Random, start: datetime = START) -> None:
        self.subject, self.chance = subject, chance
        self.at = start + timedelta(seconds=chance.randrange(60 * 86_400))
        self.records = {name: Record(subject=subject, state=rules.State()) for name, rules in RULES.items()}

    @property
    def life(self) -> Life:
        """What was said."""
        return {name: list(record.emitted) for name, record in self.records.items()}

    def ask(self, service: str, command: object, *, after: timedelta, actor: str = "registrar:of-2f9c") -> None:
        """Somebody asks a service, this long after what came before; the others hear what it says."""
        self.at += after
        record, rules = self.records[service], RULES[service]
        moment = Moment(self.at, self.at)
        said = emit(record, rules, service, rules.decide(record.state, command, self.at), moment, actor=actor)
        self._told(service, said, moment)

    def _told(self, service: str, after: Record, moment: Moment) -> None:
        new = after.emitted[len(self.records[service].emitted) :]
        self.records[service] = after
        for raw in new:
            for other in HEARD_BY[service]:
                message = Message(decode(raw), raw)
                self._told(other, receive(self.records[other], RULES[other], other, message, moment), moment)

    def live(self) -> Life:
        """From registration to a market, as far as it goes."""
        chance = self.chance

        def days(most: int) -> timedelta:
            return timedelta(seconds=chance.randrange(600, most * 86_400))

        self._register()
        if chance.random() < 0.95:
            result = "match" if chance.random() < 0.93 else "mismatch"
            self.ask("registration", IdentityChecked(1, result), after=timedelta(seconds=2), actor="registry:")
        if chance.random() < 0.04:
            self.ask("registration", Withdraw("own_request"), after=days(8))
            return self.life
        if chance.random() < 0.06:  # nobody decides: the clock tells
            self.ask("screening", Tick(self.at + timedelta(days=40)), after=timedelta(days=40), actor="clock:")
            return self.life
        if chance.random() < 0.25:
            reject = Decide("rejected", ("field_not_suitable",), by="screener:of-77")
            self.ask("screening", reject, after=days(9), actor=reject.by)
            return self.life
        self._approve(days(14))
        seat = Admit() if chance.random() < 0.85 else Waitlist()
        self.ask("registration", seat, after=timedelta(seconds=1), actor="allocator:")
        if isinstance(seat, Waitlist) or chance.random() < 0.25:
            return self.life
        known = IdentifyCapacity("handicrafts", "piece", "10-49", "skilled", ("training",))
        self.ask("screening", known, after=days(25), actor="labour_expert:of-9")
        if chance.random() < 0.45:
            grade = chance.choice(("E0", "E1", "E2"))
            connect = Connect(chance.choice(list(CHANNELS)), "company", grade, role="manager")
            self.ask("market", connect, after=days(40), actor="manager:of-3")
            if grade == "E0":
                self.ask("market", RaiseEvidence("c1", "E2", role="manager"), after=days(20), actor="manager:of-3")
        return self.life

    def admitted(self) -> Life:
        """Registered and admitted, and nothing else that registration says."""
        self._register()
        self._approve(timedelta(days=3))
        self.ask("registration", Admit(), after=timedelta(seconds=1), actor="allocator:")
        return self.life

    def _register(self) -> None:
        county = self.chance.choice(list(counties().values()))
        place = Context(
            round="1404",
            province=county.province,
            county=county.code,
            field=self.chance.choice(list(job_fields())),
            policy=CURRENT,
        )
        sex = "female" if self.chance.random() < 0.7 else "male"
        command = Register(place=place, sex=sex, age_band="25-34", work_mode="independent", intake_channel="api")
        self.ask("registration", command, after=timedelta(0))

    def _approve(self, after: timedelta) -> None:
        approve = Decide("approved", ("meets_conditions",), by="screener:of-77")
        self.ask("screening", approve, after=after, actor=approve.by)


def lives(events: int, seed: int, *, only: str = "") -> Iterator[Life]:
    """Lives of different people, until there are so many events; with `only`, of this service and admitted at once.

    The latter begin in future: no deadline passes while they are read, and the clock has nothing to say.
    """
    chance, start = Random(seed), datetime.now(UTC) if only else START
    lived: list[tuple[str, Life]] = []
    told = 0
    while told < events and len(lived) < LIVED:
        person = Person(_id(chance), chance, start)
        life = person.admitted() if only else person.live()
        lived.append((person.subject, {only: life[only]} if only else life))
        told += sum(map(len, lived[-1][1].values()))
        yield lived[-1][1]
    for subject, life in cycle(lived):
        if told >= events:
            return
        yield _of_another(subject.encode(), _id(chance).encode(), life)
        told += sum(map(len, life.values()))


class Stream:
    """A backlog: per topic and partition the events in their order in the log."""

    def __init__(self, found: Sequence[Life], seed: int) -> None:
        """Mixes them: in order only per (source, applicant), and some events twice."""
        chance = Random(seed)
        self.people, self.unique = len(found), sum(len(said) for life in found for said in life.values())
        self.counts: Counter[tuple[str, int]] = Counter()
        self.logs: dict[tuple[str, int], list[tuple[bytes, bytes]]] = {}
        ids = [decode(next(raw for said in life.values() for raw in said)).subject for life in found]
        places = [(partition_of(subject), subject.encode()) for subject in ids]
        for source in found[0]:
            turns = [n for n, life in enumerate(found) for _ in life[source]]
            chance.shuffle(turns)
            told = [0] * len(found)
            logs: list[list[tuple[bytes, bytes]]] = [[] for _ in range(PARTITIONS)]
            for n in turns:
                partition, key = places[n]
                said = found[n][source]
                logs[partition].append((key, said[told[n]]))
                told[n] += 1
                if chance.random() < TWICE:
                    logs[partition].append((key, said[chance.randrange(told[n])]))
            for partition, log in enumerate(logs):
                if log:
                    self.logs[topic_of(source), partition] = log
                    self.counts[topic_of(source), partition] = len(log)

    @property
    def events(self) -> int:
        """How many the log has, repeats included."""
        return sum(self.counts.values())

    @property
    def bytes_each(self) -> float:
        """The mean size of an event."""
        return sum(len(raw) for log in self.logs.values() for _, raw in log) / self.events

    async def publish(self, kafka: str) -> None:
        """Writes the topics, and forgets the events."""
        async with AIOKafkaProducer(
            bootstrap_servers=kafka, acks="all", max_batch_size=BATCH_BYTES, max_request_size=4 << 20
        ) as to:
            waiting = []
            for (topic, partition), log in self.logs.items():
                batch = to.create_batch()
                for key, raw in log:
                    if batch.append(key=key, value=raw, timestamp=None) is None:
                        waiting.append(await to.send_batch(batch, topic, partition=partition))
                        batch = to.create_batch()
                        batch.append(key=key, value=raw, timestamp=None)
                waiting.append(await to.send_batch(batch, topic, partition=partition))
            for each in waiting:
                await each
        self.logs = {}


def _id(chance: Random) -> str:
    return str(UUID(int=0x0199_0000_0000_7000_8000 << 48 | chance.getrandbits(48)))


def _of_another(one: bytes, other: bytes, life: Life) -> Life:
    """The same life of another person."""
    told: Life = {}
    for source, said in life.items():
        told[source], before, now = [], b"", b""
        for n, raw in enumerate(said):
            new = raw.replace(one, other)
            if n:
                new = new.replace(before, now)
            before, now = digest(raw).encode(), digest(new).encode()
            told[source].append(new)
    return told
