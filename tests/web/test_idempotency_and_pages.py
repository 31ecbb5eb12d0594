"""What a route gets from the frame: idempotency, lists by pages, versions, limits, and its description."""

import json
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from programme.messages import MESSAGES
from tests.support.small_api import said
from tests.support.tokens import Issuer
from web.app import App
from web.idempotency import fingerprint
from web.rate_limit import Buckets

THINGS = "/t/v1/things"


# Idempotency


async def made(
    client: httpx.AsyncClient, issuer: Issuer, body: Any, key: str = "key-0001", **who: Any
) -> dict[str, Any]:
    """What the route was asked with."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
    response = await client.post(
        THINGS, content=content, headers={**issuer.bearer("registrar", province="IR-20", **who), **headers}
    )
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.json()
    return found


async def test_the_same_request_has_the_same_fingerprint_however_it_is_spelt(
    client: httpx.AsyncClient, issuer: Issuer
) -> None:
    first = await made(client, issuer, {"name": "ab", "count": 2})
    again = await made(client, issuer, b'{ "count": 2,\n "name": "\\u0061b" }')

    assert first == again and len(bytes.fromhex(first["fingerprint"])) == 32


async def test_another_body_or_principal_is_another_request(client: httpx.AsyncClient, issuer: Issuer) -> None:
    first = await made(client, issuer, {"name": "ab", "count": 2})
    other = await made(client, issuer, {"name": "ab", "count": 3})
    theirs = await made(client, issuer, {"name": "ab", "count": 2}, id="of-7777")

    assert first["fingerprint"] != other["fingerprint"] and first["key"] == other["key"] == "of-2f9c/key-0001"
    assert theirs["key"] == "of-7777/key-0001"


async def test_without_a_key_there_is_nothing_to_answer_again(client: httpx.AsyncClient, issuer: Issuer) -> None:
    response = await client.post(THINGS, json={"name": "ab"}, headers=issuer.bearer("registrar", province="IR-20"))

    assert (response.json()["key"], response.json()["fingerprint"]) == ("", "")


@pytest.mark.parametrize("key", ["short", "x" * 129, "with a blank", "کلید-فارسی-من", "a\tb-cdefgh"])
async def test_a_key_that_can_be_none(client: httpx.AsyncClient, issuer: Issuer, key: str) -> None:
    headers = [(b"Idempotency-Key", key.encode())]
    headers += [(n.encode(), v.encode()) for n, v in issuer.bearer("registrar", province="IR-20").items()]

    said(await client.post(THINGS, json={"name": "ab"}, headers=headers), 400, "idempotency_key_invalid")


async def test_an_import_needs_a_key(client: httpx.AsyncClient) -> None:
    response = await client.post("/t/v1/imports", content=b"x", headers={"Content-Type": "text/csv"})

    said(response, 400, "idempotency_key_missing")


def test_a_fingerprint_is_keyed_and_of_the_whole_request() -> None:
    one = fingerprint(b"secret", "POST", "/a", b"body")

    assert one == fingerprint(b"secret", "POST", "/a", b"body")
    assert len({one, *(fingerprint(s, m, p, b) for s, m, p, b in _others())}) == 5
    assert fingerprint(b"s", "POST", "/a", {"b": 1, "a": 2}) == fingerprint(b"s", "POST", "/a", {"a": 2, "b": 1})


def _others() -> list[tuple[bytes, str, str, bytes]]:
    return [
        (b"other", "POST", "/a", b"body"),
        (b"secret", "PUT", "/a", b"body"),
        (b"secret", "POST", "/b", b"body"),
        (b"secret", "POST", "/a", b"other"),
    ]


# Lists


async def test_a_list_is_walked_to_its_end(client: httpx.AsyncClient) -> None:
    seen: list[int] = []
    query: dict[str, Any] = {"limit": 3, "status": "x"}
    while True:
        response = await client.get(THINGS, params=query)
        seen += response.json()["items"]
        cursor = response.json()["next"]
        if cursor is None:
            assert "link" not in response.headers
            break
        link, _, rel = response.headers["link"].partition(">; ")
        query = {name: values[0] for name, values in parse_qs(link.removeprefix("<?")).items()}
        assert rel == 'rel="next"' and query == {"limit": "3", "status": "x", "after": cursor}

    assert seen == list(range(7))


@pytest.mark.parametrize("limit", ["0", "201", "-1", "many", "1e2", ""])
async def test_a_page_has_1_to_200_items(client: httpx.AsyncClient, limit: str) -> None:
    said(await client.get(THINGS, params={"limit": limit}), 422, "value_invalid")


@pytest.mark.parametrize("after", ["!", "e30", "bnVsbA", "W3t9XQ", "a" * 999, "W", "چ", "W1tdXQ"])
async def test_a_cursor_that_is_none_of_ours(client: httpx.AsyncClient, after: str) -> None:
    said(await client.get(THINGS, params={"after": after}), 400, "cursor_invalid")


# Versions


async def test_what_somebody_has_already_is_not_sent_again(client: httpx.AsyncClient) -> None:
    first = await client.get(f"{THINGS}/a")
    tag = first.headers["etag"]
    assert first.status_code == 200 and tag == '"a-7"' and first.headers["cache-control"] == "private, no-cache"

    for asked in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await client.get(f"{THINGS}/a", headers={"If-None-Match": asked})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    for asked in ('"a-6"', "a-7", '"b-7"'):
        assert (await client.get(f"{THINGS}/a", headers={"If-None-Match": asked})).status_code == 200


# Limits


async def test_too_many_requests(client: httpx.AsyncClient, app: App) -> None:
    app.state.buckets.left.clear()
    answers = [await client.get("/t/v1/limited") for _ in range(3)]

    assert [each.status_code for each in answers[:2]] == [200, 200]
    body = said(answers[2], 429, "too_many_requests")
    assert answers[2].headers["retry-after"] == "30" and "30" in body["detail"]


async def test_each_has_a_bucket_of_their_own(client: httpx.AsyncClient, issuer: Issuer) -> None:
    for who in ("of-1", "of-2"):
        headers = issuer.bearer("registrar", province="IR-20", id=who)
        assert (await client.get("/t/v1/limited/own", headers=headers)).json() == who
        said(await client.get("/t/v1/limited/own", headers=headers), 429, "too_many_requests")
    said(await client.get("/t/v1/limited/own"), 401, "unauthenticated")


def test_a_bucket_fills_again_and_never_over() -> None:
    now = 0.0
    buckets = Buckets(now=lambda: now)
    assert [buckets.take("n", "w", 60, 2) for _ in range(3)] == [0, 0, 1]

    now = 0.5
    assert buckets.take("n", "w", 60, 2) == pytest.approx(0.5)
    now = 100.0
    assert [buckets.take("n", "w", 60, 2) for _ in range(3)] == [0, 0, 1]


def test_buckets_are_bounded() -> None:
    buckets = Buckets(kept=10)
    for i in range(100):
        buckets.take("n", str(i), 60, 1)

    assert len(buckets.left) == 10


# The description


async def test_the_description_is_complete(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/t/openapi.json")).json()
    make, things = schema["paths"][THINGS]["post"], schema["paths"][THINGS]["get"]

    assert make["security"] == [{"bearer": []}, {"cookie": []}] and make["x-peyvand-roles"] == ["registrar"]
    assert things["security"] == [] and "x-peyvand-roles" not in things
    assert set(make["responses"]) == {"201", "400", "401", "403", "409", "413", "415", "422", "429", "500", "503"}
    assert set(schema["paths"]["/t/v1/raise/{which}"]["get"]["responses"]) >= {"200", "404", "429", "500", "503"}
    assert "text/csv" in schema["paths"]["/t/v1/imports"]["post"]["requestBody"]["content"]
    assert "/t/page" not in schema["paths"] and "/healthz" not in schema["paths"]
    assert [each["name"] for each in make["parameters"]] == ["Idempotency-Key"]
    assert set(schema["components"]["securitySchemes"]) == {"bearer", "cookie"}


async def test_every_described_refusal_is_one_that_exists(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/t/openapi.json")).json()
    assert "HTTPValidationError" not in json.dumps(schema)

    for operations in schema["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    content = response["content"]["application/problem+json"]
                    assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
                    assert content["example"]["code"] in MESSAGES and content["example"]["status"] == int(status)
                    assert "…" not in response["description"]


async def test_the_description_and_the_answers_agree(client: httpx.AsyncClient) -> None:
    from jsonschema import Draft202012Validator

    schema = (await client.get("/t/openapi.json")).json()
    problem = Draft202012Validator(schema["components"]["schemas"]["Problem"])
    answers = [await client.get(f"/t/v1/raise/{which}") for which in ("invalid", "missing", "bug", "transient")]

    for answer in answers:
        problem.validate(answer.json())
    with pytest.raises(Exception, match="required"):
        problem.validate({})
