"""Screening over memory and MongoDB: the queue, scopes, claims, concurrent decisions, and lists of 500 decisions."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from base.clock import Moment
from contracts.codes import CONDITIONS
from contracts.commands import Refused, Tick
from contracts.envelope import Context, Envelope, encode
from contracts.events import ApplicantRegistered
from kernel.batch import process
from kernel.commands import CommandMetadata, execute, execute_many
from kernel.query import Query
from kernel.record import Message
from kernel.store import Store
from kernel.stores.memory import MemoryStore
from kernel.stores.mongodb import MongoStore, connect
from programme.calendar import day_end, tehran_day
from screening import queries
from screening.api.claims import IN_HAND, claim_next
from screening.domain.applicant import OPEN
from screening.domain.case import Decide
from screening.domain.claim import ClaimCase
from screening.service import service
from tests.support.service_api import subject_of

START = datetime(2025, 9, 27, 6, tzinfo=UTC)
YES = dict.fromkeys(CONDITIONS, True)
APPROVE = Decide("approved", checklist=YES, by="screener:of-1")
PERSON: dict[str, Any] = {"sex": "female", "age_band": "25-34", "work_mode": "independent", "intake_channel": "desk"}


class Stores(msgspec.Struct):
    """The records of screening."""

    records: Store

    async def found(self, query: Query) -> list[str]:
        """Return the subjects that match."""
        return await self.records.find_subjects(query)

    async def claim(self, officer: str, scope: str = "IR-20") -> str | None:
        """Claim the next case; return its subject."""
        record = await claim_next(self.records, clock, scope, officer)
        return record.subject if record else None

    async def claimed(self, *officers: str) -> set[str]:
        """Return the cases that these officers have claimed."""
        return {each.subject for officer in officers for each in await queries.claimed_by(self.records, officer)}


def clock() -> Moment:
    return Moment(START + timedelta(days=3), datetime.now(UTC))


@pytest.fixture(params=["memory", pytest.param("mongo", marks=pytest.mark.server)])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    """Empty stores."""
    if request.param == "memory":
        yield Stores(MemoryStore(service.name, service.rules))
        return
    servers = request.getfixturevalue("servers")
    client = connect(servers.mongo)
    database = client[servers.database()]
    for _ in range(2):  # the second time changes nothing
        await service.create_indexes(database)
    yield Stores(service.mongo_store(database))
    await client.drop_database(database.name)
    await client.close()


async def fill(store: Store, count: int, provinces: tuple[str, ...] = ("IR-20",)) -> list[str]:
    """Register `count` applicants, three a day, the last one first; every fifth by officer of-5."""
    messages = []
    for n in range(count):
        province = provinces[n % len(provinces)]
        envelope = Envelope(
            source="registration", subject=subject_of(n), sequence=1, time=START - timedelta(days=n // 3),
            event=ApplicantRegistered(**PERSON), actor="registrar:of-5" if n % 5 == 0 else "registrar:of-9",
            context=Context(
                round="1404", province=province, county=f"{province[3:]}0{n % 2 + 1}", field="JF001", policy="1404-1"
            ),
        )  # fmt: skip
        messages.append(Message(envelope, encode(envelope)))
    await process(store, messages, {}, clock)
    return [subject_of(n) for n in range(count)]


async def test_queue_is_ordered_and_paged(stores: Stores) -> None:
    await fill(stores.records, 20, ("IR-20", "IR-23"))
    paged: list[str] = []
    after = None
    while page := await stores.records.find(queries.queue("IR-20", "open", after=after, limit=3)):
        paged += [each.subject for each in page]
        after = queries.sort_key(page[-1])
    nationwide = await stores.records.find(queries.queue("", "open", limit=100))
    assert len(nationwide) == 20
    assert [each.subject for each in nationwide] == [r.subject for r in sorted(nationwide, key=queries.sort_key)]
    assert paged == [each.subject for each in nationwide if each.indexed["scope"].startswith("IR-20")]
    assert len(await stores.found(queries.queue("IR-20/2001", "open"))) == 10
    assert not await stores.found(queries.queue("IR-20/2002", "open"))
    assert not await stores.found(queries.queue("IR-2", "open")), "a scope is an area, not a prefix of its code"
    assert not await stores.found(queries.queue("", "decided"))


async def test_counts_agree_with_the_queue(stores: Stores) -> None:
    ids = await fill(stores.records, 12)
    await execute_many(stores.records, dict.fromkeys(ids[:3], APPROVE), clock)
    ends = [day_end(tehran_day(START) + timedelta(days=each)) for each in (8, 10, 11)]
    counts = await queries.count(stores.records, "IR-20", ends)
    assert counts.by_state == {"open": 9, "decided": 3}
    assert counts.due_until == tuple(
        [len(await stores.found(queries.queue("IR-20", "open", until=end))) for end in ends]
    )
    assert counts.due_until[-1] == 9 and (await queries.count(stores.records, "IR-23", ends)).by_state == {}
    by_county = [await queries.count(stores.records, f"IR-20/200{n}", ends) for n in (1, 2)]
    assert [sum(each.by_state.values()) for each in by_county] == [6, 6]
    assert sum(each.due_until[-1] for each in by_county) == 9


async def test_case_is_found_in_its_scope_only(stores: Stores) -> None:
    ids = await fill(stores.records, 2, ("IR-20", "IR-23"))
    for scope in ("", "IR-20", "IR-20/2001"):
        assert (await queries.find_case(stores.records, ids[0], scope)).subject == ids[0]
    for scope in ("IR-23", "IR-20/2002", "IR-2"):
        with pytest.raises(Refused, match="not_found"):
            await queries.find_case(stores.records, ids[0], scope)
    assert await stores.found(queries.selected("IR-20", [*ids, subject_of(77)])) == [ids[0]]


async def test_concurrent_claims_are_never_the_same(stores: Stores) -> None:
    ids = await fill(stores.records, 12)
    claimed = await asyncio.gather(*(stores.claim(f"screener:of-{n % 3}") for n in range(15)))
    cases = [each for each in claimed if each]
    assert len(set(cases)) == len(cases) == 12
    assert await stores.claimed(*(f"screener:of-{n}" for n in range(3))) == set(ids)
    assert await stores.claim("screener:of-1") is None


async def test_one_officer_cannot_take_the_whole_queue(stores: Stores) -> None:
    await fill(stores.records, 50)
    answers = await asyncio.gather(
        *(stores.claim(f"{('screener', 'manager')[n % 2]}:of-1") for n in range(40)), return_exceptions=True
    )
    taken = [each for each in answers if isinstance(each, str)]
    refused = [each for each in answers if isinstance(each, Refused) and each.code == "cases_in_hand"]
    assert len(taken) + len(refused) + answers.count(None) == 40
    assert len(set(taken)) == len(taken) <= IN_HAND
    while len(taken) < IN_HAND:
        taken.append(str(await stores.claim("screener:of-1")))
    for scope in ("IR-20", "IR-20/2001", "IR-10", ""):  # wherever the person's other tokens are for
        with pytest.raises(Refused, match="cases_in_hand"):
            await claim_next(stores.records, clock, scope, "screener:of-1")
    assert await stores.claimed("screener:of-1") == set(taken), "a refused claim keeps no case from others"

    await execute(stores.records, taken[0], APPROVE, clock, CommandMetadata(actor="screener:of-1"))
    assert await stores.claim("screener:of-1") not in (None, *taken)
    assert await stores.claim("screener:of-2") is not None


async def test_claims_go_on_behind_hundreds_of_claimed_cases(stores: Stores) -> None:
    """Whatever the number of claimed cases in front: they are not read, and two officers never get the same one."""
    ids = await fill(stores.records, 340)
    urgent = await stores.found(queries.queue("IR-20", "open"))
    taken = {case: ClaimCase(f"screener:of-{100 + n // IN_HAND}") for n, case in enumerate(urgent[:320])}
    for case, command in taken.items():
        await execute(stores.records, case, command, clock, CommandMetadata(actor=command.by))
    assert await stores.found(queries.queue("IR-20", OPEN)) == urgent[320:]
    answers = await asyncio.gather(*(stores.claim(f"screener:of-{n % 2}") for n in range(20)))
    assert sorted(map(str, answers)) == sorted(urgent[320:]) and len(ids) == 340
    assert await stores.claim("screener:of-1") is None
    counts = await queries.count(stores.records, "IR-20", [])
    assert counts.by_state == {"open": 340}, "a claimed case is an open one"

    await execute(stores.records, urgent[7], Tick(clock().at + timedelta(hours=2)), clock)
    assert await stores.claim("screener:of-1") == urgent[7], "the most urgent one again, once its claim is over"


async def test_registrar_is_not_offered_own_applicants(stores: Stores) -> None:
    await fill(stores.records, 1)
    assert await stores.claim("manager:of-5") is None
    assert await stores.claim("screener:of-1") == subject_of(0)


async def test_concurrent_decisions_on_a_case_make_one(stores: Stores) -> None:
    (case,) = await fill(stores.records, 1)
    commands = [
        execute(stores.records, case, APPROVE, clock, CommandMetadata(actor=f"screener:of-{n}")) for n in range(8)
    ]
    results = await asyncio.gather(*commands, return_exceptions=True)
    assert sum(not isinstance(each, Exception) for each in results) == 1
    assert len(await stores.records.history(case)) == 2


async def requests_of(stores: Stores) -> int:
    """Return how many requests the database has got; 0 for one in memory."""
    if not isinstance(stores.records, MongoStore):
        return 0
    return int((await stores.records.database.client.admin.command("serverStatus"))["network"]["numRequests"])


async def test_500_decisions_cost_a_few_requests(stores: Stores) -> None:
    """Not one each, or an officer would wait for them."""
    ids = await fill(stores.records, 500)
    before = await requests_of(stores)
    outcomes = await execute_many(stores.records, dict.fromkeys(ids, APPROVE), clock)
    assert len(outcomes) == 500 and not any(isinstance(each, Exception) for each in outcomes.values())
    assert await requests_of(stores) - before < 100
