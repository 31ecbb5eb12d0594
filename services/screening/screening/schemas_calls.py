"""Request and response models of calls to applicants."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import AwareDatetime, BaseModel, Field

from screening.domain.calls import Call, LogCall
from web.app import Body


class CallForm(Body):
    """What came of a call to the applicant."""

    outcome: str = Field(max_length=40, examples=["no_answer"], description="reached, no_answer or call_back.")
    next_call: AwareDatetime | None = Field(default=None, description="The agreed time; for `call_back` only.")

    def command(self, by: str) -> LogCall:
        """Return the command."""
        return LogCall(self.outcome, self.next_call, by)


class LoggedCall(BaseModel):
    """A call to the applicant."""

    at: datetime
    by: str = Field(description="Role and pseudonymous id of the officer.")
    outcome: str
    next_call: datetime | None


def logged_calls(calls: Sequence[Call]) -> list[LoggedCall]:
    """Return the calls in the order in which they were made."""
    return [LoggedCall(at=c.at, by=c.by, outcome=c.outcome, next_call=c.next_call) for c in calls]
