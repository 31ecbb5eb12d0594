"""Second looks at drawn approvals: those that wait, and the result of one."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from kernel.commands import execute
from screening import queries, schemas
from screening.api.cases import Decider, Metadata, Reader
from screening.domain.review import ReviewCase
from screening.queries_reviews import find_reviews
from web.app import Body
from web.dependencies import Clock, Store

router = APIRouter(prefix="/v1/cases", tags=["cases"])


class ReviewForm(Body):
    """The result of a second look."""

    agrees: bool = Field(examples=[True])
    reasons: list[str] = Field(
        default=[], max_length=8, description="Why not: answer_doubtful, question_open, condition_fails."
    )

    def command(self, by: str) -> ReviewCase:
        """Return the command."""
        return ReviewCase(self.agrees, tuple(self.reasons), by)


class Reviews(BaseModel):
    """The drawn approvals of an area: those that wait, and how many of the others were confirmed and not."""

    pending: list[schemas.Row]
    agreed: int
    disagreed: int


@router.get("/reviews")
async def list_reviews(principal: Reader, store: Store) -> Reviews:
    """Return the drawn approvals that wait for a second look, the longest first, and the results so far."""
    found = await find_reviews(store, principal.scope)
    rows = [schemas.row(each) for each in found.pending]
    return Reviews(pending=rows, agreed=found.agreed, disagreed=found.disagreed)


@router.post("/{id}/review")
async def review_case(
    id: str, body: ReviewForm, principal: Decider, store: Store, clock: Clock, metadata: Metadata
) -> schemas.Case:
    """Agree with a drawn approval or disagree; neither who decided nor who wrote the application may.

    The approval stands: the result is shown in the case and in the figures.
    """
    await queries.find_case(store, id, principal.scope)
    return schemas.case((await execute(store, id, body.command(principal.actor), clock, metadata)).record)
