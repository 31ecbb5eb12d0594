"""An independent recount: the figures and the four tables, from nothing but what the owners' records emitted.

It shares no code with the services: its own calendar, its own reading of the events, its own formula. What it says and
what reporting says must be the same; where they differ, one of the two is wrong.
"""

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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
    """One province: quota Q, registered R, screened S, admitted Ad, identified C, connected M, sustained U."""

    Q: int = 0
    R: int = 0
    verified: int = 0
    S: int = 0
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
    end_to_end: list[int] = field(default_factory=list)  # whole working days


class Calendar:
    """Days in Tehran, and which of them are worked."""

    def __init__(self, holidays: Iterable[date]) -> None:
        self.zone, self.holidays = ZoneInfo("Asia/Tehran"), frozenset(holidays)
        self.worked: list[int] = []  # ordinals, in order

    def day(self, instant: str) -> date:
        """The day in Tehran on which this instant falls."""
        return datetime.fromisoformat(instant).astimezone(self.zone).date()

    def between(self, first: date, last: date) -> int:
        """Working days after one day, up to another."""
        if not self.worked:
            days = (date(2019, 1, 1) + timedelta(days=n) for n in range(6_000))
            self.worked = [d.toordinal() for d in days if d.weekday() != FRIDAY and d not in self.holidays]
        return max(0, bisect_right(self.worked, last.toordinal()) - bisect_right(self.worked, first.toordinal()))


def read_events(client: Any) -> dict[str, list[Event]]:
    """Everything the owners ever emitted, by subject; `client` is a pymongo MongoClient that may read all three."""
    told: dict[str, list[Event]] = defaultdict(list)
    for owner in OWNERS:
        for record in client[owner].records.find({}, {"emitted": 1}):
            events = [json.loads(raw) for raw in record.get("emitted", ())]
            if [e["sequence"] for e in events] != list(range(1, len(events) + 1)):
                raise ValueError(f"{owner}: the sequences of {record['_id']} have holes")
            told[record["_id"]] += events
    return told


def count(told: Mapping[str, Sequence[Event]], calendar: Calendar, today: date, round_: str) -> dict[str, Count]:
    """The figures of every province that has a quota or an applicant, as of the end of a day in Tehran."""
    counts: dict[str, Count] = defaultdict(Count)
    for subject, events in told.items():
        if subject.startswith(f"ledger:{round_}/"):
            quotas = [e for e in events if e["type"].endswith(".quota.set.v1")]
            counts[subject.rpartition("/")[2]].Q = quotas[-1]["data"]["quota"] if quotas else 0
        elif ":" not in subject and any(e.get("round") == round_ for e in events):
            _person(counts, events, calendar, today)
    return counts


def _person(counts: dict[str, Count], events: Sequence[Event], calendar: Calendar, today: date) -> None:
    number = max(e["data"].get("application", 1) for e in events if e["source"] == "registration")
    mine = [e for e in events if e["data"].get("application", 1) == number]
    said: dict[str, list[Event]] = defaultdict(list)
    for e in mine:
        said[e["type"].split(".", 3)[3].removesuffix(".v1")].append(e)
    home = [e for e in events if e["source"] == "registration"][-1]["province"]
    place = counts[home]

    registered = (said["applicant.registered"] or said["applicant.reactivated"])[0]
    decided, left = said["case.decided"], said["applicant.withdrawn"]
    stays = not left or (bool(decided) and _when(decided[0]) <= _when(left[0]))
    answers = [e["data"]["result"] for e in said["applicant.identity_checked"] if e["data"]["result"] != "unavailable"]
    due = [date.fromisoformat(e["data"]["due"]) for e in said["case.opened"]]
    if stays:
        place.R += 1
        place.verified += bool(answers) and answers[-1] == "match"
        place.S += bool(decided)
        place.in_time += bool(decided) and calendar.day(decided[0]["time"]) <= due[0]
        place.due += bool(decided) or (bool(due) and due[0] < today)

    if not said["applicant.admitted"] or said["applicant.seat_released"]:
        return
    place.Ad += 1
    identified = said["capacity.identified"]
    wanted = [date.fromisoformat(e["data"]["due"]) for e in said["capacity.requested"]]
    place.C += bool(identified)
    place.identified_in_time += bool(identified) and calendar.day(identified[0]["time"]) <= wanted[0]
    place.identified_due += bool(identified) or (bool(wanted) and wanted[0] < today)
    _sales(place, said, calendar, today, bool(identified), calendar.day(registered["time"]))


def _sales(
    place: Count,
    said: Mapping[str, Sequence[Event]],
    calendar: Calendar,
    today: date,
    identified: bool,
    registered: date,
) -> None:
    grades: dict[str, list[tuple[date, str]]] = defaultdict(list)
    for e in (*said["producer.connected"], *said["connection.evidenced"]):
        grade = e["data"]["evidence"] if "evidence" in e["data"] else e["data"]["to"]
        grades[e["data"]["connection"]].append((calendar.day(e["time"]), grade))
    ended = {e["data"]["connection"] for e in said["connection.ended"]}
    lasting = {e["data"]["connection"] for e in said["connection.sustained"]}
    proven = {
        name: min(d for d, g in each if g >= "E2") for name, each in grades.items() if any(g >= "E2" for _, g in each)
    }
    if proven:
        first = min(proven.values())
        place.sustainable += first + timedelta(days=SUSTAINED_AFTER) <= today
        place.end_to_end.append(calendar.between(registered, first))
    if identified:
        running = grades.keys() - ended
        place.claims += len(running)
        place.confirmed += len(running & proven.keys())
        place.M += bool(running & proven.keys())
        place.U += bool(running & proven.keys() & lasting)


def _when(event: Event) -> datetime:
    return datetime.fromisoformat(event["time"]).astimezone(UTC)


def tables(counts: Mapping[str, Count], provinces: Sequence[str]) -> dict[str, list[tuple[int | None, str]]]:
    """The four tables as (rank, province), unranked last; ties share a rank (1, 2, 2, 4)."""
    found = {}
    for table in TABLES:
        keys = {p: _key(counts.get(p, Count()), table) for p in provinces if counts.get(p, Count()).Q > 0}
        order = sorted(keys, key=lambda p: (tuple(-v for v in keys[p]), p))
        ranked: list[tuple[int | None, str]] = [(1 + sum(keys[other] > keys[p] for other in keys), p) for p in order]
        found[table] = ranked + [(None, p) for p in provinces if p not in keys]
    return found


def _key(c: Count, table: str) -> tuple[Fraction, ...]:
    """What decides, then what breaks ties, all "larger is better"."""
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
