"""Metrics of registration alone."""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge

ALREADY_REGISTERED = Counter(
    "peyvand_registration_already_registered_total",
    "Applications refused because the person is registered in the round, by channel. Some people forget that they "
    "registered; a rise on one channel: national IDs are being enumerated, see peyvand_http_rate_limited_total.",
    ["channel"],
)
TRACKING_MISSES = Counter(
    "peyvand_registration_tracking_misses_total",
    "Tracking codes that were looked up and belong to no application. Some people mistype theirs; a steep rise: codes "
    "are being guessed, see peyvand_http_rate_limited_total (tracking, tracking_misses).",
)
SEARCHES = Counter(
    "peyvand_registration_searches_total",
    "Searches of officers for a person, by result. A rise of `not_found`: numbers are being tried, or people call the "
    "office of another province.",
    ["result"],
)
SEATS = Gauge(
    "peyvand_seats",
    "Seats by province and kind (quota, admitted, available) after the allocator's last pass. Available seats while "
    "applicants wait: the worker that is assigned the ledger's partition is not running.",
    ["province", "kind"],
)
ALLOCATION_CONFLICTS = Counter(
    "peyvand_registration_allocation_conflicts_total",
    "Allocations of one ledger that others interfered with until the next call. A few under load are normal; steady: "
    "two workers allocate the same ledger, see peyvand_partitions_assigned.",
)

ROTATION_LEFT = Gauge(
    "peyvand_registration_key_rotation_left",
    "What a rotation has left to do, by key. master: keys of persons that a former key wraps, on the worker of "
    "partition 0. index: applicants of the worker's partitions with a blind index under a former key. Counted each "
    "minute. Both 0 on all workers: `peyvand keys verify`. Not falling: see peyvand_scheduler_faults_total.",
    ["key"],
)
KEYS = Gauge(
    "peyvand_registration_keys",
    "1 for the version of the keys that the process uses, 0 for each other version that it knows. Where processes "
    "differ, a step of a rotation is not finished: `peyvand keys status`.",
    ["version"],
)
UNIDENTIFIED = Gauge(
    "peyvand_registration_unidentified",
    "Applicants whom only the log had after a restore: they get no seat until a registrar identifies them again "
    "(`peyvand applications unidentified`). 1,000 stands for that many or more.",
)
ERASURES = Counter(
    "peyvand_registration_erasures_total",
    "Applicants whose data was erased, by reason. More than were asked for: the audit chain has who erased them.",
    ["reason"],
)
KEYS_DESTROYED = Counter(
    "peyvand_registration_keys_destroyed_total",
    "Keys of erased applicants that were destroyed, after which no copy of their identity can be read.",
)
KEY_DESTRUCTION_OLDEST = Gauge(
    "peyvand_registration_key_destruction_oldest_seconds",
    "Age of the oldest erasure whose key is not destroyed yet. Above a few seconds: the database of the keys cannot be "
    "written.",
)
LOST_CODES = Counter(
    "peyvand_registration_lost_codes_total",
    "Requests to send a lost tracking code again, by result. Many with `not_sent`: someone tries numbers, and learns "
    "nothing. failed: the store or an identity could not be read; the person has to ask again.",
    ["result"],
)
NOTIFICATIONS = Counter(
    "peyvand_notifications_total",
    "Messages to applicants by outcome. sent and delivered: as the provider reports them. failed: it refused the "
    "message or could not deliver it. unknown: it gave no receipt in time. void: what it was about had changed. late: "
    "it could not be sent while it was news. refused: the applicant wants no such messages.",
    ["outcome"],
)
NOTIFICATIONS_OVERDUE = Gauge(
    "peyvand_notifications_overdue_seconds",
    "For how long the longest overdue message to an applicant could have been sent already. Rising: the provider of "
    "messages does not answer or refuses the worker; applicants get no codes and miss deadlines.",
)

IMPORTS = Counter(
    "peyvand_registration_imports_total",
    "Files of applicants that were registered on the page to their last row, by mode. Files are waiting and this does "
    "not rise: see peyvand_scheduler_faults_total and the job Imports in the worker's log.",
    ["mode"],
)
IMPORTED_ROWS = Counter(
    "peyvand_registration_imported_rows_total",
    "People registered from files on the page. Falls to zero during an import: its worker is gone, or the database "
    "does not answer.",
)


def observe_keys(current: int, versions: Iterable[int]) -> None:
    """Set which versions of the keys this process knows."""
    for version in versions:
        KEYS.labels(str(version)).set(version == current)


def observe_seats(province: str, *, quota: int, admitted: int, available: int) -> None:
    """Set the seats of one province."""
    for kind, seats in {"quota": quota, "admitted": admitted, "available": available}.items():
        SEATS.labels(province, kind).set(seats)


AUDIT_SIGNED = Gauge(
    "peyvand_registration_audit_signed_timestamp_seconds",
    "When the last head of the audit chains was signed. More than a day ago: rows written since can be cut off "
    "unnoticed; see the faults of the job AuditHeads in the worker's log.",
)
