"""Skewed records of each service, for plans and times of its queries."""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from contracts.subjects import kind_of, lead_subject, ledger_subject, proposal_subject, round_subject
from kernel.record import Record
from kernel.service import Service
from programme.calendar import day_end, tehran_day
from programme.reference import counties_of, provinces
from tests.support.service_api import subject_of

NOON = datetime(2025, 10, 8, 8, 30, tzinfo=UTC)
Indexed = dict[str, Any]


def sample(service: Service[Any], count: int) -> Iterator[Record]:
    """Yield this many records of a service, always the same."""
    chance = random.Random(1404)
    for n in range(count):
        subject, indexed = SAMPLES[service.name](chance, n)
        yield Record(subject=subject, state=service.rules[kind_of(subject)].State(), indexed=indexed)


def area(chance: random.Random) -> Indexed:
    """Half of the applicants in one province, and half of those in one county."""
    province = "IR-20" if chance.random() < 0.5 else chance.choice(list(provinces()))
    counties = [each.code for each in counties_of(province)]
    county = counties[0] if chance.random() < 0.5 else chance.choice(counties)
    return {"province": province, "scope": f"{province}/{county}"}


def registration(chance: random.Random, n: int) -> tuple[str, Indexed]:
    """Applicants of two rounds, most of them withdrawn or rejected; a few wait for seats, checks or their erasure."""
    if n < 2:
        return round_subject(f"140{4 + n}"), {"round": f"140{4 + n}"}
    if n < 64:
        round_id, province = f"140{4 + n % 2}", list(provinces())[(n - 2) // 2]
        return ledger_subject(round_id, province), {"round": round_id, "available": chance.choice([0, 0, 5])}
    if n < 84:
        return proposal_subject("1404", subject_of(n)), {"round": "1404"}
    place = area(chance)
    round_id = "1404" if chance.random() < 0.8 else "1405"
    status = chance.choice(["withdrawn"] * 8 + ["admitted", "screening", "waitlisted"])
    indexed = {**place, "round": round_id, "status": status}
    if chance.random() < 0.3:
        indexed["seating"] = chance.choice(["waiting"] * 9 + ["awaiting", "releasing"])
        indexed["ledger"] = ledger_subject(round_id, place["province"])
        indexed["priority"] = chance.randrange(2)
        indexed["registered_at"] = NOON + timedelta(minutes=chance.randrange(10_000) - 5_000)
    if chance.random() < 0.05:
        indexed["status"] = "erased"
        if chance.random() < 0.5:
            indexed["erasing"] = NOON - timedelta(seconds=chance.randrange(600))
    if n % 20 == 0:
        indexed["index_version"] = 1 + n % 3
    if chance.random() < 0.02:
        indexed["unidentified"] = f"1404/{indexed['scope']}"
    if chance.random() < 0.1:
        indexed["check_due"] = NOON + timedelta(minutes=chance.randrange(10_000) - 5_000)
    if n % 17 == 0:
        indexed["notify_due"] = NOON + timedelta(minutes=n % 1_000 - 500)
    return subject_of(n), indexed


def screening(chance: random.Random, n: int) -> tuple[str, Indexed]:
    """Cases, most of them decided."""
    deadline = day_end(tehran_day(NOON) + timedelta(days=chance.randrange(84) - 42))
    state = chance.choice(["decided"] * 8 + ["open", "claimed", "awaiting_capacity"])
    where = area(chance)
    number = f"{where['province'][3:]}{n % 10**8:08}"
    claimer = {"claimer": f"of-{n % 500}"} if state == "claimed" else {}
    return subject_of(n), {**where, "state": state, "deadline": deadline, "number": number, **claimer}


def market(chance: random.Random, n: int) -> tuple[str, Indexed]:
    """Lead enterprises, and producers, most of whom have ended."""
    if n < 300:
        return lead_subject(subject_of(n)), {"province": area(chance)["province"], "lead_name": str(n)}
    indexed = area(chance)
    if chance.random() < 0.7:
        indexed["state"] = chance.choice(["ended"] * 8 + ["ready", "offered"])
        indexed["leads"] = sorted({subject_of(90), subject_of(chance.randrange(300))})
    return subject_of(n), indexed


def reporting(chance: random.Random, n: int) -> tuple[str, Indexed]:
    """A few rounds, some not opened yet, among many applicants."""
    if n < 20:
        subject = f"14{n:02}"
        return round_subject(subject), {"round": subject, **({"opens": NOON + timedelta(days=n)} if n % 4 else {})}
    return subject_of(n), {"round": f"14{n % 20:02}", "scope": area(chance)["scope"]}


SAMPLES: dict[str, Callable[[random.Random, int], tuple[str, Indexed]]] = {
    "registration": registration,
    "screening": screening,
    "market": market,
    "reporting": reporting,
}
