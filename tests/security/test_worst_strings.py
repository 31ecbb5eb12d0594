"""No request costs much: the worst known strings in every field of every operation, by the CPU time that they take.

The measure is the same operation with one kilobyte of plain text in the same field, in the same run.
"""

import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest

from contracts.codes import ROLES
from registration.domain.application import COLUMNS
from registration.pages.steps import STEPS
from tests.support.market_api import MarketApi
from tests.support.registration_api import RegistrationApi
from tests.support.reporting_round import app_of, ranking_cache
from tests.support.screening_api import ScreeningApi
from tests.support.tokens import Issuer
from web.app import App, policies

TIMES = 20
PLAIN = "a" * 1_000
BYTES = 60_000  # of a body; the limit is 64 KiB
URL_BYTES = 8_000
CELL = 131_071  # characters: the longest that Python's csv module reads
CLAIMS = {"province": "IR-20", "county": "2001", "lead": "0199a000-0000-7000-8000-000000000001"}
WORST: Mapping[str, str] = {  # repeated as often as they fit
    "combining marks": "\u0301\u0327",
    "marks after a letter": "ا\u0655\u064b\u0327",
    "zero-width non-joiners": "\u200c",
    "presentation forms": "\ufdfa",
    "Hangul letters": "\u1100\u1161\u11a8",
    "digits": "9",
    "Persian digits": "۹",
    "spaces": " ",
    "slashes": "/",
    "letters that are replaced": "ي\u0640",
}
FORMS = {
    **{
        f"/registration/apply/{step.slug}": (*(field.name for field in step.fields), "year", "month", "day")
        for step in STEPS
    },
    "/registration/apply/check": ("consent", "key"),
}
Sent = Mapping[str, Any]  # what httpx sends


def filled(unit: str, size: int) -> str:
    """Return the unit as often as it fits into so many bytes."""
    return unit * (size // len(unit.encode()))


class Operation:
    """An operation of an API: its requests with a text in each field."""

    def __init__(self, method: str, path: str, declared: Mapping[str, Any], schemas: Mapping[str, Any]) -> None:
        self.method, self.path, self.declared, self.schemas = method, path, declared, schemas

    def requests(self, unit: str, size: int, url_size: int, cell: int) -> Iterator[tuple[str, Sent]]:
        """Yield the name of each field, and a request with the text in it."""
        text, short = filled(unit, size), filled(unit, url_size)
        url = self._url({})
        for each in self.declared.get("parameters", ()):
            name = each["name"]
            if each["in"] == "path":
                yield f"path {name}", {"url": self._url({name: short})}
            elif each["in"] == "query":
                yield f"query {name}", {"url": f"{url}?{urlencode({name: short})}"}
            elif short.isascii():
                yield f"header {name}", {"url": url, "headers": {name: short.strip()}}
        for media_type, content in self.declared.get("requestBody", {}).get("content", {}).items():
            headers = {"Content-Type": media_type, "Idempotency-Key": "a-key-of-a-client"}
            if media_type == "application/json":
                for where, body in replaced(self._example(content["schema"]), text):
                    yield f"body {where}", {"url": url, "json": body, "headers": headers}
                yield "body", {"url": url, "content": text.encode(), "headers": headers}
            else:
                for column in COLUMNS:
                    yield (
                        f"cell {column}",
                        {"url": url, "content": csv_file(column, filled(unit, cell)), "headers": headers},
                    )
                yield "file", {"url": url, "content": filled(unit, cell).encode(), "headers": headers}

    def _url(self, values: Mapping[str, str]) -> str:
        path = self.path
        for each in self.declared.get("parameters", ()):
            if each["in"] == "path":
                path = path.replace(f"{{{each['name']}}}", quote(values.get(each["name"], "1404"), safe=""))
        return path

    def _example(self, schema: Mapping[str, Any]) -> Any:
        """Return a value of a JSON schema."""
        if "$ref" in schema:
            return self._example(self.schemas[schema["$ref"].rpartition("/")[2]])
        if schema.get("examples"):
            return schema["examples"][0]
        if options := schema.get("anyOf") or schema.get("allOf"):
            return self._example(options[0])
        match schema.get("type"):
            case "object":
                return {name: self._example(each) for name, each in schema.get("properties", {}).items()}
            case "array":
                return [self._example(schema["items"])]
            case "integer" | "number":
                return schema.get("minimum", 1)
            case "boolean":
                return True
        return schema.get("const") or schema.get("enum", ["a"])[0]


class Form:
    """A form of the pages, which are not in OpenAPI: its requests with a text in each field."""

    method = "POST"

    def __init__(self, path: str, fields: Sequence[str]) -> None:
        self.path, self.fields = path, fields

    def requests(self, unit: str, size: int, url_size: int, cell: int) -> Iterator[tuple[str, Sent]]:
        """Yield the name of each field, and a request with the text in it."""
        text = filled(unit, size if unit.isascii() else size // 3)  # percent-encoded
        same_origin = {"Sec-Fetch-Site": "same-origin"}
        for name in (*self.fields, "another"):
            yield name, {"url": self.path, "data": {name: text}, "headers": same_origin}
        yield "name", {"url": self.path, "data": {text: "1"}, "headers": same_origin}


def replaced(value: Any, text: str, where: str = "$") -> Iterator[tuple[str, Any]]:
    """Yield the value with the text in place of each of its parts, and as an unknown name."""
    if isinstance(value, dict):
        for name, each in value.items():
            for path, other in replaced(each, text, f"{where}.{name}"):
                yield path, {**value, name: other}
        yield f"{where}.?", {**value, text: 1}
    elif isinstance(value, list):
        for path, other in replaced(value[0], text, f"{where}[]") if value else ():
            yield path, [other]
        yield f"{where}[*]", [text[:3]] * (len(text) // 3)
    else:
        yield where, text


def csv_file(column: str, text: str) -> bytes:
    """Return a file of one row with the text in one column."""
    return "\r\n".join([",".join(COLUMNS), ",".join(text if each == column else "1" for each in COLUMNS)]).encode()


def operations(app: App) -> list[Operation | Form]:
    """Return every operation of an API but endless streams, and the forms of its pages."""
    schema = app.openapi()
    schemas = schema["components"]["schemas"]
    found: list[Operation | Form] = [
        Operation(method.upper(), path, declared, schemas)
        for path, methods in schema["paths"].items()
        for method, declared in methods.items()
        if "text/event-stream" not in str(declared["responses"].get("200", ""))
    ]
    assert len(found) > 5
    return found + [Form(path, fields) for path, fields in FORMS.items() if path.startswith(f"{app.state.prefix}/")]


@pytest.fixture(params=["registration", "screening", "market", "reporting"])
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[App, Issuer]]:
    """One of the services over memory, and the issuer of its tokens."""
    if request.param == "registration":
        registration = RegistrationApi(tmp_path)
        await registration.open_round(quota=3)
        yield registration.app, registration.issuer
    elif request.param == "reporting":
        yield app_of(await ranking_cache()), Issuer(tmp_path)
    else:
        api = {"screening": ScreeningApi, "market": MarketApi}[request.param](tmp_path)
        yield api.app, api.issuer


class Measured:
    """An application that measures the CPU time of its requests, without that of the client."""

    def __init__(self, app: App) -> None:
        self.app, self.taken = app, 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        started = time.process_time()
        await self.app(scope, receive, send)
        self.taken = time.process_time() - started

    async def cpu_time(self, client: httpx.AsyncClient, method: str, sent: Sent, repeats: int) -> float:
        """Return the CPU seconds of a request, at best; it must not fail."""
        best = float("inf")
        for _ in range(repeats):
            self.app.state.buckets.buckets.clear()  # no rate limit: a request that is refused costs nothing
            response = await client.request(method, **sent)
            assert response.status_code < 500, f"{method} {sent['url'][:200]}: {response.text[:300]}"
            assert response.status_code != 429
            best = min(best, self.taken)
        return best


async def test_the_worst_strings_cost_little_in_every_field(service: tuple[App, Issuer]) -> None:
    app, issuer = service
    declared, measured, slow = policies(app), Measured(app), list[str]()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(measured), base_url="http://127.0.0.1:8080") as client:
        for operation in operations(app):
            policy = declared.get((operation.method, operation.path))
            allowed = sorted(policy.roles & set(ROLES)) if policy else []
            client.headers = httpx.Headers(issuer.bearer(allowed[0], **CLAIMS) if allowed else {})
            plain = {
                where: await measured.cpu_time(client, operation.method, sent, 3)
                for where, sent in operation.requests("a", 1_000, 1_000, 1_000)
            }
            for name, unit in WORST.items():
                for where, sent in operation.requests(unit, BYTES, URL_BYTES, CELL):
                    limit = TIMES * plain[where]
                    if (taken := await measured.cpu_time(client, operation.method, sent, 1)) > limit:
                        taken = await measured.cpu_time(client, operation.method, sent, 3)
                    if taken > limit:
                        times = f"{taken / plain[where]:.0f} times {plain[where] * 1e3:.1f} ms"
                        slow.append(f"{operation.method} {operation.path} {where}, {name}: {times}")
    assert slow == []
