"""Declaration of market: who sells where, with which evidence."""

from base.settings import Settings
from kernel.service import Service
from market.domain import lead, producer
from market.queries import INDEXES

service = Service(
    name="market",
    title="Market",
    description="Who sells where, with which evidence. Producers are known by a random id, never by name.",
    rules={"applicant": producer, "lead": lead},
    unique=("lead_name",),  # within a province
    indexes=INDEXES,
    prefix="/market",
    routers=(
        "market.api.leads:router",
        "market.api.producers:router",
        "market.api.offers:router",
        "market.api.connections:router",
        "market.pages.market:router",
    ),
    longest_linger=2.0,
    settings=Settings,
)
