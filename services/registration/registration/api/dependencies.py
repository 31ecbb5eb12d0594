"""What routes of registration depend on, beside `web.dependencies`."""

from typing import Annotated, Any

import msgspec
from fastapi import Depends
from starlette.requests import Request

from contracts.commands import Refused
from kernel.service import Runtime
from registration.api.enumeration_guard import EnumerationGuard
from registration.domain.application import Accepted
from registration.erasures import Erasures
from registration.import_runs import ImportRuns
from registration.registrations import RegistrationService, Resources
from registration.settings import RegistrationSettings
from security.audit import Audit as AuditPort
from security.audit_heads import public_key, signing_key
from security.auth import Principal
from security.scopes import is_visible
from web.authorization import authorized_principal
from web.dependencies import runtime
from web.load_shedding import AdmissionControl, admission_control_of


class ApiResources(msgspec.Struct, frozen=True):
    """What only the API needs."""

    enumeration_guard: EnumerationGuard
    admission_control: AdmissionControl


def api_resources(runtime: Runtime[RegistrationSettings]) -> ApiResources:
    """Return what only the API needs; it is created by the first request."""
    resources: Resources = runtime.resources
    if resources.api is None:
        settings = runtime.settings
        resources.api = ApiResources(
            EnumerationGuard(),
            admission_control_of(
                runtime.store,
                settings.service,
                max_pending_events=settings.max_pending_events,
                min_free_disk=settings.min_free_disk,
            ),
        )
    created: ApiResources = resources.api
    return created


def bounded_intake() -> Any:
    """Return a dependency that answers 503 while the store is full, after the policy of the route has been checked."""

    async def check(request: Request) -> None:
        await authorized_principal(request)
        await api_resources(await runtime(request)).admission_control.check()

    return Depends(check)


def check_scope(principal: Principal, accepted: Accepted) -> None:
    """Check that officers register people of their own province or county. Raise Refused: scope_other."""
    place = accepted.context
    if not is_visible(f"{place.province}/{place.county}", principal):
        raise Refused("scope_other", field="province" if place.province != principal.province else "county")


async def _resources(request: Request) -> Resources:
    resources: Resources = (await runtime(request)).resources
    return resources


async def _registrations(request: Request) -> RegistrationService:
    return (await _resources(request)).registrations


async def _erasures(request: Request) -> Erasures:
    return (await _resources(request)).erasures


async def _imports(request: Request) -> ImportRuns:
    return (await _resources(request)).imports


async def _audit(request: Request) -> AuditPort:
    return (await _resources(request)).audit


async def _head_key(request: Request) -> str:
    return public_key(signing_key((await _resources(request)).persons.keyring))


async def _enumeration_guard(request: Request) -> EnumerationGuard:
    return api_resources(await runtime(request)).enumeration_guard


Registrations = Annotated[RegistrationService, Depends(_registrations)]
OfImports = Annotated[ImportRuns, Depends(_imports)]
OfErasures = Annotated[Erasures, Depends(_erasures)]
Audit = Annotated[AuditPort, Depends(_audit)]
HeadKey = Annotated[str, Depends(_head_key)]  # public key of the heads of the audit chains
Guard = Annotated[EnumerationGuard, Depends(_enumeration_guard)]
