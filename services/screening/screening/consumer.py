"""What screening hears. What it makes of an event stands in its rules; nothing else moves with them."""

from contracts.topics import topics_consumed_by
from screening.store import SERVICE


def topics() -> tuple[str, ...]:
    """The topics that every worker hears; what is about a kind of subject without rules here is read past."""
    return topics_consumed_by(SERVICE)
