"""Carries a plan out, step by step: what registrars, screeners, managers and lead enterprises do on that day."""

import asyncio
import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from random import Random
from typing import Any

from contracts.codes import CHANNELS, COUNTERPARTY_KINDS, MONTHLY_BANDS, NEEDS, SKILL_LEVELS, UNITS
from peyvand.commands.applications import COLUMNS
from peyvand.simulation import plan
from peyvand.simulation.client import PlatformClient
from peyvand.simulation.people import application, person
from peyvand.simulation.plan import DAYS, INTAKE, OPEN_DAYS, ROUND, Course
from programme.calendar import TEHRAN
from programme.policies import CURRENT
from programme.reference import counties, job_fields, provinces

NINE = time(9, 0)  # the working day begins
LATE_AFTER = 4  # steps after which a late cohort is decided: past ten working days
IDENTIFIED_LATE_AFTER = 4  # steps after which a late cohort's capacity is identified: past twenty working days
EARLY_LEAVERS, LATE_LEAVERS = 1, 12  # steps in which people withdraw
ENDS_AFTER = 3  # steps after which a connection that does not last is over
LIST = 500  # decisions, identifications and connections in one request
CONSENT = "1404-1"


def instant(step: int) -> datetime:
    """When a step happens: nine in the morning in Tehran."""
    return datetime.combine(plan.day_of(step), NINE, TEHRAN).astimezone(UTC)


class Round:
    """One simulated round; `acknowledged` is every application that the country said it has."""

    def __init__(self, country: PlatformClient, courses: Mapping[str, Course], seed: int) -> None:
        self.country, self.courses, self.seed = country, courses, seed
        self.acknowledged: set[str] = set()
        self.connections: dict[str, list[tuple[int, str]]] = defaultdict(list)  # province -> (step, those that end)
        self.leads: dict[str, str] = {}
        self.serial = 0

    async def open(self) -> None:
        """The ministry opens the round and notifies the quotas; every province gets a lead enterprise."""
        window = {
            "opens": (instant(0) - timedelta(hours=9)).isoformat(),
            "closes": (instant(0) + timedelta(days=OPEN_DAYS)).isoformat(),
        }
        body = {
            "fields": sorted(job_fields()),
            **window,
            "windows": [{"province": code, **window} for code in self.courses],
            "policy": CURRENT,
        }
        await self.country.ask("PUT", f"/registration/v1/rounds/{ROUND}", "ministry_admin", json=body, key="sim-round")
        rows = "".join(f"{c.province},{provinces()[c.province].name_fa},{c.quota}\n" for c in self.courses.values())
        await self.country.ask(
            "POST",
            f"/registration/v1/rounds/{ROUND}/quotas/import",
            "ministry_admin",
            csv="province,name_fa,quota\n" + rows,
            key="sim-quotas",
        )
        await asyncio.gather(*map(self._enlist, self.courses))

    async def step(self, step: int) -> None:
        """Everything that happens in the country on this day."""
        people = self._applications(step)  # drawn in one order, whatever the network does
        await asyncio.gather(*(self._province(step, c, people.get(c.province, [])) for c in self.courses.values()))

    async def _province(self, step: int, course: Course, people: Sequence[dict[str, str]]) -> None:
        await self._screen(step, course)
        await self._identify(step, course)
        await self._connect(step, course)
        await self._end(step, course)
        await self._withdraw(step, course, await self._register(step, course, people))

    async def _enlist(self, province: str) -> None:
        chance = Random(f"{self.seed}/lead/{province}")
        body = {
            "name": f"پیشران نمونهٔ {provinces()[province].name_fa}",
            "services": ["training", "sale"],
            "fields": sorted(chance.sample(sorted(job_fields()), 6)),
            "province": province,
        }
        lead = await self.country.ask(
            "POST", "/market/v1/leads", "manager", province, json=body, key=f"sim-lead-{province}"
        )
        self.leads[province] = lead["id"]

    def _applications(self, step: int) -> dict[str, list[dict[str, str]]]:
        if step >= len(INTAKE):
            return {}
        drawn = {}
        fields = list(job_fields().values())
        for course in self.courses.values():
            chance = Random(f"{self.seed}/people/{course.province}/{step}")
            places = [c for c in counties().values() if c.province == course.province]
            drawn[course.province] = [
                person(self.serial + n + 1, chance, places, fields, CONSENT) for n in range(course.registrations[step])
            ]
            self.serial += course.registrations[step]
        return drawn

    async def _register(self, step: int, course: Course, people: Sequence[dict[str, str]]) -> Sequence[tuple[str, str]]:
        """Registers some one by one and the others from a file; returns (national ID, application) of the former."""
        if not people:
            return []
        singly = round(len(people) * course.by_api)
        registered = await asyncio.gather(*(self._apply(course.province, each) for each in people[:singly]))
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS)
        writer.writeheader()
        writer.writerows(people[singly:])
        done = await self.country.ask(
            "POST",
            f"/registration/v1/rounds/{ROUND}/applications/import",
            "registrar",
            course.province,
            csv=table.getvalue(),
            key=f"sim-{self.seed}-{course.province}-{step}",
        )
        if done["refused"]:
            raise RuntimeError(f"{course.province}: rows were refused: {done['refused'][:3]}")
        self.acknowledged |= {each["id"] for each in done["applications"]}
        return registered

    async def _apply(self, province: str, row: Mapping[str, str]) -> tuple[str, str]:
        made = await self.country.ask(
            "POST",
            f"/registration/v1/rounds/{ROUND}/applications",
            "registrar",
            province,
            json=application(row),
            key=f"sim-{row['national_id']}",
        )
        self.acknowledged.add(made["id"])
        return row["national_id"], made["id"]

    async def _withdraw(self, step: int, course: Course, registered: Sequence[tuple[str, str]]) -> None:
        """Some leave before anybody decided, some later while they hold a seat: that seat goes to the first in line.

        Who leaves is drawn from what the draws alone determine, never from the order of the network.
        """
        if step == EARLY_LEAVERS:
            known = sorted(registered)
            leaving = [application for _, application in known[: round(len(known) * course.withdrawn * 3)]]
        elif step == LATE_LEAVERS:
            path = f"/screening/v1/cases?province={course.province}&state=awaiting_capacity"
            waiting = [case for cases in (await self._open(path, "screener", course)).values() for case in cases]
            leaving = waiting[: round(course.quota * course.withdrawn / 2)]
        else:
            return
        await asyncio.gather(*(self._leave(course.province, application) for application in leaving))

    async def _leave(self, province: str, application: str) -> None:
        path = f"/registration/v1/applications/{application}/withdrawal"
        await self.country.ask(
            "POST", path, "registrar", province, json={"reason": "own_request"}, key=f"sim-withdraw-{application}"
        )

    async def _screen(self, step: int, course: Course) -> None:
        """A cohort's larger part is decided a step after it registered, a part after its due day, the rest stays."""
        if not 0 < step <= len(INTAKE) + LATE_AFTER:
            return
        cohorts = await self._open(f"/screening/v1/cases?province={course.province}&state=open", "screener", course)
        decisions = []
        for cohort, cases in cohorts.items():
            size, age = sum(course.registrations[cohort : cohort + 1]), step - cohort
            if age == 1:
                take = round(size * course.in_time)
            elif age == LATE_AFTER:
                take = round(size * course.late)
            else:
                continue
            approved = round(min(take, len(cases)) * course.approved)
            decisions += [
                {
                    "id": case,
                    "outcome": "approved" if n < approved else "rejected",
                    "reasons": ["meets_conditions" if n < approved else "insured"],
                }
                for n, case in enumerate(cases[:take])
            ]
        await self._lists("/screening/v1/cases/decisions", "decisions", decisions, "screener", course)

    async def _identify(self, step: int, course: Course) -> None:
        if not 2 <= step <= 16:
            return
        path = f"/screening/v1/cases?province={course.province}&state=awaiting_capacity"
        chance, capacities = Random(f"{self.seed}/capacity/{course.province}/{step}"), []
        for cohort, cases in (await self._open(path, "screener", course)).items():
            age = step - cohort
            share = (
                course.identified_in_time if age == 1 else course.identified_late if age == IDENTIFIED_LATE_AFTER else 0
            )
            whole = len(cases) if age == 1 else len(cases) / max(0.01, 1 - course.identified_in_time)
            capacities += [capacity(case, chance) for case in cases[: round(whole * share)]]
        await self._lists("/screening/v1/applicants/capacities", "capacities", capacities, "screener", course)

    async def _open(self, path: str, role: str, course: Course) -> dict[int, list[str]]:
        """Open cases by the step in which they began, each cohort in the order of its applicants' ids."""
        began: dict[int, list[str]] = defaultdict(list)
        days = {plan.day_of(n).isoformat(): n for n in range(len(DAYS))}
        async for case in self.country.pages(path, role, course.province):
            began[days[case["since"][:10]]].append(case["id"])
        return {cohort: sorted(began[cohort]) for cohort in sorted(began)}

    async def _connect(self, step: int, course: Course) -> None:
        wanted = plan.connections_in(course, step)
        if not sum(wanted.values()):
            return
        path = f"/market/v1/producers?province={course.province}&state=ready"
        ready = sorted([each["id"] async for each in self.country.pages(path, "manager", course.province)])
        chance, body = Random(f"{self.seed}/market/{course.province}/{step}"), []
        fates = [fate for fate in ("connected", "ended", "claimed") for _ in range(wanted[fate])]
        for fate, producer in zip(fates, ready, strict=False):
            channel = chance.choices(list(CHANNELS), (50, 8, 8, 8, 8, 5, 5, 5, 1, 2))[0]
            body.append(
                {
                    "producer": producer,
                    "channel": channel,
                    "counterparty_kind": chance.choice(list(COUNTERPARTY_KINDS)),
                    "evidence": chance.choice(["E0", "E1"]) if fate == "claimed" else "E2",
                }
            )
        made = await self._lists("/market/v1/connections/batch", "connections", body, "manager", course)
        self.connections[course.province] += [
            (step + ENDS_AFTER, item["connection"])
            for fate, item in zip(fates, made, strict=False)
            if fate == "ended" and "connection" in item
        ]

    async def _end(self, step: int, course: Course) -> None:
        over = [connection for at, connection in self.connections[course.province] if at == step]
        await asyncio.gather(*(self._over(course.province, connection) for connection in over))

    async def _over(self, province: str, connection: str) -> None:
        path = f"/market/v1/connections/{connection}/end"
        await self.country.ask("POST", path, "manager", province, json={"reason": "price"}, key=f"sim-end-{connection}")

    async def _lists(
        self, path: str, name: str, items: Sequence[dict[str, Any]], role: str, course: Course
    ) -> list[dict[str, Any]]:
        done: list[dict[str, Any]] = []
        for first in range(0, len(items), LIST):
            answer = await self.country.ask(
                "POST", path, role, course.province, json={name: items[first : first + LIST]}
            )
            done += answer["items"]
        if wrong := [each for each in done if each.get("code")]:
            raise RuntimeError(f"{course.province}: {path} refused {len(wrong)}, the first: {wrong[0]}")
        return done


def capacity(case: str, chance: Random) -> dict[str, Any]:
    """What an applicant can make, drawn."""
    return {
        "id": case,
        "product_group": "handicrafts",
        "unit": chance.choice(list(UNITS)),
        "monthly_band": chance.choice(list(MONTHLY_BANDS)),
        "skill_level": chance.choice(list(SKILL_LEVELS)),
        "needs": sorted(chance.sample(sorted(NEEDS), 2)),
    }
