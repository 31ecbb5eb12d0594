"""The backlog of screening from counters: what waits for a decision by age, and whose turn the other cases are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import msgspec

from kernel.store import Store
from programme.calendar import day_end, day_start
from programme.reference import provinces
from screening.domain.applicant import TO_DO, instant

AGES = ("over_two_weeks", "over_one_week", "late", "today", "one_week", "later")  # of a deadline, the latest first


class Backlog(msgspec.Struct, frozen=True):
    """The cases of an area: by age in each stage in which screening acts, and how many in the other states."""

    area: str
    stages: Mapping[str, Mapping[str, int]]
    others: Mapping[str, int]

    def total(self, stage: str = "", ages: Sequence[str] = AGES) -> int:
        """Return how many cases there are in a stage, or in all, of these ages."""
        return sum(found[age] for name, found in self.stages.items() for age in ages if stage in ("", name))


async def backlogs(store: Store, scope: str, today: date) -> list[Backlog]:
    """Return the backlog of the area, nationwide of each province. It reads counters only. Raise Transient."""
    areas = [scope] if scope else list(provinces())
    counts = await store.counts([f"cases/{area}" for area in areas])
    return [_backlog(area, counts[f"cases/{area}"], today) for area in areas]


def sum_of(found: Sequence[Backlog]) -> Backlog:
    """Return the backlog of several areas together."""
    stages = {stage: {age: sum(each.stages[stage][age] for each in found) for age in AGES} for stage in TO_DO}
    others = sum((Counter(each.others) for each in found), Counter[str]())
    return Backlog(found[0].area if len(found) == 1 else "", stages, others)


def _backlog(area: str, counts: Mapping[str, int], today: date) -> Backlog:
    ends = [
        day_start(today - timedelta(14)),
        day_start(today - timedelta(7)),
        day_start(today),
        day_end(today),
        day_end(today + timedelta(7)),
    ]
    limits = list(zip(AGES, map(instant, ends), strict=False))
    stages, others = {stage: dict.fromkeys(AGES, 0) for stage in TO_DO}, Counter[str]()
    for name, n in counts.items():
        state, _, deadline = name.partition("/")
        if state in stages:
            stages[state][next((age for age, end in limits if deadline and deadline <= end), AGES[-1])] += n
        else:
            others[state] += n
    return Backlog(area, stages, others)
