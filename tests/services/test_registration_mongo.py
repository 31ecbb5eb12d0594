"""Registration on a real MongoDB: one a person, seats that add up, indexes that answer, an audit that is whole."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.envelope import Envelope, encode
from contracts.events import CaseDecided
from contracts.subjects import ledger_subject
from kernel.batch import process
from kernel.errors import Transient
from kernel.record import Message
from kernel.stores.mongodb import connect
from registration.consumer.seats import Allocator
from registration.domain import ledger
from registration.main import prepare, unfinished
from registration.store.audit import MongoAudit, broken
from tests.support.registration_api import ALL, RegistrationOffice, a_file, a_national_id
from tests.support.servers import Servers

pytestmark = pytest.mark.server
IMPORT = "/v1/rounds/1404/applications/import"
LEDGER = ledger_subject("1404", "IR-20")


@pytest.fixture
async def office(servers: Servers, tmp_path: Path) -> AsyncIterator[RegistrationOffice]:
    client, name = connect(servers.mongo), servers.database()
    await prepare(client[name])
    await prepare(client[name])
    real_servers = RegistrationOffice(tmp_path, client, name)
    async with real_servers.client:
        yield real_servers
    await client.drop_database(name)
    await client.drop_database(f"{name}_keys")
    await client.close()


async def approve(office: RegistrationOffice, subjects: list[str]) -> None:
    """Screening approves them all."""
    heard = [
        Envelope(source="screening", subject=s, sequence=1, time=office.now, event=CaseDecided(outcome="approved"))
        for s in subjects
    ]
    await process(office.store, [Message(each, encode(each)) for each in heard], {}, office.clock)


async def imported(office: RegistrationOffice, count: int) -> list[str]:
    done = await office.ask("POST", IMPORT, csv=a_file(range(1, count + 1)), key="key-file")
    assert done.status_code == 200, done.text
    return [each["id"] for each in done.json()["applications"]]


async def seats(office: RegistrationOffice) -> ledger.State:
    state: ledger.State = (await office.store.read([LEDGER]))[LEDGER].state
    return state


async def test_fifty_at_once_make_one(office: RegistrationOffice) -> None:
    await office.open()
    same = await asyncio.gather(*(office.register(key="key-same", national_id=a_national_id(2)) for _ in range(50)))
    assert {(a.status_code, a.text) for a in same} == {(201, same[0].text)}
    answers = await asyncio.gather(*(office.register(key=f"key-{n:04d}") for n in range(50)))
    assert sorted(a.status_code for a in answers) == [201] + [409] * 49
    assert await office.store.records.count_documents({"kind": "applicant"}) == 2


async def test_nothing_in_the_records_tells_who_it_is(office: RegistrationOffice) -> None:
    await office.open()
    await office.register()
    [document] = await office.store.records.find({"kind": "applicant"}).to_list()
    for secret in ("9990000018", "مریم", "آزمون", "9120000018", "1989", "1368"):
        assert secret not in str(document) and secret.encode() not in b"".join(document["emitted"])


async def test_a_file_of_three_thousand_is_whole_and_sent_again_it_repeats(office: RegistrationOffice) -> None:
    await office.open()
    subjects = await imported(office, 3_000)
    assert len(set(subjects)) == 3_000
    again = await office.ask("POST", IMPORT, csv=a_file(range(1, 3_001)), key="key-file")
    assert (again.json()["registered"], again.json()["repeated"]) == (0, 3_000)
    assert await unfinished(office.store.database, office.now) == 1_000, "identities wait to be checked"
    await office.work()
    assert await unfinished(office.store.database, office.now) == 0
    office.later(hours=2)
    assert await unfinished(office.store.database, office.now) == 30, "the registry was away for one in a hundred"


async def test_the_right_hundred_of_five_hundred_with_two_allocators_at_once(office: RegistrationOffice) -> None:
    await office.open(quota=100)
    subjects = await imported(office, 500)
    await approve(office, subjects)
    other = Allocator(office.store, office.questions, office.clock)

    async def passes(allocator: Allocator) -> None:
        while await office.questions.unseated():
            with suppress(Transient):  # the worker's timer waits and comes again
                await allocator(ALL)

    await asyncio.gather(passes(office.allocator), passes(other))
    state = await seats(office)
    assert (state.quota, state.admitted) == (100, 100)
    records = await office.store.read(subjects)
    held = sorted(s for s, r in records.items() if r.state.seat)
    in_order = sorted(subjects, key=lambda s: (records[s].indexed["registered_at"], s))
    assert held == sorted(in_order[:100])
    assert all(r.last_sequence == 2 for r in records.values()), "each was told once"
    await office.ask("POST", f"/v1/applications/{held[0]}/withdrawal", json={"reason": "moved"})
    await asyncio.gather(passes(office.allocator), passes(other))
    await office.work()
    assert (await seats(office)).admitted == 100
    promoted = (await office.store.read([in_order[100]]))[in_order[100]]
    assert (
        promoted.state.seat
        and await office.questions.ahead((await office.store.read([in_order[102]]))[in_order[102]]) == 1
    )


async def test_a_raised_quota_is_found(office: RegistrationOffice) -> None:
    await office.open(quota=1)
    subjects = await imported(office, 3)
    await approve(office, subjects)
    await office.work()
    assert (await office.questions.waiting("1404")) == {LEDGER: 2} and not await office.questions.promotable()
    await office.open(quota=3)
    assert await office.questions.promotable() == {LEDGER}
    await office.work()
    assert (await seats(office)).admitted == 3 and not await office.questions.promotable()


async def test_every_question_is_answered_by_an_index(office: RegistrationOffice) -> None:
    await office.open(quota=5)
    subjects = await imported(office, 20)
    await approve(office, subjects)
    await office.allocator(ALL)
    questions = office.questions
    await office.store.database.command("profile", 2)
    await questions.unseated()
    await questions.promotable()
    await questions.line(LEDGER, "waiting", 10)
    await questions.waiting("1404")
    await questions.unchecked(ALL, office.now, 10)
    await questions.applications("1404", "IR-20", "waitlisted", "", 10)
    await questions.ledgers("1404")
    await office.store.holders("person", ["1404:v1:none"])
    await office.store.holders("tracking", ["NONE"])
    await office.store.database.command("profile", 0)
    asked = await office.store.database["system.profile"].find({"ns": office.store.records.full_name}).to_list()
    assert len(asked) >= 8
    assert not [each["command"] for each in asked if "COLLSCAN" in each.get("planSummary", "")]


async def test_two_who_read_at_once_stand_in_one_chain(office: RegistrationOffice) -> None:
    audit: MongoAudit = office.audit
    at = datetime(2025, 9, 27, 8, 0, 0, 123456, tzinfo=UTC)
    await asyncio.gather(*(audit.read_identity(f"registrar:{n}", "0199", "application", at) for n in range(20)))
    rows = await audit.all()
    assert [r.n for r in rows] == list(range(1, 21)) and broken(rows) == 0
    await audit.rows.update_one({"_id": 7}, {"$set": {"subject": "0200"}})
    assert broken(await audit.all()) == 7, "a row that was changed is found"


async def test_the_key_of_a_person_is_all_that_opens_them(office: RegistrationOffice) -> None:
    await office.open()
    made = (await office.register()).json()
    record = (await office.store.read([made["id"]]))[made["id"]]
    assert (await office.office.persons.open([record]))[made["id"]].national_id == "9990000018"
    await office.keys.destroy(record.private.content["key_id"])
    assert await office.office.persons.open([record]) == {}
    shown = (await office.ask("GET", f"/v1/applications/{made['id']}")).json()
    assert shown["identity"] is None and shown["status"] == "registered"
    assert (await office.register(key="key-0009")).status_code == 409, "the blind index stays"
