"""Rate limits: token buckets by name and caller."""

import httpx
import pytest
from starlette.requests import Request

from tests.support.small_api import problem_of
from tests.support.tokens import Issuer
from web.app import App
from web.rate_limit import Buckets, caller_of


async def test_requests_beyond_the_limit_are_refused(
    client: httpx.AsyncClient, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.state.buckets, "now", lambda: 0.0)
    app.state.buckets.buckets.clear()
    responses = [await client.get("/t/v1/limited") for _ in range(3)]

    assert [each.status_code for each in responses[:2]] == [200, 200]
    body = problem_of(responses[2], 429, "too_many_requests")
    assert responses[2].headers["retry-after"] == "30" and "30" in body["detail"]


async def test_each_principal_has_a_bucket(client: httpx.AsyncClient, issuer: Issuer) -> None:
    for officer in ("of-1", "of-2"):
        headers = issuer.bearer("registrar", province="IR-20", id=officer)
        assert (await client.get("/t/v1/limited/own", headers=headers)).json() == officer
        problem_of(await client.get("/t/v1/limited/own", headers=headers), 429, "too_many_requests")
    problem_of(await client.get("/t/v1/limited/own"), 401, "unauthenticated")


def test_bucket_refills_up_to_its_burst() -> None:
    now = 0.0
    buckets = Buckets(now=lambda: now)
    assert [buckets.take("name", "caller", 60, 2) for _ in range(3)] == [0, 0, 1]

    now = 0.5
    assert buckets.take("name", "caller", 60, 2) == pytest.approx(0.5)
    now = 100.0
    assert [buckets.take("name", "caller", 60, 2) for _ in range(3)] == [0, 0, 1]


def test_number_of_buckets_is_bounded() -> None:
    buckets = Buckets(kept=10)
    for i in range(100):
        buckets.take("name", str(i), 60, 1)

    assert len(buckets.buckets) == 10


def test_a_subscriber_of_ipv6_is_one_caller() -> None:
    def caller(address: str) -> str:
        return caller_of(Request({"type": "http", "client": (address, 1)}), None)

    assert caller("2001:db8:0:7::1") == caller("2001:db8:0:7:ffff::2") != caller("2001:db8:0:8::1")
    assert caller("10.0.0.1") != caller("10.0.0.2") and caller("unix") == "@unix"
