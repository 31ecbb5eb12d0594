"""What happens next with an applicant, and who acts: for officers who are asked about it."""

from typing import Literal

from registration.domain.applicant import State, has_left, may_register_again, status

NextStep = Literal[
    "correct_identity",  # the applicant: the identity registry does not know the person
    "screening_call",  # an officer of screening calls
    "bring_papers",  # the applicant: screening has asked for papers
    "appeal_review",  # someone who did not take the first decision reviews it
    "seat",  # the allocator gives a seat or puts the applicant on the waiting list
    "waiting_list",
    "capacity_call",  # an officer of screening finds out what the applicant can make
    "market_offer",  # a lead enterprise or a channel makes an offer
    "register_again",  # the applicant, while the province takes applications
    "none",
]
_BY_STATUS: dict[str, NextStep] = {
    "registered": "screening_call",
    "screening": "screening_call",
    "info_requested": "bring_papers",
    "appealed": "appeal_review",
    "approved": "seat",
    "waitlisted": "waiting_list",
    "admitted": "capacity_call",
    "capacity_identified": "market_offer",
    "withdrawn": "register_again",
}


def next_step(state: State) -> NextStep:
    """Return the next step. A refused identity comes first: it is what the applicant can put right now."""
    if state.current.identity == "mismatch" and not has_left(state) and status(state) != "rejected":
        return "correct_identity"
    if status(state) == "withdrawn" and not may_register_again(state):
        return "none"
    return _BY_STATUS.get(status(state), "none")
