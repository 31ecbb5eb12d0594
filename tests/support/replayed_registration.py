"""Requests to registration that take an Idempotency-Key, and what happens after their answers."""

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

import msgspec

from contracts.envelope import Envelope, encode
from contracts.events import (
    CaseDecided,
    CaseOpened,
)
from kernel.batch import process
from kernel.record import Message
from tests.support.registration_api import (
    ERASURE,
    PERSON,
    ROUND,
    SECOND,
    RegistrationApi,
    a_national_id,
    csv_file,
)

PROPOSALS = "/v1/rounds/1404/proposals"
QUOTAS = "province,name_fa,quota\nIR-20,سمنان,{}\nIR-07,فارس,{}\n"


class Call(msgspec.Struct, frozen=True):
    """A request, and what happens after its answer."""

    method: str
    path: str
    options: dict[str, Any]
    later: Callable[[], Awaitable[None]]
    role: str = ""


async def open_round(api: RegistrationApi) -> Call:
    async def later() -> None:
        changed = ROUND | {"fields": ["JF001"], "closes": "2026-04-01T00:00:00Z", "windows": []}
        assert (await api.request("PUT", "/v1/rounds/1404", "ministry_admin", json=changed)).status_code == 200

    return Call("PUT", "/v1/rounds/1404", {"json": ROUND}, later, "ministry_admin")


async def seats_go_on(api: RegistrationApi) -> None:
    """Change the quotas, fill a seat and let every proposal expire."""
    for quota, province in ((7, "IR-20"), (8, "IR-07")):
        await api.set_quota(quota, province)
    made = (await api.register(key="key-of-the-person")).json()
    await decided(api, made["id"])
    assert (await api.store.read(["ledger:1404/IR-20"]))["ledger:1404/IR-20"].state.admitted == 1
    api.advance(days=30)


async def import_quotas(api: RegistrationApi) -> Call:
    await api.open_round(quota=5)
    options = {"csv": QUOTAS.format(5, 6)}  # one of them does not change
    return Call("POST", "/v1/rounds/1404/quotas/import", options, lambda: seats_go_on(api), "ministry_admin")


async def propose_quotas(api: RegistrationApi) -> Call:
    await api.open_round(quota=5)
    options = {"json": {"quotas": [{"province": "IR-20", "quota": 6}], "reason": "demand"}}
    return Call("POST", f"{PROPOSALS}/quotas", options, lambda: seats_go_on(api), "manager")


async def propose_move(api: RegistrationApi) -> Call:
    await api.open_round(quota=5)
    options = {"json": {"source": "IR-20", "target": "IR-07", "seats": 2, "reason": "demand"}}
    return Call("POST", f"{PROPOSALS}/moves", options, lambda: seats_go_on(api), "ministry_admin")


async def _proposed(api: RegistrationApi, officer: str) -> dict[str, Any]:
    await api.open_round(quota=5)
    body = {"quotas": [{"province": "IR-20", "quota": 6}], "reason": "demand"}
    made = await api.request("POST", f"{PROPOSALS}/quotas", "ministry_admin", id=officer, json=body)
    return dict(made.json())


async def sign(api: RegistrationApi) -> Call:
    made = await _proposed(api, SECOND)
    path, options = f"{PROPOSALS}/{made['id']}/signature", {"json": {"control": made["control"]}}
    return Call("POST", path, options, lambda: seats_go_on(api), "ministry_admin")


async def decline(api: RegistrationApi) -> Call:
    made = await _proposed(api, SECOND)
    path, options = f"{PROPOSALS}/{made['id']}/refusal", {"json": {"reason": "later"}}
    return Call("POST", path, options, lambda: seats_go_on(api), "ministry_admin")


async def withdraw_proposal(api: RegistrationApi) -> Call:
    made = await _proposed(api, "of-2f9c")
    return Call("POST", f"{PROPOSALS}/{made['id']}/withdrawal", {}, lambda: seats_go_on(api), "ministry_admin")


async def decided(api: RegistrationApi, *subjects: str) -> None:
    """Consume the decisions of screening about applicants, and give them their seats."""
    for n, event in enumerate((CaseOpened(due=date(2025, 10, 11)), CaseDecided(outcome="approved")), 1):
        envelopes = [Envelope(source="screening", subject=s, sequence=n, time=api.now, event=event) for s in subjects]
        await process(api.store, [Message(each, encode(each)) for each in envelopes], {}, api.clock)
    await api.run_jobs()


async def applicants_go_on(api: RegistrationApi) -> None:
    """Decide on each applicant, let them withdraw and register again, and close the round."""
    subjects = [each.subject for each in await api.applicants()]
    await decided(api, *subjects)
    for subject in subjects:
        path = f"/v1/applications/{subject}/withdrawal"
        assert (
            await api.request("POST", path, json={"reason": "moved", "form_number": "20-1404-9"})
        ).status_code == 200
    api.advance(days=1)
    again = csv_file(range(1, 4), field="JF002", county="2001")
    assert (await api.request("POST", IMPORT, csv=again, key="key-of-another-file")).json()["registered"] == 3
    await api.run_jobs()
    api.advance(days=400)


async def register(api: RegistrationApi) -> Call:
    await api.open_round(quota=5)
    options = {"json": PERSON | {"national_id": a_national_id(1)}}
    return Call("POST", "/v1/rounds/1404/applications", options, lambda: applicants_go_on(api))


IMPORT = "/v1/rounds/1404/applications/import"


async def import_applications(api: RegistrationApi) -> Call:
    await api.open_round(quota=5)
    return Call("POST", IMPORT, {"csv": csv_file(range(1, 4))}, lambda: applicants_go_on(api))


async def withdraw(api: RegistrationApi) -> Call:
    await api.open_round(quota=5)
    made = (await api.register(national_id=a_national_id(1))).json()
    await decided(api, made["id"])

    async def later() -> None:
        api.advance(days=1)
        again = await api.register(national_id=a_national_id(1), field="JF002", county="2001")
        assert again.json()["application"] == 2
        await api.run_jobs()

    return Call(
        "POST",
        f"/v1/applications/{made['id']}/withdrawal",
        {"json": {"reason": "moved", "form_number": "20-1404-9"}},
        later,
    )


async def correct(api: RegistrationApi) -> Call:
    await api.open_round(quota=5)
    made = (await api.register(national_id=a_national_id(1))).json()
    path = f"/v1/applications/{made['id']}/correction"

    async def later() -> None:
        await api.run_jobs()
        body = {"last_name": "نمونه", "form_number": "20-1404-205"}
        assert (await api.request("POST", path, json=body)).status_code == 200
        await applicants_go_on(api)

    return Call(
        "POST", path, {"json": {"birth_date": "1370-02-03", "county": "2001", "form_number": "20-1404-204"}}, later
    )


async def erase(api: RegistrationApi) -> Call:
    await api.open_round(quota=5)
    made = (await api.register(national_id=a_national_id(1))).json()
    await decided(api, made["id"])

    async def later() -> None:
        await api.run_jobs()  # the seat is released, the key is destroyed
        assert not (await api.store.read([made["id"]]))[made["id"]].state.seat

    return Call(
        "POST",
        f"/v1/applications/{made['id']}/erasure",
        {"json": ERASURE},
        later,
        "manager",
    )


async def reissue_code(api: RegistrationApi) -> Call:
    await api.open_round(quota=5)
    await api.register(national_id=a_national_id(1))
    path, body = "/v1/rounds/1404/tracking-codes", {"national_id": a_national_id(1)}

    async def later() -> None:
        assert (await api.request("POST", path, key="key-of-another", json=body)).status_code == 200
        await applicants_go_on(api)

    return Call("POST", path, {"json": body}, later)
