"""Sign a head of the audit chains once a day, and at once with a new key."""

from datetime import date

import structlog

from base.clock import Clock
from registration import metrics
from registration.jobs.faults import Faults
from security.audit import MongoAudit
from security.audit_heads import ForeignHead, last_head, public_key, sign_head, signing_keys
from security.encryption import Keyring

log = structlog.get_logger(__name__)


class AuditHeads:
    """Signs the day's head where partition 0 is owned; the days are those of UTC, in machine time."""

    def __init__(self, audit: MongoAudit, keyring: Keyring, clock: Clock) -> None:
        self.database, self.clock = audit.rows.database, clock
        self.key, *self.former = signing_keys(keyring)
        self.faults = Faults("registration", "AuditHeads")
        self.signed_on: date | None = None

    async def __call__(self, partitions: frozenset[int]) -> int:
        """Sign a head if today's is missing; return how many. Raise Transient."""
        now = self.clock().recorded
        if 0 not in partitions or self.signed_on == now.date() or self.faults.recent():
            return 0
        head = await last_head(self.database)
        signed = 0
        if head is None or head.at.date() < now.date() or head.key != public_key(self.key):
            try:
                signed, head = 1, await sign_head(self.database, self.key, now, self.former) or head
            except ForeignHead as e:
                self.faults.report({"audit heads": e})
                return 0
        if head is not None:
            metrics.AUDIT_SIGNED.set(head.at.timestamp())
            log.info("head of the audit", head=head.number, digest=head.digest)  # the database cannot take it back
        self.signed_on = now.date()
        return signed
