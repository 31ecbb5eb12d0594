"""The public page of the market: lead enterprises by province, and how to connect."""

from typing import Annotated

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from contracts.codes import CHANNELS
from market import queries
from programme.reference import by_name, provinces
from security.auth import Principal
from web.authorization import public
from web.dependencies import Store
from web.pages import Pages, lang_of

templates = Pages("market.pages")
router = APIRouter(include_in_schema=False)


@router.get("/")
async def market_page(request: Request, principal: Annotated[Principal, public()], store: Store) -> Response:
    """Show the number of lead enterprises in each province, and the channels."""
    leads = await queries.count_leads(store)
    return templates.render(
        request,
        "market.html",
        leads=[(each.code, leads.get(each.code, 0)) for each in by_name(provinces().values(), lang_of(request))],
        total=sum(leads.values()),
        channels=CHANNELS,
    )
