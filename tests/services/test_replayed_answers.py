"""The same request under the same Idempotency-Key gets the same answer, byte for byte, whatever has happened since.

The operations come from OpenAPI: a new one that takes a key fails here until it has a case.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.events import (
    ApplicantAdmitted,
    ApplicantIdentityChecked,
    ApplicantWithdrawn,
    Event,
)
from kernel.stores.mongodb import connect
from registration.service import service as registration
from screening.service import service as screening
from tests.support.market_api import MarketApi
from tests.support.registration_api import RegistrationApi
from tests.support.replayed_registration import (
    Call,
    correct,
    decline,
    erase,
    import_applications,
    import_quotas,
    open_round,
    propose_move,
    propose_quotas,
    register,
    reissue_code,
    sign,
    withdraw,
    withdraw_proposal,
)
from tests.support.screening_api import ScreeningApi
from tests.support.servers import Servers
from tests.support.service_api import subject_of

KEY = "key-of-this-request"
APPROVE = {"outcome": "approved", "checklist": {"not_insured": True, "resident": True, "complete": True}}
FORM = {"form": "20-1404-173"}
PAPERS = {"items": ["sample_photo"]}
KILIMS = {"product_group": "handicrafts", "unit": "piece", "monthly_band": "10-49", "skill_level": "skilled"}
SALE = {"channel": "cooperative", "counterparty_kind": "cooperative", "evidence": "E1"}
APIS: dict[str, Callable[[Path], Any]] = {
    "registration": RegistrationApi,
    "screening": ScreeningApi,
    "market": MarketApi,
}


async def cases_go_on(api: ScreeningApi) -> None:
    """Let the applicants of three cases be checked and admitted, and withdraw."""
    events: tuple[Event, ...] = (
        ApplicantIdentityChecked(result="match"),
        ApplicantAdmitted(),
        ApplicantWithdrawn(reason="moved"),
    )
    api.now = api.now.replace(day=29)
    for n in (1, 2, 3):
        for event in events:
            await api.consume(n, event)


async def decide_case(api: ScreeningApi) -> Call:
    case = await api.register(1)
    return Call("POST", f"/v1/cases/{case}/decision", {"json": APPROVE}, lambda: cases_go_on(api))


async def decide_cases(api: ScreeningApi) -> Call:
    decisions = [{"id": await api.register(n), **APPROVE} for n in (1, 2, 3)]
    decisions.append({"id": subject_of(99), **APPROVE})  # refused each time
    return Call("POST", "/v1/cases/decisions", {"json": {"decisions": decisions}}, lambda: cases_go_on(api))


async def claim_case(api: ScreeningApi) -> Call:
    case = await api.register(1)

    async def later() -> None:
        assert (await api.request("POST", f"/v1/cases/{case}/release")).is_success

    return Call("POST", f"/v1/cases/{case}/claim", {}, later)


async def release_case(api: ScreeningApi) -> Call:
    case = await api.register(1)
    assert (await api.request("POST", "/v1/cases/next", id="of-1")).is_success

    async def later() -> None:
        assert (await api.request("POST", "/v1/cases/next", id="of-2")).is_success

    return Call("POST", f"/v1/cases/{case}/release", {}, later)


async def request_info(api: ScreeningApi) -> Call:
    path = f"/v1/cases/{await api.register(1)}/info"
    return Call("POST", path, {"json": PAPERS}, lambda: cases_go_on(api))


async def record_info(api: ScreeningApi) -> Call:
    path = f"/v1/cases/{await api.register(1)}/info"
    assert (await api.request("POST", path, "screener", id="of-7", json=PAPERS)).is_success
    return Call("POST", f"{path}/receipt", {"json": PAPERS}, lambda: cases_go_on(api), "registrar")


async def review_case(api: ScreeningApi) -> Call:
    case = await api.approved_and_drawn(1)
    return Call("POST", f"/v1/cases/{case}/review", {"json": {"agrees": True}}, lambda: cases_go_on(api), "manager")


async def log_call(api: ScreeningApi) -> Call:
    case = await api.register(1)

    async def later() -> None:
        assert (await api.request("POST", f"/v1/cases/{case}/calls", json={"outcome": "reached"})).is_success

    return Call("POST", f"/v1/cases/{case}/calls", {"json": {"outcome": "no_answer"}}, later)


async def file_appeal(api: ScreeningApi) -> Call:
    path = f"/v1/cases/{await api.rejected(1)}/appeal"
    return Call("POST", path, {"json": FORM}, lambda: cases_go_on(api), "manager")


async def decide_appeal(api: ScreeningApi) -> Call:
    path = f"/v1/cases/{await api.rejected(1)}/appeal"
    assert (await api.request("POST", path, "manager", id="of-3", json=FORM)).is_success
    return Call("POST", f"{path}/decision", {"json": APPROVE}, lambda: cases_go_on(api), "labour_expert")


async def awaiting_capacity(api: ScreeningApi, n: int) -> str:
    """Return an applicant who is admitted."""
    case = await api.register(n)
    assert (await api.request("POST", f"/v1/cases/{case}/decision", json=APPROVE)).status_code == 200
    return await api.consume(n, ApplicantAdmitted())


async def withdrawals(api: ScreeningApi) -> None:
    for n in (1, 2):
        await api.consume(n, ApplicantWithdrawn(reason="moved"))


async def identify_capacity(api: ScreeningApi) -> Call:
    applicant = await awaiting_capacity(api, 1)
    await awaiting_capacity(api, 2)
    return Call("POST", f"/v1/applicants/{applicant}/capacity", {"json": KILIMS}, lambda: withdrawals(api))


async def identify_capacities(api: ScreeningApi) -> Call:
    capacities = [{"id": await awaiting_capacity(api, n), **KILIMS} for n in (1, 2)]
    return Call("POST", "/v1/applicants/capacities", {"json": {"capacities": capacities}}, lambda: withdrawals(api))


async def enlist_lead(api: MarketApi) -> Call:
    body = {"name": "بافته‌های کویر", "services": ["sale"], "fields": ["JF001"], "province": "IR-20"}

    async def later() -> None:
        await api.enlist("دیگری")

    return Call("POST", "/v1/leads", {"json": body}, later)


async def producer_goes_on(api: MarketApi, producer: str) -> None:
    """Offer and connect again, answer the offers, show evidence and end every connection."""
    state = api.store.records[producer].state
    for path, body in (
        (f"/v1/producers/{producer}/offers", {"channel": "direct"}),
        (f"/v1/producers/{producer}/connections", SALE | {"evidence": "E2"}),
    ):
        assert (await api.request("POST", path, json=body)).status_code == 201
    for offer, each in state.offers.items():
        if each.answer == "open":
            path = f"/v1/offers/{producer}.{offer}/acceptance"
            assert (await api.request("POST", path, json={"accepted": False, "reason": "price"})).status_code == 200
    for connection in api.store.records[producer].state.connections:
        path = f"/v1/connections/{producer}.{connection}"
        await api.request("POST", f"{path}/evidence", json={"to": "E2"})
        await api.request("POST", f"{path}/end", json={"reason": "completed"})
    api.now = api.now.replace(day=20)


async def market_call(api: MarketApi, path: str, body: dict[str, Any]) -> Call:
    """Return a request about a producer with an offer and a connection."""
    producer = await api.ready(1)
    await api.request("POST", f"/v1/producers/{producer}/offers", json={"channel": "cooperative"})
    await api.request("POST", f"/v1/producers/{producer}/connections", json=SALE)
    found = path.format(producer=producer)
    return Call("POST", f"/v1/{found}", {"json": body}, lambda: producer_goes_on(api, producer))


async def make_offer(api: MarketApi) -> Call:
    return await market_call(api, "producers/{producer}/offers", {"channel": "cooperative"})


async def answer_offer(api: MarketApi) -> Call:
    return await market_call(api, "offers/{producer}.o1/acceptance", {"accepted": True})


async def declare_connection(api: MarketApi) -> Call:
    return await market_call(api, "producers/{producer}/connections", SALE)


async def raise_evidence(api: MarketApi) -> Call:
    return await market_call(api, "connections/{producer}.c1/evidence", {"to": "E2"})


async def end_connection(api: MarketApi) -> Call:
    return await market_call(api, "connections/{producer}.c1/end", {"reason": "price"})


async def declare_connections(api: MarketApi) -> Call:
    connections = [{"producer": await api.ready(1), **SALE}, {"producer": await api.ready(2), **SALE, "evidence": "E3"}]
    later = lambda: producer_goes_on(api, connections[0]["producer"])  # noqa: E731
    return Call("POST", "/v1/connections/batch", {"json": {"connections": connections}}, later)


OPERATIONS: dict[str, tuple[Callable[[Any], Awaitable[Call]], ...]] = {
    "registration": (
        open_round,
        import_quotas,
        propose_quotas,
        propose_move,
        sign,
        decline,
        withdraw_proposal,
        register,
        import_applications,
        withdraw,
        correct,
        erase,
        reissue_code,
    ),
    "screening": (
        decide_case,
        decide_cases,
        claim_case,
        release_case,
        request_info,
        record_info,
        log_call,
        review_case,
        file_appeal,
        decide_appeal,
        identify_capacity,
        identify_capacities,
    ),
    "market": (
        enlist_lead,
        make_offer,
        answer_offer,
        declare_connection,
        declare_connections,
        raise_evidence,
        end_connection,
    ),
}
CASES = {service: {each.__name__: each for each in operations} for service, operations in OPERATIONS.items()}
EACH = [(service, operation) for service, cases in CASES.items() for operation in cases]


async def send(api: Any, call: Call) -> httpx.Response:
    response: httpx.Response = await api.request(
        call.method, call.path, *([call.role] if call.role else []), key=KEY, **call.options
    )
    return response


def answer(response: httpx.Response) -> tuple[int, bytes, dict[str, str]]:
    """Return what has to be equal: status, body and the headers that describe them."""
    described = ("location", "etag", "content-type", "retry-after")
    return response.status_code, response.content, {n: response.headers[n] for n in described if n in response.headers}


def events_of(api: Any) -> list[bytes]:
    return [raw for events in api.store.events.values() for raw in events]


def test_every_operation_that_takes_a_key_has_a_case(tmp_path: Path) -> None:
    for service, api in APIS.items():
        taking = {
            operation["operationId"]
            for path in api(tmp_path).app.openapi()["paths"].values()
            for operation in path.values()
            if any(each.get("name") == "Idempotency-Key" for each in operation.get("parameters", ()))
        }
        assert taking == set(CASES[service])


@pytest.mark.parametrize(("service", "operation"), EACH)
async def test_a_replayed_answer_does_not_drift(service: str, operation: str, tmp_path: Path) -> None:
    api = APIS[service](tmp_path)
    call = await CASES[service][operation](api)
    first = await send(api, call)
    assert first.is_success, first.text
    await call.later()
    emitted = events_of(api)
    assert answer(await send(api, call)) == answer(first)
    assert events_of(api) == emitted, "nothing is done again"


@pytest.mark.parametrize(("service", "operation"), EACH)
async def test_one_key_in_fifty_parallel_requests_gives_one_answer(
    service: str, operation: str, tmp_path: Path
) -> None:
    (tmp_path / "once").mkdir()
    once, api = APIS[service](tmp_path / "once"), APIS[service](tmp_path)
    await send(once, await CASES[service][operation](once))
    call = await CASES[service][operation](api)
    answers = [answer(each) for each in await asyncio.gather(*(send(api, call) for _ in range(50)))]
    assert answers[0][0] < 300 and answers == [answers[0]] * 50
    assert len(events_of(api)) == len(events_of(once)), "done once"


async def test_a_refusal_is_decided_again(tmp_path: Path) -> None:
    """Nothing was done under the key, so a request that was refused may be sent again when its reason is gone."""
    api = RegistrationApi(tmp_path)
    await api.open_round()
    early = {"province": "IR-27", "county": "2701"}
    assert (await api.register(key=KEY, role="service", **early)).json()["code"] == "intake_closed"
    api.advance(days=40)
    assert (await api.register(key=KEY, role="service", **early)).status_code == 201


@pytest.mark.server
@pytest.mark.parametrize("operation", ["register", "decide_case"])
async def test_over_mongodb_one_key_gives_one_answer_that_does_not_drift(
    operation: str, servers: Servers, tmp_path: Path
) -> None:
    client, name = connect(servers.mongo), servers.database()
    api: Any
    if operation == "register":
        await registration.create_indexes(client[name])
        api = RegistrationApi(tmp_path, client, name)
        call = await register(api)
    else:
        await screening.create_indexes(client[name])
        api = ScreeningApi(tmp_path, screening.mongo_store(client[name]))
        call = await decide_case(api)
    before = await api.store.records.count_documents({})
    answers = [answer(each) for each in await asyncio.gather(*(send(api, call) for _ in range(50)))]
    assert answers[0][0] < 300 and answers == [answers[0]] * 50
    assert await api.store.records.count_documents({}) == before + (operation == "register")
    await call.later()
    assert answer(await send(api, call)) == answers[0]
    await client.drop_database(name)
    await client.drop_database(f"{name}_keys")
    await client.close()
