"""Persian text: one normaliser for display and comparison, both families of digits, numbers as people read them."""

import re
import unicodedata
from decimal import Decimal
from fractions import Fraction

_DIGITS = str.maketrans("۰۱۲۳۴۵۶۷۸۹٠١٢٣٤٥٦٧٨٩", "01234567890123456789")
_PERSIAN_DIGITS = str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹")
_INVISIBLE = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")  # directions and the byte order mark
_PRESENTATION = re.compile("[\ufb50-\ufdff\ufe70-\ufeff]+")  # letters in the shape of their place in the word
_LETTERS = str.maketrans({"ي": "ی", "ى": "ی", "ك": "ک", "\u0640": None})  # Arabic yeh and kaf; tatweel
_KEY_LETTERS = str.maketrans({"ۀ": "ه", "ة": "ه", "أ": "ا", "إ": "ا", "ٱ": "ا", "\u200c": " "})
_MARKS = re.compile("[\u064b-\u0655\u0670]")  # harakat, and hamza written as a mark of its own
_FINAL_HAMZA = re.compile(r"ئ(?!\w)")  # typed for the letter beside it: «بختيارئ»
_SPACES = re.compile(r"\s+")


def digits(s: str) -> str:
    """The text with Persian and Arabic-Indic digits as 0-9."""
    return s.translate(_DIGITS)


def persian_digits(s: str) -> str:
    """The text with 0-9 as Persian digits."""
    return s.translate(_PERSIAN_DIGITS)


def display(s: str) -> str:
    """The text as it is shown: Persian letters for their Arabic look-alikes, no invisible marks, single spaces."""
    s = _PRESENTATION.sub(lambda found: unicodedata.normalize("NFKC", found[0]), _INVISIBLE.sub("", s))
    return _SPACES.sub(" ", unicodedata.normalize("NFC", s).translate(_LETTERS)).strip()


def key(s: str) -> str:
    """The text as it is compared: what people type for the same word becomes the same."""
    s = _FINAL_HAMZA.sub("ی", _MARKS.sub("", display(s).translate(_KEY_LETTERS)))
    return _SPACES.sub(" ", digits(s)).strip()


def loose_key(s: str) -> str:
    """The text as names are matched: `key` without spaces, and آ as ا."""
    return key(s).replace(" ", "").replace("آ", "ا")


def number(value: int | float | Decimal | Fraction, lang: str, decimals: int = 0) -> str:
    """A number as people read it in `fa` or `en`, rounded half to even; exact for what is exact.

    `1300` -> `۱٬۳۰۰` or `1,300`; the minus sign is U+2212.
    """
    scaled = round(Fraction(value) * 10**decimals)
    whole, part = divmod(abs(scaled), 10**decimals)
    sign = "\u2212" if scaled < 0 else ""
    shown = f"{sign}{whole:,}" + (f".{part:0{decimals}d}" if decimals else "")
    return persian_digits(shown.translate({ord(","): "٬", ord("."): "٫"})) if lang == "fa" else shown
