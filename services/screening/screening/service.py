"""Declaration of screening: who is eligible, and what an admitted applicant can make."""

from base.settings import Settings
from kernel.service import Service
from screening.domain import applicant
from screening.queries import INDEXES

service = Service(
    name="screening",
    title="Screening",
    description="Who is eligible, and what an admitted applicant can make. Screening stores no identity.",
    rules={"applicant": applicant},
    indexes=INDEXES,
    prefix="/screening",
    routers=(
        "screening.api.claims:router",
        "screening.api.backlog:router",
        "screening.api.reviews:router",
        "screening.api.cases:router",
        "screening.api.calls:router",
        "screening.api.appeals:router",
        "screening.api.info:router",
        "screening.api.capacities:router",
        "screening.pages.queue:router",
        "screening.pages.backlog:router",
        "screening.pages.case:router",
        "screening.pages.calls:router",
        "screening.pages.reviews:router",
        "screening.pages.appeal:router",
        "screening.pages.info:router",
    ),
    sign_in=True,
    longest_linger=1.0,
    settings=Settings,
)
