"""The dead letters of a service over HTTP: who may see what, and do what?"""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from base.settings import Settings
from contracts.subjects import PARTITIONS
from kernel.batch import drain, process
from kernel.leases import MemoryLeases
from kernel.record import LogPosition, Undecodable
from kernel.service import Runtime
from observability.health import ReadinessReason
from recovery import dead_letters as letters_of_service
from tests.support.faulty_events import park_three, recorded_actions, recount, rules_with_bug
from tests.support.messages import UNKNOWN_TYPE, message, unknown
from tests.support.parked_events import parked
from tests.support.small_api import HERE, problem_of
from tests.support.small_services import Tallies, noon
from tests.support.tokens import Issuer
from web.admin import dead_letters
from web.app import create_app

ABC = [f"registration/{subject}/1" for subject in "abc"]


class Api:
    """The API of a service with dead letters, and the store behind it."""

    def __init__(self, store: Any, tallies: Tallies, client: httpx.AsyncClient, issuer: Issuer) -> None:
        self.store, self.tallies, self.client, self.issuer = store, tallies, client, issuer

    async def request(self, method: str, path: str, role: str = "operator", **body: Any) -> httpx.Response:
        """Send a request of a user `o1` with this role."""
        headers = self.issuer.bearer(role, id="o1")
        return await self.client.request(method, f"/t/v1/dead-letters{path}", headers=headers, json=body or None)


@pytest.fixture
async def api(store_of: Callable[..., Any], issuer: Issuer, settings: Settings) -> AsyncIterator[Api]:
    """Serve the dead letters of reporting."""
    store, tallies = await store_of("reporting"), Tallies()

    async def ready() -> list[ReadinessReason]:
        return []

    app = create_app(settings, "Tests", lifespan=None, ready=ready, prefix="/t", routers=[dead_letters.router])
    app.state.runtime = Runtime(
        settings=settings, store=store, leases=MemoryLeases(), clock=noon, projection=tallies.move
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HERE) as client:
        yield Api(store, tallies, client, issuer)


async def test_an_operator_lists_tries_and_retries_letters(api: Api) -> None:
    await park_three(api.store, api.tallies)
    counts = api.tallies.counts.copy()
    (group,) = (await api.request("GET", "", "auditor")).json()
    assert (group["letters"], group["behind"], group["example"]) == (3, 3, ABC[0])
    assert group["fault"] == "ValueError: a bug" and group["where"].startswith("ReportingRules.evolve:")
    letters = (await api.request("GET", f"/letters?fingerprint={group['fingerprint']}", "auditor")).json()["items"]
    assert [each["id"] for each in letters] == ABC
    assert letters[0]["event"]["subject"] == "a" and letters[0]["behind"] == 1 and letters[0]["bytes"] > 100
    assert [each["next"] for each in letters] == [[f"registration/{subject}/2"] for subject in "abc"]
    tried = (await api.request("POST", "/retry", letters=ABC, dry_run=True)).json()
    assert tried["dry_run"] and {each["outcome"] for each in tried["outcomes"]} == {"parked"}
    assert {each["fault"] for each in tried["outcomes"]} == {"ValueError: a bug"}
    api.store.rules = {"applicant": rules_with_bug()}
    assert api.tallies.counts == counts
    done = (await api.request("POST", "/retry", letters=ABC, reason="fixed")).json()
    assert not done["dry_run"] and [each["drained"] for each in done["outcomes"]] == [2, 2, 2]
    assert (await api.request("GET", "")).json() == []
    assert +api.tallies.counts == await recount(api.store, *"abcd"), "the projection moves with a retry"
    assert sum(api.tallies.counts.values()) == 7
    assert await recorded_actions(api.store) == [("operator:o1", "retry", "fixed", ABC)]


async def test_letters_are_paged(api: Api) -> None:
    await park_three(api.store, api.tallies)
    await api.store.add_undecodable(
        [Undecodable(LogPosition("peyvand.registration", 3, n), b"\xff", "invalid byte") for n in range(3)]
    )
    found, after = list[str](), ""
    for expected in (2, 2, 2):
        page = (await api.request("GET", f"/letters?limit=2{after}")).json()
        assert len(page["items"]) == expected
        found += [each["id"] for each in page["items"]]
        after = f"&after={page['next']}"
    assert page["next"] is None
    assert found == [*ABC, *(f"peyvand.registration/3@{n}" for n in range(3))]


async def test_bytes_that_are_no_event_are_not_shown(api: Api) -> None:
    raw = b'{"phone": "09123456789"}'
    await api.store.add_undecodable([Undecodable(LogPosition("peyvand.registration", 3, 5), raw, "no type")])
    response = await api.request("GET", "/letters")
    (letter,) = response.json()["items"]
    assert (letter["id"], letter["kind"], letter["bytes"]) == ("peyvand.registration/3@5", "undecodable", len(raw))
    assert letter["event"] is None and "0912" not in response.text
    assert "0912" not in (await api.request("GET", "")).text


async def test_the_data_of_an_unknown_event_is_not_shown(api: Api) -> None:
    await process(api.store, [unknown(1), message("registration", 1, subject="q", field="poison")], {}, noon)
    by_type = {each["reason"]: each for each in (await api.request("GET", "/letters")).json()["items"]}
    known, newer = by_type["fault"], by_type["unknown_type"]
    assert known["event"]["data"]["age_band"] == "25-34"
    assert newer["type"] == UNKNOWN_TYPE and newer["event"] is None and newer["bytes"] > 100
    assert "25-34" not in str(newer)


async def test_undecodable_bytes_are_retried_and_handled_by_the_worker(api: Api) -> None:
    raw = message("registration", 1).raw
    await api.store.add_undecodable([Undecodable(LogPosition("peyvand.registration", 3, 5), raw, "why")])
    done = (await api.request("POST", "/retry", letters=["peyvand.registration/3@5"])).json()
    assert [each["outcome"] for each in done["outcomes"]] == ["drained"]
    assert (await api.request("GET", "")).json() == [] and not api.tallies.counts
    await drain(api.store, range(PARTITIONS), noon, api.tallies.move)
    assert api.tallies.counts == {("IR-20", "ApplicantRegistered"): 1}


async def test_a_missing_event_is_shown_without_content_and_discarded(api: Api) -> None:
    await process(api.store, [message("registration", 2)], {}, noon, api.tallies.move)
    (letter,) = (await api.request("GET", "/letters?subject=p")).json()["items"]
    assert (letter["id"], letter["reason"], letter["bytes"]) == ("registration/p/1", "early", 0)
    assert letter["event"] is None and "event 1 is missing" in letter["fault"]
    assert letter["next"] == ["registration/p/2"]
    done = (await api.request("POST", "/discard", letters=[letter["id"]], reason="lost by its producer")).json()
    assert [(each["outcome"], each["drained"]) for each in done["outcomes"]] == [("discarded", 1)]
    assert (await api.request("GET", "")).json() == []


async def test_only_operators_act_and_only_operators_and_auditors_read(api: Api) -> None:
    for role in ("auditor", "ministry_admin", "analyst"):
        for action in ("/retry", "/discard"):
            refused = await api.request("POST", action, role, letters=ABC, reason="a reason")
            problem_of(refused, 403, "forbidden")
    for path in ("", "/letters"):
        for role in ("ministry_admin", "analyst"):
            problem_of(await api.request("GET", path, role), 403, "forbidden")
        for role in ("operator", "auditor"):
            assert (await api.request("GET", path, role)).status_code == 200
    assert await recorded_actions(api.store) == []


async def test_invalid_input_is_refused_by_field(api: Api) -> None:
    body = problem_of(await api.request("POST", "/retry", letters=["malformed"]), 422, "letter_unknown")
    assert body["errors"][0]["field"] == "letters" and "malformed" in body["detail"]
    for path, invalid, field in (
        ("/discard", {"letters": ABC}, "reason"),
        ("/discard", {"letters": ABC, "reason": "x"}, "reason"),
        ("/retry", {"letters": []}, "letters"),
        ("/retry", {"letters": ABC * 67}, "letters"),
        ("/retry", {"letters": ABC, "what": "else"}, "what"),
    ):
        body = problem_of(await api.request("POST", path, **invalid), 422, "value_invalid")
        assert [each["field"] for each in body["errors"]] == [field]
    blank = await api.request("POST", "/discard", letters=ABC, reason="    ")
    assert problem_of(blank, 422, "missing_field")["errors"][0]["field"] == "reason"
    unknown_ids = ["registration/x/1", "registration/kind:x/1"]
    gone = (await api.request("POST", "/retry", letters=unknown_ids)).json()
    assert [each["outcome"] for each in gone["outcomes"]] == ["gone", "gone"]


async def test_discarding_many_needs_two_persons(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters_of_service, "ONE_OPERATOR_LIMIT", 2)
    await park_three(api.store, api.tallies)
    refused = await api.request("POST", "/discard", letters=ABC[:1], reason="all of them")
    assert "two persons" in problem_of(refused, 403, "two_persons_needed")["detail"]
    assert await parked(api.store) and await recorded_actions(api.store) == []
    monkeypatch.setattr(letters_of_service, "ONE_OPERATOR_LIMIT", 3)
    done = (await api.request("POST", "/discard", letters=ABC[:1], reason="test data")).json()
    assert [each["outcome"] for each in done["outcomes"]] == ["discarded"]
