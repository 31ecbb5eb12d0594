"""Second looks: the page that lists the drawn approvals with the results so far, and the form on the case page."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from contracts.commands import Refused
from programme.numbers import case_number
from screening.api.cases import Decider, Reader
from screening.domain.review import ReviewCase
from screening.pages.case import render, submit
from screening.pages.queue import HOME, templates
from screening.queries_reviews import find_reviews
from web.dependencies import Clock, Store, form_of

router = APIRouter(include_in_schema=False)


@router.get("/reviews")
async def reviews_page(request: Request, officer: Reader, store: Store) -> Response:
    """Show which approvals wait for a second look, and how the others ended."""
    found = await find_reviews(store, officer.scope)
    numbers = {each.subject: case_number(each.subject, each.state.province) for each in found.pending}
    return templates.render(request, "reviews.html", officer=officer, reviews=found, numbers=numbers)


@router.post("/cases/{id}/review")
async def review_case(request: Request, id: str, officer: Decider, store: Store, clock: Clock) -> Response:
    """Record the second look; if it is refused, show the form as it was filled in."""
    form = await form_of(request)
    agrees, reasons = str(form.get("agrees", "")), tuple(map(str, form.getlist("review_reasons")))
    empty = [] if agrees in ("yes", "no") else [Refused("review_missing", "agrees")]
    command = ReviewCase(agrees == "yes", reasons, officer.actor)
    refused, typed = await submit(request, store, clock, id, officer, form, command, empty)
    if refused:
        return await render(request, store, clock, id, officer, refused=refused, typed=typed)
    return RedirectResponse(f"{HOME}reviews", 303)
