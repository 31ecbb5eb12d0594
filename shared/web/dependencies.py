"""What routes of a declared service depend on: its store, its clock, its leases; and the form that came with a request.

async def list_cases(store: Store, clock: Clock) -> ...
"""

from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.datastructures import FormData

from base.clock import Clock as ProgrammeClock
from base.forms import FORM_TYPE, fields_of, is_form
from contracts.commands import Refused
from kernel.leases import Leases as LeasesPort
from kernel.service import Runtime
from kernel.store import Store as StorePort


async def form_of(request: Request) -> FormData:
    """Return the form in the body, in UTF-8 without control characters. Raise Refused: media_type, malformed.

    Only the encoding that our pages use: in the parts of a multipart body a client names the charset, and files come.
    """
    if not is_form(request.headers.get("content-type", "")):
        raise Refused("media_type", expected=FORM_TYPE)
    try:
        fields = fields_of(await request.body())
    except ValueError as e:  # not UTF-8, or more fields
        raise Refused("malformed") from e
    return FormData([*fields])


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
