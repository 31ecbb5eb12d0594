"""The form: one question a page, then a review; nothing is registered before it is sent from the review page."""

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from base.ids import shown_code
from contracts.codes import PRODUCT_GROUPS
from contracts.commands import Refused
from programme import calendar, reference
from programme.messages import MESSAGES, STATUSES, message_text
from programme.policies import CURRENT, policy
from registration import queries
from registration.api.dependencies import Guard, Registrations, bounded_intake
from registration.domain import consent
from registration.domain import round as rounds
from registration.domain.application import FIELD, Answers, Field, InvalidApplication, check, shown
from registration.pages.drafts import DONE, PATH, Drafts
from registration.pages.steps import STEPS, Step, first_unanswered, position
from registration.registrations import RoundSnapshot
from security.auth import Principal, anonymous
from web.authorization import public
from web.dependencies import Clock, Store, form_of, runtime
from web.idempotency import metadata_of, secret_of, stored_key
from web.pages import Pages, lang_of
from web.rate_limit import limited

TRACKING = "/registration/tracking"
DATE_PARTS = ("year", "month", "day")
form_limit = limited("form", per_minute=120)

_KEY = re.compile(r"[0-9a-f]{32}")  # as the review page makes it

Error = Mapping[str, str]  # field, label, message, href

templates = Pages("registration.pages")
router = APIRouter(include_in_schema=False)


class Fact(msgspec.Struct, frozen=True):
    """An answer on the review page."""

    slug: str
    name: str
    value: str
    code: bool  # a number that is read digit by digit


async def _open_round(store: Store, clock: Clock) -> RoundSnapshot | None:
    """Return the round that takes applications in some province now; of several the one that opened last."""
    now = clock().at
    states: list[rounds.State] = [record.state for record in await store.find(queries.rounds())]
    opened = [(s.window.opens, s) for s in states if s.window and _takes_applications(s, now)]
    latest = max(opened, key=lambda each: each[0], default=None)
    return None if latest is None else RoundSnapshot(latest[1], now)


async def _drafts(request: Request) -> Drafts:
    running = await runtime(request)
    return Drafts(running.resources.persons.keyring, running.settings.public_url)


OpenRound = Annotated[RoundSnapshot | None, Depends(_open_round)]
DraftCookie = Annotated[Drafts, Depends(_drafts)]
Anyone = Annotated[Principal, public()]


@router.get("/apply")
async def start(request: Request, principal: Anyone, drafts: DraftCookie, snapshot: OpenRound) -> Response:
    """Show what the applicant needs, and continue a draft."""
    answers, window = drafts.read(request), snapshot.round.window if snapshot else None
    return templates.render(
        request,
        "start.html",
        is_open=snapshot is not None,
        closes=calendar.tehran_day(window.closes) if window else None,
        drafted=bool(answers),
        next=_next(snapshot, answers),
    )


@router.post("/apply/forget")
async def delete_draft(request: Request, principal: Anyone, drafts: DraftCookie) -> Response:
    """Delete the draft."""
    response = RedirectResponse(PATH, 303)
    drafts.delete(response)
    return response


@router.get("/apply/check")
async def review(request: Request, principal: Anyone, drafts: DraftCookie, snapshot: OpenRound) -> Response:
    """Show all answers."""
    answers = drafts.read(request)
    if snapshot is None or first_unanswered(answers):
        return RedirectResponse(_next(snapshot, answers), 303)
    return _render_review(request, answers)


@router.post("/apply/check", dependencies=[form_limit, bounded_intake()])
async def submit(
    request: Request,
    principal: Anyone,
    drafts: DraftCookie,
    snapshot: OpenRound,
    registrations: Registrations,
    guard: Guard,
) -> Response:
    """Register the application."""
    form, answers = await form_of(request), drafts.read(request)
    key = str(form.get("key", ""))
    if not _KEY.fullmatch(key):  # it was not made by us: one that can be guessed would show the code to others
        key = ""
    if (
        not answers
        and key
        and (sent := await registrations.registered_under(stored_key(secret_of(request), anonymous(), key)))
    ):
        return _done(drafts, registrations.codes.code_of(sent))  # the form was sent twice
    if snapshot is None or first_unanswered(answers):
        return RedirectResponse(_next(snapshot, answers), 303)
    typed = {**answers, "consent": str(form.get("consent", ""))}
    try:
        accepted = snapshot.accept(typed)
        metadata = metadata_of(request, anonymous(), key or secrets.token_hex(16), typed)
        async with guard.attempt(request, principal):
            done = await registrations.register(snapshot, accepted, "web", metadata)
    except InvalidApplication as invalid:
        errors = [_error(request, each, on_review=True) for each in invalid.errors]
        return _render_review(request, answers, errors, key, 422)
    except Refused as refused:
        if refused.code == "too_many_requests":
            raise
        status = STATUSES[MESSAGES[refused.code].kind]
        return _render_review(request, answers, [_error(request, refused, on_review=True)], key, status)
    return _done(drafts, registrations.codes.code_of(done.record))


@router.get("/apply/{slug}")
async def question(
    slug: str, request: Request, principal: Anyone, drafts: DraftCookie, snapshot: OpenRound
) -> Response:
    """Show one question."""
    step = _step(slug)
    answers = drafts.read(request)
    if snapshot is None or (slug == "county" and not answers.get("province")):
        return RedirectResponse(PATH if snapshot is None else f"{PATH}/province", 303)
    return _render_question(request, step, snapshot, answers)


@router.post("/apply/{slug}", dependencies=[form_limit])
async def answer(slug: str, request: Request, principal: Anyone, drafts: DraftCookie, snapshot: OpenRound) -> Response:
    """Check an answer and save it in the draft."""
    step = _step(slug)
    if snapshot is None:
        return RedirectResponse(PATH, 303)
    answers = {**drafts.read(request), **_typed(step, await form_of(request))}
    if slug == "province" and answers.get("county", "")[:2] != answers["province"][3:]:
        answers.pop("county", None)
    if refused := _check(step, snapshot, answers):
        return _render_question(request, step, snapshot, answers, [_error(request, each) for each in refused])
    response = RedirectResponse(_next(snapshot, answers), 303)
    drafts.save(response, answers)
    return response


@router.get("/done")
async def done_page(request: Request, principal: Anyone, drafts: DraftCookie, snapshot: OpenRound) -> Response:
    """Show what happens next, and the tracking code of the application that this browser has just sent."""
    if not (code := drafts.received_code(request)):
        return RedirectResponse(TRACKING, 303)
    version = CURRENT if snapshot is None else snapshot.round.policy
    return templates.render(request, "done.html", code=shown_code(code), days=policy(version).screening_days)


def _render_question(
    request: Request, step: Step, snapshot: RoundSnapshot, answers: Answers, errors: Sequence[Error] = ()
) -> Response:
    number, lang, field = STEPS.index(step), lang_of(request), step.fields[0]
    parts = [*answers.get(field.name, "").split("/"), "", "", ""] if field.input == "date" else []
    return templates.render(
        request,
        "question.html",
        status=422 if errors else 200,
        step=step,
        steps=STEPS,
        number=number,
        back=f"{PATH}/{STEPS[number - 1].slug}" if number else PATH,
        answers=answers,
        errors=errors,
        choices=_choices(field, snapshot, answers, lang),
        date=dict(zip(DATE_PARTS, parts, strict=False)),
        months=[calendar.month_name(month, lang) for month in range(1, 13)],
    )


def _render_review(
    request: Request, answers: Answers, errors: Sequence[Error] = (), key: str = "", status: int = 200
) -> Response:
    lang = lang_of(request)
    facts: dict[str, list[Fact]] = {"person": [], "work": []}
    for step in STEPS:
        facts[step.texts.section].append(_fact(step, answers, lang))
    return templates.render(
        request,
        "check.html",
        status=status,
        facts=facts,
        errors=errors,
        key=key or secrets.token_hex(16),
        sentences=consent.TEXTS[consent.CURRENT].sentences(lang),
        version=consent.CURRENT,
        back=f"{PATH}/{STEPS[-1].slug}",
    )


def _fact(step: Step, answers: Answers, lang: str) -> Fact:
    value = " ".join(shown(field, answers, lang) for field in step.fields)
    return Fact(step.slug, step.label.text(lang), value, step.fields[0].input in ("numeric", "tel"))


def _takes_applications(state: rounds.State, at: Any) -> bool:
    return any(rounds.is_open(state, province, at) for province in reference.provinces())


def _step(slug: str) -> Step:
    """Return a step. Raise Refused: not_found."""
    number = position(slug)
    if number is None:
        raise Refused("not_found")
    return STEPS[number]


def _next(snapshot: RoundSnapshot | None, answers: Answers) -> str:
    """Return the path of the first unanswered question, or of the review."""
    step = first_unanswered(answers)
    return PATH if snapshot is None else f"{PATH}/{step.slug if step else 'check'}"


def _done(drafts: Drafts, code: str) -> Response:
    response = RedirectResponse(DONE, 303)
    drafts.complete(response, code)
    return response


def _check(step: Step, snapshot: RoundSnapshot, answers: Answers) -> list[Refused]:
    """Return the errors of one step. Provinces and job fields that the round does not take now are refused at once."""
    first = step.fields[0]
    if first.input in ("select", "radio") and not answers.get(first.name):
        return [Refused("code_unknown", field=first.name)]
    today = calendar.tehran_day(snapshot.at)
    _, errors = check(step.fields, answers, today, policy(snapshot.round.policy))
    if not errors and step.slug == "province" and not rounds.is_open(snapshot.round, answers["province"], snapshot.at):
        errors.append(Refused("intake_closed", field="province"))
    if not errors and step.slug == "field" and answers["field"] not in snapshot.round.fields:
        errors.append(Refused("field_not_open", field="field"))
    return errors


def _typed(step: Step, form: FormData) -> dict[str, str]:
    """Return the answers as typed; the three inputs of a date become one answer."""
    if step.fields[0].input == "date":
        parts = [str(form.get(part, "")).strip() for part in DATE_PARTS]
        return {step.fields[0].name: "/".join(parts) if any(parts) else ""}
    return {field.name: str(form.get(field.name, "")).strip() for field in step.fields}


Choices = Sequence[tuple[str, Any]]  # code and label, or name of a group and its choices


def _provinces(snapshot: RoundSnapshot, answers: Answers, lang: str) -> Choices:
    return [(each.code, each.name(lang)) for each in reference.by_name(reference.provinces().values(), lang)]


def _counties(snapshot: RoundSnapshot, answers: Answers, lang: str) -> Choices:
    counties = reference.counties_of(answers.get("province", ""))
    return [(each.code, each.name(lang)) for each in reference.by_name(counties, lang)]


def _job_fields(snapshot: RoundSnapshot, answers: Answers, lang: str) -> Choices:
    named = reference.by_name((reference.job_fields()[code] for code in snapshot.round.fields), lang)
    fields = sorted(named, key=lambda field: field.group)  # stable: by name within a group
    groups = groupby(fields, key=lambda field: field.group)
    return [(PRODUCT_GROUPS[group].text(lang), [(f.code, f.name(lang)) for f in members]) for group, members in groups]


CHOICES: Mapping[str, Callable[[RoundSnapshot, Answers, str], Choices]] = {
    "province": _provinces,
    "county": _counties,
    "field": _job_fields,
}


def _choices(field: Field, snapshot: RoundSnapshot, answers: Answers, lang: str) -> Choices:
    """Return what can be chosen; job fields in groups."""
    if field.name in CHOICES:
        return CHOICES[field.name](snapshot, answers, lang)
    return [(code, label.text(lang)) for code, label in field.labels.items()]


def _error(request: Request, refused: Refused, *, on_review: bool = False) -> Error:
    """Return an error; it links to its input, from the review page to the question, or to what to do instead."""
    lang, field = lang_of(request), FIELD.get(refused.field)
    message = message_text(refused.code, lang, **refused.details)
    href = f"{PATH}/{field.step}" if on_review and field and field.step else f"#{refused.field}"
    if refused.code == "already_registered":
        href = TRACKING
    return {"field": refused.field, "label": field.label.text(lang) if field else "", "message": message, "href": href}
