"""National IDs, mobile numbers and case numbers as people type them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.commands import Refused
from programme.numbers import case_digits, case_number, check_digit, mobile, national_id, typed_case_number


@pytest.mark.parametrize(
    ("typed", "number"),
    [
        ("9990000018", "9990000018"),
        ("9990000026", "9990000026"),
        ("9991234561", "9991234561"),
        ("9987654320", "9987654320"),
        ("9995555557", "9995555557"),
        ("۹۹۹۰۰۰۰۰۱۸", "9990000018"),
        ("٩٩٩٠٠٠٠٠١٨", "9990000018"),
        ("999-000001-8", "9990000018"),
        (" 999 000 0018\u200f", "9990000018"),
        ("\u202a999\u2013000001\u20138\u202c", "9990000018"),
    ],
)
def test_a_valid_national_id_is_normalised(typed: str, number: str) -> None:
    assert national_id(typed) == number


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("9990000019", "national_id_check_digit"),
        ("999000001", "national_id_check_digit"),  # padded to 0999000001
        *((digit * 10, "national_id_impossible") for digit in "0123456789"),
        ("0001234564", "national_id_impossible"),  # no place has this prefix
        ("9990000000", "national_id_impossible"),  # the middle is zero
        ("", "national_id_length"),
        ("9990001", "national_id_length"),
        ("99900000180", "national_id_length"),
        ("۹۹۹", "national_id_length"),
    ],
)
def test_an_invalid_national_id_is_refused(typed: str, code: str) -> None:
    with pytest.raises(Refused) as refused:
        national_id(typed)
    assert (refused.value.code, refused.value.field) == (code, "national_id")


@pytest.mark.parametrize(("typed", "position"), [("999000O018", 7), ("x", 1), ("999000001²", 10), ("۹۹۹+", 4)])
def test_the_position_of_a_character_that_is_no_digit_is_given(typed: str, position: int) -> None:
    with pytest.raises(Refused) as refused:
        national_id(typed)
    assert refused.value.code == "national_id_letter"
    assert refused.value.details == {"position": position}


def test_leading_zeros_removed_by_a_spreadsheet_are_restored() -> None:
    number = "00" + "1234567"
    number += check_digit(number)
    assert national_id(number.lstrip("0")) == number


@given(st.from_regex(r"999(?!000000)[0-9]{6}", fullmatch=True).filter(lambda nine: set(nine) != {"9"}))
def test_exactly_one_check_digit_is_valid(nine: str) -> None:
    valid = [digit for digit in "0123456789" if _is_valid(nine + digit)]
    assert valid == [check_digit(nine)]


@given(st.text(max_size=14))
def test_any_text_is_normalised_or_refused(typed: str) -> None:
    try:
        assert len(national_id(typed)) == 10
    except Refused as refused:
        assert refused.code.startswith("national_id_")


@pytest.mark.parametrize(
    "typed",
    [
        "09123456789",
        "9123456789",
        "+989123456789",
        "00989123456789",
        "989123456789",
        "0912 345 67 89",
        "(0912) 345-6789",
        "۰۹۱۲۳۴۵۶۷۸۹",
        "٠٩١٢٣٤٥٦٧٨٩",
        "\u202a+98 912 345 6789\u202c",
    ],
)
def test_a_mobile_number_in_any_usual_notation(typed: str) -> None:
    assert mobile(typed) == "+989123456789"


def test_prefixes_of_operators_are_not_checked() -> None:
    assert mobile("09991234567") == "+989991234567"


@pytest.mark.parametrize("typed", ["", "02123456789", "0912345678", "091234567890", "+4912345678901", "0912345678x"])
def test_an_invalid_mobile_number_is_refused(typed: str) -> None:
    with pytest.raises(Refused, match="mobile_invalid"):
        mobile(typed)


def _is_valid(number: str) -> bool:
    try:
        return national_id(number) == number
    except Refused as refused:
        assert refused.code == "national_id_check_digit"
        return False


@pytest.mark.parametrize(
    "typed", ["20-4812-7306", "۲۰-۴۸۱۲-۷۳۰۶", "٢٠ ٤٨١٢ ٧٣٠٦", "2048127306", "4812-7306", "۴۸۱۲۷۳۰۶"]
)
def test_a_case_number_as_people_type_it(typed: str) -> None:
    assert typed_case_number(typed, "IR-20") == "2048127306"


@pytest.mark.parametrize("typed", ["", "20-48127", "20-4812-73061", "20-4812-730a", "JF001"])
def test_what_is_no_case_number_is_none(typed: str) -> None:
    assert typed_case_number(typed, "IR-20") == ""


def test_case_numbers_follow_from_the_applicant_and_are_spread_evenly() -> None:
    """Eight digits of a hash: of the 4,800 cases of a province's round hardly two are alike."""
    subjects = [f"0199a000-0000-7000-8000-{n:012d}" for n in range(4_800)]
    found = {case_number(each, "IR-20") for each in subjects}
    assert case_number(subjects[0], "IR-20") == case_number(subjects[0], "IR-20")
    assert all(re.fullmatch(r"20-[0-9]{4}-[0-9]{4}", each) for each in found) and len(found) >= len(subjects) - 2
    assert typed_case_number(case_number(subjects[1], "IR-00"))[2:] == case_digits(subjects[1])
