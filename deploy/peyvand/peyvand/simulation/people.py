"""Synthetic people: national IDs with the prefix 999, which no real person has."""

from collections.abc import Mapping
from random import Random
from typing import Any

from programme.reference import County, JobField

FEMALE = ("مریم", "زهرا", "فاطمه", "لیلا", "سمیه", "نرگس", "الهام", "شیرین", "پریسا", "معصومه", "اعظم", "ریحانه")
MALE = ("علی", "محمد", "حسین", "رضا", "مهدی", "امیر", "یوسف", "سعید", "مجید", "حمید", "ناصر", "داود")
FAMILY = ("آزمون", "نمونه", "ساختگی", "فرضی", "آزمایشی", "نمایشی", "بدلی", "انگاره")
WORK_MODES = ("independent", "supported", "workshop")


def national_id(serial: int) -> str:
    """Return the synthetic national ID with this serial number, 1 to 999,998: that of 999,999 has ten equal digits."""
    if not 1 <= serial <= 999_998:
        raise ValueError(f"a serial number has six digits and is not zero: {serial}")
    first = f"999{serial:06d}"
    remainder = sum(int(digit) * (10 - i) for i, digit in enumerate(first)) % 11
    return f"{first}{remainder if remainder < 2 else 11 - remainder}"


def person(serial: int, chance: Random, counties: list[County], fields: list[JobField], consent: str) -> dict[str, str]:
    """Return an application as a row of a file (`peyvand.commands.applications.COLUMNS`), drawn from `chance`."""
    female = chance.random() < 0.72
    county = chance.choice(counties)
    return {
        "national_id": national_id(serial),
        "birth_date": f"{chance.randint(1340, 1384)}-{chance.randint(1, 12):02d}-{chance.randint(1, 29):02d}",
        "first_name": chance.choice(FEMALE if female else MALE),
        "last_name": chance.choice(FAMILY),
        "sex": "female" if female else "male",
        "mobile": f"0900{serial:07d}",
        "province": county.province,
        "county": county.code,
        "field": chance.choice(fields).code,
        "work_mode": chance.choices(WORK_MODES, (6, 3, 1))[0],
        "consent": consent,
    }


def application(row: Mapping[str, str]) -> dict[str, Any]:
    """Return the same application as the body of a request."""
    return {**row, "consent": {"version": row["consent"], "given": True}}
