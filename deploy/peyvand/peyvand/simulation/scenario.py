"""Carry a plan out step by step: the requests of registrars, screeners, managers and lead enterprises."""

import asyncio
import csv
import io
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from random import Random
from typing import Any

import msgspec

from contracts.codes import CHANNELS, CONDITIONS, COUNTERPARTY_KINDS, MONTHLY_BANDS, NEEDS, SKILL_LEVELS, UNITS
from peyvand.commands.applications import COLUMNS
from peyvand.simulation import plan
from peyvand.simulation.client import PlatformClient
from peyvand.simulation.people import application, person
from peyvand.simulation.plan import DAYS, INTAKE, OPEN_DAYS, ROUND, Course
from programme.calendar import TEHRAN
from programme.policies import CURRENT
from programme.reference import counties, job_fields, provinces
from registration.jobs.identity_checks import BORN, DevelopmentRegistry

WORKDAY_BEGINS = time(9, 0)
LATE_AFTER = 4  # steps after which a late cohort is decided: past ten working days
IDENTIFIED_LATE_AFTER = 4  # steps after which a late cohort's capacity is identified: past twenty working days
EARLY_LEAVERS, LATE_LEAVERS = 1, 12  # steps in which people withdraw
ENDS_AFTER = 3  # steps after which a connection that does not last is over
SCREENING = range(1, len(INTAKE) + LATE_AFTER + 1)  # steps in which cases are decided
IDENTIFYING = range(2, 17)  # steps in which capacities are identified
BATCH = 500  # decisions, identifications and connections in one request
CONSENT = "1404-1"
APPEAL_STEPS = 3  # after a rejection its appeal is decided
FORMS_A_STEP = 1_500  # numbers of signed forms, in each province: a third each for appeals, corrections, withdrawals
YES = dict.fromkeys(CONDITIONS, True)  # what people who are approved have answered
VERDICTS: Mapping[bool, Mapping[str, Any]] = {  # of appeals, by whether they are successful
    True: {"outcome": "approved", "checklist": YES},
    False: {"outcome": "rejected", "reasons": ["insured"]},
}


def instant(step: int) -> datetime:
    """Return the instant of a step: nine in the morning in Tehran."""
    return datetime.combine(plan.day_of(step), WORKDAY_BEGINS, TEHRAN).astimezone(UTC)


class Listing(msgspec.Struct, frozen=True):
    """What a province has at the beginning of a step, by the step in which it began."""

    open: dict[int, list[str]] = {}
    awaiting_capacity: dict[int, list[str]] = {}
    ready: list[str] = []


class Memory(msgspec.Struct):
    """What a round remembers from step to step. With it, an interrupted step is sent again as it was first sent."""

    acknowledged: set[str] = set()  # the ids of all applications that were accepted
    connections: dict[str, list[tuple[int, str]]] = {}  # province -> (step of its end, connection)
    rejected: dict[str, dict[int, list[str]]] = {}  # province -> step -> cases rejected in it
    asked: dict[str, dict[int, list[str]]] = {}  # province -> step -> cases whose applicants were asked for a paper
    mismatched: dict[str, dict[int, list[str]]] = {}  # province -> step -> applications whose identity was refused
    listed: dict[str, Listing] = {}  # by province, of the step that is under way; empty before it


class Round:
    """One simulated round. Every request has a key: sent again, it gets the same answer and does nothing twice."""

    def __init__(
        self, platform: PlatformClient, courses: Mapping[str, Course], seed: int, memory: Memory | None = None
    ) -> None:
        self.platform, self.courses, self.seed, self.memory = platform, courses, seed, memory or Memory()

    async def open(self, scale: float) -> None:
        """Open the round as a simulation of this scale, set quotas by two persons, register leads in every province."""
        window = {
            "opens": (instant(0) - timedelta(hours=9)).isoformat(),
            "closes": (instant(0) + timedelta(days=OPEN_DAYS)).isoformat(),
        }
        body = {
            "fields": sorted(job_fields()),
            **window,
            "windows": [{"province": code, **window} for code in self.courses],
            "policy": CURRENT,
            "simulated": {
                "per_mille": max(1, round(scale * 1_000)),
                "whole": [plan.LEADER] if plan.LEADER in self.courses else [],
            },
        }
        await self.platform.request(
            "PUT", f"/registration/v1/rounds/{ROUND}", "ministry_admin", json=body, key="sim-round"
        )
        await self.platform.set_quotas(ROUND, {c.province: c.quota for c in self.courses.values()}, "sim-quotas")
        await asyncio.gather(*map(self._register_lead, self.courses))

    async def survey(self, step: int) -> None:
        """Read what this step decides, identifies and connects."""
        listings = await asyncio.gather(*(self._survey(step, course) for course in self.courses.values()))
        self.memory.listed = dict(zip(self.courses, listings, strict=True))

    async def _survey(self, step: int, course: Course) -> Listing:
        cases = f"/screening/v1/cases?province={course.province}&state="
        producers = f"/market/v1/producers?province={course.province}&state=ready"
        return Listing(
            open=await self._open(f"{cases}open", course) if step in SCREENING else {},
            awaiting_capacity=await self._open(f"{cases}awaiting_capacity", course) if step in IDENTIFYING else {},
            ready=sorted([each["id"] async for each in self.platform.items(producers, "manager", course.province)])
            if sum(plan.connections_in(course, step).values())
            else [],
        )

    async def step(self, step: int) -> None:
        """Send all requests of this day, which was listed."""
        people = self._applications(step)  # drawn in one order, independent of response times
        await asyncio.gather(*(self._province(step, c, people.get(c.province, [])) for c in self.courses.values()))

    async def _province(self, step: int, course: Course, people: Sequence[dict[str, str]]) -> None:
        listed = self.memory.listed[course.province]
        papers = await self._record_papers(step, course)
        await self._screen(step, course, await self._ask_for_papers(step, course, listed.open), papers)
        await self._appeal(step, course)
        await self._correct(step, course)
        identified = await self._identify(step, course, listed.awaiting_capacity)
        await self._connect(step, course, listed.ready)
        await self._end(step, course)
        registered = await self._register(step, course, people)
        if step == EARLY_LEAVERS:
            known = sorted(registered)
            leaving = [application for _, application in known[: round(len(known) * course.withdrawn * 3)]]
        elif step == LATE_LEAVERS:
            waiting = [case for cases in listed.awaiting_capacity.values() for case in cases if case not in identified]
            rejected = self.memory.rejected[course.province]
            settled = [case for at, cases in rejected.items() if at <= step - APPEAL_STEPS for case in cases]
            leaving = waiting[: round(course.quota * course.withdrawn / 2)] + settled[-1:]
        else:
            leaving = []
        first = step * FORMS_A_STEP + 2 * FORMS_A_STEP // 3
        await asyncio.gather(*(self._withdraw(course.province, each, n) for n, each in enumerate(leaving, first)))
        self.memory.mismatched.setdefault(course.province, {})[step] = [
            application
            for national_id, application in registered
            if DevelopmentRegistry().answer(national_id) == "mismatch" and application not in leaving
        ]

    async def _register_lead(self, province: str) -> None:
        chance = Random(f"{self.seed}/lead/{province}")
        body = {
            "name": f"پیشران نمونهٔ {provinces()[province].name_fa}",
            "services": ["training", "sale"],
            "fields": sorted(chance.sample(sorted(job_fields()), 6)),
            "province": province,
        }
        await self.platform.request(
            "POST", "/market/v1/leads", "manager", province, json=body, key=f"sim-lead-{province}"
        )

    def _applications(self, step: int) -> dict[str, list[dict[str, str]]]:
        if step >= len(INTAKE):
            return {}
        drawn, serial = {}, sum(sum(course.registrations[:step]) for course in self.courses.values())
        fields = list(job_fields().values())
        for course in self.courses.values():
            chance = Random(f"{self.seed}/people/{course.province}/{step}")
            in_province = [c for c in counties().values() if c.province == course.province]
            drawn[course.province] = [
                person(serial + n + 1, chance, in_province, fields, CONSENT) for n in range(course.registrations[step])
            ]
            serial += course.registrations[step]
        return drawn

    async def _register(self, step: int, course: Course, people: Sequence[dict[str, str]]) -> Sequence[tuple[str, str]]:
        """Register some one by one, the others from a file; return (national ID, application) of the former."""
        if not people:
            return []
        singly = round(len(people) * course.by_api)
        registered = await asyncio.gather(*(self._apply(course.province, each) for each in people[:singly]))
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS)
        writer.writeheader()
        writer.writerows(people[singly:])
        result = await self.platform.request(
            "POST",
            f"/registration/v1/rounds/{ROUND}/applications/import",
            "registrar",
            course.province,
            csv=table.getvalue(),
            key=f"sim-{self.seed}-{course.province}-{step}",
        )
        if result["refused"]:
            raise RuntimeError(f"{course.province}: rows were refused: {result['refused'][:3]}")
        self.memory.acknowledged |= {each["id"] for each in result["applications"]}
        return registered

    async def _apply(self, province: str, row: Mapping[str, str]) -> tuple[str, str]:
        created = await self.platform.request(
            "POST",
            f"/registration/v1/rounds/{ROUND}/applications",
            "registrar",
            province,
            json=application(row),
            key=f"sim-{row['national_id']}",
        )
        self.memory.acknowledged.add(created["id"])
        return row["national_id"], created["id"]

    async def _withdraw(self, province: str, application: str, form: int) -> None:
        path = f"/registration/v1/applications/{application}/withdrawal"
        body = {"reason": "own_request", "form_number": f"{province[3:]}-{ROUND}-{form}"}
        await self.platform.request("POST", path, "registrar", province, json=body, key=f"sim-withdraw-{application}")

    async def _screen(
        self, step: int, course: Course, cohorts: Mapping[int, Sequence[str]], papers: Sequence[str]
    ) -> None:
        """Decide the larger part of a cohort a step after it registered, a part after its due day, the rest never.

        Who has brought `papers` is approved.
        """
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
                    **(
                        {"checklist": YES}
                        if n < approved
                        else {"reasons": ["insured"], "checklist": {"not_insured": False}}
                    ),
                }
                for n, case in enumerate(cases[:take])
            ]
        decisions += [{"id": case, "outcome": "approved", "checklist": YES} for case in papers]
        await self._send_batches("/screening/v1/cases/decisions", "decisions", decisions, "screener", course, step)
        rejected = [str(each["id"]) for each in decisions if each["outcome"] == "rejected"]
        self.memory.rejected.setdefault(course.province, {})[step] = rejected

    async def _ask_for_papers(
        self, step: int, course: Course, cohorts: Mapping[int, Sequence[str]]
    ) -> Mapping[int, Sequence[str]]:
        """Ask some of a cohort for a paper, a step after it registered; return who waits for a decision."""
        asked = list(plan.asked(cohorts.get(step - 1, ())))
        await asyncio.gather(*(self._request_info(course, case, "", "screener") for case in asked))
        self.memory.asked.setdefault(course.province, {})[step] = asked
        return {cohort: [case for case in cases if case not in asked] for cohort, cases in cohorts.items()}

    async def _record_papers(self, step: int, course: Course) -> Sequence[str]:
        """Record and return who brings the paper asked for in the step before; the other requests lapse."""
        asked = self.memory.asked.get(course.province, {}).get(step - 1, [])
        brought = asked[: round(len(asked) * plan.BROUGHT)]
        await asyncio.gather(*(self._request_info(course, case, "/receipt", "registrar") for case in brought))
        return brought

    async def _request_info(self, course: Course, case: str, path: str, role: str) -> None:
        key = f"sim-info{path.replace('/', '-')}-{case}"
        whole = f"/screening/v1/cases/{case}/info{path}"
        body = {"items": ["sample_photo"]}
        await self.platform.request("POST", whole, role, course.province, json=body, key=key)

    async def _appeal(self, step: int, course: Course) -> None:
        """File appeals against rejections of the step before, and decide those that were filed then."""
        rejected = self.memory.rejected[course.province]
        filing, pending = plan.appeals(rejected, step - 1), plan.appeals(rejected, step - 2)
        overturned = round(len(pending) * plan.OVERTURNED)
        numbers = f"{course.province[3:]}-{ROUND}"
        await asyncio.gather(
            *(
                self._request_appeal(course, case, "", "registrar", {"form": f"{numbers}-{n}"})
                for n, case in enumerate(filing, step * FORMS_A_STEP + 1)
            ),
            *(
                self._request_appeal(course, case, "/decision", "manager", VERDICTS[n < overturned])
                for n, case in enumerate(pending)
            ),
        )

    async def _request_appeal(self, course: Course, case: str, path: str, role: str, body: Mapping[str, Any]) -> None:
        key = f"sim-appeal{path.replace('/', '-')}-{case}"
        whole = f"/screening/v1/cases/{case}/appeal{path}"
        await self.platform.request("POST", whole, role, course.province, json=body, key=key)

    async def _correct(self, step: int, course: Course) -> None:
        """Correct the date of birth of those who registered in the step before and whose identity was refused."""
        refused = self.memory.mismatched.get(course.province, {}).get(step - 1, [])
        first = step * FORMS_A_STEP + FORMS_A_STEP // 3
        await asyncio.gather(
            *(
                self.platform.request(
                    "POST",
                    f"/registration/v1/applications/{application}/correction",
                    "registrar",
                    course.province,
                    json={"birth_date": BORN.isoformat(), "form_number": f"{course.province[3:]}-{ROUND}-{n}"},
                    key=f"sim-correction-{application}",
                )
                for n, application in enumerate(refused, first)
            )
        )

    async def _identify(self, step: int, course: Course, cohorts: Mapping[int, Sequence[str]]) -> Collection[str]:
        """Identify shares of the cohorts, and return whose capacity that is."""
        chance, capacities = Random(f"{self.seed}/capacity/{course.province}/{step}"), []
        for cohort, cases in cohorts.items():
            age = step - cohort
            share = (
                course.identified_in_time if age == 1 else course.identified_late if age == IDENTIFIED_LATE_AFTER else 0
            )
            whole = len(cases) if age == 1 else len(cases) / max(0.01, 1 - course.identified_in_time)
            capacities += [capacity(case, chance) for case in cases[: round(whole * share)]]
        await self._send_batches(
            "/screening/v1/applicants/capacities", "capacities", capacities, "screener", course, step
        )
        return {each["id"] for each in capacities}

    async def _open(self, path: str, course: Course) -> dict[int, list[str]]:
        """Return open cases by the step in which they began, each cohort in the order of its applicants' ids."""
        began: dict[int, list[str]] = defaultdict(list)
        days = {plan.day_of(n).isoformat(): n for n in range(len(DAYS))}
        async for case in self.platform.items(path, "screener", course.province):
            began[days[case["since"][:10]]].append(case["id"])
        return {cohort: sorted(began[cohort]) for cohort in sorted(began)}

    async def _connect(self, step: int, course: Course, ready: Sequence[str]) -> None:
        counts = plan.connections_in(course, step)
        chance, body = Random(f"{self.seed}/market/{course.province}/{step}"), []
        outcomes = [outcome for outcome, n in counts.items() for _ in range(n)]
        for outcome, producer in zip(outcomes, ready, strict=False):
            channel = chance.choices(list(CHANNELS), (50, 8, 8, 8, 8, 5, 5, 5, 1, 2))[0]
            body.append(
                {
                    "producer": producer,
                    "channel": channel,
                    "counterparty_kind": chance.choice(list(COUNTERPARTY_KINDS)),
                    "evidence": chance.choice(["E0", "E1"]) if outcome == "claimed" else "E2",
                }
            )
        path = "/market/v1/connections/batch"
        connections = await self._send_batches(path, "connections", body, "manager", course, step)
        known = self.memory.connections.setdefault(course.province, [])
        known += [
            (step + ENDS_AFTER, item["connection"])
            for outcome, item in zip(outcomes, connections, strict=False)
            if outcome == "ended" and "connection" in item
        ]

    async def _end(self, step: int, course: Course) -> None:
        ending = [connection for at, connection in self.memory.connections.get(course.province, []) if at == step]
        await asyncio.gather(*(self._end_connection(course.province, connection) for connection in ending))

    async def _end_connection(self, province: str, connection: str) -> None:
        path = f"/market/v1/connections/{connection}/end"
        await self.platform.request(
            "POST", path, "manager", province, json={"reason": "price"}, key=f"sim-end-{connection}"
        )

    async def _send_batches(
        self, path: str, name: str, items: Sequence[dict[str, Any]], role: str, course: Course, step: int
    ) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = []
        for first in range(0, len(items), BATCH):
            body = {name: items[first : first + BATCH]}
            key = f"sim-{self.seed}-{course.province}-{step}-{name}-{first}"
            response = await self.platform.request("POST", path, role, course.province, json=body, key=key)
            results += response["items"]
        if refused := [each for each in results if each.get("code")]:
            raise RuntimeError(f"{course.province}: {path} refused {len(refused)}, the first: {refused[0]}")
        return results


def capacity(case: str, chance: Random) -> dict[str, Any]:
    """Return a drawn capacity: what an applicant can produce."""
    return {
        "id": case,
        "product_group": "handicrafts",
        "unit": chance.choice(list(UNITS)),
        "monthly_band": chance.choice(list(MONTHLY_BANDS)),
        "skill_level": chance.choice(list(SKILL_LEVELS)),
        "needs": sorted(chance.sample(sorted(NEEDS), 2)),
    }
