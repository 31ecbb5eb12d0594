"""Enumeration guard: callers who try national IDs one after another are slowed down.

The answer "already registered" reveals that a person applied, so each caller gets only a few of them a minute: on the
page, from the API, and by importing a file, whose result has only their number. So does the answer that a person whom
an officer looks for does not exist.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from time import monotonic
from weakref import WeakValueDictionary

from starlette.requests import Request

from contracts.commands import Refused
from observability import metrics
from security.auth import PUBLIC, Principal
from web.rate_limit import caller_of

LIMIT = "already_registered"  # name of the rate limit
PER_MINUTE = {True: 5.0, False: 30.0}  # such answers to an address on the open page, and to an officer
AT_ONCE = {True: 5, False: 64}  # registrations of a caller that are answered together
# codes of answers that reveal whether a person applied
COUNTED = ("already_registered", "not_registered", "person_not_found")
MAX_BLOCKED = 10_000  # callers; beyond that the one blocked first is dropped
MAX_SEEN = 200_000  # people of files; beyond that the one counted first counts again


class EnumerationGuard:
    """Counts answers "already registered" by caller, and blocks a caller who has used up the limit."""

    def __init__(self) -> None:
        self.at_once = WeakValueDictionary[str, asyncio.Semaphore]()  # by caller, while they have requests
        self.blocked_until: OrderedDict[str, float] = OrderedDict()  # by caller, in machine time
        self.seen: OrderedDict[tuple[str, str], None] = OrderedDict()  # caller, and a person of one of their files

    @asynccontextmanager
    async def attempt(self, request: Request, principal: Principal, *, file: bool = False) -> AsyncIterator[None]:
        """Run one registration, and count its answer if it reveals something; a blocked caller is refused.

        Requests of a caller beyond those that may be answered together wait until these are counted, and chunks of
        files come one by one: otherwise a caller would get as many answers as they send together.
        Raise Refused: too_many_requests.
        """
        caller, limit = caller_of(request, principal), 1 if file else AT_ONCE[PUBLIC in principal.roles]
        slots = self.at_once.setdefault(f"{caller} {file}", asyncio.Semaphore(limit))
        async with slots:
            self._check(request, caller)
            try:
                yield
            except Refused as refused:
                if refused.code in COUNTED:
                    self._record(request, principal)
                raise

    def _check(self, request: Request, caller: str) -> None:
        """Raise Refused: too_many_requests, whatever a blocked caller requests."""
        left = self.blocked_until.get(caller, 0.0) - monotonic()
        if left > 0:
            metrics.RATE_LIMITED.labels(request.app.state.settings.service, LIMIT).inc()
            raise Refused("too_many_requests", seconds=math.ceil(left))

    def record_file(self, request: Request, principal: Principal, people: Collection[str]) -> None:
        """Count the people of a file, by blind index, each once: the same file again reveals nothing new."""
        if new := self.remember(request, principal, people):
            self._record(request, principal, len(new))

    def remember(self, request: Request, principal: Principal, people: Collection[str]) -> Collection[str]:
        """Note people of whom the caller knows that they are registered, such as by their own file; return new ones."""
        caller = caller_of(request, principal)
        new = [each for each in people if (caller, each) not in self.seen]
        self.seen |= dict.fromkeys((caller, each) for each in new)
        while len(self.seen) > MAX_SEEN:
            self.seen.popitem(last=False)
        return new

    def _record(self, request: Request, principal: Principal, answers: int = 1) -> None:
        """Count answers "already registered"; more than the limit are owed, and the caller waits for longer."""
        caller, per_minute = caller_of(request, principal), PER_MINUTE[PUBLIC in principal.roles]
        wait = request.app.state.buckets.charge(LIMIT, caller, answers, per_minute, per_minute)
        if wait:
            self.blocked_until[caller] = monotonic() + wait
            if len(self.blocked_until) > MAX_BLOCKED:
                self.blocked_until.popitem(last=False)
