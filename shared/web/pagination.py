"""Pagination by cursor (`?limit=&after=`, `next`, a Link header) and conditional requests (ETag and 304).

async def list_cases(paging: Annotated[Paging, paged()], ...) -> Page[Case]:
    found = await store.find(queries.queue(principal.scope, after=paging.after, limit=paging.limit + 1))
    return paging.page([case_of(each) for each in found], after=lambda case: (case.due, case.id))

async def get_case(etag: Annotated[Etag, etagged()], ...) -> Case:
    etag.match(record.version)             # 304 if the caller has this version already
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
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
MAX_LIMIT = 200

_INSTANT = Annotated[datetime, msgspec.Meta(tz=True)]

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """One page of a list, and the cursor of the next one."""

    items: list[T]
    next: str | None = Field(description="The cursor of the next page, for `after`; null at the end.")


class Paging:
    """The requested part of a list: `limit` items after the sort key in the cursor `after`, see `after_key`."""

    def __init__(self, request: Request, response: Response, limit: int, after: tuple[Any, ...] | None) -> None:
        self.request, self.response, self.limit, self.after = request, response, limit, after

    def after_key(self, *kinds: Any) -> tuple[Any, ...] | None:
        """Return the sort key of these kinds; None for the first page. Raise Refused: cursor_invalid."""
        return None if self.after is None else sort_key(self.after, *kinds)

    @property
    def after_id(self) -> str:
        """Return the cursor of a list ordered by id; empty for the first page. Raise Refused: cursor_invalid."""
        return str((self.after_key(str) or ("",))[0])

    def page(self, found: Sequence[T], after: Callable[[T], tuple[Any, ...]]) -> Page[T]:
        """Return the page of up to `limit + 1` items that were found; `after` returns the sort key of an item."""
        items = list(found[: self.limit])
        if len(found) <= self.limit:
            return Page(items=items, next=None)
        cursor = _encode(after(items[-1]))
        query = [(name, value) for name, value in self.request.query_params.multi_items() if name != "after"]
        # Relative: the public address is not that of this process.
        self.response.headers["Link"] = f'<?{urlencode([*query, ("after", cursor)])}>; rel="next"'
        return Page(items=items, next=cursor)


def sort_key(parts: Sequence[Any], *kinds: Any) -> tuple[Any, ...]:
    """Return the sort key in a cursor that anyone may have written: parts of these kinds, times in UTC.

    Raise Refused: cursor_invalid.
    """
    try:
        shape = tuple.__class_getitem__(tuple(_INSTANT if each is datetime else each for each in kinds))
        converted = msgspec.convert(tuple(parts), shape)
        return tuple(each.astimezone(UTC) if isinstance(each, datetime) else each for each in converted)
    except (msgspec.ValidationError, OverflowError) as e:  # in UTC a time may be before year 1 or after 9999
        raise Refused("cursor_invalid", "after") from e


def paged() -> Any:
    """Return a dependency on the Paging of a list."""
    return Depends(_paging)


async def _paging(
    request: Request,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Items on one page.")] = LIMIT,
    after: Annotated[str | None, Query(max_length=1_000, description="The `next` of the page before.")] = None,
) -> Paging:
    return Paging(request, response, limit, _decode(after) if after else None)


class Etag:
    """The version of a response."""

    def __init__(self, request: Request, response: Response) -> None:
        self.request, self.response = request, response

    def match(self, *version: Any) -> None:
        """Set the version of this response; end the request with 304 if the caller has it already."""
        tag = f'"{"-".join(map(str, version))}"'
        self.response.headers["ETag"] = tag
        known = self.request.headers.get("if-none-match", "")
        if known and (known == "*" or tag in {each.strip().removeprefix("W/") for each in known.split(",")}):
            raise HTTPException(304, headers={"ETag": tag})


def etagged() -> Any:
    """Return a dependency on the Etag of a response."""
    return Depends(_etag)


async def _etag(request: Request, response: Response) -> Etag:
    return Etag(request, response)


def _encode(sort_key: tuple[Any, ...]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(sort_key)).decode().rstrip("=")


def _decode(cursor: str) -> tuple[Any, ...]:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return tuple(msgspec.json.decode(raw, type=list[str | int | float | bool | None]))
    except (binascii.Error, ValueError, msgspec.DecodeError) as e:
        raise Refused("cursor_invalid", "after") from e
