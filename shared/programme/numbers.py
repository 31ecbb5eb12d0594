"""Numbers as people type them: national ID (کد ملی), mobile number, number of a signed form, number of a case."""

import re
from hashlib import blake2b

from contracts.commands import Refused
from programme.text import digits

_SEPARATORS = re.compile("[\\s\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff./_()\\[\\]\u2010-\u2015\u2212-]")
_FORM = re.compile(r"([0-9]{2})-(14[0-9]{2})-0*([0-9]{1,5})")  # province, Jalali year, number within the year
_CASE = re.compile(r"[0-9]{10}")  # the province's two digits and the eight of the applicant
_MOBILE = re.compile(r"(?:\+98|0098|98|0)?(9\d{9})")


def national_id(typed: str, field: str = "national_id") -> str:
    """Return the ten digits of a national ID as typed: Persian or Latin digits, separators, leading zeros missing.

    Raise Refused: national_id_letter (with the position), national_id_length, national_id_impossible, or
    national_id_check_digit. One random number in ten is valid, so this does not identify a person.
    """
    plain = digits(typed.strip())
    for position, character in enumerate(plain, 1):
        if not character.isascii() or not character.isdigit():
            if _SEPARATORS.fullmatch(character):
                continue
            raise Refused("national_id_letter", field=field, position=position)
    number = _SEPARATORS.sub("", plain)
    if not 8 <= len(number) <= 10:
        raise Refused("national_id_length", field=field)
    number = number.zfill(10)
    if len(set(number)) == 1 or number.startswith("000") or number[3:9] == "000000":
        raise Refused("national_id_impossible", field=field)
    if number[9] != check_digit(number[:9]):
        raise Refused("national_id_check_digit", field=field)
    return number


def check_digit(nine: str) -> str:
    """Return the tenth digit of the national ID that begins with these nine."""
    remainder = sum(int(digit) * weight for digit, weight in zip(nine, range(10, 1, -1), strict=True)) % 11
    return str(remainder if remainder < 2 else 11 - remainder)


def masked_national_id(number: str, dot: str = "*") -> str:
    """Return `999****018` for a national ID."""
    return f"{number[:3]}{dot * 4}{number[7:]}"


def masked_mobile(number: str, dot: str = "*") -> str:
    """Return `0912*****18` for a mobile number in E.164."""
    return f"0{number[3:6]}{dot * 5}{number[-2:]}"


def mobile(typed: str, field: str = "mobile") -> str:
    """Return a mobile number in E.164, `+989xxxxxxxxx`, from any usual notation. Raise Refused: mobile_invalid.

    Prefixes of operators are not checked: ranges are added, and numbers are ported between operators.
    """
    match = _MOBILE.fullmatch(_SEPARATORS.sub("", digits(typed)))
    if match is None:
        raise Refused("mobile_invalid", field=field)
    return f"+98{match[1]}"


def form_number(typed: str, province: str, field: str = "form") -> str:
    """Return the number of a signed form as events have it, `20-1404-173`. Raise Refused: form_number_invalid."""
    found = _FORM.fullmatch(digits(typed).strip())
    if not found or found[1] != province[3:]:
        raise Refused("form_number_invalid", field, province=province[3:])
    return "-".join(found.groups())


def case_digits(subject: str) -> str:
    """Return the eight digits by which an applicant's case is known inside a province."""
    return f"{int.from_bytes(blake2b(subject.encode(), digest_size=8).digest()) % 10**8:08}"


def case_number(subject: str, province: str) -> str:
    """Return the number under which people talk about a case, `20-4812-7306`: digits that can be dictated."""
    eight = case_digits(subject)
    return f"{province[3:]}-{eight[:4]}-{eight[4:]}"


def typed_case_number(typed: str, province: str = "") -> str:
    """Return the ten digits of a case number as typed, in Persian, Arabic or Latin digits; empty if it is none.

    Inside a province the eight digits after its own are enough.
    """
    plain = _SEPARATORS.sub("", digits(typed.strip()))
    whole = province[3:] + plain if len(plain) == 8 else plain
    return whole if _CASE.fullmatch(whole) else ""
