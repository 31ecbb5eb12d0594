"""What registration hears, and what its worker does besides: seats are given, identities are checked."""

from contracts.topics import topics_consumed_by
from registration.store.questions import SERVICE


def topics() -> tuple[str, ...]:
    """The topics that registration hears: screening's decisions about its applicants."""
    return topics_consumed_by(SERVICE)
