"""A backlog of realistic events about many applicants, made by the services' own rules and thoroughly mixed.

The rules produce the stories of some thousand applicants; the rest are copies of these with another id and other
digests. So an event of 650 bytes costs 3 us to make instead of 50.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle
from random import Random
from uuid import UUID

from aiokafka import AIOKafkaProducer

from base.clock import Moment
from base.kafka_access import KafkaAccess
from contracts.codes import CHANNELS, CONDITIONS
from contracts.commands import Tick
from contracts.envelope import Context, decode, digest
from contracts.subjects import PARTITIONS, partition_of
from contracts.topics import topic_of
from kernel.record import Message, Record, consume, emit
from kernel.rules import Rules
from market.domain import producer as market
from market.domain.connection import Connect, RaiseEvidence
from programme.policies import CURRENT
from programme.reference import counties, job_fields
from registration.domain import applicant as registration
from registration.domain.applicant import Admit, RecordIdentityCheck, Register, Waitlist, Withdraw
from screening.domain import applicant as screening
from screening.domain.capacity import IdentifyCapacity
from screening.domain.case import Decide

RULES: Mapping[str, Rules] = {"registration": registration, "screening": screening, "market": market}
CONSUMERS = {"registration": ("screening", "market"), "screening": ("registration", "market"), "market": ()}
START = datetime(2025, 10, 1, 6, tzinfo=UTC)
ORIGINALS = 4_000  # stories that the rules produce, at most; the others are copies
REPEATED = 0.01  # of the events occur twice
BATCH_BYTES = 512 << 10

Story = dict[str, list[bytes]]  # service -> the events that it emitted about one applicant, in order


class Person:
    """One applicant in one round, in all services at once."""

    def __init__(self, subject: str, random: Random, start: datetime = START) -> None:
        self.subject, self.random = subject, random
        self.at = start + timedelta(seconds=random.randrange(60 * 86_400))
        self.records = {name: Record(subject=subject, state=rules.State()) for name, rules in RULES.items()}

    @property
    def story(self) -> Story:
        """Return the events so far."""
        return {name: list(record.new_events) for name, record in self.records.items()}

    def execute(self, service: str, command: object, *, after: timedelta, actor: str = "registrar:of-2f9c") -> None:
        """Send a command to a service, this long after the previous one; the other services consume its events."""
        self.at += after
        record, rules = self.records[service], RULES[service]
        moment = Moment(self.at, self.at)
        changed = emit(record, rules, service, rules.decide(record.state, command, self.at), moment, actor=actor)
        self._deliver(service, changed, moment)

    def _deliver(self, service: str, after: Record, moment: Moment) -> None:
        new = after.new_events[len(self.records[service].new_events) :]
        self.records[service] = after
        for raw in new:
            for other in CONSUMERS[service]:
                message = Message(decode(raw), raw)
                changed, _ = consume(self.records[other], RULES[other], other, [message], moment)
                self._deliver(other, changed, moment)

    def full_story(self) -> Story:
        """Go from registration to a connection, as far as it comes."""
        random = self.random

        def days(most: int) -> timedelta:
            return timedelta(seconds=random.randrange(600, most * 86_400))

        self._register()
        if random.random() < 0.95:
            result = "match" if random.random() < 0.93 else "mismatch"
            self.execute("registration", RecordIdentityCheck(1, result), after=timedelta(seconds=2), actor="registry:")
        if random.random() < 0.04:
            self.execute("registration", Withdraw("own_request"), after=days(8))
            return self.story
        if random.random() < 0.06:  # no one decides in time: the scheduler breaches the deadline
            self.execute("screening", Tick(self.at + timedelta(days=40)), after=timedelta(days=40), actor="clock:")
            return self.story
        if random.random() < 0.25:
            reject = Decide("rejected", ("field_not_suitable",), by="screener:of-77")
            self.execute("screening", reject, after=days(9), actor=reject.by)
            return self.story
        self._approve(days(14))
        seat = Admit() if random.random() < 0.85 else Waitlist()
        self.execute("registration", seat, after=timedelta(seconds=1), actor="allocator:")
        if isinstance(seat, Waitlist) or random.random() < 0.25:
            return self.story
        capacity = IdentifyCapacity("handicrafts", "piece", "10-49", "skilled", ("training",))
        self.execute("screening", capacity, after=days(25), actor="labour_expert:of-9")
        if random.random() < 0.45:
            grade = random.choice(("E0", "E1", "E2"))
            connect = Connect(random.choice(list(CHANNELS)), "company", grade, role="manager")
            self.execute("market", connect, after=days(40), actor="manager:of-3")
            if grade == "E0":
                evidence = RaiseEvidence("c1", "E2", role="manager")
                self.execute("market", evidence, after=days(20), actor="manager:of-3")
        return self.story

    def admitted(self) -> Story:
        """Register and admit the applicant; registration emits nothing else."""
        self._register()
        self._approve(timedelta(days=3))
        self.execute("registration", Admit(), after=timedelta(seconds=1), actor="allocator:")
        return self.story

    def _register(self) -> None:
        county = self.random.choice(list(counties().values()))
        context = Context(
            round="1404",
            province=county.province,
            county=county.code,
            field=self.random.choice(list(job_fields())),
            policy=CURRENT,
        )
        profile = {
            "sex": "female" if self.random.random() < 0.7 else "male",
            "age_band": "25-34",
            "work_mode": "independent",
        }
        command = Register(context=context, profile=profile, intake_channel="api")
        self.execute("registration", command, after=timedelta(0))

    def _approve(self, after: timedelta) -> None:
        approve = Decide("approved", ("meets_conditions",), dict.fromkeys(CONDITIONS, True), by="screener:of-77")
        self.execute("screening", approve, after=after, actor=approve.by)


def stories(events: int, seed: int, *, only: str = "") -> Iterator[Story]:
    """Yield stories of different applicants until there are so many events.

    With `only`, yield the events of this service about applicants who are admitted at once. These begin in the future:
    no deadline passes while they are read, and the scheduler has nothing to do.
    """
    random, start = Random(seed), datetime.now(UTC) if only else START
    originals: list[tuple[str, Story]] = []
    count = 0
    while count < events and len(originals) < ORIGINALS:
        person = Person(_id(random), random, start)
        story = person.admitted() if only else person.full_story()
        originals.append((person.subject, {only: story[only]} if only else story))
        count += sum(map(len, originals[-1][1].values()))
        yield originals[-1][1]
    for subject, story in cycle(originals):
        if count >= events:
            return
        yield _with_subject(subject.encode(), _id(random).encode(), story)
        count += sum(map(len, story.values()))


class Stream:
    """A backlog: the events of each topic and partition in the order in which the log holds them."""

    def __init__(self, stories: Sequence[Story], seed: int) -> None:
        """Mix them: in order only per source and applicant, and some events twice."""
        random = Random(seed)
        self.people, self.unique = len(stories), sum(len(events) for story in stories for events in story.values())
        self.counts: Counter[tuple[str, int]] = Counter()
        self.logs: dict[tuple[str, int], list[tuple[bytes, bytes]]] = {}
        subjects = [decode(next(raw for events in story.values() for raw in events)).subject for story in stories]
        keys = [(partition_of(subject), subject.encode()) for subject in subjects]
        for source in stories[0]:
            order = [n for n, story in enumerate(stories) for _ in story[source]]
            random.shuffle(order)
            written = [0] * len(stories)
            logs: list[list[tuple[bytes, bytes]]] = [[] for _ in range(PARTITIONS)]
            for n in order:
                partition, key = keys[n]
                events = stories[n][source]
                logs[partition].append((key, events[written[n]]))
                written[n] += 1
                if random.random() < REPEATED:
                    logs[partition].append((key, events[random.randrange(written[n])]))
            for partition, log in enumerate(logs):
                if log:
                    self.logs[topic_of(source), partition] = log
                    self.counts[topic_of(source), partition] = len(log)

    @property
    def events(self) -> int:
        """Return the number of events in the log, repeats included."""
        return sum(self.counts.values())

    @property
    def mean_bytes(self) -> float:
        """Return the mean size of an event in bytes."""
        return sum(len(raw) for log in self.logs.values() for _, raw in log) / self.events

    async def publish(self, kafka: KafkaAccess) -> None:
        """Write the topics, and free the events."""
        async with AIOKafkaProducer(
            **kafka.options(), acks="all", max_batch_size=BATCH_BYTES, max_request_size=4 << 20
        ) as producer:
            acknowledgements = []
            for (topic, partition), log in self.logs.items():
                batch = producer.create_batch()
                for key, raw in log:
                    if batch.append(key=key, value=raw, timestamp=None) is None:
                        acknowledgements.append(await producer.send_batch(batch, topic, partition=partition))
                        batch = producer.create_batch()
                        batch.append(key=key, value=raw, timestamp=None)
                acknowledgements.append(await producer.send_batch(batch, topic, partition=partition))
            for each in acknowledgements:
                await each
        self.logs = {}


def _id(random: Random) -> str:
    return str(UUID(int=0x0199_0000_0000_7000_8000 << 48 | random.getrandbits(48)))


def _with_subject(old: bytes, new: bytes, story: Story) -> Story:
    """Copy a story for another applicant: replace the id, and compute the chain of digests again."""
    copy: Story = {}
    for source, events in story.items():
        copy[source], digest_before, digest_now = [], b"", b""
        for n, raw in enumerate(events):
            changed = raw.replace(old, new)
            if n:
                changed = changed.replace(digest_before, digest_now)
            digest_before, digest_now = digest(raw).encode(), digest(changed).encode()
            copy[source].append(changed)
    return copy
