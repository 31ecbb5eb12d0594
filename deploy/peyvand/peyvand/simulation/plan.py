"""The plan of a round, drawn from a seed before it begins, independent of how provinces are ranked."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from random import Random

from programme.reference import provinces

ROUND = "1404"
FIRST_DAY = date(2025, 9, 27)  # Saturday 1404-07-05
DAYS = (0, 6, 12, 18, 24, 30, 38, 46, 54, 62, 70, 80, 90, 100, 110, 120, 130, 145, 160, 175, 190, 205, 220, 235)
OPEN_DAYS = 365  # the intake windows: some register while others sell already
INTAKE = (0.30, 0.22, 0.16, 0.12, 0.10, 0.10)  # shares of the registrations in the first six steps
CONNECTING = range(4, 14)  # steps in which producers are connected; at least 90 days follow the last one
QUOTA = (1_200, 2_700)  # seats of a province with an unknown quota (known ones: 1,000 to 2,500)
OVERSUBSCRIPTION = (2.0, 2.3)  # registrations a seat, where both are known
APPEALED, OVERTURNED = 0.3, 0.4  # shares: of the rejections those appealed, of these those overturned
ASKED, BROUGHT = 0.06, 0.8  # shares: of a cohort those asked for a paper, of these those who bring it
LEADER = "IR-20"  # published as the leader in all three stages, and drawn so; the ranking does not use it


@dataclass(frozen=True)
class Course:
    """The course of one province's round: counts at this scale, and shares of the stage before."""

    province: str
    quota: int
    registrations: tuple[int, ...]  # in each step of the intake
    by_api: float  # share of the registrations that come one by one
    withdrawn: float  # of the quota, those who withdraw
    in_time: float  # share of a cohort that is decided before its due day
    late: float  # share decided after it; the rest stays open
    approved: float  # share of the decided
    identified_in_time: float  # share of those admitted in a step
    identified_late: float
    connected: int  # at E2 or above and not ended, at the end
    ended: int  # connected with evidence, and over before 90 days
    claimed: int  # connected without the counterparty's word


@cache
def known_figures() -> dict[str, dict[str, str]]:
    """Return the published figures by province."""
    text = files("peyvand").joinpath("data/known_figures.csv").read_text("utf-8")
    return {row["province_code"]: row for row in csv.DictReader(text.splitlines())}


def draw(seed: int, scale: float, only: frozenset[str] = frozenset()) -> dict[str, Course]:
    """Return the course of every province: known figures, else plausible draws, at `scale` of the real size.

    The leader's figures are taken whole at any scale.
    """
    return {code: _course(code, seed, scale) for code in provinces() if not only or code in only}


def _course(code: str, seed: int, scale: float) -> Course:
    chance = Random(f"{seed}/{code}")  # a generator of its own: the draws of one province do not depend on others
    known = known_figures().get(code, {})
    quota_drawn, ratio = chance.randint(*QUOTA) // 50 * 50, chance.uniform(*OVERSUBSCRIPTION)
    quota = int(known.get("quota") or 0) or quota_drawn
    registered = (
        int(known.get("registered") or 0) + chance.randint(1, 90) if known.get("registered") else round(quota * ratio)
    )
    shares = _shares(chance)
    if code == LEADER:
        shares |= {
            "by_api": 0.28,
            "in_time": 0.965,
            "late": 0.025,
            "approved": 0.86,
            "identified_in_time": 0.93,
            "identified_late": 0.03,
        }
        connected, ended, claimed = int(known["connected"]) + chance.randint(-3, 4), 18, 9
    else:
        quota, registered = max(4, round(quota * scale)), max(8, round(registered * scale))
        connected = round(quota * chance.uniform(0.05, 0.14))
        ended, claimed = round(connected * chance.uniform(0.15, 0.5)), round(connected * chance.uniform(0.15, 0.6))
    return Course(
        province=code,
        quota=quota,
        registrations=tuple(_split(registered, INTAKE)),
        withdrawn=chance.uniform(0.03, 0.08),
        connected=connected,
        ended=ended,
        claimed=claimed,
        **shares,
    )


def _shares(chance: Random) -> dict[str, float]:
    in_time = chance.uniform(0.52, 0.84)
    identified_in_time = chance.uniform(0.35, 0.68)
    return {
        "by_api": chance.uniform(0.12, 0.22),
        "in_time": in_time,
        "late": chance.uniform(0.3, 0.7) * (1 - in_time),
        "approved": chance.uniform(0.68, 0.85),
        "identified_in_time": identified_in_time,
        "identified_late": chance.uniform(0.2, 0.5) * (1 - identified_in_time),
    }


def _split(total: int, shares: tuple[float, ...]) -> list[int]:
    """Split `total` into integers in proportion to the shares."""
    parts, assigned, target = [], 0, 0.0
    for share in shares:
        target += share * total
        parts.append(round(target) - assigned)
        assigned += parts[-1]
    parts[-1] += total - assigned
    return parts


def appeals(rejected: Mapping[int, Sequence[str]], step: int) -> Sequence[str]:
    """Return the cases rejected in a step that are appealed."""
    cases = rejected.get(step, ())
    return cases[: round(len(cases) * APPEALED)]


def asked(cases: Sequence[str]) -> Sequence[str]:
    """Return the cases of a cohort, before its first decisions, whose applicants are asked for a paper."""
    return cases[: round(len(cases) * ASKED)]


def day_of(step: int) -> date:
    """Return the day of a step."""
    return FIRST_DAY + timedelta(days=DAYS[step])


def connections_in(course: Course, step: int) -> Mapping[str, int]:
    """Return how many connections begin in this step, by outcome: connected, ended, claimed."""
    if step not in CONNECTING:
        return {}
    at, shares = step - CONNECTING.start, (1 / len(CONNECTING),) * len(CONNECTING)
    return {
        outcome: _split(total, shares)[at]
        for outcome, total in (("connected", course.connected), ("ended", course.ended), ("claimed", course.claimed))
    }
