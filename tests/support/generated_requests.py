"""Requests of every operation of a service, generated from its OpenAPI document, with a value in each field."""

import json
import re
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from contracts.codes import ROLES
from recovery.generations import Pointer
from registration.domain.application import COLUMNS
from registration.pages.steps import STEPS
from run.api import service_app
from tests.support.market_api import MarketApi
from tests.support.registration_api import RegistrationApi
from tests.support.reporting_round import app_of, ranking_cache
from tests.support.screening_api import ScreeningApi
from tests.support.servers import Servers
from tests.support.tokens import Issuer
from web.app import App, policies

SERVICES = ("registration", "screening", "market", "reporting")
BASE = "http://127.0.0.1:8080"
CLAIMS = {"province": "IR-20", "county": "2001", "lead": "0199a000-0000-7000-8000-000000000001"}
KEY = {"Idempotency-Key": "a-key-of-a-client"}
APPLICANT = "0199a000-0000-7000-8000-000000000000"  # one that exists in screening
FORMS = {  # not in OpenAPI; each with the names of its fields
    **{
        f"/registration/apply/{step.slug}": (*(field.name for field in step.fields), "year", "month", "day")
        for step in STEPS
    },
    "/registration/apply/check": ("consent", "key"),
    "/registration/apply/forget": (),
    "/registration/desk": ("query", "reason", "round"),
    "/registration/desk/{applicant}/identity": ("reason",),
    "/registration/desk/{applicant}/erasure": ("reason", "form_number", "confirmed", "key"),
    "/screening/cases/{id}/claim": ("key",),
    "/registration/rounds": ("round", "opens", "closes", "policy", "fields", "key"),
    "/registration/desk/register": ("national_id", "first_name", "birth_date", "county", "mobile", "consent", "key"),
    "/registration/desk/{applicant}/correction": ("reason", "form_number", "key", "birth_date", "county", "mobile"),
    "/registration/imports": ("round", "file"),
    "/registration/imports/{id}/start": ("mode", "digest"),
    "/registration/desk/{applicant}/review": ("act", "reason", "form", "why", "key"),
    "/registration/desk/{applicant}/withdrawal": ("reason", "form", "why", "key"),
    "/registration/desk/{applicant}/tracking-code": ("reason", "form", "key"),
    "/registration/proposals/quota": ("province", "quota", "reason", "round", "key"),
    "/registration/proposals/move": ("source", "target", "seats", "reason", "round", "key"),
    "/registration/proposals/{round_id}/{id}/signature": ("control", "key"),
    "/registration/proposals/{round_id}/{id}/refusal": ("reason", "key"),
    "/registration/proposals/{round_id}/{id}/withdrawal": ("key",),
    "/registration/tracking/lost": ("national_id", "phone"),
    "/registration/sign-in": ("outcome",),
    "/registration/sign-in/end": (),
    "/screening/next": (),
    "/screening/cases/{id}/release": ("key",),
    "/screening/cases/{id}/review": ("agrees", "review_reasons", "key"),
    "/screening/cases/{id}/calls": ("call", "day", "hour", "key"),
    "/screening/cases/{id}/decision": ("outcome", "reasons", "rule.age", "key"),
    "/screening/cases/{id}/info": ("items", "key"),
    "/screening/cases/{id}/info/receipt": ("items", "key"),
    "/screening/cases/{id}/appeal": ("form", "key"),
    "/screening/cases/{id}/appeal/decision": ("outcome", "reasons", "rule.age", "key"),
    "/screening/cases/{id}/capacity": ("product_group", "unit", "monthly_band", "skill_level", "needs", "key"),
    "/screening/sign-in": ("outcome", "rule.age"),  # carries the form that met an expired token
    "/screening/sign-in/end": (),
    "/sign-in": ("outcome",),
    "/sign-in/end": (),
}
QUERIES = {  # without which the form is not looked at
    "/screening/sign-in": f"?to=/screening/cases/{APPLICANT}",
    "/registration/sign-in": "?to=/registration/desk",
    "/sign-in": "?to=/work",
}
Sent = Mapping[str, Any]  # what httpx sends


class Value(NamedTuple):
    """A value in the sizes that fit: in a body of JSON or text, in an address or header, in a cell, in a form."""

    body: Any
    url: str
    cell: str
    form: str

    @classmethod
    def of(cls, value: Any) -> "Value":
        """Return a short value, the same everywhere."""
        text = value if isinstance(value, str) else json.dumps(value)
        return cls(value, text, text, text)


class Operation:
    """An operation of an API: its requests with a value in each field."""

    def __init__(self, method: str, path: str, declared: Mapping[str, Any], schemas: Mapping[str, Any]) -> None:
        self.method, self.path, self.declared, self.schemas = method, path, declared, schemas

    def requests(self, value: Value) -> Iterator[tuple[str, Sent]]:
        """Yield the name of each field, and a request with the value in it."""
        url = self._url({})
        for each in self.declared.get("parameters", ()):
            name = each["name"]
            if each["in"] == "path":
                yield f"path {name}", {"url": self._url({name: value.url})}
            elif each["in"] == "query":
                yield f"query {name}", {"url": f"{url}?{name}={quoted(value.url)}"}
            elif value.url.isascii():
                yield f"header {name}", {"url": url, "headers": {name: value.url.strip()}}
        for media_type, content in self.declared.get("requestBody", {}).get("content", {}).items():
            headers = {"Content-Type": media_type, **KEY}
            if media_type == "application/json":
                for where, body in replaced(self._example(content["schema"]), value.body):
                    yield f"body {where}", {"url": url, "content": as_json(body), "headers": headers}
                yield "body", {"url": url, "content": encoded(value.cell), "headers": headers}
            else:
                for column in COLUMNS:
                    yield f"cell {column}", {"url": url, "content": csv_file(column, value.cell), "headers": headers}
                yield "file", {"url": url, "content": encoded(value.cell), "headers": headers}

    def _url(self, values: Mapping[str, str]) -> str:
        path = self.path
        for each in self.declared.get("parameters", ()):
            if each["in"] == "path":
                path = path.replace(f"{{{each['name']}}}", quoted(values.get(each["name"], "1404")))
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
    """A form of the pages, which are not in OpenAPI: its requests with a value in each field."""

    method = "POST"

    def __init__(self, path: str, fields: Sequence[str]) -> None:
        self.path, self.fields = path, fields

    def requests(self, value: Value) -> Iterator[tuple[str, Sent]]:
        """Yield the name of each field, and a request with the value in it."""
        headers = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"}
        url = self.path.replace("{round_id}", "1404").replace("{id}", APPLICANT).replace(
            "{applicant}", APPLICANT
        ) + QUERIES.get(self.path, "")
        for name in (*self.fields, "another"):
            yield name, {"url": url, "content": f"{name}={quoted(value.form)}", "headers": headers}
        yield "name", {"url": url, "content": f"{quoted(value.form)}=1", "headers": headers}


def encoded(text: str) -> bytes:
    """Return UTF-8, with surrogates as UTF-8 forbids them."""
    return text.encode("utf-8", "surrogatepass")


def quoted(text: str) -> str:
    """Percent-encode everything, surrogates included."""
    return quote(encoded(text), safe="")


def as_json(value: Any) -> bytes:
    """Return JSON with surrogates as escapes and everything else as it is."""
    written = json.dumps(value, ensure_ascii=False)
    return "".join(f"\\u{ord(c):04x}" if "\ud800" <= c <= "\udfff" else c for c in written).encode()


def replaced(value: Any, new: Any, where: str = "$") -> Iterator[tuple[str, Any]]:
    """Yield the value with another one in place of each of its parts, and as an unknown name."""
    if isinstance(value, dict):
        for name, each in value.items():
            for path, other in replaced(each, new, f"{where}.{name}"):
                yield path, {**value, name: other}
        if isinstance(new, str):
            yield f"{where}.?", {**value, new: 1}
    elif isinstance(value, list):
        for path, other in replaced(value[0], new, f"{where}[]") if value else ():
            yield path, [other]
        if isinstance(new, str):
            yield f"{where}[*]", [new[:3]] * (len(new) // 3)
    else:
        yield where, new


def csv_file(column: str, text: str) -> bytes:
    """Return a file of one row with the text in one column."""
    return encoded("\r\n".join([",".join(COLUMNS), ",".join(text if each == column else "1" for each in COLUMNS)]))


def operations(app: App) -> list[Operation | Form]:
    """Return every operation of an API but endless streams, and the forms of its pages, which FORMS must list."""
    schema = app.openapi()
    schemas = schema["components"]["schemas"]
    found: list[Operation | Form] = [
        Operation(method.upper(), path, declared, schemas)
        for path, methods in schema["paths"].items()
        for method, declared in methods.items()
        if "text/event-stream" not in str(declared["responses"].get("200", ""))
    ]
    assert len(found) > 5
    posts = {path for method, path in policies(app) if method == "POST" and "/internal/" not in path}  # from people
    templates = posts - schema["paths"].keys()
    forms = {path: _template(path, templates) for path in FORMS}
    assert not templates - {*forms.values()}, "forms that FORMS does not list"
    return found + [Form(path, FORMS[path]) for path, template in forms.items() if template]


def _template(path: str, templates: Collection[str]) -> str:
    """Return the template of a path among these; empty if it has none."""
    return (
        path
        if path in templates
        else next((each for each in templates if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", each), path)), "")
    )


def url_of(operation: Operation | Form) -> str:
    """Return an address of the operation, without a query."""
    return next((str(sent["url"]) for _, sent in operation.requests(Value.of("a"))), operation.path).partition("?")[0]


def bearer(app: App, issuer: Issuer, operation: Operation | Form) -> dict[str, str]:
    """Return the header of someone who may use the operation; none for an open one."""
    policy = policies(app).get((operation.method, operation.path))
    allowed = policy.roles & set(ROLES) if policy else set()
    return issuer.bearer(min(allowed), **CLAIMS) if allowed else {}


def client_of(app: Any) -> httpx.AsyncClient:
    """Return a client of an application in this process; an exception that it raises is a response of 500."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url=BASE)


@asynccontextmanager
async def over_memory(name: str, folder: Path) -> AsyncIterator[tuple[App, Issuer]]:
    """Run a service over memory, with some records; return it with the issuer of its tokens."""
    if name == "registration":
        registration = RegistrationApi(folder)
        await registration.open_round(quota=3)
        await registration.register()
        yield registration.app, registration.issuer
    elif name == "screening":
        screening = ScreeningApi(folder)
        for n in range(3):
            await screening.register(n)
        yield screening.app, screening.issuer
    elif name == "market":
        market = MarketApi(folder)
        for n in range(3):
            await market.ready(n)
        await market.enlist()
        yield market.app, market.issuer
    else:
        yield app_of(await ranking_cache()), Issuer(folder)


@asynccontextmanager
async def over_mongodb(name: str, folder: Path, servers: Servers) -> AsyncIterator[tuple[App, Issuer]]:
    """Run a service as its process does, over a database of its own; return it with the issuer of its tokens."""
    service, issuer = import_module(f"{name}.service").service, Issuer(folder)
    settings = service.settings(
        service=name,
        environment="development",
        kafka=servers.kafka.bootstrap,
        mongo=SecretStr(servers.mongo),
        database=servers.database(),
        issuer=issuer.name,
        jwks=issuer.jwks,
    )
    async with service.running(settings) as runtime:
        await service.create_indexes(runtime.store.database)
        if service.generation:  # the first worker claims it
            await Pointer(runtime.store.client[settings.database]).claim(runtime.store.database.name)
    app = service_app(service, settings)
    async with app.router.lifespan_context(app):
        yield app, issuer
        store = app.state.runtime.store
        for database in {store.database.name, settings.database, f"{settings.database}_keys"}:
            await store.client.drop_database(database)
