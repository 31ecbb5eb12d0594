"""Quotas by two persons: nothing changes before the second one, everything or nothing with them, exactly once."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from contracts.commands import Tick
from contracts.envelope import decode
from contracts.events import QuotaMoved, QuotaSet
from kernel.commands import execute
from tests.support.registration_api import SECOND, RegistrationApi, registration_api

PROPOSALS = "/v1/rounds/1404/proposals"
PAGE = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
JAHAD = "of-3d7e"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    async with registration_api(tmp_path) as running:
        await running.open_round(quota=10)
        await running.set_quota(100, "IR-06")
        yield running


async def move(api: RegistrationApi, seats: int = 60, **options: Any) -> dict[str, Any]:
    """Propose to move seats from Khuzestan to Semnan, as Jahad does; return the proposal."""
    body = {"source": "IR-06", "target": "IR-20", "seats": seats, "reason": "unused_seats"}
    made = await api.request("POST", f"{PROPOSALS}/moves", "jahad_national", id=JAHAD, scope="", json=body, **options)
    assert made.status_code == 201, made.text
    return dict(made.json())


async def signed(api: RegistrationApi, made: dict[str, Any], id: str = SECOND, **options: Any) -> httpx.Response:
    """Send the signature of someone at the ministry."""
    return await api.request(
        "POST",
        f"{PROPOSALS}/{made['id']}/signature",
        "ministry_admin",
        id=id,
        json={"control": options.pop("control", made["control"])},
        **options,
    )


async def quotas(api: RegistrationApi) -> dict[str, int]:
    rows = (await api.request("GET", "/v1/rounds/1404/quotas", "")).json()["items"]
    assert all(row["quota"] == row["admitted"] + row["held"] + row["available"] for row in rows)
    return {each["province"]: each["quota"] for each in rows}


async def test_a_move_takes_effect_for_both_provinces_with_the_second_signature(api: RegistrationApi) -> None:
    made = await move(api)
    assert await quotas(api) == {"IR-06": 100, "IR-20": 10}
    assert [(c["province"], c["before"], c["after"]) for c in made["changes"]] == [
        ("IR-06", 100, 40),
        ("IR-20", 10, 70),
    ]
    done = await signed(api, made)
    assert done.status_code == 200 and done.json()["status"] == "signed", done.text
    assert done.json()["closed_by"] == {"role": "ministry_admin", "officer": SECOND}
    assert await quotas(api) == {"IR-06": 40, "IR-20": 70}
    for province, other in (("IR-06", "IR-20"), ("IR-20", "IR-06")):
        envelope = decode(api.store.events[f"ledger:1404/{province}"][-1])
        assert isinstance(envelope.event, QuotaMoved) and envelope.event.counterpart == other
        assert (envelope.event.proposal, envelope.actor) == (made["id"], f"ministry_admin:{SECOND}")
    again = await signed(api, made)
    assert (again.status_code, again.json()["code"]) == (409, "proposal_closed")
    assert await quotas(api) == {"IR-06": 40, "IR-20": 70}
    for province, quota in (await quotas(api)).items():
        shown = (await api.request("GET", f"/v1/rounds/1404/ledgers/{province}", "auditor", scope="")).json()
        changes = [each["quota"] - each["previous"] for each in shown["changes"]]
        assert sum(changes) == quota, "as the page of the ledger states"


async def test_a_figure_that_moved_meanwhile_fails_the_signature_and_is_named(api: RegistrationApi) -> None:
    made = await move(api)
    await api.set_quota(99, "IR-06")
    refused = await signed(api, made)
    assert (refused.status_code, refused.json()["code"]) == (409, "quota_changed")
    assert (
        "Khuzestan" in refused.json()["detail"]
        and "100" in refused.json()["detail"]
        and "99" in refused.json()["detail"]
    )
    assert "خوزستان" in refused.json()["detail_fa"]
    assert await quotas(api) == {"IR-06": 99, "IR-20": 10}
    shown = (await api.request("GET", f"{PROPOSALS}/{made['id']}", "ministry_admin")).json()
    assert shown["status"] == "open"


async def test_seats_that_were_taken_meanwhile_are_not_moved(api: RegistrationApi) -> None:
    from msgspec.structs import replace

    from kernel.record import reindex
    from registration.domain import ledger

    made = await move(api)
    record = api.store.records["ledger:1404/IR-06"]
    taken = reindex(replace(record, state=replace(record.state, admitted=41)), ledger)
    api.store.records["ledger:1404/IR-06"] = taken
    refused = await signed(api, made)
    assert (refused.status_code, refused.json()["code"]) == (409, "quota_below_admitted")
    assert await quotas(api) == {"IR-06": 100, "IR-20": 10}


async def test_of_two_signatures_at_once_and_of_two_proposals_of_one_quota_one_takes_effect(
    api: RegistrationApi,
) -> None:
    made, other = await move(api, 60), await move(api, 50)
    answers = await asyncio.gather(
        *(signed(api, each, id=f"of-{n}") for n, each in enumerate((made, made, other, other, made)))
    )
    assert sorted(each.status_code for each in answers) == [200, 409, 409, 409, 409]
    assert sum((await quotas(api)).values()) == 110
    moved = [decode(raw).event for raw in api.store.events["ledger:1404/IR-20"]]
    assert sum(isinstance(each, QuotaMoved) for each in moved) == 1


async def test_a_store_that_fails_in_the_middle_leaves_everything_as_it_was(
    api: RegistrationApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The three records change in one transaction; a process that dies in it has changed none of them."""
    made, before = await move(api), dict(api.store.records)
    transact = type(api.store).transact
    touched: list[set[str]] = []

    async def dies(store: Any, subjects: Any, change: Any, *args: Any, **options: Any) -> Any:
        def at_the_end(snapshot: Any) -> Any:
            touched.append({after.subject for _, after in change(snapshot).changes})
            raise ConnectionError("the process dies before the commit")

        return await transact(store, subjects, at_the_end, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(api.store), "transact", dies)
        assert (await signed(api, made)).status_code == 500
    assert touched == [{f"proposal:1404/{made['id']}", "ledger:1404/IR-06", "ledger:1404/IR-20"}]
    assert api.store.records == before
    assert (await signed(api, made)).status_code == 200


async def test_who_may_propose_sign_decline_and_withdraw(api: RegistrationApi) -> None:
    own = {"quotas": [{"province": "IR-20", "quota": 20}], "reason": "demand"}
    made = (await api.request("POST", f"{PROPOSALS}/quotas", "manager", json=own)).json()
    foreign = {"quotas": [{"province": "IR-06", "quota": 20}], "reason": "demand"}
    assert (await api.request("POST", f"{PROPOSALS}/quotas", "manager", json=foreign)).json()["code"] == "scope_other"
    body = {"source": "IR-06", "target": "IR-20", "seats": 1, "reason": "demand"}
    assert (await api.request("POST", f"{PROPOSALS}/moves", "manager", json=body)).status_code == 403
    assert (
        await api.request("POST", f"{PROPOSALS}/{made['id']}/signature", "manager", json={"control": "1"})
    ).status_code == 403
    assert (await signed(api, made, id="of-2f9c")).json()["code"] == "proposal_own", "the manager has two roles"
    assert (await signed(api, made, control="841-207-33")).json()["code"] == "control_differs"
    path = f"{PROPOSALS}/{made['id']}"
    seen = await api.request("GET", path, "manager", scope="IR-06")
    missing = await api.request("GET", f"{PROPOSALS}/0199fb3c-1d20-7a44-b0c5-7e8f9a0b1c2d", "manager", scope="IR-06")
    assert (
        (seen.status_code, seen.json()["code"]) == (missing.status_code, missing.json()["code"]) == (404, "not_found")
    )
    assert (await api.request("GET", PROPOSALS, "manager", scope="IR-06")).json()["items"][0]["status"] == "signed"
    other = await api.request("POST", f"{PROPOSALS}/{made['id']}/withdrawal", "manager", id="of-77")
    assert other.json()["code"] == "proposal_of_another"
    declined = await api.request(
        "POST", f"{PROPOSALS}/{made['id']}/refusal", "ministry_admin", id=SECOND, json={"reason": "not_needed"}
    )
    assert (declined.json()["status"], declined.json()["refusal"]) == ("declined", "not_needed")
    again = (await api.request("POST", f"{PROPOSALS}/quotas", "manager", json=own)).json()
    gone = await api.request("POST", f"{PROPOSALS}/{again['id']}/withdrawal", "manager")
    assert gone.json()["status"] == "withdrawn" and await quotas(api) == {"IR-06": 100, "IR-20": 10}


async def test_a_key_signs_one_proposal_and_is_refused_for_another(api: RegistrationApi) -> None:
    first, other = await move(api, 5), await move(api, 6)
    key: dict[str, Any] = {"headers": {"Idempotency-Key": "0199fb3c1d207a44b0c57e8f9a0b1c2d"}}
    done, again = await signed(api, first, **key), await signed(api, first, **key)
    assert (again.status_code, again.json()) == (done.status_code, done.json()) and done.status_code == 200
    refused = await signed(api, other, **key)
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
    assert await quotas(api) == {"IR-06": 95, "IR-20": 15}


async def test_an_unsigned_proposal_expires(api: RegistrationApi) -> None:
    made = await move(api)
    api.advance(days=12)
    assert (await signed(api, made)).json()["code"] == "proposal_closed"
    await execute(api.store, f"proposal:1404/{made['id']}", Tick(api.now), api.clock)
    assert (await api.request("GET", f"{PROPOSALS}/{made['id']}", "ministry_admin")).json()["status"] == "expired"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"seats": 101}, 422, "seats_not_free"),
        ({"target": "IR-06"}, 422, "same_province"),
        ({"target": "IR-99"}, 422, "province_unknown"),
        ({"reason": "because"}, 422, "code_unknown"),
    ],
)
async def test_a_move_that_could_not_take_effect_is_not_proposed(
    api: RegistrationApi, body: dict[str, Any], status: int, code: str
) -> None:
    asked = {"source": "IR-06", "target": "IR-20", "seats": 1, "reason": "demand"} | body
    refused = await api.request("POST", f"{PROPOSALS}/moves", "ministry_admin", json=asked)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (status, code)


async def test_a_file_of_quotas_is_one_proposal(api: RegistrationApi) -> None:
    file = "province,name_fa,quota\nIR-20,سمنان,11\nIR-06,خوزستان,100\n"
    made = await api.request("POST", "/v1/rounds/1404/quotas/import", "ministry_admin", csv=file)
    assert [(c["province"], c["after"]) for c in made.json()["changes"]] == [("IR-20", 11)], "one does not change"
    assert (await signed(api, made.json())).status_code == 200
    event = decode(api.store.events["ledger:1404/IR-20"][-1]).event
    assert event == QuotaSet(quota=11, previous=10, proposal=made.json()["id"])


async def page(api: RegistrationApi, path: str, role: str = "ministry_admin", **options: Any) -> str:
    got = await api.request("GET", f"{path}?lang=en", role, headers=PAGE, **options)
    assert got.status_code == 200, got.text
    return " ".join(re.sub(r"<[^>]*>", " ", got.text).split())


async def test_the_page_shows_what_changes_and_the_button_to_the_second_person_only(api: RegistrationApi) -> None:
    made = await move(api)
    address = f"/proposals/1404/{made['id']}"
    text = await page(api, address)
    grouped = f"{made['control'][:3]}-{made['control'][3:6]}-{made['control'][6:]}"
    for shown in ("60 seats from Khuzestan to Semnan", grouped, JAHAD, "Seats are left unused", "Open until"):
        assert shown in text, shown
    assert "Sign and put into effect" in text
    mine = await page(api, address, "jahad_national", id=JAHAD, scope="")
    assert "Sign and put" not in mine and "Withdraw the proposal" in mine
    other = await page(api, address, "manager")
    assert "Sign and put" not in other and "second person at the ministry" in other.lower()
    assert "1 proposal waits for a signature" in await page(api, "/proposals")
    await api.set_quota(99, "IR-06")
    text = await page(api, address)
    assert "was 100 when this was proposed, and is 99 now" in text and "Sign and put into effect" not in text


async def test_everything_by_page(api: RegistrationApi) -> None:
    async def send(path: str, role: str, id: str, **form: str) -> httpx.Response:
        return await api.request(
            "POST",
            f"/proposals{path}",
            role,
            id=id,
            scope="IR-20" if role == "manager" else "",
            headers=PAGE,
            data=form | {"key": uuid4().hex},
        )

    wrong = await send("/quota", "manager", JAHAD, round="1404", province="IR-20", quota="many", reason="demand")
    assert wrong.status_code == 422 and "many" in wrong.text
    made = await send("/quota", "manager", JAHAD, round="1404", province="IR-20", quota="۱۲", reason="demand")
    assert made.status_code == 303, made.text
    address = made.headers["location"].removeprefix("/registration/proposals")
    control = (await api.request("GET", f"{PROPOSALS}/{address.rpartition('/')[2]}", "ministry_admin")).json()[
        "control"
    ]
    assert (await send(f"{address}/signature", "ministry_admin", SECOND, control=control)).status_code == 303
    assert (await quotas(api))["IR-20"] == 12
    closed = await send(f"{address}/signature", "ministry_admin", "of-4", control=control)
    assert closed.status_code == 409 and "error-summary" in closed.text
    moved = await send(
        "/move", "ministry_admin", "of-5", round="1404", source="IR-06", target="IR-20", seats="7", reason="demand"
    )
    address = moved.headers["location"].removeprefix("/registration/proposals")
    assert (await send(f"{address}/refusal", "ministry_admin", SECOND, reason="later")).status_code == 303
    moved = await send(
        "/move", "ministry_admin", "of-5", round="1404", source="IR-06", target="IR-20", seats="8", reason="demand"
    )
    address = moved.headers["location"].removeprefix("/registration/proposals")
    assert (await send(f"{address}/withdrawal", "ministry_admin", "of-5")).status_code == 303
    assert await quotas(api) == {"IR-06": 100, "IR-20": 12}
    text = await page(api, "/proposals")
    assert "No proposal waits" in text and "declined" in text and "withdrawn" in text and "signed" in text


async def test_the_desk_of_the_ministry_has_proposals_provinces_and_rounds(api: RegistrationApi) -> None:
    await move(api)
    text = await page(api, "/ledger")
    assert "1 proposal waits for your signature" in text and "60 seats from Khuzestan to Semnan" in text
    assert "110 quota = 0 admitted + 0 held + 110 free" in text and "open in 30 provinces" in text
    mine = await page(api, "/ledger", "jahad_national", id=JAHAD, scope="")
    assert "60 seats from Khuzestan to Semnan" in mine and "waits for your signature" not in mine
