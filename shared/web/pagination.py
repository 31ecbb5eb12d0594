"""Lists by pages and answers by version: `?limit=&after=`, `next` and a Link header; ETag and 304.

async def cases(paging: Annotated[Paging, paged()], ...) -> Page[Case]:
    found = await store.queue(principal.scope, paging.after, paging.limit + 1)
    return paging.page([case_of(each) for each in found], after=lambda case: (case.due, case.id))

async def case(etag: Annotated[Etag, etagged()], ...) -> Case:
    etag.match(record.version)             # answers 304 where the caller has this version already
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import urlencode

import msgspec
from fastapi import Depends, Query
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from contracts.commands import Refused

LIMIT = 50
MOST = 200

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """Part of a list, and how to go on."""

    items: list[T]
    next: str | None = Field(description="The cursor of the next page, for `after`; null at the end.")


class Paging:
    """Which part of a list is asked for: `limit` items behind `after` (what the last page's `after` gave, as JSON)."""

    def __init__(self, request: Request, response: Response, limit: int, after: tuple[Any, ...] | None) -> None:
        self.request, self.response, self.limit, self.after = request, response, limit, after

    def page(self, found: Sequence[T], after: Callable[[T], tuple[Any, ...]]) -> Page[T]:
        """The page of `limit + 1` items that were asked of the store; `after` is an item's place in the order."""
        items = list(found[: self.limit])
        if len(found) <= self.limit:
            return Page(items=items, next=None)
        cursor = _opaque(after(items[-1]))
        asked = [(name, value) for name, value in self.request.query_params.multi_items() if name != "after"]
        # Relative: the address under which people see us is not this process's.
        self.response.headers["Link"] = f'<?{urlencode([*asked, ("after", cursor)])}>; rel="next"'
        return Page(items=items, next=cursor)


def paged() -> Any:
    """A dependency that gives the Paging of a list."""
    return Depends(_paging)


async def _paging(
    request: Request,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=MOST, description="Items on one page.")] = LIMIT,
    after: Annotated[str | None, Query(max_length=1_000, description="The `next` of the page before.")] = None,
) -> Paging:
    return Paging(request, response, limit, _place(after) if after else None)


class Etag:
    """The version of an answer."""

    def __init__(self, request: Request, response: Response) -> None:
        self.request, self.response = request, response

    def match(self, *version: Any) -> None:
        """Names the version of this answer, and ends the request with 304 where the caller has it already."""
        tag = f'"{"-".join(map(str, version))}"'
        self.response.headers["ETag"] = tag
        asked = self.request.headers.get("if-none-match", "")
        if asked and (asked == "*" or tag in {each.strip().removeprefix("W/") for each in asked.split(",")}):
            raise HTTPException(304, headers={"ETag": tag})


def etagged() -> Any:
    """A dependency that gives the Etag of an answer."""
    return Depends(_etag)


async def _etag(request: Request, response: Response) -> Etag:
    return Etag(request, response)


def _opaque(place: tuple[Any, ...]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _place(cursor: str) -> tuple[Any, ...]:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return tuple(msgspec.json.decode(raw, type=list[str | int | float | bool | None]))
    except (binascii.Error, ValueError, msgspec.DecodeError) as e:
        raise Refused("cursor_invalid", "after") from e
