"""Values that no one sends by accident get a sentence, never a fault: in every field of every operation."""

import base64
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kernel.stores.mongodb import MongoStore
from tests.support.generated_requests import (
    CLAIMS,
    KEY,
    SERVICES,
    Form,
    Operation,
    Sent,
    Value,
    as_json,
    bearer,
    client_of,
    encoded,
    operations,
    over_memory,
    over_mongodb,
    url_of,
)
from tests.support.servers import Servers
from tests.support.tokens import Issuer
from web.app import App
from web.rate_limit import Buckets

FIRST, LAST = "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00"  # before the first, after the last
KEYED = "0199a000-0000-7000-8000-000000000001"


def cursor(*sort_key: Any) -> str:
    """Return the cursor of a list with this sort key."""
    return base64.urlsafe_b64encode(as_json(list(sort_key))).decode().rstrip("=")


TEXTS = (
    "\ud800",
    "a\udc80b",
    "\ud83d\ude00",
    "\0",
    "a\0b",
    "\ufeff",
    "\ufffe",
    "\U0010ffff",
    "\x7f\x1b",
    "$where",
    "a.b",
)
DATES = (FIRST, LAST, "0001-01-01", "9999-12-31", "0000-00-00", "10000-01-01", "1/1/1", "9999/12/29", "۰۰۰۱/۰۱/۰۱")
OTHERS: tuple[Any, ...] = (
    10**400,
    2**63,
    -1,
    1.5e308,
    True,
    None,
    [],
    {},
    {"$gt": ""},
    "9" * 400,
    "1e400",
    "NaN",
    "²",
    "𝟙𝟜𝟘𝟜",
)
# a matter of the database
STORED: tuple[Any, ...] = ("\ud800", "\0", FIRST, LAST, 2**63, "9" * 400, {"$gt": ""}, "a.b")
ONE_PART: tuple[Any, ...] = (FIRST, LAST, "\0", "\ud800", 10**400, None, True, [], {}, 2**63)
TWO_PARTS: tuple[Any, ...] = (FIRST, LAST, "0001-01-01", "\0", "\ud800", 10**400, 2**63, None, True, 1.5)
CURSORS: tuple[str, ...] = (
    *map(cursor, ONE_PART),
    *(cursor(value, KEYED) for value in TWO_PARTS),
    *(cursor(*each) for each in (("a",) * 2, ("a",) * 3, (FIRST, "IR-20", KEYED), (None,) * 3, (2**70, "a"))),
    *(cursor(), "e30", "====", "\u06f1", cursor("a" * 600), base64.b64encode(b"\xff\xfe").decode(), "bnVsbA"),
    *(f"{time}~{KEYED}" for time in (FIRST, LAST, "0001-01-01", "2025-09-27T06:00:00", "a\0", "\ud800")),
)
HOSTILE_CLAIMS: tuple[dict[str, Any], ...] = tuple(
    {claim: value}
    for claim in ("id", "province", "county", "lead", "name", "roles", "exp", "nbf", "iat")
    for value in ("\ud800", "a\0b", "\udfff\ud800", "x" * 500, 10**400, ["\ud800"], {"$gt": ""}, None)
)
SOME_CLAIMS: tuple[dict[str, Any], ...] = ({"lead": "\ud800"}, {"lead": "a\0"}, {"name": "\udfff"}, {"id": "\0"})
STRANGE: dict[str, tuple[bytes, str]] = {  # bodies with their type
    "UTF-16": ('{"a": "متن"}'.encode("utf-16"), "application/json"),
    "UTF-32": (b'{"a": 1}'.decode().encode("utf-32"), "application/json; charset=utf-32"),
    "UTF-7": (b'{"a": "+2AA-"}', "application/json; charset=utf-7"),
    "byte order mark": (b'\xef\xbb\xbf{"a": 1}', "application/json"),
    "CESU-8 value": (b'{"reason": "\xed\xa0\xbd\xed\xb8\x80"}', "application/json"),
    "CESU-8 name": (b'{"\xed\xa0\xbd": 1}', "application/json"),
    "surrogate name": (b'{"\\ud800": 1}', "application/json"),
    "surrogate in a list of names": (b'{"items": [{"\\ud800": "\\udc00"}]}', "application/json"),
    "NUL name": (b'{"\\u0000": 1}', "application/json"),
    "overlong": (b'{"a": "\xc0\x80"}', "application/json"),
    "only NUL": (b"\0" * 100, "application/json"),
    "a name twice": (b'{"reason": "a", "reason": "b"}', "application/json"),
    "1e400": (b'{"reason": 1e400, "quota": 1e400, "limit": -1e400}', "application/json"),
    "no type": (b"{}", ""),
    "rubbish type": (b"{}", "\xff\xfe; ;;==/\x01, a/b"),
    "type without end": (b"{}", 'application/json; charset="'),
    "type of 10 kB": (b"{}", "application/" + "x" * 10_000),
    "unknown charset": (b"a=1", "application/x-www-form-urlencoded; charset=nonsense"),
    "form of 10,000 fields": (b"&".join(b"a%d=1" % n for n in range(9_000)), "application/x-www-form-urlencoded"),
    "form of ampersands": (b"&=&;" * 10_000, "application/x-www-form-urlencoded"),
    "form with broken escapes": (b"%=%z&%ff=%c0%80&name=%ed%a0%80&key=%00", "application/x-www-form-urlencoded"),
    "no boundary": (b"--x\r\n\r\n", "multipart/form-data"),
    "empty boundary": (b"--\r\n\r\n", 'multipart/form-data; boundary=""'),
    "long boundary": (b"--\r\n\r\n", "multipart/form-data; boundary=" + "x" * 5_000),
    "boundary of other letters": (b"--x\r\n\r\n", "multipart/form-data; boundary=\xff\xfe"),
    "a file for a text": (
        b'--x\r\nContent-Disposition: form-data; name="key"; filename="\xed\xa0\x80"\r\n\r\n\xff\r\n--x--\r\n',
        "multipart/form-data; boundary=x",
    ),
    "part in UTF-7": (
        b'--x\r\nContent-Disposition: form-data; name="\xed\xa0\x80\x00"\r\nContent-Type: a; charset=utf-7\r\n\r\n'
        b"+2AA-\r\n--x--\r\n",
        "multipart/form-data; boundary=x; charset=utf-7",
    ),
    "multipart in UTF-16": (b"--x\r\n" * 50, "multipart/form-data; boundary=x; charset=utf-16"),
}
HEADERS: tuple[tuple[str, bytes], ...] = tuple(
    (name, value)
    for name in (
        *("Idempotency-Key", "X-Request-ID", "Accept-Language", "traceparent", "If-None-Match", "Cookie", "Accept"),
        *("Authorization", "Content-Type", "Origin", "Sec-Fetch-Site", "Host", "If-Modified-Since", "Range"),
    )
    for value in (b"\xed\xa0\x80", b"\xff" * 20, b"a\0b", b"", b"," * 5_000, b"=;" * 3_000, b"x" * 9_000, b'W/"')
)
TARGETS = (
    *("%00", "%ED%A0%80", "%C0%80", "%FF", "%", "%zz", "..%2f..%2f", "%0d%0aX: y", "%e2%80%8f", "a" * 5_000, "\\", "*"),
)
QUERIES = (
    "a=%00",
    "lang=%ED%A0%80",
    "lang=fa&lang=en&lang=%00",
    "%FF=%FF",
    "&&==",
    "limit=1&limit=2",
    "after=&after=x",
)
COOKIES = tuple(
    f"{name}={value}"
    for name in ("peyvand_token", "peyvand_lang", "peyvand_login", "peyvand_draft")
    for value in ("\xed\xa0\x80", '"', "=" * 50, "e30", "bnVsbA", "W10", cursor("\ud800"), "a.b.c", "\0")
)


def strange_bodies(operation: Operation | Form) -> Iterator[tuple[str, Sent]]:
    """Yield requests with a body in another encoding or form than the operation expects."""
    for name, (body, kind) in STRANGE.items():
        headers: list[tuple[str, Any]] = [("Sec-Fetch-Site", "same-origin"), *KEY.items()]
        headers += [("Content-Type", kind.encode("latin-1"))] if kind else []
        yield f"body {name}", {"url": url_of(operation), "content": body, "headers": headers}


def strange_requests(operation: Operation | Form) -> Iterator[tuple[str, Sent]]:
    """Yield requests with headers, cookies, paths and queries that no client of ours sends."""
    url = url_of(operation)
    yield from ((f"header {n} {v!r:.20}", {"url": url, "headers": [(n, v)]}) for n, v in HEADERS)
    yield from ((f"cookie {each}", {"url": url, "headers": [("Cookie", encoded(each))]}) for each in COOKIES)
    yield from ((f"query {each}", {"url": f"{url}?{each}"}) for each in QUERIES)
    yield from ((f"path {each:.20}", {"url": f"{url}/{each}"}) for each in TARGETS)


def corner_values(operation: Operation | Form, values: Iterable[Any]) -> Iterator[tuple[str, Sent]]:
    """Yield requests with each value in each field, and with each cursor in each part of the query."""
    for value in values:
        for where, sent in operation.requests(Value.of(value)):
            yield f"{where} {value!r}", sent
    for each in CURSORS:
        yield from (named for named in operation.requests(Value.of(each)) if named[0].startswith("query"))


def has_a_sentence(response: httpx.Response) -> bool:
    """Return whether a refusal is a problem with a sentence in both languages, or a page."""
    if response.headers.get("content-type", "").startswith("text/html"):
        return True
    return "problem+json" in response.headers.get("content-type", "") and all(
        json.loads(response.content)[name] for name in ("code", "detail", "detail_fa")
    )


class Sender:
    """Sends requests and collects those whose response is a fault, or a refusal without a sentence."""

    def __init__(self, app: App, client: httpx.AsyncClient) -> None:
        self.app, self.client = app, client
        self.failed, self.statuses = list[str](), Counter[int]()

    async def send(self, method: str, requests: Iterable[tuple[str, Sent]]) -> None:
        """Send these requests."""
        for what, sent in requests:
            self.app.state.buckets.buckets.clear()
            response = await self.client.request(method, **sent)
            self.statuses[response.status_code] += 1
            if response.status_code >= 500 or (response.status_code >= 400 and not has_a_sentence(response)):
                self.failed.append(f"{response.status_code} {method} {sent['url'][:80]} {what[:80]}")

    async def send_all(self, issuer: Issuer, values: Sequence[Any]) -> None:
        """Send the values to every field, bodies of every kind, and the rest to one operation of each kind."""
        seen = set[str]()
        for operation in operations(self.app):
            if "/replays" in operation.path and not isinstance(self.app.state.runtime.store, MongoStore):
                continue  # replays are requests to a worker, which needs a database
            method, allowed = operation.method, bearer(self.app, issuer, operation)
            self.client.headers = httpx.Headers(allowed)
            await self.send(method, corner_values(operation, values))
            if method != "GET":
                await self.send(method, strange_bodies(operation))
            if method not in seen:
                await self.send(method, strange_requests(operation))
            if allowed:
                for claims in SOME_CLAIMS if method in seen else HOSTILE_CLAIMS:
                    self.client.headers = httpx.Headers(issuer.bearer("manager", **{**CLAIMS, **claims}))
                    await self.send(method, [(f"claims {claims}", {"url": url_of(operation)})])
                seen.add(method)


@pytest.mark.parametrize("name", SERVICES)
async def test_every_value_in_every_field_gets_a_sentence(name: str, tmp_path: Path) -> None:
    async with over_memory(name, tmp_path) as (app, issuer), client_of(app) as client:
        sender = Sender(app, client)
        await sender.send_all(issuer, (*TEXTS, *DATES, *OTHERS))
    assert sender.failed == []
    assert sender.statuses[422] and sender.statuses[400] and sender.statuses[401]


@pytest.mark.server
@pytest.mark.parametrize("name", SERVICES)
async def test_what_a_database_cannot_store_gets_a_sentence(name: str, servers: Servers, tmp_path: Path) -> None:
    async with over_mongodb(name, tmp_path, servers) as (app, issuer), client_of(app) as client:
        sender = Sender(app, client)
        await sender.send_all(issuer, STORED)
    assert sender.failed == []
    assert sender.statuses[422] and sender.statuses[400] and sender.statuses[401]


async def test_a_fault_and_a_refusal_without_a_sentence_are_found() -> None:
    """The canary."""

    async def fails(request: Request) -> Response:
        raise OverflowError

    async def refuses(request: Request) -> Response:
        return Response("no", 400)

    app: Any = Starlette(routes=[Route("/fails", fails), Route("/refuses", refuses)])
    app.state.buckets = Buckets()
    async with client_of(app) as client:
        sender = Sender(app, client)
        await sender.send("GET", [("a fault", {"url": "/fails"}), ("no sentence", {"url": "/refuses"})])
    assert len(sender.failed) == 2
