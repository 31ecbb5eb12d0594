"""Registration over a real MongoDB: one application per person, seats that add up, an unbroken audit chain."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from contracts.envelope import Envelope, encode
from contracts.events import CaseDecided
from contracts.subjects import ledger_subject
from kernel.batch import process
from kernel.errors import Conflict, Transient
from kernel.record import Message
from kernel.stores.mongodb import connect
from registration import queries
from registration.domain import ledger
from registration.jobs.audit_heads import AuditHeads
from registration.jobs.key_rotation import KeyRotation
from registration.jobs.seat_allocation import Allocator
from registration.persons import Persons
from registration.queries import promotable_ledgers, unchecked, unsettled_ledgers
from registration.service import service
from security.audit_heads import verify
from security.encryption import KeyBlocks, Keyring
from tests.support.registration_api import ALL_PARTITIONS, RegistrationApi, a_national_id, csv_file
from tests.support.servers import Servers

pytestmark = pytest.mark.server
IMPORT = "/v1/rounds/1404/applications/import"
LEDGER = ledger_subject("1404", "IR-20")


@pytest.fixture
async def api(servers: Servers, tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    client, name = connect(servers.mongo), servers.database()
    await service.create_indexes(client[name])
    await service.create_indexes(client[name])
    registration = RegistrationApi(tmp_path, client, name)
    async with registration.client:
        yield registration
    await client.drop_database(name)
    await client.drop_database(f"{name}_keys")
    await client.close()


async def approve(api: RegistrationApi, subjects: list[str]) -> None:
    """Consume an approval of each applicant."""
    envelopes = [
        Envelope(source="screening", subject=s, sequence=1, time=api.now, event=CaseDecided(outcome="approved"))
        for s in subjects
    ]
    await process(api.store, [Message(each, encode(each)) for each in envelopes], {}, api.clock)


async def import_applicants(api: RegistrationApi, count: int) -> list[str]:
    response = await api.request("POST", IMPORT, csv=csv_file(range(1, count + 1)), key="key-file")
    assert response.status_code == 200, response.text
    return [each["id"] for each in response.json()["applications"]]


async def seats(api: RegistrationApi) -> ledger.State:
    state: ledger.State = (await api.store.read([LEDGER]))[LEDGER].state
    return state


async def test_fifty_concurrent_requests_register_once(api: RegistrationApi) -> None:
    await api.open_round()
    same = await asyncio.gather(*(api.register(key="key-same", national_id=a_national_id(2)) for _ in range(50)))
    assert {(a.status_code, a.text) for a in same} == {(201, same[0].text)}
    responses = await asyncio.gather(*(api.register(key=f"key-{n:04d}") for n in range(50)))
    assert sorted(a.status_code for a in responses) == [201] + [409] * 49
    assert await api.store.records.count_documents({"kind": "applicant"}) == 2


async def test_no_record_contains_an_identity(api: RegistrationApi) -> None:
    await api.open_round()
    await api.register()
    [document] = await api.store.records.find({"kind": "applicant"}).to_list()
    for secret in ("9990000018", "مریم", "آزمون", "9120000018", "1989", "1368"):
        assert secret not in str(document) and secret.encode() not in b"".join(document["events"])


async def pending_work(api: RegistrationApi) -> int:
    """Count due identity checks, ledgers with undecided seats and promotable ledgers."""
    due: int = await api.store.count(unchecked(ALL_PARTITIONS, api.now, 0))
    return due + len(await unsettled_ledgers(api.store)) + len(await promotable_ledgers(api.store))


async def test_a_file_of_three_thousand_is_imported_and_repeated(api: RegistrationApi) -> None:
    await api.open_round()
    subjects = await import_applicants(api, 3_000)
    assert len(set(subjects)) == 3_000
    again = await api.request("POST", IMPORT, csv=csv_file(range(1, 3_001)), key="key-file")
    assert again.json()["registered"] == 3_000
    assert [each["id"] for each in again.json()["applications"]] == subjects
    api.advance(seconds=1)  # the last rows registered some milliseconds after the first
    assert await pending_work(api) == 3_000, "identity checks are due"
    await api.run_jobs()
    assert await pending_work(api) == 0
    api.advance(hours=2)
    assert await pending_work(api) == 30, "the registry was unavailable for one in a hundred"


async def test_two_concurrent_allocators_admit_the_first_hundred_of_five_hundred(api: RegistrationApi) -> None:
    await api.open_round(quota=100)
    subjects = await import_applicants(api, 500)
    await approve(api, subjects)
    other = Allocator(api.store, api.clock)

    async def passes(allocator: Allocator) -> None:
        while await queries.unsettled_ledgers(api.store):
            with suppress(Transient):  # the worker calls it again
                await allocator(ALL_PARTITIONS)

    await asyncio.gather(passes(api.allocator), passes(other))
    state = await seats(api)
    assert (state.quota, state.admitted) == (100, 100)
    records = await api.store.read(subjects)
    held = sorted(s for s, r in records.items() if r.state.seat)
    in_order = sorted(subjects, key=lambda s: (records[s].indexed["registered_at"], s))
    assert held == sorted(in_order[:100])
    assert all(r.last_sequence == 2 for r in records.values()), "each changed once"
    await api.request(
        "POST", f"/v1/applications/{held[0]}/withdrawal", json={"reason": "moved", "form_number": "20-1404-9"}
    )
    await asyncio.gather(passes(api.allocator), passes(other))
    await api.run_jobs()
    assert (await seats(api)).admitted == 100
    promoted = (await api.store.read([in_order[100]]))[in_order[100]]
    second_in_line = (await api.store.read([in_order[102]]))[in_order[102]]
    assert promoted.state.seat and await queries.count_ahead(api.store, second_in_line) == 1


async def test_a_raised_quota_is_found(api: RegistrationApi) -> None:
    await api.open_round(quota=1)
    subjects = await import_applicants(api, 3)
    await approve(api, subjects)
    await api.run_jobs()
    assert await queries.waiting_by_province(api.store, "1404") == {"IR-20": 2}
    assert not await queries.promotable_ledgers(api.store)
    await api.open_round(quota=3)
    assert await queries.promotable_ledgers(api.store) == {LEDGER}
    await api.run_jobs()
    assert (await seats(api)).admitted == 3 and not await queries.promotable_ledgers(api.store)


async def test_the_worker_signs_a_head_a_day_and_a_changed_reading_is_found(api: RegistrationApi) -> None:
    await api.open_round()
    made = (await api.register()).json()
    await asyncio.gather(*(api.request("GET", f"/v1/applications/{made['id']}", "registrar") for _ in range(20)))
    heads = AuditHeads(api.audit, api.persons.keyring, api.clock)
    assert [await heads(ALL_PARTITIONS), await heads(ALL_PARTITIONS)] == [1, 0]
    again = AuditHeads(api.audit, api.persons.keyring, api.clock)
    assert await again(ALL_PARTITIONS - {0}) == 0 == await again(ALL_PARTITIONS), "today's is there"
    key = (await api.request("GET", "/v1/audit/key", "")).json()["public_key"]
    found = await verify(api.store.database, key, api.clock().recorded)
    assert found.rows == 20 and found.heads == 1 and not found.defects and not found.unsigned_rows
    row = await api.audit.rows.find_one({}, sort=[("_id", -1)])
    await api.audit.rows.update_one({"_id": row["_id"]}, {"$set": {"subject": "0200"}})
    assert (await verify(api.store.database, key, api.clock().recorded)).defects


async def test_an_identity_cannot_be_opened_without_its_key(api: RegistrationApi) -> None:
    await api.open_round()
    made = (await api.register()).json()
    record = (await api.store.read([made["id"]]))[made["id"]]
    assert (await api.persons.open([record]))[made["id"]]["national_id"] == "9990000018"
    await api.keys.destroy([record.private.content["key_id"]])
    assert await api.persons.open([record]) == {}
    shown = (await api.request("GET", f"/v1/applications/{made['id']}")).json()
    assert shown["identity"] is None and shown["status"] == "registered"
    assert (await api.register(key="key-0009")).status_code == 409, "the blind index stays"


async def test_identities_are_checked_beside_an_unreadable_record(api: RegistrationApi) -> None:
    await api.open_round()
    broken, *others = await import_applicants(api, 4)
    await api.store.records.update_one({"_id": broken}, {"$set": {"state": "{"}})
    while not await api.checks(ALL_PARTITIONS):
        pass
    records = await api.store.read(others)
    assert {each.state.current.identity for each in records.values()} <= {"match", "mismatch", "unavailable"}


async def test_keys_are_rotated_while_others_are_destroyed(api: RegistrationApi) -> None:
    """In the two databases; two workers at once, and a key that is destroyed meanwhile stays destroyed."""
    await api.open_round()
    subjects = await import_applicants(api, 30)
    settings = api.settings
    older = {1: (settings.master_key.get_secret_value(), settings.index_key.get_secret_value())}
    api.persons.keyring = api.keys.keyring = Keyring("M" * 40, "I" * 40, 2, older)
    gone = (await api.store.read(subjects[:1]))[subjects[0]].private.content["key_id"]
    first, second = KeyRotation(api.store, api.persons), KeyRotation(api.store, api.persons)

    async def rotate(job: KeyRotation) -> None:
        done = 1
        while done:
            with suppress(Conflict):  # as the loop of a worker, which tries again
                done = await job(ALL_PARTITIONS)

    await asyncio.gather(rotate(first), rotate(second), api.keys.destroy([gone]))
    assert await api.keys.count_outdated() == 0
    assert not await api.store.count(queries.indexed_before(ALL_PARTITIONS, 2))
    new = Keyring("M" * 40, "I" * 40, 2)
    alone = Persons(KeyBlocks(api.keys.keys.database, new), new)
    persons = await alone.open(await api.applicants())
    assert persons.keys() == set(subjects[1:])
    for subject, person in persons.items():
        (index,) = alone.indexes_of("1404", person["national_id"])
        assert await api.store.find_by_unique("person", [index]) == {index: subject}
