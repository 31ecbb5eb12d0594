"""What officers do for a registered applicant by a form that the applicant signed: its number is kept with the act."""

from functools import partial

from msgspec.structs import replace

from contracts.commands import Refused
from kernel.commands import CommandMetadata, Result, execute, stored_response
from kernel.record import Record
from programme.calendar import tehran_day
from programme.policies import policy
from registration.domain.applicant import ReissueCode, Withdraw
from registration.domain.application import UNCOMPARED, Answers, InvalidApplication, correct_answers, profile_of
from registration.domain.identity import Correct
from registration.persons import with_act
from registration.registrations import RegistrationService


async def correct(
    registrations: RegistrationService, record: Record, changes: Answers, form: str, metadata: CommandMetadata
) -> Result:
    """Correct answers of an application, by the name of the field; the number of the signed form is kept with it.

    Raise InvalidApplication, Refused (identity_lost, and what the rules refuse), KeyReused, Transient.
    """
    if response := await stored_response(registrations.store, metadata):
        return response
    person = (await registrations.persons.open([record])).get(record.subject)
    if person is None or record.state.unidentified:
        raise Refused("erased" if record.state.erased_at else "identity_lost")
    state, at = record.state, registrations.clock()
    offered = (await registrations.round_snapshot(state.context.round)).round.fields
    day = tehran_day(state.current.registered_at)  # what depends on a day is as on that of the registration
    values = correct_answers(changes, state.context, day, policy(state.context.policy))
    if values.get("field", state.context.field) not in {state.context.field, *offered}:
        raise InvalidApplication([Refused("field_not_open", field="field")])
    identity = {name: values.get(name, value) for name, value in person.items()}
    changed = {name for name, value in identity.items() if value != person[name]}
    command = Correct(
        application=state.application,
        context=replace(state.context, **{n: values[n] for n in ("county", "field") if n in values}),
        profile={**state.current.profile, **profile_of(values, day)},
        identity=bool(changed - UNCOMPARED),
        contact=bool(changed & UNCOMPARED),
        corrections=state.current.corrections,
    )
    act = {"act": "correction", "form": form, "actor": metadata.actor, "at": at.recorded}
    prepare = await registrations.persons.correction(record, identity, act)
    return await execute(
        registrations.store, record.subject, command, registrations.clock, replace(metadata, prepare=prepare)
    )


async def reissue_code(
    registrations: RegistrationService, record: Record, form: str, metadata: CommandMetadata
) -> Result:
    """Issue another tracking code; the number of the signed form is kept with it. Raise Refused, KeyReused, Transient.

    `TrackingCodes.code_of` the record that is returned is the new code, also for a repeated request.
    """
    act = {"act": "tracking_code", "form": form, "actor": metadata.actor, "at": registrations.clock().recorded}

    def prepare(before: Record) -> Record:
        return with_act(act, registrations.codes.issue(before))

    own = replace(metadata, prepare=prepare)
    return await execute(registrations.store, record.subject, ReissueCode(), registrations.clock, own)


async def withdraw(
    registrations: RegistrationService,
    record: Record,
    reason: str,
    form: str,
    metadata: CommandMetadata,
    application: int = 0,
) -> Result:
    """Withdraw an applicant; the number of the signed form is kept with it. Raise Refused, KeyReused, Transient.

    With the number of an application another one, which they made since, is not withdrawn: changed_meanwhile.
    """
    act = {"act": "withdrawal", "form": form, "actor": metadata.actor, "at": registrations.clock().recorded}
    own = replace(metadata, prepare=partial(with_act, act))
    return await execute(registrations.store, record.subject, Withdraw(reason, application), registrations.clock, own)
