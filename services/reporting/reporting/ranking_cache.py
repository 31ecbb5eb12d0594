"""The figures that are served: sums in memory, of which only the tallies that moved are read again."""

import asyncio
import math
import time
from datetime import date
from typing import Any

from base.clock import Clock
from kernel.store import Store
from programme.calendar import tehran_day
from reporting import queries
from reporting.domain import round as rounds
from reporting.domain.figures import Figures, current_round
from reporting.tallies import ROUNDS, Days, Tallies, tally_id

PAUSE = 1.0  # seconds between two readings of the tallies
COST_FACTOR = 4  # computing the figures takes at most a fifth of the time


class RankingCache:
    """The figures by round, read from the tallies at most once a second for all requests of the process."""

    def __init__(self, store: Store, tallies: Tallies, clock: Clock, *, pause: float = PAUSE) -> None:
        self.store, self.tallies, self.clock, self.pause = store, tallies, clock, pause
        self.versions: dict[str, int] = {}
        self.documents: dict[str, Days] = {}
        self.rounds: dict[str, rounds.State] = {}
        self.events = 0
        self.latencies: tuple[int, ...] = ()
        self.computed: dict[str, Figures] = {}  # by round
        self.read_at = -math.inf
        self.cost = 0.0  # seconds that the last new figures took: the larger the data, the rarer a reading
        self.reading = asyncio.Lock()
        self.waiting = 0  # streams
        self.watching: asyncio.Task[None] | None = None  # on behalf of them all

    @property
    def version(self) -> int:
        """Return a number that grows whenever anything moves."""
        return sum(self.versions.values())

    async def refresh(self, *, fresh: bool = False) -> int:
        """Read what moved if the last reading is old enough, or in any case if `fresh`; return the version.

        Raise Transient, NewerRules, UnreadableRecord.
        """
        pause = 0.0 if fresh else max(self.pause, COST_FACTOR * self.cost)
        if time.monotonic() - self.read_at < pause:
            return self.version
        async with self.reading:
            if time.monotonic() - self.read_at >= pause:
                found = await self.tallies.read(self.versions)
                if found.versions.get(ROUNDS) != self.versions.get(ROUNDS):
                    opened = await self.store.find(queries.rounds())
                    self.rounds = {each.state.round: each.state for each in opened}
                if found.versions != self.versions:
                    self.computed = {}
                self.documents |= found.documents
                self.versions, self.events, self.latencies = found.versions, found.events, found.latencies
                self.read_at = time.monotonic()
        return self.version

    async def moved(self, stopped: asyncio.Future[Any]) -> None:
        """Wait until anything moves or `stopped` is done. All streams share one task that reads. Raise Transient."""
        if self.watching is None or self.watching.done():
            self.watching = asyncio.create_task(self._watch(self.version), name="figures")
        watching = self.watching
        self.waiting += 1
        try:
            await asyncio.wait({watching, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.waiting -= 1
        if watching.done():
            watching.result()

    async def _watch(self, version: int) -> None:
        """Read until the version differs, or no stream waits."""
        while self.version == version:
            await asyncio.sleep(self.pause)
            if not self.waiting:
                return
            await self.refresh()

    async def figures(self, round_id: str = "", *, fresh: bool = False) -> Figures | None:
        """Return the figures of a round, by default of the current one, or None if there is no such round."""
        await self.refresh(fresh=fresh)
        now = self.clock().at
        found = self.rounds.get(round_id) if round_id else current_round(self.rounds.values(), now)
        if found is None:
            return None
        figures = self.computed.get(found.round)
        if figures is None or figures.day != tehran_day(now):
            began = time.perf_counter()
            figures = self.computed[found.round] = Figures(
                found,
                self._days(found.round),
                now,
                version=self.version,
                events=self.events,
                latencies=self.latencies,
            )
            self.cost = time.perf_counter() - began
        return figures

    def _days(self, round_id: str) -> dict[str, dict[int, dict[str, int]]]:
        """Return by province, day and indicator the sums of the deltas over all partitions."""
        by_province: dict[str, dict[int, dict[str, int]]] = {}
        prefix = tally_id(round_id, "", 0).removesuffix("/0")
        for name, days in self.documents.items():
            if not name.startswith(prefix):
                continue
            province = by_province.setdefault(name.removeprefix(prefix).split("/")[0], {})
            for day, by in days.items():
                sums = province.setdefault(date.fromisoformat(day).toordinal(), {})
                for indicator, n in by.items():
                    sums[indicator] = sums.get(indicator, 0) + n
        return by_province
