"""Who tries national IDs one after the other is slowed down: "already registered" is an answer with a limit."""

import math
from collections import OrderedDict
from time import monotonic

from starlette.requests import Request

from contracts.commands import Refused
from observability import metrics
from security.auth import PUBLIC, Principal

PER_MINUTE = {True: 5.0, False: 30.0}  # such answers to an address on the open page, and to an officer
REMEMBERED = 10_000  # of those who must wait, the one who began first is forgotten first


class Probes:
    """Counts how often somebody was told so; who has used it up waits, whatever they ask next."""

    def __init__(self) -> None:
        self.until: OrderedDict[str, float] = OrderedDict()

    def check(self, request: Request, principal: Principal) -> None:
        """Raises Refused: too_many_requests."""
        left = self.until.get(_who(request, principal), 0.0) - monotonic()
        if left > 0:
            metrics.LIMITED.labels(request.app.state.settings.service, "already_registered").inc()
            raise Refused("too_many_requests", seconds=math.ceil(left))

    def told(self, request: Request, principal: Principal) -> None:
        """Somebody was told that a person is registered already."""
        who, per_minute = _who(request, principal), PER_MINUTE[PUBLIC in principal.roles]
        wait = request.app.state.buckets.take("already_registered", who, per_minute, per_minute)
        if wait:
            self.until[who] = monotonic() + wait
            if len(self.until) > REMEMBERED:
                self.until.popitem(last=False)


def _who(request: Request, principal: Principal) -> str:
    if PUBLIC not in principal.roles:
        return principal.id
    return f"@{request.client.host if request.client else ''}"
