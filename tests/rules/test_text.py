"""Spellings of the same word become equal, and numbers are formatted for readers."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from programme.text import digits, display, has_letter, key, loose_key, number, persian_digits

PERSIAN = st.text(
    st.characters(min_codepoint=0x600, max_codepoint=0x6FF) | st.sampled_from(" \u200c\u00a0\u200fa1\ufeb3\ufee4\ufe70")
)


@pytest.mark.parametrize(
    ("typed", "wanted_key", "wanted_display"),
    [
        ("علي", "علی", "علی"),  # Arabic yeh
        ("موسى", "موسی", "موسی"),  # alef maksura
        ("كرمان", "کرمان", "کرمان"),  # Arabic kaf
        ("بختيارئ", "بختیاری", "بختیارئ"),  # final yeh with hamza, typed instead of yeh
        ("رئیس", "رئیس", "رئیس"),  # within a word it is correct
        ("دورۀ یک", "دوره یک", "دورۀ یک"),
        ("دورهٔ یک", "دوره یک", "دورهٔ یک"),
        ("فاطمة", "فاطمه", "فاطمة"),
        ("أحمد إبراهيم ٱلله", "احمد ابراهیم الله", "أحمد إبراهیم ٱلله"),
        ("آرادان", "آرادان", "آرادان"),
        ("سمنــان", "سمنان", "سمنان"),  # tatweel
        ("\u06df\u0640\u06e3", "\u06e3\u06df", "\u06e3\u06df"),  # between two marks, which are in order without it
        ("مُحَمَّد", "محمد", "مُحَمَّد"),  # harakat
        ("رحمٰن", "رحمن", "رحمٰن"),
        ("مهدی\u200cشهر", "مهدی شهر", "مهدی\u200cشهر"),
        ("مهدی\u00a0 شهر ", "مهدی شهر", "مهدی شهر"),
        ("\ufeff\u202bقم\u202c\u200f", "قم", "قم"),
        ("\ufeb3\ufee4\ufee8\ufe8e\ufee5", "سمنان", "سمنان"),  # presentation forms
        ("\ufef3\ufe70", "ی", "ی ً"),
        ("کوچه ۱۲ پلاک ٤٥٦", "کوچه 12 پلاک 456", "کوچه ۱۲ پلاک ٤٥٦"),
    ],
)
def test_spelling_variants(typed: str, wanted_key: str, wanted_display: str) -> None:
    assert key(typed) == wanted_key
    assert display(typed) == wanted_display


def test_a_loose_key_ignores_spaces() -> None:
    spellings = ("مهدی\u200cشهر", "مهدی شهر", "مهديشهر", " مهدی  شهر")
    assert {loose_key(each) for each in spellings} == {"مهدیشهر"}
    assert loose_key("آرادان") == loose_key("ارادان") == "ارادان"


def test_invisible_characters_make_no_difference() -> None:
    invisible = "\u00ad\u034f\u061c\u115f\u180e\u200b\u200e\u202e\u2060\u2066\u3164\ufe0f\ufeff\uffa0\U000e0041"
    assert display("سم" + invisible + "نان") == "سمنان" and not display(invisible)
    assert key("سم\u200dنان") == "سمنان" and "\u200d" in display("ه\u200d")


@pytest.mark.parametrize("text", ["", " .", "\u064b\u0670", "\u200c\u200d", "\u3164", "\u02c6", "۱۲", "\u2800", "😀"])
def test_what_has_no_letter(text: str) -> None:
    assert not has_letter(text) and has_letter(f"{text}ب") and has_letter(f"{text}z")


def test_persian_and_arabic_indic_digits() -> None:
    assert digits("۰۱۲۳۴۵۶۷۸۹٠١٢٣٤٥٦٧٨٩") == "01234567890123456789"
    assert persian_digits("1404-07") == "۱۴۰۴-۰۷"


@given(PERSIAN)
def test_normalisation_is_idempotent(typed: str) -> None:
    assert display(display(typed)) == display(typed)
    assert key(key(typed)) == key(typed)
    assert key(display(typed)) == key(typed)
    assert loose_key(key(typed)) == loose_key(typed)


@pytest.mark.parametrize(
    ("value", "decimals", "fa", "en"),
    [
        (1300, 0, "۱٬۳۰۰", "1,300"),
        (0, 0, "۰", "0"),
        (1234567, 0, "۱٬۲۳۴٬۵۶۷", "1,234,567"),
        (-3.5, 1, "\u2212۳٫۵", "\u22123.5"),
        (Fraction(1, 3), 2, "۰٫۳۳", "0.33"),
        (Fraction(5, 1000), 2, "۰٫۰۰", "0.00"),  # half to even
        (Fraction(15, 1000), 2, "۰٫۰۲", "0.02"),
        (Fraction(-1, 1000), 2, "۰٫۰۰", "0.00"),  # no minus before zero
        (Fraction(99999, 100), 1, "۱٬۰۰۰٫۰", "1,000.0"),
    ],
)
def test_number_formats(value: int, decimals: int, fa: str, en: str) -> None:
    assert number(value, "fa", decimals) == fa
    assert number(value, "en", decimals) == en
