"""Register the rows of files that officers imported on the page: a part a call, in the order of the rows.

A repeated part registers no one twice, since each row has a key of its own. So a worker that ends meanwhile changes
nothing, nor do two that believe to own the partition.
"""

from collections.abc import Mapping
from datetime import datetime
from time import monotonic

from msgspec.structs import replace

from base.clock import Clock
from contracts.commands import Refused
from kernel.commands import Result
from kernel.errors import Transient
from registration import metrics
from registration.domain.application import Accepted, InvalidApplication
from registration.import_runs import ERRORS, Answers, ImportRuns, Part, Registered, RowError, Run
from registration.jobs.faults import Faults
from registration.registrations import RegistrationService, last_registered

INTERVAL = 1.0  # seconds between two queries for imports, while there are none
PURGE = 600.0  # seconds between two deletions of what is kept for a time only
CHANNEL = "import"  # of intake


class Imports:
    """Goes on with each import of its partitions by a part of the file."""

    def __init__(self, runs: ImportRuns, registrations: RegistrationService, clock: Clock) -> None:
        self.runs, self.registrations, self.clock = runs, registrations, clock
        self.faults = Faults(registrations.store.service, "Imports")  # by import
        self.queried_at = self.purged_at = -PURGE  # machine time

    async def __call__(self, partitions: frozenset[int]) -> int:
        """Return how many rows were handled. Raise Transient."""
        if monotonic() - self.queried_at < INTERVAL:
            return 0
        if monotonic() - self.purged_at >= PURGE:
            await self.runs.purge(self.clock().recorded)
            self.purged_at = monotonic()
        done, recent = 0, self.faults.recent()
        for run in await self.runs.running(partitions):
            if run.id in recent:
                continue
            try:
                done += await self._advance(run)
            except Transient:
                raise
            except Exception as error:  # of this file only; its officer sees that it stands still
                self.faults.report({run.id: error})
        if not done:
            self.queried_at = monotonic()
        return done

    async def _advance(self, run: Run) -> int:
        """Handle the next part of a file; return how many rows it had."""
        now = self.clock().recorded
        if run.next == run.parts:
            after = {"state": "running", "next": 0} if run.state == "rehearsing" else {"state": "done"}
            run = await self.runs.changed(run, changed_at=now, **after)
            if run.state == "done":
                metrics.IMPORTS.labels(run.mode).inc()
                await self.runs.finished(run)
            return 1
        stored = await self.runs.rows(run)
        if isinstance(stored, Part):  # the process that registered them did not come so far as to count them
            await self._count(run, stored, now)
            return 1
        if run.state == "rehearsing":
            part = await self._rehearsed(run, dict(stored))
            if part.late:
                refused = {"state": "refused", "late": len(part.late), "errors": part.late[:ERRORS]}
                await self.runs.finished(await self.runs.changed(run, changed_at=now, **refused))
            else:
                await self.runs.changed(run, changed_at=now, next=run.next + 1)
            return len(stored)
        part = await self._registered(run, dict(stored))
        await self.runs.store_part(run, part)
        await self._count(run, part, now)
        return len(stored)

    async def _count(self, run: Run, part: Part, now: datetime) -> None:
        await self.runs.changed(
            run,
            changed_at=now,
            next=run.next + 1,
            registered=run.registered + len(part.done),
            already=run.already + part.already,
            late=run.late + len(part.late),
            errors=[*part.late, *run.errors][:ERRORS],
            last_at=part.last_at or run.last_at,
        )

    async def _rehearsed(self, run: Run, rows: Mapping[int, Answers]) -> Part:
        accepted, late = await self._accepted(run, rows)
        metadata = {row: run.metadata(row) for row in accepted}
        return _part(await self.registrations.rehearse_many(accepted, CHANNEL, metadata), late)

    async def _registered(self, run: Run, rows: Mapping[int, Answers]) -> Part:
        accepted, late = await self._accepted(run, rows)
        metadata = {row: run.metadata(row) for row in accepted}
        snapshot = await self.registrations.round_snapshot(run.round)
        done = await self.registrations.register_many(snapshot, accepted, CHANNEL, metadata, run.last_at)
        metrics.IMPORTED_ROWS.inc(sum(isinstance(each, Result) for each in done.values()))
        return replace(_part(done, late), last_at=last_registered(done.values(), run.last_at))

    async def _accepted(self, run: Run, rows: Mapping[int, Answers]) -> tuple[dict[int, Accepted], list[RowError]]:
        """Check the rows again: since the file was checked the round may have closed, and a day has passed."""
        snapshot = await self.registrations.round_snapshot(run.round)
        answered = await self.registrations.answered({row: run.metadata(row) for row in rows})
        accepted: dict[int, Accepted] = {}
        late: list[RowError] = []
        for row, answers in rows.items():
            try:
                application = snapshot.accept(answers)
                if row not in answered:
                    snapshot.check_intake(application)
                accepted[row] = application
            except InvalidApplication as invalid:
                late += [_error(row, each) for each in invalid.errors[:1]]
            except Refused as refused:
                late.append(_error(row, refused))
        return accepted, late


def _part(outcomes: Mapping[int, Result | Refused], late: list[RowError]) -> Part:
    done = [
        Registered(row, each.record.subject, each.record.state.codes)
        for row, each in outcomes.items()
        if isinstance(each, Result)
    ]
    refused = {row: each for row, each in outcomes.items() if isinstance(each, Refused)}
    known = [row for row, each in refused.items() if each.code == "already_registered"]
    late = late + [_error(row, each) for row, each in refused.items() if row not in known]
    return Part(done=done, already=len(known), late=sorted(late, key=lambda each: each.row))


def _error(row: int, refused: Refused) -> RowError:
    return RowError(row, refused.field, refused.code, dict(refused.details))
