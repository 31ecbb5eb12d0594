"""Events of all services, by producer and by type."""

from contracts.events import market, registration, screening
from contracts.events.event import ApplicantEvent, Event
from contracts.events.market import *  # noqa: F403
from contracts.events.registration import *  # noqa: F403
from contracts.events.screening import *  # noqa: F403

PRODUCERS = {"registration": registration, "screening": screening, "market": market}

TYPES: dict[str, type[Event]] = {
    each.TYPE: each
    for module in PRODUCERS.values()
    for each in vars(module).values()
    if isinstance(each, type) and issubclass(each, Event) and each.TYPE
}

__all__ = ["PRODUCERS", "TYPES", "ApplicantEvent", "Event", *sorted(each.__name__ for each in TYPES.values())]
