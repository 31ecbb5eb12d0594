"""What the owner of events answers to other services, and to no one else."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from base.http_client import HttpClient, HttpError
from contracts.envelope import decode
from contracts.subjects import partition_of
from recovery.reconciliation import client as consumer
from recovery.reconciliation.client import PATH, RemoteOwner, Tokens
from recovery.reconciliation.digests import BUCKETS, bucket_of
from recovery.reconciliation.owner import History, OwnRecords
from security.auth import own_audience
from tests.support.registration_api import RegistrationApi
from tests.support.small_api import problem_of

AUDIENCE = own_audience("peyvand", "registration")
OWNER = f"/registration{PATH}"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    api = RegistrationApi(tmp_path)
    async with api.client:
        await api.open_round(40)
        assert (await api.register()).status_code == 201
        yield api


def bearer(api: RegistrationApi, id: str = "reporting", *roles: str, **claims: Any) -> dict[str, str]:
    return api.issuer.bearer(*(roles or ("consumer",)), id=id, **{"aud": AUDIENCE, **claims})


async def ask(api: RegistrationApi, path: str, body: Any, headers: dict[str, str]) -> httpx.Response:
    return await api.client.post(f"{OWNER}/{path}", json=body, headers=headers)


async def test_it_answers_digests_lines_and_histories(api: RegistrationApi) -> None:
    (record,) = await api.applicants()
    subject, number, bucket = record.subject, partition_of(record.subject), bucket_of(record.subject)
    await api.store.mark_published({subject: 1})
    found = await ask(api, f"partitions/{number}/digests", {"kinds": ["applicant"]}, bearer(api))
    digests = found.json()
    assert len(digests) == BUCKETS and [n for n, each in enumerate(digests) if each] == [bucket]
    others = await ask(api, f"partitions/{number}/digests", {"kinds": ["lead"]}, bearer(api))
    assert not any(others.json())
    lines = await ask(
        api, f"partitions/{number}/lines", {"kinds": ["applicant"], "buckets": [bucket, 0]}, bearer(api, "screening")
    )
    assert lines.json() == [f"{subject} {record.last_sequence} {record.last_hash}"]
    answer = await ask(api, "histories", {"since": {subject: 0}}, bearer(api, "market"))
    (history,) = msgspec.json.decode(answer.content, type=list[History])
    assert (history.sequence, history.hash, history.published) == (record.last_sequence, record.last_hash, 1)
    assert decode(history.events[0]).subject == subject and list(history.events) == await api.store.history(subject)


async def test_it_answers_those_who_consume_its_events_only(api: RegistrationApi) -> None:
    body = {"kinds": ["applicant"]}
    for who, status, code in (
        (api.issuer.bearer("consumer", id="reporting"), 403, "forbidden"),  # a token for every service
        (bearer(api, aud=own_audience("peyvand", "screening")), 401, "unauthenticated"),  # for another one
        (bearer(api, aud=[AUDIENCE, "peyvand"]), 403, "forbidden"),  # for both
        (bearer(api, "registration"), 403, "forbidden"),  # it does not consume its own events
        (bearer(api, "of-2f9c"), 403, "forbidden"),  # no service
        (bearer(api, "reporting", "operator", "service", "ministry_admin"), 403, "forbidden"),
        (api.issuer.bearer("operator", "auditor", "service", id="reporting"), 403, "forbidden"),
        ({}, 401, "unauthenticated"),
    ):
        problem_of(await ask(api, "partitions/0/digests", body, who), status, code)
    officer = await api.client.get(
        "/registration/v1/dead-letters", headers=bearer(api, "reporting", "consumer", "operator")
    )
    problem_of(officer, 403, "forbidden")  # with such a token a service is nothing else
    assert PATH not in (await api.client.get("/registration/openapi.json")).text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("partitions/32/digests", {"kinds": []}),
        ("partitions/0/lines", {"kinds": ["applicant"], "buckets": [BUCKETS]}),
        ("histories", {"since": {f"p{n}": 0 for n in range(1_001)}}),
        ("histories", {"since": {"p": -1}}),
    ],
)
async def test_wrong_questions_are_refused(api: RegistrationApi, path: str, body: Any) -> None:
    assert (await ask(api, path, body, bearer(api))).status_code == 422


async def test_a_consumer_asks_with_a_token_for_this_owner(
    api: RegistrationApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over HTTP the answers are those of the owner itself; a token is kept until shortly before its end."""
    asked = list[httpx.Request]()

    def respond(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if request.url.path.endswith("openid-configuration"):
            return httpx.Response(200, json={"token_endpoint": "http://issuer/realms/x/token"})
        return httpx.Response(
            200, json={"access_token": api.issuer.token("consumer", id="reporting", aud=AUDIENCE), "expires_in": 300}
        )

    monkeypatch.setattr(
        consumer,
        "HttpClient",
        lambda url, **options: HttpClient(url, transport=httpx.MockTransport(respond), **options),
    )
    tokens = Tokens("http://issuer/realms/x", "reporting", "secret")
    assert tokens.token(AUDIENCE) == tokens.token(AUDIENCE) and len(asked) == 2
    assert (str(asked[0].url), str(asked[1].url)) == (
        "http://issuer/realms/x/.well-known/openid-configuration",
        "http://issuer/realms/x/token",
    )
    assert b"client_id=reporting&client_secret=secret&audience=peyvand-registration" in asked[1].content
    tokens.token("peyvand-screening")
    assert len(asked) == 4, "another owner, another token"

    owner, itself = RemoteOwner("http://registration-api/registration", AUDIENCE, tokens), OwnRecords(api.store)
    (record,) = await api.applicants()
    answers = dict[str, bytes]()
    for path, body in (
        (f"partitions/{partition_of(record.subject)}/digests", {"kinds": ["applicant"]}),
        (f"partitions/{partition_of(record.subject)}/lines", {"kinds": ["applicant"], "buckets": list(range(BUCKETS))}),
        ("histories", {"since": {record.subject: 0}}),
    ):
        answers[f"{OWNER}/{path}"] = (await ask(api, path, body, bearer(api))).content

    def serve(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"].startswith("Bearer ")
        return httpx.Response(200, content=answers[request.url.path])

    monkeypatch.setattr(
        consumer, "HttpClient", lambda url, **options: HttpClient(url, transport=httpx.MockTransport(serve), **options)
    )
    number, kinds = partition_of(record.subject), ["applicant"]
    assert await owner.digests(number, kinds) == await itself.digests(number, kinds)
    assert await owner.lines(number, kinds, range(BUCKETS)) == await itself.lines(number, kinds, range(BUCKETS))
    assert await owner.histories({record.subject: 0}) == await itself.histories({record.subject: 0})


async def test_an_owner_that_refuses_is_an_error_with_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = httpx.MockTransport(lambda request: httpx.Response(403))
    monkeypatch.setattr(consumer, "HttpClient", lambda url, **options: HttpClient(url, transport=refusing, **options))
    tokens = Tokens("http://issuer", "reporting", "secret")
    with pytest.raises(HttpError, match="403"):
        await RemoteOwner("http://a", AUDIENCE, tokens).digests(0, ["applicant"])
