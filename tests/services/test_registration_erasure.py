"""Erasure over HTTP: who may, what is left, the key, a crash in between, a restore; identity after a withdrawal."""

from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from contracts.envelope import Envelope, decode, encode
from contracts.events import ApplicantErased, ApplicantSeatReleased, CaseDecided
from contracts.subjects import ledger_subject
from kernel.batch import process
from kernel.errors import Transient
from kernel.record import Message, Private, Record
from kernel.stores.mongodb import connect
from registration import metrics
from registration.domain import applicant
from registration.service import service
from security.audit import first_broken
from security.encryption import MemoryKeyBlocks
from tests.support.registration_api import ALL_PARTITIONS, ERASURE, RegistrationApi, a_national_id, registration_api
from tests.support.servers import Servers

PERSONAL = ("9990000018", "مریم", "آزمون", "9120000018", "female", "25-34", "35-44", "2003", "JF001", "independent")
LEDGER = ledger_subject("1404", "IR-20")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    """Run registration over memory."""
    async with registration_api(tmp_path) as running:
        await running.open_round(quota=1)
        yield running


@pytest.fixture(params=["memory", pytest.param("mongodb", marks=pytest.mark.server)])
async def either(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    """Run registration over both stores."""
    if request.param == "memory":
        async with registration_api(tmp_path) as running:
            await running.open_round(quota=1)
            yield running
        return
    servers: Servers = request.getfixturevalue("servers")
    client, name = connect(servers.mongo), servers.database()
    await service.create_indexes(client[name])
    running = RegistrationApi(tmp_path, client, name)
    async with running.client:
        await running.open_round(quota=1)
        yield running
    for each in (name, f"{name}_keys"):
        await client.drop_database(each)
    await client.close()


async def erase(api: RegistrationApi, subject: str, role: str = "manager", **more: Any) -> httpx.Response:
    options = {"json": ERASURE} | more
    return await api.request("POST", f"/v1/applications/{subject}/erasure", role, **options)


async def registered(api: RegistrationApi, **changes: Any) -> dict[str, Any]:
    response = await api.register(**changes)
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    return body


async def record_of(api: RegistrationApi, subject: str) -> Record:
    record: Record = (await api.store.read([subject]))[subject]
    return record


async def approve(api: RegistrationApi, subject: str) -> None:
    decided = CaseDecided(outcome="approved")
    envelope = Envelope(source="screening", subject=subject, sequence=1, time=api.now, event=decided)
    await process(api.store, [Message(envelope, encode(envelope))], {}, api.clock)
    await api.run_jobs()


async def has_key(api: RegistrationApi, key_id: str) -> bool:
    return bool(await api.keys.keys_of([key_id]))


async def test_an_erased_applicant_leaves_province_and_index_and_no_key(either: RegistrationApi) -> None:
    api = either
    made = await registered(api, key="key-0001")
    before = await record_of(api, made["id"])
    key_id = before.private.content["key_id"]
    response = await erase(api, made["id"], key="key-erase")
    assert response.status_code == 200, response.text
    assert response.json() == {
        "id": made["id"], "status": "erased", "round": "1404", "province": "IR-20", "application": 1,
        "erased_at": response.json()["erased_at"], "dry_run": False,
    }  # fmt: skip
    record = await record_of(api, made["id"])
    assert not any(secret in str(record) for secret in PERSONAL) and "sealed" not in record.private.content
    (kept,) = record.stored_responses
    assert kept.key not in {each.key for each in before.stored_responses}, "no response to the person is kept"
    assert record.indexed["person"] == before.indexed["person"] and record.indexed["erasing"]
    assert await has_key(api, key_id), "the worker destroys it"
    await api.run_jobs()
    assert not await has_key(api, key_id)
    record = await record_of(api, made["id"])
    assert "erasing" not in record.indexed and record.private.content == {"key_id": key_id}
    assert isinstance(decode((await api.store.history(made["id"]))[-1]).event, ApplicantErased)
    assert (await api.persons.open([before])) == {}, "what a backup holds cannot be read"
    assert (await api.register(key="key-0001")).json()["code"] == "already_registered", "the response is erased, too"
    assert (await api.register(key="key-0002")).json()["code"] == "already_registered"


async def test_a_repeated_erasure_changes_nothing(api: RegistrationApi) -> None:
    made = await registered(api)
    first = await erase(api, made["id"], key="key-erase")
    await api.run_jobs()
    version = (await record_of(api, made["id"])).version
    for more in ({"key": "key-erase"}, {}, {"json": {"reason": "court"}}):
        again = await erase(api, made["id"], **more)
        assert (again.status_code, again.json()) == (200, first.json())
    assert (await record_of(api, made["id"])).version == version
    assert [each.purpose for each in await api.audit.all()] == ["erasure/request/20-1404-9"]


async def test_a_refused_erasure_is_not_recorded(api: RegistrationApi) -> None:
    made = await registered(api)
    refused = await erase(api, made["id"], json={"reason": "9990000018"})
    assert refused.status_code == 422 and not await api.audit.all(), "the chain is kept for ever"


async def test_a_dry_run_changes_nothing(api: RegistrationApi) -> None:
    made = await registered(api)
    planned = await erase(api, made["id"], json={"reason": "request", "dry_run": True})
    assert planned.status_code == 200 and planned.json()["status"] == "registered" and planned.json()["dry_run"]
    assert (await record_of(api, made["id"])).version == 1 and not await api.audit.all()
    assert "آزمون" not in planned.text


async def test_a_seat_is_released_and_given_to_the_next(either: RegistrationApi) -> None:
    api = either
    made, other = await registered(api), await registered(api, national_id=a_national_id(11))
    await approve(api, made["id"])
    await approve(api, other["id"])
    assert (await record_of(api, other["id"])).indexed["status"] == "waitlisted"
    await erase(api, made["id"])
    await api.run_jobs()
    assert (await record_of(api, other["id"])).indexed["status"] == "admitted"
    released = decode((await api.store.history(made["id"]))[-1])
    assert isinstance(released.event, ApplicantSeatReleased) and released.context.county == "2003"
    record = await record_of(api, made["id"])
    assert record.indexed["scope"] == "IR-20" and not any(secret in str(record) for secret in PERSONAL)
    assert (await record_of(api, LEDGER)).state.admitted == 1


async def test_all_applications_of_a_person_have_one_key(either: RegistrationApi) -> None:
    """Otherwise the key of an earlier application would outlive the person, and open what backups hold."""
    api = either
    made = await registered(api)
    first = await record_of(api, made["id"])
    await api.request(
        "POST", f"/v1/applications/{made['id']}/withdrawal", json={"reason": "moved", "form_number": "20-1404-9"}
    )
    again = await registered(api, first_name="زهرا")
    second = await record_of(api, made["id"])
    assert again["application"] == 2 and first.private.content["key_id"] == second.private.content["key_id"]
    assert (await api.persons.open([second]))[made["id"]]["first_name"] == "زهرا"
    await erase(api, made["id"])
    await api.run_jobs()
    assert await api.persons.open([first]) == await api.persons.open([second]) == {}


async def test_the_key_is_destroyed_by_a_later_run_and_its_age_is_shown(
    api: RegistrationApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash, or a database of keys that cannot be written, between the event and the destruction of the key."""
    made = await registered(api)
    key_id = (await record_of(api, made["id"])).private.content["key_id"]
    await erase(api, made["id"])

    destroy = api.keys.destroy

    async def fail_before(key_ids: Collection[str]) -> None:
        raise Transient("the keys cannot be written")

    async def fail_after(key_ids: Collection[str]) -> None:
        await destroy(key_ids)
        raise Transient("the answer is lost")

    for failing, left in ((fail_before, True), (fail_after, False)):
        with monkeypatch.context() as patch:
            patch.setattr(api.keys, "destroy", failing)
            api.erasures.queried_at = -1e9
            with pytest.raises(Transient):
                await api.erasures(ALL_PARTITIONS)
        assert metrics.KEY_DESTRUCTION_OLDEST._value.get() > 0
        assert await has_key(api, key_id) == left and (await record_of(api, made["id"])).indexed["erasing"]
    await api.run_jobs()
    assert not await has_key(api, key_id) and "erasing" not in (await record_of(api, made["id"])).indexed
    await api.run_jobs()
    assert metrics.KEY_DESTRUCTION_OLDEST._value.get() == 0


async def test_an_erased_applicant_for_whom_the_rules_raise_stops_no_other(
    api: RegistrationApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    subjects = [(await registered(api, national_id=a_national_id(n)))["id"] for n in range(10, 15)]
    for subject in subjects:
        assert (await erase(api, subject)).status_code == 200
    indexed = applicant.indexed

    def raising(state: applicant.State) -> Any:
        if state == broken.state:
            raise ValueError
        return indexed(state)

    broken = await record_of(api, subjects[2])
    api.store.records[subjects[2]] = broken = replace(broken, state=replace(broken.state, application=99))
    monkeypatch.setattr(applicant, "indexed", raising)
    with pytest.raises(ValueError):
        await api.run_jobs()
    marked = [each for each in subjects if "erasing" in (await record_of(api, each)).private.indexed]
    assert marked == [subjects[2]]


async def test_an_identity_check_under_way_finds_nothing(api: RegistrationApi) -> None:
    made = await registered(api)
    [command] = (await api.checks._check([made["id"]])).values()
    await erase(api, made["id"])
    assert await api.checks._record({made["id"]: command}) == 1, "it is answered"
    assert (await record_of(api, made["id"])).last_sequence == 3, "and nothing follows from it"
    await api.run_jobs()
    assert "check_due" not in (await record_of(api, made["id"])).indexed


async def test_a_restored_store_erases_again_before_it_is_served(either: RegistrationApi) -> None:
    """The backup of the data is older than the erasure, and that of the keys as well."""
    api = either
    made, other = await registered(api), await registered(api, national_id=a_national_id(11))
    sealed = (await record_of(api, made["id"])).private
    key_id = sealed.content["key_id"]
    keys = await api.keys._wrapped([key_id])
    await erase(api, made["id"])
    await api.run_jobs()

    if not isinstance(api.keys, MemoryKeyBlocks):
        await api.keys.keys.delete_one({"_id": key_id})
    await api.keys._store(keys, api.now)
    record = await record_of(api, made["id"])
    back = Private({**sealed.indexed}, {**sealed.content})
    await api.store.swap(record, replace(record, private=back))
    assert (await api.persons.open([await record_of(api, made["id"])]))[made["id"]], "it could be read again"

    await api.erasures.repeat()
    record = await record_of(api, made["id"])
    assert not await has_key(api, key_id) and record.private.content == {"key_id": key_id}
    assert (await api.persons.open([await record_of(api, other["id"])]))[other["id"]], "no one else"
    version = record.version
    await api.erasures.repeat()
    assert (await record_of(api, made["id"])).version == version, "repeating it changes nothing"


@pytest.mark.parametrize(
    ("role", "scope", "status"),
    [
        ("manager", "IR-20", 200), ("ministry_admin", "", 200), ("manager", "IR-07", 404), ("registrar", "IR-20", 403),
        ("screener", "IR-20", 403), ("county_operator", "IR-20/2003", 403), ("service", "", 403), ("", "", 401),
    ],
)  # fmt: skip
async def test_who_may_erase(api: RegistrationApi, role: str, scope: str, status: int) -> None:
    made = await registered(api)
    assert (await erase(api, made["id"], role, scope=scope)).status_code == status
    assert ((await record_of(api, made["id"])).indexed["status"] == "erased") == (status == 200)


async def test_refused_erasures(api: RegistrationApi) -> None:
    made = await registered(api)
    refused = await erase(api, made["id"], json={"reason": "moved"})
    assert (refused.status_code, refused.json()["code"]) == (422, "reason_unknown")
    assert (await erase(api, "0199a000-0000-7000-8000-000000000001")).json()["code"] == "not_found"
    await erase(api, made["id"])
    left = await api.request(
        "POST",
        f"/v1/applications/{made['id']}/withdrawal",
        "manager",
        json={"reason": "moved", "form_number": "20-1404-9"},
    )
    assert (left.status_code, left.json()["code"]) == (409, "erased")


async def test_of_an_erased_applicant_lists_and_pages_show_that_alone(api: RegistrationApi) -> None:
    made = await registered(api)
    await erase(api, made["id"])
    shown = (await api.request("GET", f"/v1/applications/{made['id']}", "manager")).json()
    assert shown["status"] == "erased" and shown["identity"] is None and shown["identity_withheld"] == "erased"
    assert {shown[name] for name in ("county", "field", "channel", "sex", "age_band", "work_mode")} == {""}
    assert not any(shown["progress"].values()) and shown["registered_at"] is None
    listed = (await api.request("GET", "/v1/rounds/1404/applications?status=erased")).json()
    assert [each["id"] for each in listed["items"]] == [made["id"]]
    tracked = (await api.request("GET", f"/v1/tracking/{made['tracking_code']}", "")).json()
    assert tracked["status"] == "erased" and not any(tracked["progress"].values())
    page = await api.request("GET", f"/tracking/{made['tracking_code']}", "")
    assert page.status_code == 200 and "داده‌های شما پاک شده است" in page.text and 'class="line"' not in page.text
    assert [each.purpose for each in await api.audit.all()] == ["erasure/request/20-1404-9"], "no identity was read"


async def test_after_a_withdrawal_the_identity_is_shown_for_a_recorded_purpose_only(api: RegistrationApi) -> None:
    made = await registered(api)
    path = f"/v1/applications/{made['id']}"
    assert (await api.request("GET", path)).json()["identity"]["first_name"] == "مریم"
    await api.request("POST", f"{path}/withdrawal", json={"reason": "moved", "form_number": "20-1404-9"})
    shown = (await api.request("GET", path)).json()
    assert (shown["identity"], shown["identity_withheld"]) == (None, "purpose_needed")
    assert shown["progress"]["withdrawn_at"] and len(await api.audit.all()) == 1
    refused = await api.request("GET", f"{path}?purpose=curiosity")
    assert (refused.status_code, refused.json()["code"]) == (422, "code_unknown")
    shown = (await api.request("GET", f"{path}?purpose=complaint")).json()
    assert (shown["identity"]["first_name"], shown["identity_withheld"]) == ("مریم", "")
    rows = await api.audit.all()
    assert [each.purpose for each in rows] == ["application", "application/complaint"] and not first_broken(rows)


async def test_an_erasure_on_request_needs_the_number_of_the_signed_form(api: RegistrationApi) -> None:
    made = await registered(api)
    for number in ("", "23-1404-9", "نمی‌دانم"):
        refused = await erase(api, made["id"], json={"reason": "request", "form_number": number})
        assert refused.status_code == 422 and refused.json()["code"] == "form_number_invalid", refused.text
    assert not await api.audit.all() and not (await record_of(api, made["id"])).state.erased_at
    assert (await erase(api, made["id"], json={"reason": "court"})).status_code == 200
    assert [each.purpose for each in await api.audit.all()] == ["erasure/court"]


async def test_a_person_is_erased_on_a_page(api: RegistrationApi) -> None:
    made = await registered(api)
    path, browser = f"/desk/{made['id']}/erasure", {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
    asked = await api.request("GET", path, "manager", headers=browser)
    assert asked.status_code == 200 and "برگشت ندارد" in asked.text
    form = ERASURE | {"key": "0199a000-0000-7000-8000-000000000001"}
    for missing, field in ((form, "confirmed"), (form | {"confirmed": "yes", "form_number": "12"}, "form_number")):
        refused = await api.request("POST", path, "manager", data=missing, headers=browser)
        assert refused.status_code == 422 and f'href="#{field}"' in refused.text, refused.text
    assert not (await record_of(api, made["id"])).state.erased_at and not await api.audit.all()
    for _ in range(2):  # also when it is sent again
        done = await api.request("POST", path, "manager", data=form | {"confirmed": "yes"}, headers=browser)
        assert done.status_code == 200 and "داده‌ها پاک شد" in done.text, done.text
    assert (await record_of(api, made["id"])).state.erased_at
    assert [each.purpose for each in await api.audit.all()] == ["erasure/request/20-1404-9"]
