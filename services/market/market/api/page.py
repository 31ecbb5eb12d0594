"""The market's page for everybody: what it is so far, who leads where, and how to connect."""

from functools import cache
from typing import Annotated

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from contracts.codes import CHANNELS
from market.store import Questions
from programme.reference import provinces
from security.auth import Principal
from web.app import public
from web.pages import Pages, pages


@cache
def market() -> Pages:
    """The market's templates."""
    return pages("market")


def router(questions: Questions) -> APIRouter:
    """The page under /market."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    async def market_page(request: Request, principal: Annotated[Principal, public()]) -> Response:
        """Lead enterprises by province, and the channels there are."""
        leads = await questions.leads_by_province()
        return market().render(
            request,
            "market.html",
            leads=[(code, leads.get(code, 0)) for code in provinces()],
            total=sum(leads.values()),
            channels=CHANNELS,
        )

    return routes
