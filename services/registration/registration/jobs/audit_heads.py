"""Sign a head of the audit chains once a day, and at once with a new key."""

from datetime import date

from base.clock import Clock
from registration import metrics
from security.audit import MongoAudit
from security.audit_heads import last_head, public_key, sign_head, signing_key
from security.encryption import Keyring


class AuditHeads:
    """Signs the day's head where partition 0 is owned; the days are those of UTC, in machine time."""

    def __init__(self, audit: MongoAudit, keyring: Keyring, clock: Clock) -> None:
        self.database, self.clock = audit.rows.database, clock
        self.key = signing_key(keyring)
        self.signed_on: date | None = None

    async def __call__(self, partitions: frozenset[int]) -> int:
        """Sign a head if today's is missing; return how many. Raise Transient."""
        now = self.clock().recorded
        if 0 not in partitions or self.signed_on == now.date():
            return 0
        head = await last_head(self.database)
        signed = 0
        if head is None or head.at.date() < now.date() or head.key != public_key(self.key):
            signed, head = 1, await sign_head(self.database, self.key, now) or head
        if head is not None:
            metrics.AUDIT_SIGNED.set(head.at.timestamp())
        self.signed_on = now.date()
        return signed
