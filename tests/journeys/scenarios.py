"""Sequences of steps on an in-process platform, chosen by a seed or by Hypothesis, and what must hold at their end."""

from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import Any

from tests.journeys.in_process_platform import PROVINCES, SERVICES, InProcessPlatform
from tests.journeys.invariants import check
from tests.journeys.two_persons import move_seat, set_quota

Step = tuple[str, int, int]  # verb, choice, province

CHOICES: dict[str, Any] = {
    "advance": range(6),  # a person
    "withdraw": range(6),
    "erase": range(6),
    "correct": range(6),
    "flow": range(1, 4),  # rounds of work of every service
    "work": range(4),  # of one service
    "days": (1, 5, 12, 40, 95),
    "quota": range(5),
    "move": (1, 2),  # a seat, so many provinces further
}
VERBS = ["advance"] * 8 + ["flow"] * 7 + ["days"] * 2 + ["work", "quota", "withdraw", "erase", "correct", "move"]


def drawn(seed: int) -> tuple[list[Step], tuple[int, int, int]]:
    """Return a long scenario that a seed determines, and its quotas."""
    random = Random(seed)
    steps = [(random.choice(VERBS), random.randint(0, 59), random.randint(0, 2)) for _ in range(80)]
    return steps, (2, 1, 3)


async def run(steps: Sequence[Step], quotas: tuple[int, ...], seed: int) -> InProcessPlatform:
    """Take all steps, let the platform settle, and check the invariants."""
    random = Random(seed)
    platform = InProcessPlatform(random)
    await platform.open_round(quotas)
    for verb, choice, province in steps:
        n = CHOICES[verb][choice % len(CHOICES[verb])]
        match verb:
            case "advance":
                await platform.advance(n, province)
            case "flow":
                for _ in range(n):
                    for service in random.sample(SERVICES, 4):
                        await platform.work(service)
            case "work":
                await platform.work(SERVICES[n])
            case "days":
                platform.now += timedelta(days=n)
            case "withdraw":
                await platform.withdraw(n)
            case "correct":
                await platform.correct(n)
            case "erase":
                await platform.erase(n)
            case "quota":
                await set_quota(platform, PROVINCES[province], n)
            case _:
                await move_seat(platform, PROVINCES[province], PROVINCES[(province + n) % 3])
    await platform.settle()
    await check(platform)
    return platform
