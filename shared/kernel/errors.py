"""What the kernel raises. Rules refuse with `contracts.commands.Refused`."""


class Transient(Exception):
    """The database or the broker is unreachable or busy: retry later."""


class Conflict(Transient):
    """Concurrent writers keep changing the same records: retry with a smaller transaction."""


class Fenced(Exception):
    """A cursor is not where the batch starts: another worker owns the partition."""


class CircuitOpen(Exception):
    """One fault affects too many subjects: stop consuming before everything is parked."""


class ProjectionFailed(Exception):
    """The projection of a transaction raised; the cause is chained."""


class NewerRules(Exception):
    """A record was written by a newer version of the rules."""


class UnreadableRecord(Exception):
    """The state of a record cannot be decoded."""


class KeyReused(Exception):
    """An idempotency key came with a different request."""


class UniqueViolation(Exception):
    """Another record has this value of a unique field."""

    def __init__(self, field: str, subject: str = "") -> None:
        super().__init__(field)
        self.field, self.subject = field, subject
