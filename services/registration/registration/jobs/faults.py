"""Faults: what raised concerns its own subject only, and is tried again later."""

from collections.abc import Mapping
from time import monotonic

import structlog

from kernel.errors import NewerRules
from kernel.record import Fault
from observability import metrics

RETRY = 60.0  # seconds

log = structlog.get_logger(__name__)


class Faults:
    """The subjects for which a job raised during the last minute."""

    def __init__(self, service: str, job: str) -> None:
        self.service, self.job = service, job
        self.reported: dict[str, float] = {}  # machine time

    def report(self, faults: Mapping[str, Exception]) -> None:
        """Log and count these faults by subject, unless they are recent. A newer record waits for its own version."""
        now, recent = monotonic(), self.recent()
        for subject, error in faults.items():
            if subject in recent:
                continue
            self.reported[subject] = now
            if not isinstance(error, NewerRules):
                fault = Fault.of(error)  # its message is not logged: it may contain an identity
                log.error(
                    "job failed for one subject",
                    service=self.service,
                    job=self.job,
                    subject=subject,
                    error=fault.error,
                    where=fault.where,
                )
                metrics.SCHEDULER_FAULTS.labels(self.service).inc()

    def recent(self) -> set[str]:
        """Return the subjects that were reported during the last minute: they are not to be tried again yet."""
        now = monotonic()
        self.reported = {subject: at for subject, at in self.reported.items() if now - at < RETRY}
        return set(self.reported)
