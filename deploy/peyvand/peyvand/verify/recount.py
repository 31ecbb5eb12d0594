"""An independent recount of the figures and the four tables, from the events in the owners' records alone.

It shares no code with the services: its own calendar, interpretation of events and formula. Its results and those of
reporting must be equal; where they differ, one of the two is wrong.
"""

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

OWNERS = ("registration", "screening", "market")
TABLES = ("composite", "1", "2", "3")
SUSTAINED_AFTER = 90  # days
FRIDAY = 4  # of date.weekday
FLOOR = Fraction(1, 100)
SMALLEST_SUSTAINED_BASE = 10

Event = Mapping[str, Any]


@dataclass
class Count:
    """One province: quota Q, registered R, screened S, approved A, admitted Ad, identified C, connected M, sustained U.

    A follows the appeals.
    """

    Q: int = 0
    R: int = 0
    verified: int = 0
    S: int = 0
    A: int = 0
    appealed: int = 0
    overturned: int = 0
    in_time: int = 0
    due: int = 0
    Ad: int = 0
    C: int = 0
    identified_in_time: int = 0
    identified_due: int = 0
    M: int = 0
    U: int = 0
    sustainable: int = 0
    claims: int = 0
    confirmed: int = 0
    gave_up: int = 0  # this month, of C
    gave_up_sustainable: int = 0
    withdrawn: int = 0
    withdrawn_by_officer: int = 0
    officer_acts: int = 0
    end_to_end: list[int] = field(default_factory=list)  # whole working days


class Calendar:
    """Days in Tehran, working days (`holidays` of the whole country, and of single provinces), and Jalali months."""

    def __init__(
        self,
        holidays: Iterable[date],
        of_provinces: Mapping[str, Collection[date]] | None = None,
        months: Sequence[date] = (),
    ) -> None:
        """Take the days off, and the first days of the Jalali months, in order."""
        self.zone, self.holidays, self.of_provinces = ZoneInfo("Asia/Tehran"), frozenset(holidays), of_provinces or {}
        self.months = months
        self.working_days: dict[str, list[int]] = {}  # ordinals, in order, by province

    def day(self, instant: str) -> date:
        """Return the day in Tehran of an instant."""
        return datetime.fromisoformat(instant).astimezone(self.zone).date()

    def month_begin(self, day: date) -> date:
        """Return the first day of the Jalali month of a day."""
        return self.months[bisect_right(self.months, day) - 1]

    def between(self, first: date, last: date, province: str) -> int:
        """Return the number of working days in a province after the first day, up to and including the last."""
        if province not in self.working_days:
            off = self.holidays | {*self.of_provinces.get(province, ())}
            days = (date(2019, 1, 1) + timedelta(days=n) for n in range(6_000))
            self.working_days[province] = [d.toordinal() for d in days if d.weekday() != FRIDAY and d not in off]
        days_of = self.working_days[province]
        return max(0, bisect_right(days_of, last.toordinal()) - bisect_right(days_of, first.toordinal()))


def read_events(client: Any) -> dict[str, list[Event]]:
    """Return all events of the owners, by subject; `client` is a pymongo MongoClient that may read all three stores.

    Raise ValueError if sequences are not dense.
    """
    by_subject: dict[str, list[Event]] = defaultdict(list)
    for owner in OWNERS:
        for record in client[owner].records.find({}, {"events": 1}):
            events = [json.loads(raw) for raw in record.get("events", ())]
            if [e["sequence"] for e in events] != list(range(1, len(events) + 1)):
                raise ValueError(f"{owner}: the sequences of {record['_id']} are not dense")
            by_subject[record["_id"]] += events
    return by_subject


def count(by_subject: Mapping[str, Sequence[Event]], calendar: Calendar, today: date, round_: str) -> dict[str, Count]:
    """Return the figures of each province with a quota or an applicant, as of the end of a day in Tehran."""
    counts: dict[str, Count] = defaultdict(Count)
    for subject, events in by_subject.items():
        if subject.startswith(f"ledger:{round_}/"):
            quotas = [e for e in events if e["type"].endswith((".quota.set.v1", ".quota.moved.v1"))]
            counts[subject.rpartition("/")[2]].Q = quotas[-1]["data"]["quota"] if quotas else 0
        elif ":" not in subject and any(e.get("round") == round_ for e in events):
            _count_applicant(counts, events, calendar, today)
    return counts


def _answer(event: Event) -> str:
    """Return the answer of the identity registry in an event; `changed` if a correction has voided it."""
    if event["type"].endswith(".applicant.updated.v1") and event["data"].get("identity_changed"):
        return "changed"
    return str(event["data"]["result"]) if event["type"].endswith(".applicant.identity_checked.v1") else ""


def _count_applicant(counts: dict[str, Count], events: Sequence[Event], calendar: Calendar, today: date) -> None:
    number = max(e["data"].get("application", 1) for e in events if e["source"] == "registration")
    current = [e for e in events if e["data"].get("application", 1) == number]
    by_type = _by_type(current)
    province = [e for e in events if e["source"] == "registration"][-1]["province"]
    figures = counts[province]
    for n in range(1, number + 1):
        _count_lasting(counts, [e for e in events if e["data"].get("application", 1) == n], calendar, today)

    registered = (by_type["applicant.registered"] or by_type["applicant.reactivated"])[0]
    decided, withdrawn = by_type["case.decided"], by_type["applicant.withdrawn"]
    counts_as_registered = not withdrawn or (bool(decided) and _when(decided[0]) <= _when(withdrawn[0]))
    results = [_answer(e) for e in current]
    results = [each for each in results if each not in ("", "unavailable")]
    due = [date.fromisoformat(e["data"]["due"]) for e in by_type["case.opened"]]
    if counts_as_registered:
        figures.R += 1
        figures.verified += bool(results) and results[-1] == "match"
        figures.S += bool(decided)
        _count_outcome(figures, by_type)
        case_due = _paused(due[0], by_type, calendar, province) if due else date.max
        figures.in_time += bool(decided) and calendar.day(decided[0]["time"]) <= case_due
        figures.due += bool(decided) or case_due < today

    _count_withdrawal(figures, by_type)
    if not by_type["applicant.admitted"] or by_type["applicant.seat_released"]:
        return
    figures.Ad += 1
    identified = by_type["capacity.identified"]
    capacity_due = [date.fromisoformat(e["data"]["due"]) for e in by_type["capacity.requested"]]
    figures.C += bool(identified)
    figures.identified_in_time += bool(identified) and calendar.day(identified[0]["time"]) <= capacity_due[0]
    figures.identified_due += bool(identified) or (bool(capacity_due) and capacity_due[0] < today)
    _count_sales(figures, by_type, calendar, today, bool(identified), calendar.day(registered["time"]), province)


def _by_type(events: Sequence[Event]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = defaultdict(list)
    for e in events:
        found[e["type"].split(".", 3)[3].removesuffix(".v1")].append(e)
    return found


def _count_lasting(counts: dict[str, Count], events: Sequence[Event], calendar: Calendar, today: date) -> None:
    """Count what a later application does not undo: the acts of officers, and a producer who gave up the seat."""
    by_type = _by_type(events)
    figures = counts[[e for e in events if e["source"] == "registration"][-1]["province"]]
    kinds = ("applicant.updated", "applicant.code_reissued", "applicant.withdrawn")
    figures.officer_acts += sum(_is_officer(e) for kind in kinds for e in by_type[kind])
    if by_type["applicant.seat_released"] and by_type["applicant.withdrawn"]:
        _count_given_up(figures, by_type, calendar, today)


def _count_withdrawal(figures: Count, by_type: Mapping[str, Sequence[Event]]) -> None:
    withdrawals = by_type["applicant.withdrawn"]
    figures.withdrawn += bool(withdrawals)
    figures.withdrawn_by_officer += any(map(_is_officer, withdrawals))


def _is_officer(event: Event) -> bool:
    """Return whether someone with an id of their own acted: `registrar:of-2f9c`, not `web:`."""
    return bool(event.get("actor", "").partition(":")[2])


def _count_given_up(figures: Count, by_type: Mapping[str, Sequence[Event]], calendar: Calendar, today: date) -> None:
    """Count a producer who gave up the seat this month, if they counted on the day before."""
    left = calendar.day(by_type["applicant.seat_released"][0]["time"])
    seated = calendar.day(by_type["applicant.admitted"][0]["time"])
    if not calendar.month_begin(today) <= left <= today:
        return
    identified = [calendar.day(e["time"]) for e in by_type["capacity.identified"]]
    figures.gave_up += bool(identified) and max(identified[0], seated) < left
    evidence = [calendar.day(e["time"]) for e in by_type["producer.connected"] if e["data"]["evidence"] >= "E2"]
    evidence += [calendar.day(e["time"]) for e in by_type["connection.evidenced"] if e["data"]["to"] >= "E2"]
    if evidence:
        figures.gave_up_sustainable += max(min(evidence) + timedelta(days=SUSTAINED_AFTER), seated) < left


def _count_outcome(figures: Count, by_type: Mapping[str, Sequence[Event]]) -> None:
    """Count the last word on an application: of the first decision, or of the appeal against a rejection."""
    verdicts = [e["data"]["outcome"] for e in (*by_type["case.decided"], *by_type["case.appeal_decided"])]
    figures.A += verdicts[-1:] == ["approved"]
    figures.appealed += bool(by_type["case.appealed"])
    figures.overturned += verdicts == ["rejected", "approved"]


def _paused(due: date, by_type: Mapping[str, Sequence[Event]], calendar: Calendar, province: str) -> date:
    """Return the due day of a case, later by the working days on which an applicant had papers to bring.

    It does not move if it was over when they were asked for.
    """
    answers = [calendar.day(e["time"]) for e in by_type["case.info_supplied"]]
    answered = [e["sequence"] for e in by_type["case.info_supplied"]]
    requests = by_type["case.info_requested"]
    for n, request in enumerate(requests):
        begun, ended = calendar.day(request["time"]), date.fromisoformat(request["data"]["due"])
        following = requests[n + 1]["sequence"] if n + 1 < len(requests) else None
        own = [
            day
            for day, sequence in zip(answers, answered, strict=True)
            if sequence > request["sequence"] and (following is None or sequence < following)
        ]
        back = min([ended, *own])
        if begun > due:
            continue
        for _ in range(calendar.between(begun, back, province)):
            due = _next_working_day(due, calendar, province)
        if due < back:  # it came on a day off
            due = _next_working_day(back, calendar, province)
    return due


def _next_working_day(day: date, calendar: Calendar, province: str) -> date:
    day += timedelta(days=1)
    while calendar.between(day - timedelta(days=1), day, province) == 0:
        day += timedelta(days=1)
    return day


def _count_sales(
    figures: Count,
    by_type: Mapping[str, Sequence[Event]],
    calendar: Calendar,
    today: date,
    identified: bool,
    registered: date,
    province: str,
) -> None:
    grades: dict[str, list[tuple[date, str]]] = defaultdict(list)
    for e in (*by_type["producer.connected"], *by_type["connection.evidenced"]):
        grade = e["data"]["evidence"] if "evidence" in e["data"] else e["data"]["to"]
        grades[e["data"]["connection"]].append((calendar.day(e["time"]), grade))
    ended = {e["data"]["connection"] for e in by_type["connection.ended"]}
    sustained = {e["data"]["connection"] for e in by_type["connection.sustained"]}
    proven = {
        name: min(d for d, g in each if g >= "E2") for name, each in grades.items() if any(g >= "E2" for _, g in each)
    }
    if proven:
        first = min(proven.values())
        figures.sustainable += first + timedelta(days=SUSTAINED_AFTER) <= today
        figures.end_to_end.append(calendar.between(registered, first, province))
    if identified:
        running = grades.keys() - ended
        figures.claims += len(running)
        figures.confirmed += len(running & proven.keys())
        figures.M += bool(running & proven.keys())
        figures.U += bool(running & proven.keys() & sustained)


def _when(event: Event) -> datetime:
    return datetime.fromisoformat(event["time"]).astimezone(UTC)


def tables(counts: Mapping[str, Count], provinces: Sequence[str]) -> dict[str, list[tuple[int | None, str]]]:
    """Return the four tables as (rank, province), unranked last; ties share a rank (1, 2, 2, 4)."""
    by_table = {}
    for table in TABLES:
        keys = {p: _key(counts.get(p, Count()), table) for p in provinces if counts.get(p, Count()).Q > 0}
        order = sorted(keys, key=lambda p: (tuple(-v for v in keys[p]), p))
        ranked: list[tuple[int | None, str]] = [(1 + sum(keys[other] > keys[p] for other in keys), p) for p in order]
        by_table[table] = ranked + [(None, p) for p in provinces if p not in keys]
    return by_table


def _key(c: Count, table: str) -> tuple[Fraction, ...]:
    """Return the sort key: the value of the table, then the tie-breakers; larger is better."""
    part = _part
    M1, M2, M3 = part(c.M, c.Q), part(c.M, c.C), part(c.U, c.sustainable)
    S1 = _w(35) * _capped(part(c.R, c.Q)) + _w(40) * part(c.S, c.R) + _w(25) * part(c.in_time, c.due)
    S2 = (
        _w(40) * _capped(part(c.Ad, c.Q))
        + _w(40) * part(c.C, c.Ad)
        + _w(20) * part(c.identified_in_time, c.identified_due)
    )
    S3 = _w(50) * _capped(M1) + _w(30) * M2
    few = c.sustainable < SMALLEST_SUSTAINED_BASE
    S3 = S3 / _w(80) if few else S3 + _w(20) * M3
    D = _w(80) + _w(20) * (part(c.verified, c.R) + part(c.confirmed, c.claims)) / 2
    spans = sorted(c.end_to_end)
    quick = -Fraction(spans[(len(spans) - 1) // 2]) if spans else Fraction(-(10**9))
    last = (quick, Fraction(c.Q))
    if table == "1":
        return (S1, part(c.S, c.R), _capped(part(c.R, c.Q)), part(c.in_time, c.due), *last)
    if table == "2":
        terms = (_capped(part(c.Ad, c.Q)), part(c.C, c.Ad), part(c.identified_in_time, c.identified_due))
        return (S2, *terms, *last)
    if table == "3":
        return (S3, _capped(M1), M2, Fraction(0) if few else M3, *last)
    value = D**4 * max(S1, FLOOR) * max(S2, FLOOR) * max(S3, FLOOR) ** 2
    return (value, S3, M1, S2, S1, *last)


def _w(percent: int) -> Fraction:
    return Fraction(percent, 100)


def _capped(share: Fraction) -> Fraction:
    return min(share, Fraction(1))


def _part(numerator: int, denominator: int) -> Fraction:
    return Fraction(numerator, denominator) if denominator else Fraction(0)
