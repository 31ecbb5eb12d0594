"""What the kernel raises. Rules refuse with `contracts.commands.Refused`."""


class Fenced(Exception):
    """A cursor does not stand where the batch begins: another worker owns the partition now."""


class Transient(Exception):
    """The database is away or busy: wait and try again."""


class Conflict(Transient):
    """Others keep writing what this transaction writes: try a smaller one."""


class NewerRules(Exception):
    """A record was written by newer rules than these: this version must not touch it."""


class UniqueViolation(Exception):
    """Another record holds this value of a unique field already."""

    def __init__(self, field: str, subject: str = "") -> None:
        super().__init__(field)
        self.field, self.subject = field, subject


class KeyReused(Exception):
    """The same idempotency key came with another body."""


class CircuitOpen(Exception):
    """Event after event meets a fault: these rules are broken, and nobody else shall be parked for it."""
