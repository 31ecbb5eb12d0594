"""Messages to an applicant: what became of each, and its text, which is made when it is sent and stored nowhere.

What became of them is in the private part of the record, so that erasing an applicant deletes it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import blake2b

import msgspec
from msgspec.structs import replace

from base.ids import shown_code
from kernel.record import Record, reindex
from programme.calendar import long_date
from programme.deadlines import appeal_until
from programme.notifications import NO_DATE, TEMPLATES, Template
from programme.policies import policy
from programme.work_calendar import UnknownDay
from registration.domain import applicant
from registration.domain.notifications import DAY, Notification, added, postponed, sendable_from, settled
from registration.tracking_codes import TrackingCodes

KEPT = 40  # messages of a person, of which it is known what became of them
ATTEMPTED = ("sending", "sent")  # the provider may have it
TAKEN = timedelta(minutes=1)  # after which the process that marked a message has crashed: requests time out before
RECEIPTS = (timedelta(minutes=10), timedelta(hours=2), timedelta(hours=8))  # when receipts are asked for
RETRY = timedelta(minutes=1)  # after the first attempt without an answer; twice as long after each further one
REQUESTS_A_DAY = 3  # messages of a kind that a person gets in 24 hours because someone asked for them
RETRY_LIMIT = timedelta(hours=1)


class Sent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a message: sending, sent, delivered, failed, unknown, void, late or refused."""

    key: str  # of the notification
    state: str
    at: datetime  # programme time of the first attempt
    asked: int = 0  # times that the provider was to be asked for it in this state


def messages_of(record: Record) -> list[Sent]:
    """Return the messages of an applicant, the oldest first."""
    return [msgspec.convert(each, Sent) for each in record.private.content.get("messages", ())]


def message_of(record: Record, key: str) -> Sent | None:
    """Return one of the messages of an applicant."""
    return next((each for each in messages_of(record) if each.key == key), None)


def with_message(record: Record, sent: Sent, due: datetime | None = None) -> Record:
    """Return the record with what became of a message; it is looked at again when it is due, or never if settled."""
    others = [each for each in messages_of(record) if each.key != sent.key]
    stored = [msgspec.to_builtins(each, builtin_types=(datetime,)) for each in [*others, sent]][-KEPT:]
    content = {**record.private.content, "messages": stored}
    return postpone(replace(record, private=replace(record.private, content=content)), sent.key, due)


def postpone(record: Record, key: str, due: datetime | None) -> Record:
    """Return the record with a notification that is due later, or without it if `due` is None."""
    pending: Sequence[Notification] = record.state.notifications
    left = settled(pending, key) if due is None else postponed(pending, key, due)
    return reindex(replace(record, state=replace(record.state, notifications=left)), applicant)


def reference_of(subject: str, key: str) -> int:
    """Return our reference of a message at the provider: 63 bits, the same whenever it is computed."""
    return int.from_bytes(blake2b(f"{subject}/{key}".encode(), digest_size=8).digest(), "big") >> 1


def requested(record: Record, occasion: str, at: datetime) -> Record:
    """Return the record with another message that the person has asked for.

    It is returned as it is while one waits to be sent, and after as many as anyone gets in 24 hours.
    """
    state, pending = record.state, [n for n in record.state.notifications if n.occasion == occasion]
    made = [each for each in messages_of(record) if each.key.split("/")[1] == occasion]
    waiting = {each.key for each in pending} - {each.key for each in made}
    if waiting or sum(each.at > at - DAY for each in made) >= REQUESTS_A_DAY or state.erased_at:
        return record
    number = 1 + max((int(each.key.rpartition("/")[2]) for each in made), default=0)
    after = added(state.notifications, occasion, state.application, number, at)
    return reindex(replace(record, state=replace(state, notifications=after)), applicant)


def begin(record: Record, notification: Notification, at: datetime) -> Record:
    """Return the record with a message marked as being sent, or with what forbids that it is sent now."""
    key, known, template = notification.key, message_of(record, notification.key), TEMPLATES[notification.occasion]
    rules = policy(record.state.context.policy).notifications
    old = at - notification.at > timedelta(days=rules.valid_days)
    if known and known.state not in ATTEMPTED:
        return postpone(record, key, None)
    if known and not old:  # the process that marked it has crashed, or a receipt is due
        return with_message(record, replace(known, asked=known.asked + 1), at + TAKEN)
    if known:
        return with_message(record, replace(known, state="unknown"))
    if obstacle := _obstacle(record, notification, template, old):
        return with_message(record, Sent(key, obstacle, at))
    others = [each.at for each in messages_of(record) if each.state in (*ATTEMPTED, "delivered")]
    if _is_of_a_file(record, notification):  # its person waits for nothing
        template = replace(template, urgent=False)
    if (later := sendable_from(template, rules, at, others)) > at:
        return postpone(record, key, later)
    return with_message(record, Sent(key, "sending", at), at + TAKEN)


def end(record: Record, key: str, outcome: str, at: datetime) -> Record:
    """Return the record with the provider's answer about a message; `unanswered` if it gave none.

    A receipt is asked for a few times; then the outcome is unknown.
    """
    known = message_of(record, key)
    if known is None or known.state not in ATTEMPTED:
        return record
    if outcome == "unanswered":
        return postpone(record, key, at + min(RETRY * 2 ** min(known.asked, 10), RETRY_LIMIT))
    if outcome != "sent":
        return with_message(record, replace(known, state=outcome))
    receipts = known.asked if known.state == "sent" else 0
    if receipts == len(RECEIPTS):
        return with_message(record, replace(known, state="unknown"))
    return with_message(record, replace(known, state="sent", asked=receipts), at + RECEIPTS[receipts])


def _obstacle(record: Record, notification: Notification, template: Template, old: bool) -> str:
    """Return the outcome of a message that is not to be sent at all; empty if it may be."""
    if is_void(record, notification):
        return "void"
    if old:
        return "late"
    return "refused" if record.private.content.get("no_messages") and not template.mandatory else ""


def _is_of_a_file(record: Record, notification: Notification) -> bool:
    """Return whether a registration is confirmed that an officer has imported."""
    return notification.occasion == "registered" and bool(record.state.current.intake_channel == "import")


def is_void(record: Record, notification: Notification) -> bool:
    """Return whether what a message is about has changed since: another code, another status, a withdrawal."""
    state = record.state
    if state.erased_at or state.unidentified or notification.application != state.application:
        return True
    if notification.occasion in ("registered", "code"):
        return bool(notification.number != state.codes)
    if notification.occasion == "identity_refused":
        return bool(state.current.identity != "mismatch")
    if notification.occasion == "papers" and notification.number != state.current.info_requests:
        return True
    return _STATUS.get(notification.occasion, applicant.status(state)) != applicant.status(state)


def text_of(record: Record, notification: Notification, codes: TrackingCodes) -> str:
    """Return the text of a message, in Persian."""
    code, due = shown_code(codes.code_of(record)), record.state.current.info_due
    until = long_date(due, "fa") if notification.occasion == "papers" and due else _appeal_until(record.state)
    return TEMPLATES[notification.occasion].text.format(code=code, until=until)


def _appeal_until(state: applicant.State) -> str:
    decided, where = state.current.decided_at, state.context
    try:
        return long_date(appeal_until(decided, where.policy, where.province), "fa") if decided else NO_DATE
    except UnknownDay:
        return NO_DATE


_STATUS = {
    "papers": "info_requested",
    "rejected": "rejected",
    "appeal_rejected": "rejected",
    "waitlisted": "waitlisted",
    "admitted": "admitted",
    "identified": "capacity_identified",
    "withdrawn": "withdrawn",
}
