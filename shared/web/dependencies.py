"""What routes of a declared service depend on: its store, its clock, its leases.

async def list_cases(store: Store, clock: Clock) -> ...
"""

from typing import Annotated, Any

from fastapi import Depends, Request

from base.clock import Clock as ProgrammeClock
from kernel.leases import Leases as LeasesPort
from kernel.service import Runtime
from kernel.store import Store as StorePort


async def runtime(request: Request) -> Runtime[Any]:
    """Return the settings, store, leases, clock and resources of the running service."""
    running: Runtime[Any] = request.app.state.runtime
    return running


async def _store(request: Request) -> StorePort:
    return (await runtime(request)).store


async def _clock(request: Request) -> ProgrammeClock:
    return (await runtime(request)).clock


async def _leases(request: Request) -> LeasesPort:
    return (await runtime(request)).leases


Store = Annotated[StorePort, Depends(_store)]
Clock = Annotated[ProgrammeClock, Depends(_clock)]
Leases = Annotated[LeasesPort, Depends(_leases)]
