"""One route of each sort, for the tests of the frame that all APIs share."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
from fastapi import APIRouter
from pydantic import Field
from starlette.responses import StreamingResponse

from contracts.commands import Refused
from kernel.commands import CommandMetadata
from kernel.errors import KeyReused, Transient, UniqueViolation
from programme.numbers import national_id
from security.auth import Principal, allow, public
from web.app import Body, Etag, Invalid, Page, Paging, checked, etagged, idempotent, limited, paged, raw

HERE = "http://127.0.0.1:8080"


class Thing(Body):
    """What the routes of these tests take."""

    name: str = Field(min_length=2, max_length=10)
    count: int = Field(default=1, ge=1, le=5)
    person: Annotated[str, checked(national_id)] = "9990000018"
    inner: tuple["Inner", ...] = ()


class Inner(Body):
    """A part of it."""

    share: float


class Made(Body):
    """What they answer."""

    key: str
    actor: str
    fingerprint: str


RAISED: dict[str, Exception] = {
    "refused": Refused("national_id_length", "national_id", digits=9),
    "missing": Refused("not_found"),
    "conflict": Refused("already_registered"),
    "invalid": Invalid([Refused("missing_field", "mobile"), Refused("date_invalid", "birth_date")]),
    "taken": UniqueViolation("person", "a1"),
    "key_reused": KeyReused("k"),
    "transient": Transient("mongo is away at 10.0.0.7"),
    "bug": ValueError("the secret of 9990000006"),
}


def routes() -> APIRouter:
    """One route of each sort."""
    router = APIRouter()

    @router.post("/v1/things", status_code=201)
    async def make(
        body: Thing, principal: Annotated[Principal, allow("registrar")], ask: Annotated[CommandMetadata, idempotent()]
    ) -> Made:
        return Made(key=ask.key, actor=ask.actor, fingerprint=ask.fingerprint.hex())

    @router.post("/v1/imports", max_body_size=1 << 20)
    async def take(
        principal: Annotated[Principal, public()],
        ask: Annotated[CommandMetadata, idempotent(required=True)],
        body: Annotated[bytes, raw("text/csv")],
    ) -> int:
        return len(body)

    @router.get("/v1/things")
    async def things(principal: Annotated[Principal, public()], paging: Annotated[Paging, paged()]) -> Page[int]:
        start = paging.after[0] + 1 if paging.after else 0
        return paging.page(list(range(start, 7))[: paging.limit + 1], after=lambda n: (n,))

    @router.get("/v1/things/{thing}")
    async def thing(thing: str, principal: Annotated[Principal, public()], etag: Annotated[Etag, etagged()]) -> str:
        etag.match(thing, 7)
        return thing

    @router.get("/v1/limited", dependencies=[limited("few", per_minute=2)])
    async def few(principal: Annotated[Principal, public()]) -> str:
        return "x"

    @router.get("/v1/limited/own", dependencies=[limited("own", per_minute=1)])
    async def own(principal: Annotated[Principal, allow("registrar")]) -> str:
        return principal.id

    @router.get("/v1/raise/{which}")
    async def trouble(which: str, principal: Annotated[Principal, public()]) -> str:
        raise RAISED[which]

    @router.get("/v1/half")
    async def half(principal: Annotated[Principal, public()]) -> StreamingResponse:
        async def servers() -> AsyncIterator[bytes]:
            yield b"half"
            raise ValueError("in the middle")

        return StreamingResponse(servers())

    @router.get("/page", include_in_schema=False)
    async def page(principal: Annotated[Principal, allow("manager")]) -> str:
        return "page"

    return router


def said(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem in an answer; every one has this shape."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), (
        response.text
    )
    body: dict[str, Any] = response.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"urn:peyvand:problem:{code}"
    assert body["instance"] == f"urn:peyvand:request:{response.headers['x-request-id']}"
    assert body["title"] and body["title_fa"] and body["detail"] and body["detail_fa"]
    assert "…" not in body["detail"], "a name in the sentence was not filled"
    return body


def fields(body: dict[str, Any]) -> dict[str, str]:
    """Field and code of each error."""
    assert all(each["detail"] and each["detail_fa"] for each in body["errors"])
    return {each["field"]: each["code"] for each in body["errors"]}
