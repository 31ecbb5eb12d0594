"""Routes of every kind, for tests of what all APIs share."""

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
from security.auth import Principal
from web.app import Body, raw
from web.authorization import allow, public
from web.idempotency import idempotent
from web.pagination import Etag, Page, Paging, etagged, paged
from web.problems import Invalid, checked
from web.rate_limit import limited

HERE = "http://127.0.0.1:8080"


class Thing(Body):
    """The body of `POST /v1/things`."""

    name: str = Field(min_length=2, max_length=10)
    count: int = Field(default=1, ge=1, le=5)
    person: Annotated[str, checked(national_id)] = "9990000018"
    inner: tuple["Inner", ...] = ()


class Inner(Body):
    """A nested model."""

    share: float


class Received(Body):
    """The metadata that `POST /v1/things` received."""

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
    "transient": Transient("no connection to 10.0.0.7"),
    "bug": ValueError("the secret of 9990000006"),
}


def routes() -> APIRouter:
    """Return the routes."""
    router = APIRouter()

    @router.post("/v1/things", status_code=201)
    async def create(
        body: Thing,
        principal: Annotated[Principal, allow("bulk_import")],
        metadata: Annotated[CommandMetadata, idempotent()],
    ) -> Received:
        return Received(key=metadata.idempotency_key, actor=metadata.actor, fingerprint=metadata.fingerprint.hex())

    @router.post("/v1/imports", max_body_size=1 << 20)
    async def import_csv(
        principal: Annotated[Principal, public()],
        metadata: Annotated[CommandMetadata, idempotent(required=True)],
        body: Annotated[bytes, raw("text/csv")],
    ) -> int:
        return len(body)

    @router.get("/v1/things")
    async def list_things(principal: Annotated[Principal, public()], paging: Annotated[Paging, paged()]) -> Page[int]:
        start = paging.after[0] + 1 if paging.after else 0
        return paging.page(list(range(start, 7))[: paging.limit + 1], after=lambda n: (n,))

    @router.get("/v1/things/{thing}")
    async def get_thing(thing: str, principal: Annotated[Principal, public()], etag: Annotated[Etag, etagged()]) -> str:
        etag.match(thing, 7)
        return thing

    @router.get("/v1/limited", dependencies=[limited("few", per_minute=2)])
    async def limited_by_address(principal: Annotated[Principal, public()]) -> str:
        return "x"

    @router.get("/v1/limited/own", dependencies=[limited("own", per_minute=1)])
    async def limited_by_principal(principal: Annotated[Principal, allow("bulk_import")]) -> str:
        return principal.id

    @router.get("/v1/raise/{which}")
    async def fail(which: str, principal: Annotated[Principal, public()]) -> str:
        raise RAISED[which]

    @router.get("/v1/interrupted")
    async def interrupted(principal: Annotated[Principal, public()]) -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"first half"
            raise ValueError("interrupted")

        return StreamingResponse(chunks())

    @router.get("/page", include_in_schema=False)
    async def page(principal: Annotated[Principal, allow("import_connections", "R")]) -> str:
        return "page"

    return router


def problem_of(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check that a response is a problem with this status and code, in the shape of all problems; return it."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), (
        response.text
    )
    body: dict[str, Any] = response.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"urn:peyvand:problem:{code}"
    assert body["instance"] == f"urn:peyvand:request:{response.headers['x-request-id']}"
    assert body["title"] and body["title_fa"] and body["detail"] and body["detail_fa"]
    assert "…" not in body["detail"], "a placeholder of the message has no value"
    return body


def field_errors(body: dict[str, Any]) -> dict[str, str]:
    """Return the code of each error of a problem, by field."""
    assert all(each["detail"] and each["detail_fa"] for each in body["errors"])
    return {each["field"]: each["code"] for each in body["errors"]}
