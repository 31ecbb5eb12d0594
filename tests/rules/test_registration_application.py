"""The fields of an application: declared once, checked in the same way on the page, in the API and in a file."""

from datetime import date
from pathlib import Path

import pytest

import registration.domain.application as declaration
from contracts.envelope import Context
from contracts.events import ApplicantReactivated, ApplicantRegistered
from programme.policies import CURRENT, policy
from registration.domain import consent
from registration.domain.application import COLUMNS, FIELD, FIELDS, PROFILE, Accepted, InvalidApplication, accept, check

TODAY = date(2025, 9, 27)
ROUND = Context(round="1404", policy=CURRENT)
ANSWERS = {each.name: each.example for each in FIELDS} | {
    "national_id": "۹۹۹-۰۰۰۰۰۱-۸",
    "first_name": " مريم ",
    "birth_date": "۱۳۶۸/۴/۱۴",
    "mobile": "۰۹۱۲ ۰۰۰ ۰۰۱۸",
}


def accepted(**changes: str) -> Accepted:
    return accept(ANSWERS | changes, TODAY, policy(CURRENT), ROUND)


def codes(**changes: str) -> dict[str, str]:
    with pytest.raises(InvalidApplication) as invalid:
        accepted(**changes)
    return {each.field: each.code for each in invalid.value.errors}


def test_typed_answers_become_values() -> None:
    one = accepted()
    assert one.identity["national_id"] == "9990000018" and one.identity["mobile"] == "+989120000018"
    assert one.identity["first_name"] == "مریم", "the Arabic yeh becomes the Persian one, blanks are removed"
    assert one.identity["birth_date"] == date(1989, 7, 5) and one.profile["age_band"] == "35-44"
    assert accepted(birth_date="1989-07-05").identity == one.identity
    assert one.context == Context(round="1404", province="IR-20", county="2003", field="JF001", policy=CURRENT)


def test_every_error_is_reported_at_once() -> None:
    assert codes(national_id="9990000019", mobile="123", county="0701", consent="") == {
        "national_id": "national_id_check_digit",
        "mobile": "mobile_invalid",
        "county": "county_not_in_province",
        "consent": "consent_missing",
    }


@pytest.mark.parametrize(
    ("field", "typed", "code"),
    [
        ("birth_date", "1386/07/06", "underage"),
        ("birth_date", "1404/07/06", "birth_date_future"),
        ("birth_date", "1260/01/01", "birth_date_implausible"),
        ("birth_date", "1404/12/30", "date_invalid"),
        ("first_name", "Maryam1", "name_invalid"),
        ("last_name", "ا" * 61, "name_invalid"),
        ("first_name", "\u200e", "name_invalid"),
        ("first_name", "\u200c", "name_invalid"),
        ("last_name", "---", "name_invalid"),
        ("first_name", ". . .", "name_invalid"),
        ("first_name", "\u064b\u064c", "name_invalid"),
        ("first_name", "\u0301\u0302", "name_invalid"),
        ("first_name", "\u200c.\u200c", "name_invalid"),
        ("first_name", "\u3164", "name_invalid"),  # fillers are letters that show nothing
        ("last_name", "\u115f\uffa0", "name_invalid"),
        ("last_name", "\u02c6\u06e5", "name_invalid"),  # modifier letters
        ("last_name", "\u2800\u2800", "name_invalid"),
        ("sex", "woman", "code_unknown"),
        ("work_mode", "both", "code_unknown"),
        ("field", "JF999", "field_unknown"),
        ("province", "IR-31", "province_code_old"),
        ("consent", "0000-1", "consent_missing"),
        ("national_id", "1111111111", "national_id_impossible"),
    ],
)
def test_invalid_answers(field: str, typed: str, code: str) -> None:
    assert codes(**{field: typed})[field] == code


def test_a_person_may_apply_on_their_eighteenth_birthday() -> None:
    assert accepted(birth_date="1386/07/05").profile["age_band"] == "18-24"


def test_without_answers_every_field_is_named() -> None:
    values, errors = check(FIELDS, {}, TODAY, policy(CURRENT))
    assert not values and [each.field for each in errors] == list(FIELD)


def test_a_published_consent_stays() -> None:
    assert consent.CURRENT in consent.TEXTS
    for version, text in consent.TEXTS.items():
        assert text.fa and len(text.fa) == len(text.en), version


def test_every_value_is_kept_in_one_place_and_no_event_contains_an_identity() -> None:
    one = accepted()
    assert not set(one.identity) & set(PROFILE)
    assert set(PROFILE) == set(one.profile)
    for field in FIELDS:
        kept = [field.identity, field.context, bool(field.event_field)]
        assert sum(kept) == 1 or field.name == "consent" or (field.identity and field.event_value), field.name
    secrets = {str(value) for value in one.identity.values()}
    assert not secrets & {*one.profile.values(), *one.context.__struct_fields__}


def test_the_events_have_exactly_the_declared_fields() -> None:
    for event in (ApplicantRegistered, ApplicantReactivated):
        assert set(event.__struct_fields__) == {*PROFILE, "application", "intake_channel"}


def test_columns_of_a_file_follow_from_the_declaration() -> None:
    assert list(COLUMNS.values()) == list(FIELD)
    assert COLUMNS["consent_version"] == "consent"


def repetitions(sources: dict[str, str]) -> list[str]:
    """Return where a field is named beside its declaration, though nothing is particular about it."""
    fields = ("first_name", "last_name", "mobile", "sex", "age_band", "work_mode")
    return [f"{file}: {field}" for file, text in sources.items() for field in fields if f'"{field}"' in text]


def test_a_field_is_declared_once() -> None:
    folder = Path(declaration.__file__).parents[1]
    exempt = {folder / "domain/application.py", folder / "pages/texts.py"}  # the latter names pages of the form
    files = [file for file in folder.rglob("*") if file.suffix in (".py", ".html") and file not in exempt]
    assert len(files) > 15
    assert not repetitions({str(file.relative_to(folder)): file.read_text() for file in files})


def test_canary_a_repeated_field_is_detected() -> None:
    assert repetitions({"schemas.py": 'fields["work_mode"]'}) == ["schemas.py: work_mode"]
