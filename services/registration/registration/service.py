"""Declaration of registration: who is in, once, nationwide, and which seat."""

from collections.abc import Sequence

from kernel.service import PeriodicJob, RestoredRecord, Runtime, Service
from registration.domain import applicant, ledger, proposal
from registration.domain import round as rounds
from registration.jobs.audit_heads import AuditHeads
from registration.jobs.identity_checks import DevelopmentRegistry, IdentityChecks, NoRegistry
from registration.jobs.imports import Imports
from registration.jobs.key_rotation import KeyRotation, require_keys
from registration.jobs.ledger_recount import recount_ledgers
from registration.jobs.lost_identities import list_lost_identities
from registration.jobs.notifications import Notifications
from registration.jobs.seat_allocation import Allocator
from registration.jobs.sms import provider_of
from registration.queries import INDEXES, UNIQUE
from registration.registrations import resources
from registration.settings import RegistrationSettings


def jobs(runtime: Runtime[RegistrationSettings]) -> Sequence[PeriodicJob]:
    """Return the jobs of the worker."""
    registry = DevelopmentRegistry() if runtime.settings.development else NoRegistry()
    checks = IdentityChecks(runtime.store, runtime.resources.persons, registry, runtime.clock)
    rotation = KeyRotation(runtime.store, runtime.resources.persons)
    heads = AuditHeads(runtime.resources.audit, runtime.resources.persons.keyring, runtime.clock)
    imports = Imports(runtime.resources.imports, runtime.resources.registrations, runtime.clock)
    jobs = [checks, Allocator(runtime.store, runtime.clock), runtime.resources.erasures, rotation, heads, imports]
    if sms := provider_of(runtime.settings):
        codes = runtime.resources.registrations.codes
        jobs.append(Notifications(runtime.store, runtime.resources.persons, codes, sms, runtime.clock))
    return jobs


async def after_restore(runtime: Runtime[RegistrationSettings]) -> None:
    """Check the keys, erase again who was erased since, list who cannot be identified, count the seats again."""
    await require_keys(runtime.store, runtime.resources.persons.keyring)
    await runtime.resources.erasures.repeat()
    await list_lost_identities(runtime.store, runtime.resources.persons)
    await recount_ledgers(runtime.store)


def restored(runtime: Runtime[RegistrationSettings]) -> RestoredRecord:
    """Return what makes an applicant whose identity no event could give back one who waits to be identified."""
    return runtime.resources.registrations.restored  # type: ignore[no-any-return]


service = Service(
    name="registration",
    title="Registration",
    description="Who is in, once, nationwide, and which seat.",
    rules={"applicant": applicant, "ledger": ledger, "round": rounds, "proposal": proposal},
    unique=UNIQUE,
    indexes=INDEXES,
    prefix="/registration",
    routers=(
        "registration.api.rounds:router",
        "registration.api.applications:router",
        "registration.api.imports:router",
        "registration.api.tracking:router",
        "registration.api.search:router",
        "registration.api.correction:router",
        "registration.api.erasure:router",
        "registration.api.identification:router",
        "registration.api.audit:router",
        "registration.api.seats.ledgers:router",
        "registration.api.seats.proposals:router",
        "registration.pages.apply:router",
        "registration.pages.lost_code:router",
        "registration.pages.track:router",
        "registration.pages.search:router",
        "registration.pages.imports:router",
        "registration.pages.desk.register:router",
        "registration.pages.desk.case_person:router",
        "registration.pages.desk.erasure:router",
        "registration.pages.rounds:router",
        "registration.pages.seats:router",
        "registration.pages.desk_acts:router",
        "registration.pages.proposals:router",
    ),
    sign_in=True,
    longest_linger=1.0,
    settings=RegistrationSettings,
    resources=resources,
    jobs=jobs,
    restored=restored,
    after_restore=after_restore,
)
