"""Persian text: normalisation for display and for comparison, digits, and formatted numbers."""

import re
import unicodedata
from decimal import Decimal
from fractions import Fraction

from contracts.commands import Refused

_DIGITS = str.maketrans("۰۱۲۳۴۵۶۷۸۹٠١٢٣٤٥٦٧٨٩", "01234567890123456789")
_PERSIAN_DIGITS = str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹")
# What shows nothing: bidirectional controls, byte order mark, fillers and the like (Default_Ignorable_Code_Point).
# The two joiners stay: they change how a word is written.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_PRESENTATION = re.compile("[\ufb50-\ufdff\ufe70-\ufeff]+")  # presentation forms: letters by their position in the word
_LETTERS = str.maketrans({"ي": "ی", "ى": "ی", "ك": "ک", "\u0640": None})  # Arabic yeh and kaf; tatweel
_KEY_LETTERS = str.maketrans({"ۀ": "ه", "ة": "ه", "أ": "ا", "إ": "ا", "ٱ": "ا", "\u200c": " ", "\u200d": None})
_MARKS = re.compile("[\u064b-\u0655\u0670]")  # harakat, and combining hamza
_FINAL_HAMZA = re.compile(r"ئ(?!\w)")  # typed instead of the adjacent key: «بختيارئ»
_ALEF_MADDA = "\ue000"  # a private letter: the normal form of «آ» must not become that of «ا»
_ALPHABET = f"{_ALEF_MADDA}اءئبپتثجچحخدذرزژسشصضطظعغفقکگلمنوؤهی"
_ORDER = {letter: 0x1_0000 + place for place, letter in enumerate(_ALPHABET)}  # after the Latin letters
_SPACES = re.compile(r"\s+")
_READABLE = frozenset({"Lu", "Ll", "Lt", "Lo"})  # modifier letters (Lm) are marks beside a letter
MAX_LENGTH = 1_000  # characters of a text that is normalised: normalising takes time quadratic in runs of marks


def digits(s: str) -> str:
    """Replace Persian and Arabic-Indic digits by 0-9."""
    return s.translate(_DIGITS)


def persian_digits(s: str) -> str:
    """Replace 0-9 by Persian digits."""
    return s.translate(_PERSIAN_DIGITS)


def display(s: str) -> str:
    """Normalise for display: Persian letters for their Arabic look-alikes, no invisible characters, single spaces.

    Raise Refused: too_long.
    """
    if len(s) > MAX_LENGTH:
        raise Refused("too_long", limit=MAX_LENGTH)
    s = _PRESENTATION.sub(lambda match: unicodedata.normalize("NFKC", match[0]), _INVISIBLE.sub("", s))
    s = unicodedata.normalize("NFC", s.translate(_LETTERS))  # last: without a tatweel, marks may need another order
    return _SPACES.sub(" ", s.translate(_LETTERS)).strip()


def key(s: str) -> str:
    """Normalise for comparison: spellings of the same word become equal."""
    s = _FINAL_HAMZA.sub("ی", _MARKS.sub("", display(s).translate(_KEY_LETTERS)))
    return _SPACES.sub(" ", digits(s)).strip()


def has_letter(s: str) -> bool:
    """Return whether a text has a letter that can be read, and not only marks, signs, blanks and invisible ones."""
    return any(unicodedata.category(c) in _READABLE for c in _INVISIBLE.sub("", s))


def loose_key(s: str) -> str:
    """Normalise for matching names: `key` without spaces, and with آ as ا."""
    return key(s).replace(" ", "").replace("آ", "ا")


def sort_key(s: str) -> tuple[int, ...]:
    """Return what sorts names by the alphabet: Persian letters in the order of Persian, not of code points.

    Spaces, joiners and marks do not count, and neither does the case of Latin letters.
    """
    return tuple(_ORDER.get(c, ord(c)) for c in key(s.replace("آ", _ALEF_MADDA)).casefold() if c != " ")


def number(value: int | float | Decimal | Fraction, lang: str, decimals: int = 0) -> str:
    """Format a number in `fa` or `en`, rounded half to even; exact for exact types.

    `1300` -> `۱٬۳۰۰` or `1,300`; the minus sign is U+2212.
    """
    scaled = round(Fraction(value) * 10**decimals)
    whole, part = divmod(abs(scaled), 10**decimals)
    sign = "\u2212" if scaled < 0 else ""
    formatted = f"{sign}{whole:,}" + (f".{part:0{decimals}d}" if decimals else "")
    return persian_digits(formatted.translate({ord(","): "٬", ord("."): "٫"})) if lang == "fa" else formatted
