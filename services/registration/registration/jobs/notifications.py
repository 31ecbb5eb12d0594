"""Send applicants the messages that are due.

Each message is marked as being sent, then sent, then marked with what became of it. After a crash the provider is
asked by our reference for those that are still marked, which are no more than it takes at once, before they are sent
again. The number is read from the sealed identity when it is needed.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from time import monotonic

from base.backoff import backoff
from base.bisection import bisect
from base.clock import Clock
from kernel.errors import Transient
from kernel.record import Record
from kernel.store import Change, Effects, Snapshot, Store, read_snapshot
from registration import metrics, queries
from registration.domain.application import Values, telephone
from registration.domain.notifications import Notification
from registration.jobs.faults import Faults
from registration.jobs.messages import ATTEMPTED, begin, end, is_void, message_of, reference_of, text_of
from registration.jobs.sms import Sms, Unanswered
from registration.persons import Persons
from registration.tracking_codes import TrackingCodes

BATCH = 100  # applicants in one pass
WAIT = 0.05  # seconds for which a call waits for a pass; the next call picks up a later result
PAUSE_LIMIT = 60.0  # seconds of a pause while the provider does not answer

Due = Mapping[str, Notification]  # by applicant


class Notifications:
    """Sends what is due, one message of an applicant in a pass.

    A job blocks the other jobs of the worker, so a pass runs as a task of its own.
    """

    def __init__(self, store: Store, persons: Persons, codes: TrackingCodes, sms: Sms, clock: Clock) -> None:
        self.store, self.persons, self.codes, self.sms, self.clock = store, persons, codes, sms, clock
        self.faults = Faults(store.service, "Notifications")  # by applicant
        self.running: asyncio.Task[int] | None = None
        self.unanswered, self.pause_until = 0, 0.0  # passes in a row, machine time

    async def __call__(self, partitions: frozenset[int]) -> int:
        """Begin a pass, or pick up its result; return how many messages were looked at. Raise Transient."""
        if self.running is None:
            if monotonic() < self.pause_until:
                return 0
            recent, now = self.faults.recent(), self.clock().at
            found = await self.store.find_subjects(queries.to_notify(partitions, now, BATCH + len(recent)))
            subjects = [each for each in found if each not in recent][:BATCH]
            if not subjects:
                metrics.NOTIFICATIONS_OVERDUE.set(0)
                return 0
            self.running = asyncio.create_task(self._pass(subjects))
            await asyncio.wait([self.running], timeout=WAIT)
        if not self.running.done():
            return 0
        finished, self.running = self.running, None
        return finished.result()

    async def _pass(self, subjects: Sequence[str]) -> int:
        snapshot, now = await read_snapshot(self.store, subjects), self.clock().at
        self.faults.report({subject: each.error for subject, each in snapshot.unreadable.items()})
        due: dict[str, Notification] = {}
        for subject, record in snapshot.records.items():
            if waiting := [each for each in record.state.notifications if each.due <= now]:
                due[subject] = min(waiting, key=lambda each: each.due)
        overdue = max((now - each.due).total_seconds() for each in due.values()) if due else 0.0
        metrics.NOTIFICATIONS_OVERDUE.set(overdue)
        order, size = sorted(due, key=lambda subject: due[subject].due), self.sms.at_once
        for first in range(0, len(order), size):
            if not await self._send({subject: due[subject] for subject in order[first : first + size]}):
                break
        return len(due)

    async def _send(self, due: Due) -> bool:
        """Send some messages; return whether the provider answered for each of them."""
        marked = await self._change(due, lambda record, each: begin(record, each, self.clock().at))
        sending = [subject for subject, record in marked.items() if _is_sending(record, due[subject])]
        identities, outcomes = dict[str, Values](), dict[str, str]()

        async def identify(subjects: Sequence[str]) -> None:
            identities.update(await self.persons.open([marked[subject] for subject in subjects]))

        self.faults.report(faults := await bisect(identify, sending, Transient))
        for subject in sending:
            if subject in faults:  # this applicant waits, the others are sent theirs
                continue
            try:
                outcomes[subject] = await self._outcome(marked[subject], due[subject], identities.get(subject))
            except Unanswered:
                outcomes[subject] = "unanswered"
                break
            except Exception as error:  # of this applicant only
                self.faults.report({subject: error})
        ended = {subject: due[subject] for subject in outcomes}
        await self._change(ended, lambda record, each: end(record, each.key, outcomes[record.subject], self.clock().at))
        answered = "unanswered" not in outcomes.values()
        self.unanswered = 0 if answered else self.unanswered + 1
        if not answered:
            self.pause_until = monotonic() + backoff(self.unanswered, 1.0, PAUSE_LIMIT)
        return answered

    async def _outcome(self, record: Record, notification: Notification, identity: Values | None) -> str:
        """Return what the provider answers. Raise Unanswered."""
        reference, known = reference_of(record.subject, notification.key), message_of(record, notification.key)
        if known and known.asked:
            found = await self.sms.outcome(reference)
            if found or known.state == "sent":
                return found or "sent"
            if is_void(record, notification):
                return "void"
        if identity is None:
            return "failed"
        return await self.sms.send(reference, telephone(identity), text_of(record, notification, self.codes))

    async def _change(self, due: Due, change: Callable[[Record, Notification], Record]) -> dict[str, Record]:
        """Change the records of these applicants in one transaction; return those that changed.

        An applicant whose message cannot be handled by this version waits; the others do not.
        """
        changes: dict[str, Change] = {}
        faults: dict[str, Exception] = {}

        def apply(snapshot: Snapshot) -> Effects:
            changes.clear()
            faults.clear()
            for subject, each in due.items():
                before = snapshot.records.get(subject)
                if before is None or each.key not in {other.key for other in before.state.notifications}:
                    continue  # settled, or the applicant was erased, meanwhile
                try:
                    after = change(before, each)
                except Exception as error:
                    faults[subject] = error
                    continue
                if after is not before:
                    changes[subject] = before, after
            return Effects(list(changes.values()))

        if due:
            await self.store.transact(list(due), apply)
        self.faults.report(faults)
        for subject, pair in changes.items():
            old, new = (message_of(record, due[subject].key) for record in pair)
            if new and new.state != "sending" and (old is None or old.state != new.state):
                metrics.NOTIFICATIONS.labels(new.state).inc()
        return {subject: after for subject, (_, after) in changes.items()}


def _is_sending(record: Record, notification: Notification) -> bool:
    known = message_of(record, notification.key)
    return known is not None and known.state in ATTEMPTED
