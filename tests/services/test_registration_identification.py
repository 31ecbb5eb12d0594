"""Applicants whom only the log had after a restore: listed, without a new seat, and identified again at the desk."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from contracts.envelope import Envelope, decode, encode
from contracts.events import CaseDecided
from kernel.batch import process
from kernel.record import Message, Private, Record
from recovery.missing_events import take_back
from registration.domain import applicant
from registration.domain.applicant import seating
from registration.service import after_restore
from tests.support.registration_api import ERASURE, PERSON, RegistrationApi, a_national_id
from tests.support.small_api import problem_of

LIST = "/v1/rounds/1404/applications?unidentified=true"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    registration = RegistrationApi(tmp_path)
    async with registration.client:
        await registration.open_round(quota=5)
        yield registration


async def lost_with_the_store(api: RegistrationApi) -> tuple[str, str]:
    """Register PERSON and restore a backup from before; return the id and the tracking code."""
    registered = (await api.register()).json()
    subject, store = registered["id"], api.store
    raws = store.events[subject]
    empty = replace(store.records[subject], state=applicant.State(), last_sequence=0, last_hash="", inbox={})
    empty = replace(empty, private=Private(), indexed={}, stored_responses=(), version=0)
    before = replace(empty, last_time=decode(raws[0]).time)
    after, _ = take_back(before, applicant, dict(enumerate(raws, 1)), {})
    del store.records[subject], store.events[subject]
    store.by_unique.clear()
    assert await store.swap(before, api.registrations.restored(before, after))
    return subject, registered["tracking_code"]


async def restored_to(api: RegistrationApi, archived: Record) -> Record:
    """Restore a backup that has this record, and complete the record from the log."""
    store, subject = api.store, archived.subject
    raws = store.events[subject]
    after, missing = take_back(archived, applicant, dict(enumerate(raws, 1)), {})
    assert not missing and after is not archived
    del store.records[subject]
    store.events[subject] = raws[: archived.last_sequence]
    store.by_unique.clear()
    fresh = replace(archived, version=0)
    stored: Record = await store.swap(fresh, api.registrations.restored(archived, replace(after, version=0)))
    assert stored
    return stored


async def approve(api: RegistrationApi, subject: str) -> None:
    envelope = Envelope(
        source="screening", subject=subject, sequence=1, time=api.now, event=CaseDecided(outcome="approved")
    )
    await process(api.store, [Message(envelope, encode(envelope))], {}, api.clock)
    await api.run_jobs()


async def test_an_unidentified_applicant_is_listed_and_gets_no_seat_until_then(
    api: RegistrationApi,
) -> None:
    subject, code = await lost_with_the_store(api)
    await approve(api, subject)
    record = (await api.store.read([subject]))[subject]
    assert seating(record.state) == "" and "check_due" not in record.indexed
    (listed,) = (await api.request("GET", LIST)).json()["items"]
    assert (listed["id"], listed["status"]) == (subject, "approved")
    assert (await api.request("GET", LIST, scope="IR-07")).json()["items"] == []
    assert (await api.request("GET", f"/v1/tracking/{code}", "")).status_code == 200

    path = f"/v1/applications/{subject}/identity"
    problem_of(await api.request("POST", path, json=PERSON, scope="IR-07"), 404, "not_found")
    problem_of(await api.request("POST", path, json=PERSON | {"sex": "male"}), 409, "identity_differs")
    identified = await api.request("POST", path, json=PERSON)
    assert identified.status_code == 200 and identified.json()["id"] == subject
    assert (await api.request("GET", LIST)).json()["items"] == []
    await api.run_jobs()
    record = (await api.store.read([subject]))[subject]
    assert applicant.status(record.state) == "admitted" and record.state.current.identity
    assert (await api.persons.open([record]))[subject]["national_id"]
    problem_of(await api.register(), 409, "already_registered")
    problem_of(await api.request("POST", path, json=PERSON), 409, "identity_known")
    assert (await api.request("GET", f"/v1/tracking/{code}", "")).status_code == 200, "the code stays valid"


async def test_who_registered_again_is_noticed_when_the_former_application_is_identified(api: RegistrationApi) -> None:
    subject, _ = await lost_with_the_store(api)
    again = await api.register()
    assert again.status_code == 201, "nothing shows that it is the same person"
    path = f"/v1/applications/{subject}"
    problem_of(await api.request("POST", f"{path}/identity", json=PERSON), 409, "already_registered")
    assert [each["id"] for each in (await api.request("GET", LIST)).json()["items"]] == [subject]
    erased = await api.request("POST", f"{path}/erasure", "manager", json=ERASURE)
    assert erased.status_code == 200
    assert (await api.request("GET", LIST)).json()["items"] == []
    problem_of(await api.register(), 409, "already_registered")


async def test_an_unidentified_applicant_keeps_a_seat_and_may_give_it_back(api: RegistrationApi) -> None:
    subject = (await api.register()).json()["id"]
    await approve(api, subject)
    record = (await api.store.read([subject]))[subject]
    without = replace(record, private=Private())
    lost = await api.store.swap(record, api.registrations.restored(replace(record, state=applicant.State()), without))
    assert lost and lost.state.seat and seating(lost.state) == ""
    withdrawn = await api.request(
        "POST", f"/v1/applications/{subject}/withdrawal", json={"reason": "own_request", "form_number": "20-1404-9"}
    )
    assert withdrawn.status_code == 200
    await api.run_jobs()
    assert (await api.store.read([subject]))[subject].state.seat is None


async def test_whose_key_no_archive_has_is_listed_and_can_be_identified_again(api: RegistrationApi) -> None:
    """The same person cannot register again meanwhile, and who was erased is not listed."""
    registered = [await api.register(national_id=a_national_id(n), key=f"key-000{n}") for n in (1, 2, 3)]
    lost, erased, whole = (each.json()["id"] for each in registered)
    response = await api.request("POST", f"/v1/applications/{erased}/erasure", "manager", json=ERASURE)
    assert response.status_code == 200
    records = await api.store.read([lost, erased, whole])
    for each in (lost, erased):
        del api.persons.keys.stored[records[each].private.content["key_id"]]  # type: ignore[attr-defined]
    resources = SimpleNamespace(persons=api.persons, erasures=api.erasures)
    runtime: Any = SimpleNamespace(store=api.store, resources=resources)
    for _ in range(2):
        await after_restore(runtime)
    assert [each["id"] for each in (await api.request("GET", LIST)).json()["items"]] == [lost]
    again = PERSON | {"national_id": a_national_id(1)}
    problem_of(await api.register(national_id=a_national_id(1), key="key-0009"), 409, "already_registered")
    assert (await api.request("POST", f"/v1/applications/{lost}/identity", json=again)).status_code == 200
    await after_restore(runtime)
    assert (await api.request("GET", LIST)).json()["items"] == []
    opened = await api.persons.open(list((await api.store.read([lost, whole])).values()))
    assert {each["national_id"] for each in opened.values()} == {a_national_id(1), a_national_id(3)}


async def test_a_restore_that_loses_a_correction_is_listed_until_the_person_is_identified_again(
    api: RegistrationApi,
) -> None:
    """The event of the correction comes back, the corrected identity is in no event: the archived one is not taken."""
    subject = (await api.register()).json()["id"]
    archived = (await api.store.read([subject]))[subject]
    corrected = {"form_number": "20-1404-9", "first_name": "زهرا", "birth_date": "1990-01-01"}
    path = f"/v1/applications/{subject}"
    assert (await api.request("POST", f"{path}/correction", json=corrected)).status_code == 200
    record = await restored_to(api, archived)
    assert record.state.current.corrections == 1
    await approve(api, subject)
    assert [each["id"] for each in (await api.request("GET", LIST)).json()["items"]] == [subject]
    record = (await api.store.read([subject]))[subject]
    assert seating(record.state) == "" and "check_due" not in record.indexed, "neither seat nor check"
    read = (await api.request("GET", path)).json()
    assert (read["identity"]["first_name"], read["identity_confirmed"]) == ("مریم", False), "to call them, as a doubt"
    problem_of(await api.request("POST", f"{path}/correction", json=corrected), 409, "identity_lost")

    right = PERSON | {"first_name": "زهرا", "birth_date": "1990-01-01"}
    other = right | {"national_id": a_national_id(7)}
    problem_of(await api.request("POST", f"{path}/identity", json=other), 409, "identity_differs")
    assert (await api.request("POST", f"{path}/identity", json=right)).status_code == 200
    assert (await api.request("GET", LIST)).json()["items"] == []
    read = (await api.request("GET", path)).json()
    assert (read["identity"]["first_name"], read["identity_confirmed"]) == ("زهرا", True)
    await api.run_jobs()
    assert applicant.status((await api.store.read([subject]))[subject].state) == "admitted"


async def test_a_restore_that_loses_another_registration_is_listed_and_a_third_one_identifies(
    api: RegistrationApi,
) -> None:
    subject = (await api.register()).json()["id"]
    withdrawal = {"reason": "own_request", "form_number": "20-1404-9"}
    await api.request("POST", f"/v1/applications/{subject}/withdrawal", json=withdrawal)
    archived = (await api.store.read([subject]))[subject]
    assert (await api.register(first_name="زهرا", key="key-0002")).json()["id"] == subject
    assert (await restored_to(api, archived)).state.unidentified
    await api.request("POST", f"/v1/applications/{subject}/withdrawal", json=withdrawal)
    assert (await api.register(first_name="زهرا", key="key-0003")).json()["id"] == subject
    record = (await api.store.read([subject]))[subject]
    assert not record.state.unidentified and (await api.persons.open([record]))[subject]["first_name"] == "زهرا"


async def test_a_restore_that_loses_a_reissued_code_makes_it_valid_again_and_the_former_void(
    api: RegistrationApi,
) -> None:
    """The code is derived from its number, which the event gives back: no one needs to be identified again."""
    registered = (await api.register()).json()
    archived = (await api.store.read([registered["id"]]))[registered["id"]]
    lost = {"national_id": PERSON["national_id"]}
    reissued = await api.request("POST", "/v1/rounds/1404/tracking-codes", json=lost, key="key-reissue")
    assert reissued.status_code == 200, reissued.text
    record = await restored_to(api, archived)
    assert not record.state.unidentified and record.state.codes == 2
    code = reissued.json()["tracking_code"]
    assert (await api.request("GET", f"/v1/tracking/{code}", "")).status_code == 200
    problem_of(await api.request("GET", f"/v1/tracking/{registered['tracking_code']}", ""), 404, "not_found")


async def test_a_restore_that_loses_nothing_of_the_identity_lists_no_one(api: RegistrationApi) -> None:
    subject = (await api.register()).json()["id"]
    archived = (await api.store.read([subject]))[subject]
    await api.run_jobs()
    record = await restored_to(api, archived)
    assert record.state.current.identity and not record.state.unidentified
