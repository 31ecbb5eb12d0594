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
from kernel.record import Message, Private
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
    assert await store.swap(before, api.registrations.unidentified(after))
    return subject, registered["tracking_code"]


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
    lost = await api.store.swap(record, api.registrations.unidentified(replace(record, private=Private())))
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
