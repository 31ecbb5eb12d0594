"""What somebody states to apply: one check for the page, the desk and the file."""

from datetime import date

import pytest

from programme.policies import CURRENT, policy
from registration.domain import consent
from registration.domain.application import ANSWERS, Accepted, NotAccepted, accept, check

TODAY = date(2025, 9, 27)
TYPED = {
    "province": "IR-20",
    "county": "2003",
    "national_id": "۹۹۹-۰۰۰۰۰۱-۸",
    "first_name": " مريم ",
    "last_name": "آزمون",
    "birth_date": "۱۳۶۸/۴/۱۴",
    "sex": "female",
    "mobile": "۰۹۱۲ ۰۰۰ ۰۰۱۸",
    "field": "JF001",
    "work_mode": "independent",
    "consent": consent.CURRENT,
}


def accepted(**changes: str) -> Accepted:
    return accept(TYPED | changes, TODAY, policy(CURRENT))


def codes(**changes: str) -> dict[str, str]:
    with pytest.raises(NotAccepted) as refused:
        accepted(**changes)
    return {each.field: each.code for each in refused.value.faults}


def test_what_people_type_becomes_what_is_kept() -> None:
    one = accepted()
    assert one.person.national_id == "9990000018" and one.person.mobile == "+989120000018"
    assert one.person.first_name == "مریم", "the Arabic yeh is the Persian one, and blanks go"
    assert one.person.birth_date == date(1989, 7, 5) and one.age_band == "35-44"
    assert accepted(birth_date="1989-07-05").person == one.person


def test_every_fault_is_told_at_once() -> None:
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
        ("sex", "woman", "code_unknown"),
        ("work_mode", "both", "code_unknown"),
        ("field", "JF999", "field_unknown"),
        ("province", "IR-31", "province_code_old"),
        ("consent", "0000-1", "consent_missing"),
        ("national_id", "1111111111", "national_id_impossible"),
    ],
)
def test_faults(field: str, typed: str, code: str) -> None:
    assert codes(**{field: typed})[field] == code


def test_who_turns_eighteen_today_may_apply() -> None:
    assert accepted(birth_date="1386/07/05").age_band == "18-24"


def test_nothing_at_all_names_every_field() -> None:
    found, faults = check(ANSWERS, {}, TODAY, policy(CURRENT))
    assert not found and [each.field for each in faults] == list(ANSWERS)


def test_an_agreed_text_stays() -> None:
    assert consent.CURRENT in consent.TEXTS
    for version, text in consent.TEXTS.items():
        assert text.fa and len(text.fa) == len(text.en), version
