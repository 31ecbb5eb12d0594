"""What reporting hears: everybody. With each fact the tallies move, in the same transaction."""

from contracts.topics import topics_consumed_by

SERVICE = "reporting"


def topics() -> tuple[str, ...]:
    """The topics that every worker hears; what is about a kind of subject without rules here is read past."""
    return topics_consumed_by(SERVICE)
