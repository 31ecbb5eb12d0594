"""Applying, for people: one question a page, plain forms, nothing sent before it was looked through."""

import secrets
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import groupby
from typing import Annotated, Any

from fastapi import APIRouter
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from base.ids import shown_code
from contracts import codes
from contracts.commands import Refused
from programme import calendar, numbers, reference, text
from programme.messages import MESSAGES, STATUSES, message_text
from programme.policies import CURRENT, policy
from registration.api.drafts import PATH, Answers, Drafts
from registration.api.probes import Probes
from registration.api.steps import STEPS, Step, position, step_of, unanswered
from registration.domain import consent
from registration.domain import round as rounds
from registration.domain.application import NotAccepted, check
from registration.settings import KeySettings
from registration.store.office import Desk, Office
from registration.store.questions import Questions
from security.auth import Principal, anonymous
from web.app import limited, metadata_of, public
from web.load_shedding import AdmissionControl, bounded
from web.pages import Pages, lang_of, pages

DONE = "/registration/done"
FORM = limited("form", per_minute=120)

Error = Mapping[str, str]


@cache
def site() -> Pages:
    """Registration's templates."""
    return pages("registration")


def router(
    office: Office, questions: Questions, settings: KeySettings, probes: Probes, intake: AdmissionControl
) -> APIRouter:
    """The pages under /registration/apply."""
    api = APIRouter(include_in_schema=False)
    drafts = Drafts(settings)

    async def desk() -> Desk | None:
        """The round that takes applications somewhere now, the one that opened last."""
        now = office.clock().at
        states: list[rounds.State] = [record.state for record in await questions.rounds()]
        open_now = [s for s in states if any(rounds.is_open(s, p, now) for p in reference.provinces())]
        latest = max(open_now, key=_opens, default=None)
        return None if latest is None else Desk(latest, now)

    def asked(request: Request, step: Step, at: Desk, answers: Answers, errors: Sequence[Error] = ()) -> Response:
        number = STEPS.index(step)
        return site().render(
            request,
            "question.html",
            status=422 if errors else 200,
            step=step,
            steps=STEPS,
            number=number,
            back=f"{PATH}/{STEPS[number - 1].slug}" if number else PATH,
            answers=answers,
            answered=lambda each: all(answers.get(name) for name in each.names),
            errors=errors,
            choices=_choices(step, at, answers, lang_of(request)),
            birth=_birth_parts(answers.get("birth_date", "")),
            months=calendar.MONTHS_FA if lang_of(request) == "fa" else calendar.MONTHS_EN,
        )

    def reviewed(
        request: Request, at: Desk, answers: Answers, errors: Sequence[Error] = (), key: str = "", status: int = 200
    ) -> Response:
        return site().render(
            request,
            "check.html",
            status=status,
            answers=answers,
            shown=_shown(answers, lang_of(request)),
            errors=errors,
            key=key or secrets.token_hex(16),
            consent=consent.TEXTS[consent.CURRENT],
            version=consent.CURRENT,
            sexes=codes.SEXES,
            modes=codes.WORK_MODES,
        )

    @api.get("/apply")
    async def start(request: Request, principal: Annotated[Principal, public()]) -> Response:
        answers, at = drafts.read(request), await desk()
        return site().render(
            request,
            "start.html",
            desk=at,
            closes=None if at is None or at.round.window is None else calendar.tehran_day(at.round.window.closes),
            drafted=bool(answers),
            next=_next(at, answers),
        )

    @api.post("/apply/forget")
    async def forget(request: Request, principal: Annotated[Principal, public()]) -> Response:
        response = RedirectResponse(PATH, 303)
        drafts.forget(response)
        return response

    @api.get("/apply/check")
    async def check_page(request: Request, principal: Annotated[Principal, public()]) -> Response:
        answers, at = drafts.read(request), await desk()
        if at is None or unanswered(answers):
            return RedirectResponse(_next(at, answers), 303)
        return reviewed(request, at, answers)

    @api.post("/apply/check", dependencies=[FORM, bounded(intake)])
    async def submit(request: Request, principal: Annotated[Principal, public()]) -> Response:
        form, answers, at = await request.form(), drafts.read(request), await desk()
        key = str(form.get("key", ""))
        if not answers and (code := await _sent_before(office, key)):
            return RedirectResponse(f"{DONE}?code={code}", 303)
        if at is None or unanswered(answers):
            return RedirectResponse(_next(at, answers), 303)
        probes.check(request, principal)
        typed = {**answers, "consent": str(form.get("consent", ""))}
        try:
            accepted = at.accept(typed)
            ask = metadata_of(request, anonymous(), key or secrets.token_hex(16), typed)
            done = await office.register(at, accepted, "web", ask)
        except NotAccepted as faulty:
            errors = [_error(request, each, on_check=True) for each in faulty.faults]
            return reviewed(request, at, answers, errors, key, 422)
        except Refused as refused:
            if refused.code == "already_registered":
                probes.told(request, principal)
            status = STATUSES[MESSAGES[refused.code].kind]
            return reviewed(request, at, answers, [_error(request, refused, on_check=True)], key, status)
        response = RedirectResponse(f"{DONE}?code={shown_code(done.record.private.indexed['tracking'])}", 303)
        drafts.forget(response)
        return response

    @api.get("/apply/{slug}")
    async def question(slug: str, request: Request, principal: Annotated[Principal, public()]) -> Response:
        number, at = position(slug), await desk()
        if number is None:
            raise Refused("not_found")
        answers = drafts.read(request)
        if at is None or (STEPS[number].slug == "county" and not answers.get("province")):
            return RedirectResponse(PATH if at is None else f"{PATH}/province", 303)
        return asked(request, STEPS[number], at, answers)

    @api.post("/apply/{slug}", dependencies=[FORM])
    async def answer(slug: str, request: Request, principal: Annotated[Principal, public()]) -> Response:
        number, at = position(slug), await desk()
        if number is None:
            raise Refused("not_found")
        if at is None:
            return RedirectResponse(PATH, 303)
        step, form = STEPS[number], await request.form()
        answers = {**drafts.read(request), **_typed(step, form)}
        if step.slug == "province" and answers.get("county", "")[:2] != answers["province"][3:]:
            answers.pop("county", None)
        faults = _faults(step, at, answers)
        if faults:
            return asked(request, step, at, answers, [_error(request, each) for each in faults])
        response = RedirectResponse(_next(at, answers), 303)
        drafts.keep(response, answers)
        return response

    @api.get("/done")
    async def done_page(request: Request, principal: Annotated[Principal, public()], code: str = "") -> Response:
        at = await desk()
        version = CURRENT if at is None else at.round.policy
        return site().render(request, "done.html", code=code[:40], days=policy(version).screening_days)

    return api


def _next(at: Desk | None, answers: Answers) -> str:
    """Where to go on: the first question without an answer, else the review."""
    step = unanswered(answers)
    return PATH if at is None else f"{PATH}/{step.slug if step else 'check'}"


async def _sent_before(office: Office, key: str) -> str:
    """The tracking code that this form was answered with, where it was sent twice."""
    full = f"{anonymous().id}/{key}"
    subject = (await office.store.holders("answered", [full])).get(full) if key else None
    if subject is None:
        return ""
    record = (await office.store.read([subject]))[subject]
    return shown_code(record.private.indexed["tracking"])


def _faults(step: Step, at: Desk, answers: Answers) -> list[Refused]:
    chosen = step.slug in ("province", "county", "sex", "field", "work-mode")
    if chosen and not answers.get(step.names[0]):
        return [Refused("code_unknown", field=step.names[0])]
    _, faults = check(step.names, answers, calendar.tehran_day(at.now), policy(at.round.policy))
    if not faults and step.slug == "province" and not rounds.is_open(at.round, answers["province"], at.now):
        faults.append(Refused("intake_closed", field="province"))
    if not faults and step.slug == "field" and answers["field"] not in at.round.fields:
        faults.append(Refused("field_not_open", field="field"))
    return faults


def _typed(step: Step, form: FormData) -> dict[str, str]:
    """What was typed, as it was typed; the three boxes of a date become one."""
    if step.slug == "birth-date":
        parts = [str(form.get(name, "")).strip() for name in ("year", "month", "day")]
        return {"birth_date": "/".join(parts) if any(parts) else ""}
    return {name: str(form.get(name, "")).strip() for name in step.names}


def _birth_parts(typed: str) -> dict[str, str]:
    year, month, day = [*typed.split("/"), "", "", ""][:3]
    return {"year": year, "month": month, "day": day}


def _shown(answers: Answers, lang: str) -> dict[str, str]:
    """Numbers as people read them, in groups."""
    nid, mobile = numbers.national_id(answers["national_id"]), numbers.mobile(answers["mobile"])
    year, month, day = calendar.to_jalali(calendar.parse_date(answers["birth_date"]))
    months = calendar.MONTHS_FA if lang == "fa" else calendar.MONTHS_EN
    told = {
        "national_id": f"{nid[:3]} {nid[3:9]} {nid[9]}",
        "mobile": f"0{mobile[3:6]} {mobile[6:9]} {mobile[9:]}",
        "birth_date": f"{day} {months[month - 1]} {year}",
    }
    return {name: text.persian_digits(value) if lang == "fa" else value for name, value in told.items()}


def _choices(step: Step, at: Desk, answers: Answers, lang: str) -> Any:
    """What can be chosen: (code, label) pairs; job fields in groups."""
    if step.slug == "province":
        return [(p.code, p.name_fa if lang == "fa" else p.name_en) for p in reference.provinces().values()]
    if step.slug == "county":
        return [(c.code, c.name_fa) for c in reference.counties_of(answers.get("province", ""))]
    if step.slug == "field":
        fields = sorted((reference.job_fields()[code] for code in at.round.fields), key=lambda f: f.group)
        return [
            (
                getattr(codes.PRODUCT_GROUPS[group], lang),
                [(f.code, f.name_fa if lang == "fa" else f.name_en) for f in members],
            )
            for group, members in groupby(fields, key=lambda f: f.group)
        ]
    labels = {"sex": codes.SEXES, "work-mode": codes.WORK_MODES}.get(step.slug, {})
    return [(code, getattr(label, lang)) for code, label in labels.items()]


def _error(request: Request, refused: Refused, *, on_check: bool = False) -> Error:
    """Beside the field and in the summary; on the last page it leads to the question that asked."""
    message = message_text(refused.code, lang_of(request), **refused.details)
    href = f"#{refused.field}"
    if on_check and refused.field != "consent":
        href = f"{PATH}/{step_of(refused.field).slug}"
    return {"field": refused.field, "message": message, "href": href}


def _opens(state: rounds.State) -> Any:
    return state.window.opens if state.window else None
