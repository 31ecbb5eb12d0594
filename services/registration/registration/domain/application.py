"""The fields of an application, declared once.

Form pages, CSV columns, the JSON schema of the API, validation, the sealed identity, the fields of the events and those
of the applicant's state follow from `FIELDS`. The texts of the form pages are in `pages.texts`.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any, Literal
from unicodedata import combining

import msgspec
from msgspec.structs import replace

from contracts import codes
from contracts.codes import Label
from contracts.commands import Refused
from contracts.envelope import Context
from programme import calendar, numbers, reference, text
from programme.messages import localized
from programme.policies import Policy
from registration.domain import consent

MAXIMUM_AGE = 120  # years; more is a typing error
COUNTY_DIGITS = 4
NAME_LENGTH = 60  # characters
NAME_PUNCTUATION = " \u200c-'’."

Answers = Mapping[str, str]  # as typed, by name of field
Values = Mapping[str, Any]  # parsed, by name of field
Input = Literal["select", "radio", "date", "numeric", "tel", "text"]


class Inputs(msgspec.Struct, frozen=True):
    """What an answer is checked against: the other answers, the day in Tehran and the policy of the round."""

    answers: Answers
    today: date
    policy: Policy


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One field of an application.

    Its value is kept in one place: sealed (`identity`), in the context of the events (`context`), or in the
    registration event (`event_field`; `event_value` derives what is published if that is not the value itself).
    """

    name: str
    label: Label
    parse: Callable[[str, Inputs], Any]  # raises Refused; the field is added by `check`
    example: str
    max_length: int = 40  # characters, as typed
    value_type: type[Any] = str
    description: str = ""  # in the JSON schema
    column: str = ""  # of a CSV file, if it is not the name
    step: str = ""  # slug of the form page that asks for it; empty for the review page
    input: Input = "text"
    autocomplete: str = "off"
    labels: Mapping[str, Label] = {}  # of a closed vocabulary
    show: Callable[[Any, str], str] | None = None  # how a parsed value reads in a language, if not as it is
    missing: str = "missing_field"  # code of the refusal of an empty answer
    identity: bool = False
    context: bool = False
    event_field: str = ""
    event_value: Callable[[Any, date], str] | None = None  # of a value and the day in Tehran


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A valid application: what is sealed, where it belongs, what the event publishes, what was agreed to."""

    identity: Values
    context: Context
    profile: Mapping[str, str]  # by event field
    consent: str  # version of the text


class InvalidApplication(Exception):
    """At least one answer is invalid; each error names its field."""

    def __init__(self, errors: list[Refused]) -> None:
        super().__init__(", ".join(f"{each.field}: {each.code}" for each in errors))
        self.errors = errors


def accept(answers: Answers, today: date, policy: Policy, context: Context) -> Accepted:
    """Return the application in these answers, for the round of a context. Raise InvalidApplication, all errors."""
    values, errors = check(FIELDS, answers, today, policy)
    if errors:
        raise InvalidApplication(errors)
    return Accepted(
        identity={each.name: values[each.name] for each in FIELDS if each.identity},
        context=replace(context, **{each.name: values[each.name] for each in FIELDS if each.context}),
        profile=profile_of(values, today),
        consent=values["consent"],
    )


def correct_answers(changes: Answers, context: Context, today: date, policy: Policy) -> dict[str, Any]:
    """Return the values of corrected answers of an application of a province. Raise InvalidApplication, all errors."""
    fields = [each for each in FIELDS if each.name in changes and each.name in CORRECTABLE]
    values, errors = check(fields, {**changes, "province": context.province}, today, policy)
    if errors:
        raise InvalidApplication(errors)
    return values


def profile_of(values: Values, today: date) -> dict[str, str]:
    """Return what events publish of these values, by event field."""
    return {
        each.event_field: each.event_value(values[each.name], today) if each.event_value else values[each.name]
        for each in FIELDS
        if each.event_field and each.name in values
    }


def check(
    fields: Iterable[Field], answers: Answers, today: date, policy: Policy
) -> tuple[dict[str, Any], list[Refused]]:
    """Return the values of the valid answers and the errors of the others."""
    values: dict[str, Any] = {}
    errors: list[Refused] = []
    inputs = Inputs(answers, today, policy)
    for field in fields:
        try:
            typed = answers.get(field.name, "")
            if len(typed) > field.max_length:  # before anything looks into it
                raise Refused("too_long", limit=field.max_length)
            if not (typed := typed.strip()):
                raise Refused(field.missing)
            values[field.name] = field.parse(typed, inputs)
        except Refused as refused:
            errors.append(Refused(refused.code, field.name, **refused.details))
    return values, errors


def shown(field: Field, answers: Answers, lang: str) -> str:
    """Return how a valid answer reads on a page."""
    typed = answers[field.name].strip()
    if field.labels:
        return field.labels[typed].text(lang)
    return field.show(typed, lang) if field.show else typed


def _member_of(labels: Mapping[str, Label]) -> Callable[[str, Inputs], str]:
    def parse(typed: str, inputs: Inputs) -> str:
        if typed not in labels:
            raise Refused("code_unknown")
        return typed

    return parse


def _county_code(typed: str) -> str:
    """Return the code in what was typed; a spreadsheet takes it for a number, which has no zeros at the start."""
    return text.digits(typed).zfill(COUNTY_DIGITS)


def _parse_county(typed: str, inputs: Inputs) -> str:
    return reference.county_in(_county_code(typed), inputs.answers.get("province", "").strip()).code


def _parse_name(typed: str, inputs: Inputs) -> str:
    name = text.display(typed)
    valid = all(c.isalpha() or c in NAME_PUNCTUATION or combining(c) for c in name)
    if len(name) > NAME_LENGTH or not valid or not text.has_letter(name):
        raise Refused("name_invalid")
    return name


def _parse_birth_date(typed: str, inputs: Inputs) -> date:
    born = calendar.parse_date(typed)
    if born > inputs.today:
        raise Refused("birth_date_future")
    age = calendar.age_on(born, inputs.today)
    if age > MAXIMUM_AGE:
        raise Refused("birth_date_implausible")
    if age < inputs.policy.minimum_age:
        raise Refused("underage", minimum=inputs.policy.minimum_age)
    return born


def _parse_consent(typed: str, inputs: Inputs) -> str:
    if typed not in consent.TEXTS:
        raise Refused("consent_missing")
    return typed


def _localized_digits(value: str, lang: str) -> str:
    return localized(text.persian_digits(value), value, lang)


def _show_national_id(typed: str, lang: str) -> str:
    number = numbers.national_id(typed)
    return _localized_digits(f"{number[:3]} {number[3:9]} {number[9]}", lang)


def _show_mobile(typed: str, lang: str) -> str:
    number = numbers.mobile(typed)
    return _localized_digits(f"0{number[3:6]} {number[6:9]} {number[9:]}", lang)


def _show_date(typed: str, lang: str) -> str:
    year, month, day = calendar.to_jalali(calendar.parse_date(typed))
    return _localized_digits(f"{day} {calendar.month_name(month, lang)} {year}", lang)


FIELDS = (
    Field(
        name="province",
        label=Label("استان", "Province"),
        parse=lambda typed, inputs: reference.province(typed).code,
        example="IR-20",
        max_length=8,
        step="province",
        input="select",
        show=lambda typed, lang: reference.province(typed).name(lang),
        context=True,
    ),
    Field(
        name="county",
        label=Label("شهرستان", "County"),
        parse=_parse_county,
        example="2003",
        max_length=8,
        step="county",
        input="select",
        show=lambda typed, lang: reference.counties()[_county_code(typed)].name(lang),
        context=True,
    ),
    Field(
        name="national_id",
        label=Label("کد ملی", "National ID"),
        parse=lambda typed, inputs: numbers.national_id(typed),
        example="9990000018",
        step="national-id",
        input="numeric",
        show=_show_national_id,
        identity=True,
    ),
    Field(
        name="first_name",
        label=Label("نام", "First name"),
        parse=_parse_name,
        example="مریم",
        max_length=200,
        step="name",
        autocomplete="given-name",
        identity=True,
    ),
    Field(
        name="last_name",
        label=Label("نام خانوادگی", "Last name"),
        parse=_parse_name,
        example="آزمون",
        max_length=200,
        step="name",
        autocomplete="family-name",
        identity=True,
    ),
    Field(
        name="birth_date",
        label=Label("تاریخ تولد", "Date of birth"),
        parse=_parse_birth_date,
        example="1368-04-14",
        max_length=20,
        value_type=date,
        description="Jalali before year 1700.",
        step="birth-date",
        input="date",
        show=_show_date,
        identity=True,
        event_field="age_band",
        event_value=lambda born, today: calendar.age_band(calendar.age_on(born, today)),
    ),
    Field(
        name="sex",
        label=Label("جنسیت", "Sex"),
        parse=_member_of(codes.SEXES),
        example="female",
        step="sex",
        input="radio",
        labels=codes.SEXES,
        event_field="sex",
    ),
    Field(
        name="mobile",
        label=Label("تلفن همراه", "Mobile"),
        parse=lambda typed, inputs: numbers.mobile(typed),
        example="09120000018",
        step="mobile",
        input="tel",
        autocomplete="tel",
        show=_show_mobile,
        identity=True,
    ),
    Field(
        name="field",
        label=Label("چه می‌سازید", "What you make"),
        parse=lambda typed, inputs: reference.job_field(typed).code,
        example="JF001",
        step="field",
        input="select",
        show=lambda typed, lang: reference.job_field(typed).name(lang),
        context=True,
    ),
    Field(
        name="work_mode",
        label=Label("تنها یا گروهی", "Alone or with others"),
        parse=_member_of(codes.WORK_MODES),
        example="independent",
        step="work-mode",
        input="radio",
        labels=codes.WORK_MODES,
        event_field="work_mode",
    ),
    Field(
        name="consent",
        label=Label("موافقت", "Consent"),
        parse=_parse_consent,
        example=consent.CURRENT,
        column="consent_version",
        missing="consent_missing",
    ),
)
REASON = Label("چه باید درست شود", "what to correct")  # last column of a file of refused rows
FIELD = {each.name: each for each in FIELDS}
CORRECTABLE = tuple(  # another national ID is another person, another province a transfer
    each.name for each in FIELDS if each.step and each.name not in ("national_id", "province")
)
UNCOMPARED = frozenset({"mobile"})  # the identity registry does not know it
COLUMNS = {each.column or each.name: each.name for each in FIELDS}  # of a CSV file, to the name of the field
PROFILE = tuple(each.event_field for each in FIELDS if each.event_field)


def full_name(person: Values) -> str:
    """Return first and last name."""
    return f"{person['first_name']} {person['last_name']}"


def telephone(person: Values) -> str:
    """Return the number under which the person is called, E.164."""
    number: str = person["mobile"]
    return number
