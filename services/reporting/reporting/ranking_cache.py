"""The figures that are served: sums in memory, of which only the tallies that moved are read again.

Months that are over are folded into one day, so that memory and work do not grow with the days of a round. What takes
time is done in a thread, by one task for all requests.
"""

import asyncio
import math
import time
from collections.abc import Mapping
from datetime import date
from typing import Any

from base.clock import Clock
from kernel.store import Store
from programme.calendar import month_of, tehran_day
from reporting import queries
from reporting.domain import round as rounds
from reporting.domain.figures import Figures, current_round
from reporting.tallies import ROUNDS, Sums, Tallies, add

PAUSE = 1.0  # seconds between two readings of the tallies
STREAM_WAIT = 15.0  # seconds after which a stream looks for another generation
COST_FACTOR = 4  # computing the figures takes at most a fifth of the time


class RankingCache:
    """The figures by round, read from the tallies at most once a second for all requests of the process."""

    def __init__(self, store: Store, tallies: Tallies, clock: Clock, *, pause: float = PAUSE) -> None:
        self.store, self.tallies, self.clock, self.pause = store, tallies, clock, pause
        self.versions: dict[str, int] = {}
        self.month = ""  # the present one, of which the sums are by day
        self.documents: dict[str, Sums] = {}  # by tally
        self.sums: dict[tuple[str, str], Sums] = {}  # by round and province, over the partitions; replaced, not changed
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
        """Return a number that grows whenever anything moves, and with each day: a day can end without an event."""
        return self._version_on(tehran_day(self.clock().at))

    def _version_on(self, day: date) -> int:
        return sum(self.versions.values()) + day.toordinal()

    async def refresh(self, *, fresh: bool = False) -> int:
        """Read what moved if the last reading is old enough; return the version.

        If `fresh`, wait until a reading that began after the call has ended: at most one a second serves all callers.
        Raise Transient, NewerRules, UnreadableRecord.
        """
        called = time.monotonic()
        while self.read_at < called:
            wait = max(self.pause, COST_FACTOR * self.cost) - (time.monotonic() - self.read_at)
            if wait > 0:
                if not fresh:
                    break
                await asyncio.sleep(wait)
            async with self.reading:
                if self.read_at < called:
                    await self._read()
        return self.version

    async def _read(self) -> None:
        began, today = time.monotonic(), tehran_day(self.clock().at)
        renewed = month_of(today) != self.month  # another month is to be known by day
        found = await self.tallies.read({} if renewed else self.versions, today)
        if found.versions.get(ROUNDS) != self.versions.get(ROUNDS):
            self.rounds = {each.state.round: each.state for each in await self.store.find(queries.rounds())}
        known, sums = ({}, {}) if renewed else (self.documents, self.sums)
        self.sums = await asyncio.to_thread(_replaced, sums, known, found.documents)
        self.documents, self.month = known | found.documents, month_of(today)
        if found.versions != self.versions or renewed:
            self.computed = {}
        self.versions, self.events, self.latencies = found.versions, found.events, found.latencies
        self.read_at = began

    async def moved(self, stopped: asyncio.Future[Any]) -> None:
        """Wait until anything moves or `stopped` is done, but not long: another generation may be served meanwhile.

        All streams share one task that reads. Raise Transient.
        """
        if self.watching is None or self.watching.done():
            self.watching = asyncio.create_task(self._watch(self.version), name="figures")
        watching = self.watching
        self.waiting += 1
        try:
            await asyncio.wait({watching, stopped}, timeout=STREAM_WAIT, return_when=asyncio.FIRST_COMPLETED)
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
        async with self.reading:  # computed once for all
            figures, version = self.computed.get(found.round), self._version_on(tehran_day(now))
            if figures is None or figures.version != version:
                began = time.perf_counter()
                figures = Figures(
                    found,
                    {province: sums for (round_id, province), sums in self.sums.items() if round_id == found.round},
                    now,
                    version=version,
                    generation=self.tallies.generation,
                    events=self.events,
                    latencies=self.latencies,
                )
                await asyncio.to_thread(figures.compute)
                self.computed[found.round] = figures
                self.cost = time.perf_counter() - began
        return figures


def _replaced(
    sums: Mapping[tuple[str, str], Sums], known: Mapping[str, Sums], documents: Mapping[str, Sums]
) -> dict[tuple[str, str], Sums]:
    """Return the sums with documents in place of what is known of them."""
    moved: dict[tuple[str, str], Sums] = {}
    for name, days in documents.items():
        round_id, province, *_ = name.split("/")
        key = round_id, province
        if key not in moved:
            moved[key] = {day: dict(by) for day, by in sums.get(key, {}).items()}
        for sign, each in ((-1, known.get(name, {})), (1, days)):
            for day, by in each.items():
                add(moved[key].setdefault(day, {}), by, sign)
    return {**sums, **moved}
